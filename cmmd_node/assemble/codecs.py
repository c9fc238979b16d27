"""Compressed frames to stored pixel values, one codec for each transfer syntax that the node reads.

Codestreams are held against the header before a decoder sees them (`codestreams`), and what comes out afterwards.
pydicom's own decoding is not used: it refuses 12-bit JPEG, which GDCM can read, and it needs pylibjpeg to
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

from cmmd_node.assemble.codestreams import (
    DamagedFrame,
    bare_jpeg,
    check_jpeg,
    check_jpeg_2000,
    check_jpeg_ls,
    check_rle,
)
from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.errors import NotAnalysed

Stored: TypeAlias = npt.NDArray[np.uint8 | np.uint16]

NATIVE_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


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
    except DamagedFrame as error:
        raise NotAnalysed(f"The {transfer_syntax.name} image {error}") from error
    except Exception as error:  # what decoders raise on damaged bytes is theirs to choose
        raise NotAnalysed(f"The {transfer_syntax.name} image is damaged: its decoder failed") from error
    if len(decoded) != pixel_format.rows * pixel_format.columns * dtype.itemsize:
        raise NotAnalysed(f"The {transfer_syntax.name} image is damaged: it decodes to another size")
    return np.frombuffer(decoded, dtype).reshape(pixel_format.rows, pixel_format.columns)


def _decode_rle(frame: bytes, _transfer_syntax: UID, pixel_format: PixelFormat) -> bytes:
    """PS3.5 annex G: one segment for each byte of the pixel cells, the most significant first."""
    pixels = pixel_format.rows * pixel_format.columns
    count = pixel_format.cell_bytes
    offsets = (*struct.unpack_from(f"<{count}I", frame, 4), len(frame))
    cells = np.empty((pixels, count), np.uint8)
    for segment, (start, end) in enumerate(itertools.pairwise(offsets)):
        if not 64 <= start <= end <= len(frame):
            raise DamagedFrame("has segments outside the frame")
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
        raise DamagedFrame("is cut short: a segment has fewer bytes than Rows x Columns")
    if len(unpacked) > size or end - position > 1:
        raise DamagedFrame("has segments of more bytes than Rows x Columns")
    return bytes(unpacked)


def _decode_gdcm(frame: bytes, transfer_syntax: UID, pixel_format: PixelFormat) -> bytes:
    """JPEG of 8 to 16 bits, lossy and lossless."""
    importlib.import_module("PIL.Image")  # loaded after GDCM, Pillow crashes the process when it writes a PNG
    gdcm = importlib.import_module("gdcm")
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    bare, precision = bare_jpeg(frame)
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(bare)
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
    stored = max(precision, 8)  # GDCM ends the process when bits of an 8-bit cell are unused
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 if stored == 8 else 16, stored, stored - 1, 0))
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


_GDCM = _Codec("gdcm", check_jpeg, _decode_gdcm)
_CHARLS = _Codec("jpeg_ls", check_jpeg_ls, _decode_charls)
_OPENJPEG = _Codec("openjpeg", check_jpeg_2000, _decode_openjpeg)
_CODECS = {
    RLELossless: _Codec("numpy", check_rle, _decode_rle),
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
