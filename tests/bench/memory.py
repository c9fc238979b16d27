"""How much memory a receiver needs for large objects.

``python -m tests.bench.memory`` sends one object of 1 GB to a receiver, then four of 500 MB at once over as many
associations to another, and prints the peak of each receiver's resident memory: all of it (VmHWM, proc(5)), that is
Python with its libraries, mapped files and everything else.
"""

from __future__ import annotations

import argparse
import struct
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mammograms import make_mammogram
from tests.nodes import RunningNode, wait_until
from tests.receive.conftest import data_set_bytes
from tests.receive.raw import RawPeer, p_data, store_rq

_CHUNK = bytes(131072 - 6)
_ROWS = _COLUMNS = 10_000
_MB = 1_000_000


def store_large(port: int, name: str, frames: int) -> None:
    """Store an image with so many frames of 100 MB; fails when that is no success."""
    ds = make_mammogram(study=name, Rows=_ROWS, Columns=_COLUMNS, NumberOfFrames=frames)
    small = data_set_bytes(ds)
    header = small[: small.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB"))]
    size = _ROWS * _COLUMNS * frames
    peer = RawPeer(port, calling="LARGE").associate()
    peer.socket.settimeout(300)
    peer.socket.sendall(p_data(3, store_rq(sop_instance=ds.SOPInstanceUID), command=True))
    head = header + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, size)
    peer.socket.sendall(p_data(3, head, command=False, last=False))
    for start in range(0, size, len(_CHUNK)):
        piece = _CHUNK[: size - start]
        peer.socket.sendall(p_data(3, piece, command=False, last=start + len(piece) == size))
    assert peer.status() == 0x0000
    peer.release()


def memory_mb(pid: int | str, field: str) -> float:
    """A field of proc(5), status."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / _MB
    raise KeyError(field)


def measure(folder: Path, sizes: list[int]) -> tuple[float, float]:
    """Resident memory of a receiver at rest, and its peak after it was sent objects of so many frames at once."""
    node = RunningNode(folder, supervised=False)
    node.start("receive")
    try:
        wait_until(node.answers_echo, 60, "the receiver")
        (pid,) = node.pids("receive")
        at_rest = memory_mb(pid, "VmRSS")
        threads = [
            threading.Thread(target=store_large, args=(node.port, f"large {number}", frames))
            for number, frames in enumerate(sizes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with node.index.read() as connection:
            kept = connection.exec_driver_sql("SELECT count(*) FROM instance").scalar_one()
        assert kept == len(sizes)
        return at_rest, memory_mb(pid, "VmHWM")
    finally:
        node.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where stores are made; 2 GB (default: /tmp)")
    asked = parser.parse_args()
    for what, sizes in {"one object of 1 GB": [10], "four objects of 500 MB at once": [5] * 4}.items():
        with TemporaryDirectory(prefix="cmmd-node-bench-", dir=asked.folder) as folder:
            at_rest, peak = measure(Path(folder), sizes)
        print(f"{what}: {at_rest:.0f} MB at rest, {peak:.0f} MB at most")


if __name__ == "__main__":
    main()
