"""An object as a DICOM file in the transfer syntax that is asked for: as it is kept, or in Explicit VR Little Endian.

Pixels pass through in pieces, compressed ones frame by frame; the header alone is in memory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterator
from copy import deepcopy
from io import BytesIO
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from cmmd_node.assemble.codecs import decodable_transfer_syntaxes
from cmmd_node.dicomweb.decoder import Decode
from cmmd_node.dicomweb.opened import OpenedObject, opened
from cmmd_node.dicomweb.ranges import PIECE_BYTES
from cmmd_node.errors import NotAnalysed

_LONGEST_VALUE = 0xFFFFFFFE


def file_pieces(path: Path, start: int = 0, length: int | None = None) -> Generator[bytes, None, None]:
    """The file's bytes as they are, in pieces."""
    with path.open("rb") as file:
        file.seek(start)
        left = os.fstat(file.fileno()).st_size - start if length is None else length
        while left > 0 and (piece := file.read(min(PIECE_BYTES, left))):
            left -= len(piece)
            yield piece


def check_explicit(path: Path, decode: Decode) -> None:
    """Whether `explicit_pieces` can begin.

    Raises
    ------
    NotAnalysed
        It cannot; the message says why.
    """
    next(explicit_pieces(path, decode), None)


def explicit_pieces(path: Path, decode: Decode) -> Generator[bytes, None, None]:
    """The object in Explicit VR Little Endian, its pixels not compressed.

    Elements behind Pixel Data are left out: signatures of other bytes, and padding.

    Raises
    ------
    NotAnalysed
        It cannot be told in this encoding; when that is found out behind the first piece, the answer breaks off.
    """
    with opened(path) as one:
        if not one.has_pixels:
            yield _header(one)
            return
        size = _native_bytes(one)
        vr = b"OW" if one.header.get("BitsAllocated", 8) > 8 else b"OB"
        yield _header(one) + struct.pack("<HH2sxxI", 0x7FE0, 0x0010, vr, size + size % 2)
        yield from _cells(one, decode)
        yield b"\0" * (size % 2)


def _header(one: OpenedObject) -> bytes:
    """Everything before Pixel Data."""
    ds = Dataset()
    ds.update(one.header)
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if name in ds:
            del ds[name]
    ds.file_meta = deepcopy(one.header.file_meta)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    try:
        dcmwrite(buffer, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except Exception as error:  # whatever values the object holds; pydicom raises anything
        raise NotAnalysed("the object cannot be written in Explicit VR Little Endian") from error
    return buffer.getvalue()


def _native_bytes(one: OpenedObject) -> int:
    """Length of the pixels when they are not compressed; raises where they cannot be."""
    if one.is_native:
        return one.native_place[1]
    if one.transfer_syntax not in decodable_transfer_syntaxes():
        raise NotAnalysed(f"no installed decoder reads {one.transfer_syntax.name}")
    size = one.pixel_format().native_bytes * one.number_of_frames
    if size > _LONGEST_VALUE:
        raise NotAnalysed("the pixels are longer than one value may be when they are not compressed")
    return size


def _cells(one: OpenedObject, decode: Decode) -> Iterator[bytes]:
    """Pixel cells in little endian."""
    if not one.is_native:
        for _, frame in one.native_frames(decode):
            yield frame
        return
    start, length = one.native_place
    for at in range(start, start + length, PIECE_BYTES):
        yield one.little_endian(one.piece(at, min(PIECE_BYTES, start + length - at)))
