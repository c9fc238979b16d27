"""Compressed frames to stored pixel values, one codec for each transfer syntax that the node reads.

A decoder allocates what a header or a codestream tells it to, and some fill up what is missing. So `decode_frame`
compares both sizes and looks for the end of the codestream before a decoder runs, and the sizes of what came out
afterwards. pydicom's own decoding is not used: it refuses 12-bit JPEG, which GDCM can read, and it needs pylibjpeg to
reach OpenJPEG.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.errors import NotAnalysed

Stored: TypeAlias = npt.NDArray[np.uint8 | np.uint16]

NATIVE_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

_END_OF_IMAGE = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
_START_OF_JPEG_2000 = b"\xff\x4f\xff\x51"  # SOC, SIZ


class _DamagedFrame(Exception):
    """The compressed frame contradicts itself or the header; the message continues a sentence."""


@dataclass(frozen=True, slots=True)
class _FrameHeader:
    """What a codestream says of itself."""

    rows: int
    columns: int
    components: int
    precision: int


def decodable_transfer_syntaxes() -> tuple[UID, ...]:
    """Transfer syntaxes whose pixels this installation can read, native ones first.

    Deflated is left out on purpose, see `views.read_header`.
    """
    return (*NATIVE_SYNTAXES, *(uid for uid, codec in _CODECS.items() if importlib.util.find_spec(codec.module)))


def decode_frame(frame: bytes, transfer_syntax: UID, pixel_format: PixelFormat) -> Stored:
    """Decode one compressed frame.

    Returns
    -------
    numpy.ndarray, uint8 or uint16, shape (rows, columns)
        Bits as they are stored, with nothing masked, shifted or sign-extended.

    Raises
    ------
    NotAnalysed
        No decoder, or the frame is damaged, cut short or of another size than the header says.
    """
    if transfer_syntax not in decodable_transfer_syntaxes():
        raise NotAnalysed(f"No installed decoder reads transfer syntax {transfer_syntax.name}")
    codec = _CODECS[transfer_syntax]
    try:
        dtype = np.dtype("u1" if codec.check(frame, pixel_format) <= 8 else "<u2")
        decoded = codec.decode(frame, transfer_syntax, pixel_format)
    except _DamagedFrame as error:
        raise NotAnalysed(f"The {transfer_syntax.name} image {error}") from error
    except Exception as error:  # what decoders raise on damaged bytes is theirs to choose
        raise NotAnalysed(f"The {transfer_syntax.name} image is damaged: its decoder failed") from error
    if len(decoded) != pixel_format.rows * pixel_format.columns * dtype.itemsize:
        raise NotAnalysed(f"The {transfer_syntax.name} image is damaged: it decodes to another size")
    return np.frombuffer(decoded, dtype).reshape(pixel_format.rows, pixel_format.columns)


def _check_codestream(frame: bytes, pixel_format: PixelFormat) -> int:
    """Hold a JPEG, JPEG-LS or JPEG 2000 codestream against the header; the result is its precision."""
    if pixel_format.high_bit != pixel_format.bits_stored - 1:
        raise _DamagedFrame("has a High Bit other than Bits Stored - 1")
    if not frame.rstrip(b"\x00\xff").endswith(_END_OF_IMAGE):
        raise _DamagedFrame("is cut short: its end marker is missing")
    try:
        header = _jpeg_2000_header(frame) if _START_OF_JPEG_2000 in frame[:1024] else _jpeg_header(frame)
    except struct.error as error:
        raise _DamagedFrame("is damaged: its header is cut short") from error
    told = (pixel_format.rows, pixel_format.columns)
    if (header.rows, header.columns) != told:
        raise _DamagedFrame(f"is {header.rows} x {header.columns}, but Rows x Columns {told[0]} x {told[1]}")
    if header.components != 1:
        raise _DamagedFrame(f"has {header.components} components, but Samples per Pixel 1")
    if not 2 <= header.precision <= pixel_format.bits_allocated:
        raise _DamagedFrame(f"has {header.precision} bits, but Bits Allocated {pixel_format.bits_allocated}")
    return header.precision


def _jpeg_header(frame: bytes) -> _FrameHeader:
    """The start of frame of JPEG (ITU-T T.81 B.2.2) or JPEG-LS (T.87 C.2.2)."""
    if not frame.startswith(b"\xff\xd8"):
        raise _DamagedFrame("is damaged: it does not begin like one")
    position = 2
    while True:
        fill, marker, length = struct.unpack_from(">BBH", frame, position)
        if fill != 0xFF or length < 2:
            raise _DamagedFrame("is damaged: a marker is missing in its header")
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, position + 4)
            return _FrameHeader(rows, columns, components, precision)
        elif marker in (0xD9, 0xDA):
            raise _DamagedFrame("is damaged: it has no frame header")
        else:
            position += 2 + length


def _jpeg_2000_header(frame: bytes) -> _FrameHeader:
    """The image and tile size of JPEG 2000 (ITU-T T.800 A.5.1)."""
    start = frame.index(_START_OF_JPEG_2000) + 8  # behind SOC, the marker SIZ, Lsiz and Rsiz
    *sizes, components = struct.unpack_from(">8IH", frame, start)
    (depth,) = struct.unpack_from(">B", frame, start + 34)
    x_size, y_size, x_origin, y_origin, x_tile, y_tile = sizes[:6]
    if not x_tile or not y_tile or (x_size // x_tile + 1) * (y_size // y_tile + 1) > 65535:
        raise _DamagedFrame("is damaged: its tiles are impossible")
    return _FrameHeader(y_size - y_origin, x_size - x_origin, components, (depth & 0x7F) + 1)


def _check_rle(frame: bytes, pixel_format: PixelFormat) -> int:
    """Hold the RLE header (PS3.5 G.5) and the most that segments can expand to against the image header."""
    segments = struct.unpack_from("<I", frame)[0] if len(frame) >= 64 else 0
    if segments != pixel_format.cell_bytes:
        raise _DamagedFrame(f"has {segments} segments, not {pixel_format.cell_bytes}")
    if pixel_format.native_bytes > 64 * len(frame):  # two bytes become 128 at most
        raise _DamagedFrame("is too short for Rows x Columns")
    return pixel_format.bits_allocated


def _decode_rle(frame: bytes, _transfer_syntax: UID, pixel_format: PixelFormat) -> bytes:
    """PS3.5 annex G: one segment for each byte of the pixel cells, the most significant first."""
    pixels = pixel_format.rows * pixel_format.columns
    count = pixel_format.cell_bytes
    offsets = (*struct.unpack_from(f"<{count}I", frame, 4), len(frame))
    cells = np.empty((pixels, count), np.uint8)
    for segment, (start, end) in enumerate(itertools.pairwise(offsets)):
        if not 64 <= start <= end <= len(frame):
            raise _DamagedFrame("has segments outside the frame")
        cells[:, count - 1 - segment] = np.frombuffer(_unpacked(frame[start:end], pixels), np.uint8)
    return cells.tobytes()


def _unpacked(segment: bytes, size: int) -> bytes:
    """PackBits (PS3.5 G.3.2) of exactly `size` bytes, but for the byte that makes a segment even."""
    unpacked = bytearray()
    position, end = 0, len(segment)
    while len(unpacked) < size and position < end:
        control = segment[position]
        if control < 128:
            unpacked += segment[position + 1 : position + control + 2]
            position += control + 2
        else:
            if control > 128:
                unpacked += segment[position + 1 : position + 2] * (257 - control)
            position += 2 if control > 128 else 1
    if len(unpacked) < size:
        raise _DamagedFrame("is cut short: a segment has fewer bytes than Rows x Columns")
    if len(unpacked) > size or end - position > 1:
        raise _DamagedFrame("has segments of more bytes than Rows x Columns")
    return bytes(unpacked)


def _decode_gdcm(frame: bytes, transfer_syntax: UID, pixel_format: PixelFormat) -> bytes:
    """JPEG of 8 to 16 bits, lossy and lossless."""
    importlib.import_module("PIL.Image")  # loaded after GDCM, Pillow crashes the process when it writes a PNG
    gdcm = importlib.import_module("gdcm")
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    precision = _jpeg_header(frame).precision
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((pixel_format.columns, pixel_format.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(transfer_syntax))))
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 if precision <= 8 else 16, precision, precision - 1, 0))
    decoded: str = image.GetBuffer()  # SWIG hands bytes over as text
    return decoded.encode("utf-8", "surrogateescape")


def _decode_charls(frame: bytes, _transfer_syntax: UID, _pixel_format: PixelFormat) -> bytes:
    """JPEG-LS."""
    return bytes(importlib.import_module("jpeg_ls").decode_pixel_data(frame)[0])


def _decode_openjpeg(frame: bytes, _transfer_syntax: UID, _pixel_format: PixelFormat) -> bytes:
    """JPEG 2000 and HTJ2K."""
    return bytes(importlib.import_module("openjpeg").decode_pixel_data(frame, version=2))


@dataclass(frozen=True, slots=True)
class _Codec:
    module: str
    """What must be importable; imported when first used, so that a missing one keeps no other from working."""
    check: Callable[[bytes, PixelFormat], int]
    """Arithmetic before decoding; the result is the number of bits of a decoded pixel."""
    decode: Callable[[bytes, UID, PixelFormat], bytes]


_GDCM = _Codec("gdcm", _check_codestream, _decode_gdcm)
_CHARLS = _Codec("jpeg_ls", _check_codestream, _decode_charls)
_OPENJPEG = _Codec("openjpeg", _check_codestream, _decode_openjpeg)
_CODECS = {
    RLELossless: _Codec("numpy", _check_rle, _decode_rle),
    JPEGBaseline8Bit: _GDCM,
    JPEGExtended12Bit: _GDCM,
    JPEGLossless: _GDCM,
    JPEGLosslessSV1: _GDCM,
    JPEGLSLossless: _CHARLS,
    JPEGLSNearLossless: _CHARLS,
    JPEG2000Lossless: _OPENJPEG,
    JPEG2000: _OPENJPEG,
    HTJ2KLossless: _OPENJPEG,
    HTJ2KLosslessRPCL: _OPENJPEG,
    HTJ2K: _OPENJPEG,
}
