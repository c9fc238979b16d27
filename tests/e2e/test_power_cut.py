"""A power cut under load: nothing that was acknowledged is missing from the disk as it was at any moment.

    tests/run nightly -k power_cut

The data_dir is on an ext4 file system in an image file. The image lies on a second file system, which is frozen
(fsfreeze) at random moments: from then on nothing reaches the image, in the middle of whatever the receiver and the
kernel are writing. The image is copied, the copy is mounted, which replays its journal, and recovered as a node does at
its start.

Why this is fair: the copy holds what had been written to the device, and nothing of what merely was in the memory of
the file system that the receiver writes to; that one is neither synced nor frozen. A copy of an image that is being
written to would be of no moment at all. What it leaves out: a drive that loses what it had in a cache of its own, which
a sync makes it write, and torn sectors. That the test notices a missing sync is a test of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.filereader import read_file_meta_info

from cmmd_node.index import open_index
from cmmd_node.index.tables import instance
from cmmd_node.receive.inbox import Inbox
from cmmd_node.settings import load_settings
from tests.conftest import need
from tests.mammograms import make_mammogram
from tests.nodes import RunningNode, wait_until
from tests.receive.conftest import data_set_bytes
from tests.receive.raw import RawPeer

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.timeout(3600)]

_SENDERS = 3
_IMAGE_MB = 400
#: ioctl_fifreeze(2)
_FREEZE, _THAW = 0xC0045877, 0xC0045878


@dataclass
class Sender:
    """Stores one image after the other, and knows which were acknowledged."""

    name: str
    port: int
    acknowledged: dict[str, str] = field(default_factory=dict)
    """SOP Instance UID and digest of the bytes. The test is not what loses power, so its memory is durable."""
    problem: BaseException | None = None

    def run(self, load: threading.Event, stop: threading.Event) -> None:
        try:
            ds = make_mammogram(study=self.name)
            old_uid, data = str(ds.SOPInstanceUID), data_set_bytes(ds)
            peer = RawPeer(self.port, calling=self.name).associate()
            peer.socket.settimeout(60)
            while not stop.is_set():
                load.wait()
                uid = f"{old_uid[:-12]}{len(self.acknowledged):012d}"
                content = data.replace(old_uid.encode(), uid.encode())
                assert peer.store(content, sop_instance=uid) == 0x0000
                self.acknowledged[uid] = hashlib.sha256(content).hexdigest()
            peer.release()
        except BaseException as error:  # told to the test, which runs in another thread
            self.problem = error


@dataclass(frozen=True)
class Moment:
    """The disk at one moment, and what had been acknowledged by then."""

    image: Path
    acknowledged: dict[str, str]


class Disk:
    """An ext4 file system to lose power: `root` is in `image`, which is on a file system that can be frozen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = folder / "root"
        self._outer = folder / "outer"
        self.image = self._outer / "inner.img"

    def __enter__(self) -> Disk:
        outer_image = self._folder / "outer.img"
        _make_file_system(outer_image, 2 * _IMAGE_MB)
        _mount(outer_image, self._outer)
        try:
            _make_file_system(self.image, _IMAGE_MB)
            _mount(self.image, self.root)
        except BaseException:
            _unmount(self._outer)
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        _unmount(self.root)
        _unmount(self._outer)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing reaches the image; whoever syncs to it waits."""
        directory = os.open(self._outer, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(directory, _FREEZE, 0)
            try:
                yield
            finally:
                fcntl.ioctl(directory, _THAW, 0)
        finally:
            os.close(directory)


def cut_power(folder: Path, *, moments: int, seed: int) -> list[str]:
    """Copy the disk of a receiver under load at random moments; what is wrong in each copy, in words."""
    chance = random.Random(seed)
    found: list[str] = []
    acknowledged = leftovers = 0
    with Disk(folder) as disk:
        node = RunningNode(
            folder / "node", supervised=False, node={"data_dir": str(disk.root / "node")}, receive={"idle_seconds": 600}
        )
        node.start("receive")
        try:
            wait_until(node.answers_echo, 60, "the receiver")
            senders = [Sender(f"SENDER_{number}", node.port) for number in range(_SENDERS)]
            load, stop = threading.Event(), threading.Event()
            threads = [threading.Thread(target=one.run, args=(load, stop), daemon=True) for one in senders]
            for thread in threads:
                thread.start()
            load.set()
            wait_until(lambda: all(one.acknowledged or one.problem for one in senders), 60, "the first images")
            for number in range(moments):
                load.set()
                time.sleep(chance.uniform(0.1, 0.4))  # not a wait for an event: the moment is what is drawn
                assert [one.problem for one in senders if one.problem] == []
                moment = _copy(disk, folder / "copy.img", senders)
                load.clear()  # while the copy is looked at, nothing is sent that would only fill the disk
                acknowledged = len(moment.acknowledged)
                with _mounted(moment.image, folder / "copy") as root:
                    leftovers += len(list((root / "node" / "spool").glob("*/*")))
                    found += [f"moment {number}: {what}" for what in _look(moment, node.config, root / "node")]
                moment.image.unlink()
            stop.set()
            load.set()
            for thread in threads:
                thread.join(60)
        finally:
            node.stop()
    print(
        f"{moments} moments, {acknowledged} images acknowledged by the last one, {leftovers} leftovers in the spool, "
        f"{len(found)} faults"
    )
    return found


def _copy(disk: Disk, image: Path, senders: list[Sender]) -> Moment:
    """The image as it is now.

    What a sender learns while nothing can be written was durable before, so it counts too.
    """
    with disk.frozen():
        subprocess.run(["cp", "--sparse=always", disk.image, image], check=True)
        return Moment(image, {uid: digest for one in senders for uid, digest in dict(one.acknowledged).items()})


def _look(moment: Moment, config: Path, data_dir: Path) -> list[str]:
    """Recover the copy as a receiver does at its start, and compare."""
    settings = load_settings(config)
    settings = settings.model_copy(update={"node": settings.node.model_copy(update={"data_dir": data_dir})})
    index = open_index(settings)
    try:
        inbox = Inbox(settings, index, index.client())
        inbox.sweep()
        inbox.adopt()
        with index.read() as connection:
            kept = {row.sop_instance_uid: row for row in connection.execute(sa.select(instance))}
    finally:
        index.close()
    return list(_faults(moment.acknowledged, kept, data_dir))


def _faults(acknowledged: dict[str, str], kept: dict[str, sa.Row[tuple[object, ...]]], data_dir: Path) -> Iterator[str]:
    for uid in acknowledged.keys() - kept.keys():
        yield f"{uid} was acknowledged and has no row"
    for uid, row in kept.items():
        path = data_dir / row.path
        if not path.is_file() or path.stat().st_size != row.size_bytes:
            yield f"{uid} has a row and no whole file"
        elif uid in acknowledged and _digest(path) != acknowledged[uid]:
            yield f"{uid} is not what was sent"
    files = {str(path.relative_to(data_dir)) for path in (data_dir / "objects").rglob("*") if path.is_file()}
    if files != {row.path for row in kept.values()}:
        yield "files and rows differ"
    for left in [*(data_dir / "spool").glob("*/*"), *(data_dir / "quarantine").iterdir()]:
        yield f"{left.relative_to(data_dir)} was not swept"


def _digest(path: Path) -> str:
    content = path.read_bytes()[144 + read_file_meta_info(path).FileMetaInformationGroupLength :]
    return hashlib.sha256(content).hexdigest()


def _make_file_system(image: Path, megabytes: int) -> None:
    with image.open("wb") as file:
        file.truncate(megabytes * 1_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)


def _mount(image: Path, where: Path) -> None:
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,noatime", image, where], check=True, capture_output=True)


@contextmanager
def _mounted(image: Path, where: Path) -> Iterator[Path]:
    _mount(image, where)
    try:
        yield where
    finally:
        _unmount(where)


def _unmount(where: Path) -> None:
    def is_unmounted() -> bool:
        done = subprocess.run(["umount", where], check=False, capture_output=True)
        return done.returncode == 0 or not where.is_mount()

    wait_until(is_unmounted, 30, f"the end of {where}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where images may be mounted; skipped where they may not."""
    need("mkfs.ext4", "mount", "umount")
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("mounting an image needs root and loop devices")
    probe = tmp_path / "probe.img"
    _make_file_system(probe, 16)
    try:
        _mount(probe, tmp_path / "probe")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"an image cannot be mounted here: {error.stderr.decode().strip()}")
    _unmount(tmp_path / "probe")
    probe.unlink()
    return tmp_path


@pytest.mark.fault("E68")
def test_power_cut_at_a_hundred_moments_loses_nothing(folder: Path) -> None:
    assert cut_power(folder, moments=100, seed=1) == []


def test_power_cut_shows_a_sync_that_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the object's bytes. One of its directory would not show: ext4 commits the name with the row's journal.

    With it goes the advice to begin writing: it lets the row's sync take the bytes along, as a rule.
    """
    without = "import os\nos.fdatasync = os.posix_fadvise = lambda *_: None\n"
    (folder / "sitecustomize.py").write_text(without, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert cut_power(folder, moments=5, seed=2) != []
