"""The file system under data_dir: whether a synced file survives a power cut on it, and syncing its folders."""

from __future__ import annotations

import os
from pathlib import Path

from cmmd_node.errors import StartRefused

_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = {"tmpfs", "ramfs"}
_LAYERED = {"overlay", "aufs"}
_REMOTE = {"9p", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "vboxsf", "virtiofs"}


def doubt(data_dir: Path, mounts: Path = _MOUNTS) -> str | None:
    """Why what is kept in data_dir may be lost although it was synced, in one sentence; None without a doubt."""
    kind = file_system(data_dir, mounts)
    if kind in _IN_MEMORY:
        return f"data_dir is on {kind}, which is memory: nothing that is acknowledged survives a restart of the machine"
    if kind in _LAYERED:
        return f"data_dir is on {kind}, as in a container without a volume: what is kept goes when the container does"
    if kind in _REMOTE or kind.startswith("fuse"):
        return f"data_dir is on {kind}, where locks and syncs may promise less than a local disk's"
    return None


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """The type of the file system that `path` is on (proc(5)); empty when the machine does not tell."""
    target = path.resolve()
    found, kind = Path("/"), ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(before.split(" ")[4].replace("\\040", " "))
        if target.is_relative_to(point) and len(point.parts) >= len(found.parts):  # the last mount covers the others
            found, kind = point, after.split(" ", 1)[0]
    return kind


def refuse_to_span(*directories: Path) -> None:
    """Directories between which files are renamed must be on one file system.

    Raises
    ------
    StartRefused
        They are not: a rename would be a copy, which a power cut can halve.
    """
    first = directories[0]
    for other in directories[1:]:
        if other.stat().st_dev != first.stat().st_dev:
            raise StartRefused(f"{first} and {other} are on different file systems; data_dir must be on one")


def sync_directory(path: Path) -> None:
    """Make durable which files it holds, and under which names."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
