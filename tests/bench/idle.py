"""What peers that send nothing cost a receiver, and whether a good sender is served meanwhile.

``python -m tests.bench.idle [--seconds 10]`` opens 50 associations that stay idle and prints the share of one core that
the receiver uses; then it adds 200 sockets that never ask for an association and 10 peers that stall inside a PDU, and
prints how long C-STOREs of a good sender take, each over an association of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mammograms import make_mammogram
from tests.nodes import RunningNode, wait_until
from tests.receive.conftest import data_set_bytes
from tests.receive.raw import RawPeer, p_data, store_rq

IDLE, HALF_OPEN, STALLED = 50, 200, 10


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share_of_a_core(pid: int, seconds: float) -> float:
    """The share of one core that a process uses while `seconds` pass."""
    before, started = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)  # not a wait for an event: this is the time that is measured
    return (cpu_seconds(pid) - before) / (time.monotonic() - started)


def seconds_to_store(port: int, name: str) -> float:
    """From the connection of a good sender to the success of its image."""
    ds = make_mammogram(study=name)
    started = time.monotonic()
    peer = RawPeer(port, calling="GOOD").associate()
    assert peer.store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) == 0x0000
    took = time.monotonic() - started
    peer.release()
    return took


def stall(port: int) -> RawPeer:
    """A peer that sends half of a PDU and no more."""
    peer = RawPeer(port, calling="STALLED").associate()
    peer.socket.sendall(p_data(3, store_rq(), command=True) + b"\4\0\0")
    return peer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    asked = parser.parse_args()
    limits = {"associations": IDLE + STALLED + 1, "idle_seconds": 600, "association_seconds": 300, "pdu_seconds": 300}
    with TemporaryDirectory(prefix="cmmd-node-bench-") as folder:
        node = RunningNode(Path(folder), supervised=False, receive={**limits})
        node.start("receive")
        try:
            wait_until(node.answers_echo, 60, "the receiver")
            (pid,) = node.pids("receive")
            print(f"no peer: {share_of_a_core(pid, asked.seconds):.1%} of a core")
            peers = [RawPeer(node.port, calling="IDLE").associate() for _ in range(IDLE)]
            print(f"{IDLE} idle associations: {share_of_a_core(pid, asked.seconds):.1%} of a core")
            peers += [RawPeer(node.port) for _ in range(HALF_OPEN)]
            peers += [stall(node.port) for _ in range(STALLED)]
            share = share_of_a_core(pid, asked.seconds)
            print(f"and {HALF_OPEN} half-open sockets and {STALLED} stalled peers: {share:.1%} of a core")
            took = [seconds_to_store(node.port, f"good {number}") for number in range(20)]
            print(f"a good sender meanwhile: {statistics.median(took):.3f} s, at most {max(took):.3f} s")
            for peer in peers:
                peer.socket.close()
        finally:
            node.stop()


if __name__ == "__main__":
    main()
