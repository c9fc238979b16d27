"""File systems that forget, and data_dirs that span two."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from cmmd_node.errors import StartRefused
from cmmd_node.index import Index
from cmmd_node.receive.filesystem import doubt, file_system, refuse_to_span
from cmmd_node.receive.inbox import Inbox
from cmmd_node.settings import Settings

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - overlay overlay rw
22 21 0:5 / /data rw shared:2 - ext4 /dev/sdb1 rw
23 22 0:6 / /data/scratch rw shared:3 - tmpfs tmpfs rw
24 22 0:7 / /data/far rw - nfs4 server:/export rw,vers=4.2
25 22 0:8 / /data/with\\040space rw - fuse.sshfs host:/ rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return path


@pytest.mark.fault("E80")
@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("/srv", "container"),
        ("/data/node", None),
        ("/data/scratch/node", "memory"),
        ("/data/far", "promise less"),
        ("/data/with space/node", "promise less"),
    ],
)
def test_where_syncs_may_promise_less_is_told(mounts: Path, place: str, word: str | None) -> None:
    said = doubt(Path(place), mounts)
    assert said is None if word is None else word in str(said)


def test_this_machine_tells_what_memory_is() -> None:
    assert file_system(Path("/dev/shm")) == "tmpfs"
    assert file_system(Path("/proc")) == "proc"


def test_a_machine_that_does_not_tell_raises_no_doubt(tmp_path: Path) -> None:
    assert doubt(tmp_path, tmp_path / "nothing") is None


@pytest.mark.fault("E80")
def test_a_spool_on_another_file_system_is_refused(settings: Settings, index: Index, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / f"cmmd-node-{secrets.token_hex(6)}"
    elsewhere.mkdir()
    try:
        settings.node.data_dir.mkdir(exist_ok=True)
        (settings.node.data_dir / "spool").symlink_to(elsewhere)
        with pytest.raises(StartRefused, match="different file systems"):
            Inbox(settings, index, index.client())
        with pytest.raises(StartRefused, match="must be on one"):
            refuse_to_span(tmp_path, elsewhere)
    finally:
        for path in sorted(elsewhere.rglob("*"), reverse=True):
            path.rmdir()
        elsewhere.rmdir()
