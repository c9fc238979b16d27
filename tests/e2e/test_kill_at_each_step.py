"""A receiver that is killed at each step of keeping an object, by strace, before the system call is made.

tests/run nightly -k each_step
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.conftest import need
from tests.mammograms import make_mammogram
from tests.nodes import RunningNode, wait_until
from tests.receive.conftest import data_set_bytes
from tests.receive.raw import MAMMOGRAPHY, RawPeer

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

#: What happens to an object, in this order; the system call, and which one of its kind since the association was open.
STEPS = {
    "the spool file is made": ("openat", 1),
    "its header is written": ("write", 1),
    "the first piece is written": ("write", 2),
    "the kernel is told to write": ("fadvise64", 1),
    "the bytes are synced": ("fdatasync", 1),
    "the file gets its name": ("rename", 1),
    "its directory is opened": ("openat", 2),
    "its directory is synced": ("fsync", 1),
    "the row is logged": ("pwrite64", 1),
    "more of the transaction is logged": ("pwrite64", 4),
    "the log is synced": ("fdatasync", 2),
    "the spool is left": ("unlink", 1),
    "success is sent": ("sendto", 1),
}


@contextmanager
def killed_at(pid: int, call: str, number: int, folder: Path) -> Iterator[None]:
    """SIGKILL for the process when it is about to make the system call."""
    said = folder / f"{call}-{number}"
    injected = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"]
    with said.open("wb") as log:
        strace = subprocess.Popen(["strace", "-f", "-p", str(pid), *injected], stderr=log)
    try:
        wait_until(lambda: b"attached" in said.read_bytes(), 20, "strace")
        yield
    finally:
        strace.terminate()
        strace.wait(20)


@pytest.mark.fault("E67")
@pytest.mark.timeout(600)
def test_a_kill_at_each_step_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """Whatever the step left, the sender has no answer; it sends again, and there is one file with one row."""
    need("strace")
    node = RunningNode(tmp_path, supervised=False)
    stored: set[str] = set()
    for step, (call, number) in STEPS.items():
        node.start("receive")
        wait_until(node.answers_echo, 60, "the receiver")
        ds = make_mammogram(SOPInstanceUID=generate_uid())
        uid, data = str(ds.SOPInstanceUID), data_set_bytes(ds)
        (pid,) = node.pids("receive")
        peer = RawPeer(node.port).associate()
        with killed_at(pid, call, number, tmp_path):
            peer.send_store(data, sop_class=MAMMOGRAPHY, sop_instance=uid)
            assert peer.is_closed(20), step  # before it could answer
            wait_until(lambda: node.has_ended("receive"), 20, f"the kill when {step}")
        node.start("receive")
        wait_until(node.answers_echo, 60, f"the receiver after the kill when {step}")
        again = RawPeer(node.port).associate()
        assert again.store(data, sop_class=MAMMOGRAPHY, sop_instance=uid) == 0x0000, step
        again.release()
        stored.add(uid)
        node.stop()
    with node.index.read() as connection:
        rows = connection.exec_driver_sql("SELECT sop_instance_uid, path FROM instance").all()
    assert sorted(row.sop_instance_uid for row in rows) == sorted(stored)
    files = {str(path.relative_to(node.data_dir)) for path in (node.data_dir / "objects").glob("*/*")}
    assert files == {row.path for row in rows}
    assert not [path for path in (node.data_dir / "spool").rglob("*") if path.is_file()]
