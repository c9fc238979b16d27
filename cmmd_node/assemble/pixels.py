"""Pixels of one mammogram as models see them, in service as in training."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian

from cmmd_node.assemble.codecs import NATIVE_SYNTAXES, Stored, decodable_transfer_syntaxes, decode_frame
from cmmd_node.assemble.header import uid
from cmmd_node.assemble.intensity import brightness
from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.assemble.views import read_file
from cmmd_node.errors import NotAnalysed

__all__ = ["decodable_transfer_syntaxes", "read_pixels"]

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_DELIMITATION = b"\xfe\xff\xdd\xe0"


def read_pixels(path: Path) -> npt.NDArray[np.float32]:
    """Decode one mammogram.

    Returns
    -------
    numpy.ndarray, float32, shape (rows, columns), C-contiguous
        In the orientation in which it is stored, never flipped. 0 is air and nothing else is; 1 is the densest. How
        stored values become brightness is told in `intensity`.

    Raises
    ------
    NotAnalysed
        No pixels, a format that the CAD does not take, no decoder, pixels damaged or of another size than the header
        says, or nothing to be seen. Sizes are compared before anything is decoded.
    """
    ds = read_file(path, stop_before_pixels=False)
    pixel_format = PixelFormat.from_dataset(ds)
    transfer_syntax = uid(ds.file_meta, "TransferSyntaxUID")
    value, vr = _pixel_data(ds)
    if transfer_syntax == ExplicitVRBigEndian and vr == "OW" and pixel_format.bits_allocated == 8:
        value = np.frombuffer(value, ">u2").astype("<u2").tobytes()  # words of two pixels each
    if transfer_syntax in NATIVE_SYNTAXES:
        cells = _native_cells(value, transfer_syntax, pixel_format)
    else:
        cells = decode_frame(_only_frame(value), transfer_syntax, pixel_format)
    return brightness(_stored(cells, pixel_format), pixel_format)


def _pixel_data(ds: Dataset) -> tuple[bytes, str | None]:
    """The value of Pixel Data, unconverted, and its VR."""
    try:
        element = ds.get_item("PixelData")
    except Exception as error:  # absent, or no longer on disk
        raise NotAnalysed("The object has no Pixel Data") from error
    if not isinstance(element, RawDataElement) or not element.value:
        raise NotAnalysed("The object has no Pixel Data")
    return element.value, element.VR


def _native_cells(value: bytes, transfer_syntax: UID, pixel_format: PixelFormat) -> Stored:
    """Pixel cells that are not compressed (PS3.5 8.1.1)."""
    length = pixel_format.native_bytes
    if len(value) not in (length, length + length % 2):
        raise NotAnalysed(
            f"Pixel Data has {len(value)} bytes; Rows {pixel_format.rows} x Columns {pixel_format.columns} of "
            f"{pixel_format.bits_allocated} bits are {length}"
        )
    byte_order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    cells = np.frombuffer(value[:length], f"{byte_order}u{pixel_format.cell_bytes}")
    return cells.reshape(pixel_format.rows, pixel_format.columns)


def _only_frame(value: bytes) -> bytes:
    """The frame in encapsulated Pixel Data (PS3.5 A.4).

    An image of one frame is all of its fragments, so that the offset table in the first item is not needed.
    """
    _offset_table, *fragments = _items(value) or [b""]
    frame = b"".join(fragments)
    if not frame:
        raise NotAnalysed("Pixel Data is compressed but holds no frame")
    return frame


def _items(value: bytes) -> list[bytes]:
    """Values of the items, the offset table first."""
    items = []
    position = 0
    while position < len(value) and value[position : position + 4] != _SEQUENCE_DELIMITATION:
        if value[position : position + 4] != _ITEM or position + 8 > len(value):
            raise NotAnalysed("Compressed Pixel Data is damaged: a fragment does not begin like one")
        (length,) = struct.unpack_from("<I", value, position + 4)
        position += 8
        if position + length > len(value):
            raise NotAnalysed("Compressed Pixel Data is cut short within a fragment")
        items.append(value[position : position + length])
        position += length
    return items


def _stored(cells: Stored, pixel_format: PixelFormat) -> Stored:
    """The bits that count, at bit 0: overlays and whatever else lies above High Bit or below the lowest is dropped."""
    lowest_bit = pixel_format.high_bit + 1 - pixel_format.bits_stored
    mask = min((1 << pixel_format.bits_stored) - 1, np.iinfo(cells.dtype).max)  # 8-bit JPEG may fill 16-bit cells
    return np.bitwise_and(np.right_shift(cells, lowest_bit), mask).astype(cells.dtype, copy=False)
