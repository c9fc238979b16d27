"""Folders, ZIP files and DICOMDIR media (PS3.10 8, PS3.12): their files, each in pieces; nothing is unpacked to disk.

Names on a medium are somebody else's: none becomes a path before it has been seen to stay inside the medium's folder.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from cmmd_node.errors import NodeError, RefusedInstance, UnreadableInstance
from cmmd_node.files import files_below

_PIECE_BYTES = 1 << 18
_MOST_MEMBERS = 200_000
#: Images shrink tenfold, black ones perhaps fiftyfold; a bomb a thousandfold.
_MOST_GROWTH = 200
_HARMLESS_BYTES = 1_000_000
#: One component of a Referenced File ID (PS3.10 8.2), or a name that no file system takes for something else.
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One file of a medium."""

    name: str
    """For people."""
    pieces: Callable[[], Iterator[bytes]]
    """Raises RefusedInstance where it cannot be read."""


def media_files(paths: Iterable[Path]) -> Iterator[MediaFile]:
    """The files of folders, ZIP files and DICOMDIRs, and files by themselves.

    Raises
    ------
    NodeError
        A path does not exist, or is a medium that cannot be read at all.
    """
    for path in paths:
        if path.is_file() and path.name.upper() == "DICOMDIR":
            yield from _referenced(path)
        elif path.is_file() and zipfile.is_zipfile(path):
            with path.open("rb") as opened:
                yield from (member for _, member in zip_members(opened, str(path)))
        else:
            for file in files_below([path]):
                yield _inside(path if path.is_dir() else path.parent, file)


def zip_members(file: IO[bytes], name: str) -> Iterator[tuple[zipfile.ZipInfo, MediaFile]]:
    """The files in a ZIP file, to be read before the next is asked for.

    Raises
    ------
    NodeError
        It is none, or none that can be trusted; it is called by `name`.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len(infos) > _MOST_MEMBERS:
                raise NodeError(f"{name} has {len(infos)} files; at most {_MOST_MEMBERS} are taken")
            if sum(info.compress_size for info in infos) > file.seek(0, os.SEEK_END):
                raise NodeError(f"{name} holds files that overlap, and is not taken")
            for info in infos:
                yield info, _member(archive, info, f"{name}: {info.filename!r}")
    except (zipfile.BadZipFile, OSError) as error:
        raise NodeError(f"{name} is no ZIP file that can be read") from error


def _inside(folder: Path, file: Path) -> MediaFile:
    """A file, unless a link leads it out of the folder that was named."""
    if not file.resolve().is_relative_to(folder.resolve()):
        return _unusable(str(file), "it leads out of the folder")
    return MediaFile(str(file), lambda: _read(file))


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise UnreadableInstance(f"it cannot be read: {error.strerror}") from error


def _referenced(dicomdir: Path) -> Iterator[MediaFile]:
    """What the directory records refer to; what they say of it is not believed."""
    try:
        records = dcmread(dicomdir).get("DirectoryRecordSequence") or []
    except (InvalidDicomError, OSError, EOFError, ValueError, AttributeError) as error:
        raise NodeError(f"{dicomdir} is no DICOMDIR that can be read") from error
    for record in records:
        file_id = record.get("ReferencedFileID")
        if not file_id:
            continue
        components = [file_id] if isinstance(file_id, str) else list(file_id)
        name = "/".join(map(str, components))
        if not all(_COMPONENT.fullmatch(str(one)) for one in components):
            yield _unusable(f"{dicomdir}: {name!r}", "its Referenced File ID is none")
            continue
        file = _with_case(dicomdir.parent, [str(one) for one in components])
        yield _unusable(f"{dicomdir}: {name}", "it is missing") if file is None else _inside(dicomdir.parent, file)


def _with_case(folder: Path, components: list[str]) -> Path | None:
    """The file, also where copying changed the case of its name."""
    path = folder
    for component in components:
        entries = {entry.name.casefold(): entry for entry in path.iterdir()} if path.is_dir() else {}
        found = entries.get(component.casefold())
        if found is None:
            return None
        path = found
    return path if path.is_file() else None


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> MediaFile:
    if info.flag_bits & 1:
        return _unusable(name, "it is encrypted")
    if info.file_size > _HARMLESS_BYTES and info.file_size > _MOST_GROWTH * info.compress_size:
        return _unusable(name, f"it grows more than {_MOST_GROWTH} times when it is unpacked")
    return MediaFile(name, lambda: _unpacked(archive, info))


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as member:
            while piece := member.read(_PIECE_BYTES):
                yield piece
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnreadableInstance("it is damaged in its ZIP file") from error


def _unusable(name: str, reason: str) -> MediaFile:
    def refuse() -> Iterator[bytes]:
        raise RefusedInstance(reason)

    return MediaFile(name, refuse)
