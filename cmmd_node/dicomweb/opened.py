"""An object's file opened for handing out: its header in memory, its pixels where they lie.

However large the object, no more is read than is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian

from cmmd_node.assemble.codecs import NATIVE_SYNTAXES
from cmmd_node.assemble.header import integer
from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.dicomweb.decoder import Decode
from cmmd_node.errors import NotAnalysed

PIXEL_DATA = BaseTag(0x7FE00010)
_PIXEL_TAGS = (PIXEL_DATA, BaseTag(0x7FE00008), BaseTag(0x7FE00009))
_UNDEFINED = 0xFFFFFFFF
#: Values of the header that are longer stay in the file until they are asked for.
_DEFER_BYTES = 65_536


class OpenedObject:
    """One object; only within the ``with`` block of `opened`."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._pixels: tuple[str, int, int] | None = None  # VR, offset, length
        self.header: FileDataset = read_partial(file, stop_when=self._stop_at_pixels, defer_size=_DEFER_BYTES)
        self.transfer_syntax = UID(self.header.file_meta.TransferSyntaxUID)
        if self._pixels is not None:
            vr, _, length = self._pixels
            # Where pydicom stops, it goes back to the element's tag.
            long = not self.transfer_syntax.is_implicit_VR and vr in ("OB", "OW", "OF", "OD", "OV", "UN")
            self._pixels = (vr, file.tell() + (12 if long else 8), length)

    def _stop_at_pixels(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_TAGS:
            self._pixels = (vr or "OW", 0, length)
            return True
        return False

    @property
    def has_pixels(self) -> bool:
        """Whether there is Pixel Data."""
        return self._pixels is not None

    @property
    def is_native(self) -> bool:
        """Whether its pixels are not compressed."""
        return self.transfer_syntax in NATIVE_SYNTAXES

    @property
    def pixels_vr(self) -> str:
        """VR of Pixel Data."""
        return self._pixels[0] if self._pixels else ""

    @property
    def number_of_frames(self) -> int:
        """At least 1 where there is Pixel Data."""
        return max(1, integer(self.header, "NumberOfFrames") or 1) if self.has_pixels else 0

    @property
    def native_place(self) -> tuple[int, int]:
        """Offset and length of the value of native Pixel Data."""
        if self._pixels is None or self._pixels[2] == _UNDEFINED:
            raise NotAnalysed("the object has no native Pixel Data")
        return self._pixels[1], self._pixels[2]

    def piece(self, start: int, length: int) -> bytes:
        """Bytes of the file."""
        self._file.seek(start)
        return self._file.read(length)

    def coded_frames(self) -> Iterator[bytes]:
        """Codestreams of the frames, one after the other (PS3.5 A.4)."""
        if self._pixels is None:
            raise NotAnalysed("the object has no Pixel Data")
        self._file.seek(self._pixels[1])
        offsets = [self.header.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
        extended = (offsets[0], offsets[1]) if all(offsets) else None
        return generate_frames(self._file, number_of_frames=self.number_of_frames, extended_offsets=extended)

    def native_frames(self, decode: Decode, wanted: set[int] | None = None) -> Iterator[tuple[int, bytes]]:
        """Numbers from 1 and pixel cells, little endian and not compressed, of all frames or some.

        Raises
        ------
        NotAnalysed
            There are no such pixels, no decoder, or a frame is damaged; the message says which.
        """
        numbers = range(1, self.number_of_frames + 1)
        if self.is_native:
            for number in numbers:
                if wanted is None or number in wanted:
                    yield number, self._native_frame(number)
            return
        pixel_format = self.pixel_format()
        for number, frame in zip(numbers, self.coded_frames(), strict=False):
            if wanted is None or number in wanted:
                cells = decode(frame, self.transfer_syntax, pixel_format)
                yield number, cells.astype(f"<u{pixel_format.cell_bytes}", copy=False).tobytes()

    def pixel_format(self) -> PixelFormat:
        """How the pixels of each frame are stored; only grey ones."""
        one = Dataset()
        one.update(self.header)
        one.NumberOfFrames = 1
        return PixelFormat.from_dataset(one)

    def _native_frame(self, number: int) -> bytes:
        start, length = self.native_place
        sizes = [integer(self.header, name) or 0 for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")]
        bits = int(np.prod([max(size, 1) for size in sizes], dtype=np.int64))
        first, last = (number - 1) * bits, number * bits
        if last > 8 * length:
            raise NotAnalysed(f"Pixel Data ends before frame {number}")
        value = self.piece(start + first // 8, (last + 7) // 8 - first // 8)
        if first % 8 or last % 8:  # single bits: frames begin inside of bytes (PS3.5 8.1.1)
            unpacked = np.unpackbits(np.frombuffer(value, np.uint8), bitorder="little")
            return np.packbits(unpacked[first % 8 : first % 8 + bits], bitorder="little").tobytes()
        return self.little_endian(value)

    def little_endian(self, value: bytes) -> bytes:
        """Native pixel cells in the byte order of all that is handed out."""
        if self.transfer_syntax == ExplicitVRBigEndian and self.pixels_vr == "OW":
            return np.frombuffer(value[: len(value) // 2 * 2], ">u2").astype("<u2").tobytes()
        return value


@contextmanager
def opened(path: Path) -> Iterator[OpenedObject]:
    """Open the file of an object."""
    with path.open("rb") as file:
        yield OpenedObject(path, file)
