"""What compressed frames say of themselves, held against the image header before a decoder runs.

A decoder allocates what a codestream or a header tells it to, some fill up what is missing, and GDCM ends the process
when it meets what it does not expect. Here is found, by arithmetic and markers only, what would bring that about.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from cmmd_node.assemble.pixel_format import PixelFormat

_END_OF_IMAGE = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
_START_OF_JPEG_2000 = b"\xff\x4f\xff\x51"  # SOC, SIZ

#: Start of frame: baseline and extended sequential, lossless (all Huffman coded), JPEG-LS.
_JPEG_FRAMES, _JPEG_LS_FRAMES = (0xC0, 0xC1, 0xC3), (0xF7,)
_DHT, _SOS, _DQT, _DRI = 0xC4, 0xDA, 0xDB, 0xDD
#: What may follow 0xFF within a scan (ITU-T T.81 F.1.2.3): a stuffed 0, a restart or a fill byte.
_NO_SCAN_BYTE = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class DamagedFrame(Exception):
    """The compressed frame contradicts itself or the header; the message continues a sentence."""


class _Segment(NamedTuple):
    """A marker segment of a JPEG or JPEG-LS header; the parameters lie from start + 4 to end."""

    marker: int
    start: int
    end: int


def check_jpeg(frame: bytes, pixel_format: PixelFormat) -> int:
    """Check JPEG (ITU-T T.81) of one grey component; the result is the bits of a pixel, as in all checks here."""
    precision = _check_jpeg_header(frame, pixel_format, _JPEG_FRAMES)
    scan = list(_jpeg_segments(frame))[-1].end
    end = _NO_SCAN_BYTE.search(frame, scan)
    if end is None or end.group() != _END_OF_IMAGE:
        raise DamagedFrame("is damaged: a marker within its scan")
    return precision


def check_jpeg_ls(frame: bytes, pixel_format: PixelFormat) -> int:
    """Check JPEG-LS (ITU-T T.87) of one component."""
    return _check_jpeg_header(frame, pixel_format, _JPEG_LS_FRAMES)


def check_jpeg_2000(frame: bytes, pixel_format: PixelFormat) -> int:
    """Check JPEG 2000 and HTJ2K (ITU-T T.800 A.5.1) of one component."""
    start = frame.find(_START_OF_JPEG_2000, 0, 1024)
    if start < 0 or len(frame) < start + 50:
        raise DamagedFrame("is damaged: it does not begin like one")
    *sizes, components, depth = struct.unpack_from(">8IHB", frame, start + 8)  # behind SOC, SIZ, Lsiz, Rsiz
    width, height, left, top, tile_width, tile_height = sizes[:6]
    if not tile_width or not tile_height or (width // tile_width + 1) * (height // tile_height + 1) > 65535:
        raise DamagedFrame("is damaged: its tiles are impossible")
    return _check(frame, pixel_format, (height - top, width - left), components, (depth & 0x7F) + 1)


def check_rle(frame: bytes, pixel_format: PixelFormat) -> int:
    """Check the RLE header (PS3.5 G.5) and the most that its segments can expand to."""
    segments = struct.unpack_from("<I", frame)[0] if len(frame) >= 64 else 0
    if segments != pixel_format.cell_bytes:
        raise DamagedFrame(f"has {segments} segments, not {pixel_format.cell_bytes}")
    if pixel_format.native_bytes > 64 * len(frame):  # two bytes become 128 at most
        raise DamagedFrame("is too short for Rows x Columns")
    return pixel_format.bits_allocated


def bare_jpeg(frame: bytes) -> tuple[bytes, int]:
    """The frame without application data and comments, and its precision.

    GDCM ends the process on application data that it does not understand; a grey image needs none.
    """
    needed = (_DHT, _SOS, _DQT, _DRI, *_JPEG_FRAMES)
    segments = list(_jpeg_segments(frame))
    parts = [frame[segment.start : segment.end] for segment in segments if segment.marker in needed]
    precision = next(frame[segment.start + 4] for segment in segments if segment.marker in _JPEG_FRAMES)
    return b"".join((frame[:2], *parts, frame[segments[-1].end :])), precision


def _check_jpeg_header(frame: bytes, pixel_format: PixelFormat, markers: tuple[int, ...]) -> int:
    frames = [segment for segment in _jpeg_segments(frame) if segment.marker in markers]
    if len(frames) != 1:
        raise DamagedFrame("is damaged or of another process: it has not one frame header")
    segment = frames[0]
    if segment.end - segment.start < 10:
        raise DamagedFrame("is damaged: its frame header is too short")
    precision, rows, columns, components = struct.unpack_from(">BHHB", frame, segment.start + 4)
    return _check(frame, pixel_format, (rows, columns), components, precision)


def _check(frame: bytes, pixel_format: PixelFormat, size: tuple[int, int], components: int, precision: int) -> int:
    rows, columns = pixel_format.rows, pixel_format.columns
    if size != (rows, columns):
        raise DamagedFrame(f"is {size[0]} x {size[1]}, but Rows x Columns {rows} x {columns}")
    if components != 1:
        raise DamagedFrame(f"has {components} components, but Samples per Pixel 1")
    if not 2 <= precision <= pixel_format.bits_allocated:
        raise DamagedFrame(f"has {precision} bits, but Bits Allocated {pixel_format.bits_allocated}")
    if pixel_format.high_bit != pixel_format.bits_stored - 1:
        raise DamagedFrame("has a High Bit other than Bits Stored - 1")
    if not frame.rstrip(b"\x00\xff").endswith(_END_OF_IMAGE):
        raise DamagedFrame("is cut short: its end marker is missing")
    return precision


def _jpeg_segments(frame: bytes) -> Iterator[_Segment]:
    """Marker segments from the start of the image to the first start of scan (ITU-T T.81 B.1.1)."""
    if not frame.startswith(b"\xff\xd8"):
        raise DamagedFrame("is damaged: it does not begin like one")
    position, marker = 2, 0
    while marker != _SOS:
        if position + 4 > len(frame):
            raise DamagedFrame("is cut short within its header")
        fill, marker, length = struct.unpack_from(">BBH", frame, position)
        if fill == 0xFF and marker == 0xFF:
            position += 1
            continue
        end = position + 2 + length
        if fill != 0xFF or marker < 0xC0 or length < 2 or end > len(frame):
            raise DamagedFrame("is damaged: a marker is missing in its header")
        yield _Segment(marker, position, end)
        position = end
