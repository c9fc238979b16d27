"""One frame as a picture for eyes: window, viewport, and on request the node's own findings drawn over it.

Grey frames pass the grey scale transformations of PS3.3 C.11 (rescale, then window) as one look-up table; RGB frames of
8 bits are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from cmmd_node.assemble.header import integer, numbers, text
from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.dicomweb.decoder import Decode
from cmmd_node.dicomweb.opened import OpenedObject
from cmmd_node.errors import MalformedRequest, NotAnalysed
from cmmd_node.facts import Finding

#: The largest side of a picture, and the most pixels in it.
MOST_PIXELS_A_SIDE = 16_384
_MOST_PIXELS = 100_000_000
_LEGEND = "RESEARCH USE ONLY - NOT A MEDICAL DEVICE"
_YELLOW = (255, 220, 0)
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window (PS3.3 C.11.2.1.2) and its function."""

    center: float
    width: float
    function: str = "LINEAR"

    def __post_init__(self) -> None:
        least = 1 if self.function == "LINEAR" else 0
        usable = np.isfinite(self.center) and np.isfinite(self.width) and self.width >= least and self.width > 0
        if not usable or self.function not in _FUNCTIONS:
            raise MalformedRequest(f"window is a finite center, a width above 0, and one of {', '.join(_FUNCTIONS)}")

    def apply(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values from 0 to 1."""
        if self.function == "SIGMOID":
            return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - self.center) / self.width, -700, 700))))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        if self.width == 1:
            return (values > self.center - 0.5).astype(np.float64)
        return np.clip((values - (self.center - 0.5)) / (self.width - 1) + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class Viewport:
    """Into how many pixels which region of the image goes (PS3.18 8.3.5.1.3)."""

    width: int
    height: int
    region: tuple[float, float, float, float] | None = None
    """Left, top, width and height in pixels of the image; a negative width or height flips."""


def draw(
    found: OpenedObject,
    frame: int,
    *,
    decode: Decode,
    window: Window | None,
    viewport: Viewport | None,
    findings: Sequence[Finding],
) -> Image.Image:
    """The picture of a frame, counted from 1.

    Raises
    ------
    NotAnalysed
        It cannot be shown; the message says why.
    """
    cells = next((cells for _, cells in found.native_frames(decode, {frame})), None)
    if cells is None:
        raise NotAnalysed(f"Pixel Data ends before frame {frame}")
    picture = _colour(found, cells) if integer(found.header, "SamplesPerPixel") == 3 else _grey(found, cells, window)
    region = None if viewport is None else viewport.region
    left, top, width, height = region or (0.0, 0.0, float(picture.width), float(picture.height))
    flips = (width < 0, height < 0)
    box = (left, top, left + abs(width), top + abs(height))
    if not (0 <= left < box[2] <= picture.width and 0 <= top < box[3] <= picture.height):
        raise MalformedRequest("viewport: the region is not within the image")
    scale = _scale(viewport, abs(width), abs(height))
    size = (max(1, round(abs(width) * scale)), max(1, round(abs(height) * scale)))
    if size != picture.size or region is not None:
        picture = picture.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    if findings:
        picture = _mark(picture, findings, origin=(left, top), scale=scale)
    for flip, how in zip(flips, (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM), strict=True):
        picture = picture.transpose(how) if flip else picture
    return picture


def _scale(viewport: Viewport | None, width: float, height: float) -> float:
    scale = 1.0 if viewport is None else min(viewport.width / width, viewport.height / height)
    if width * height * scale * scale > _MOST_PIXELS:
        raise NotAnalysed("the picture would be too large; ask for a smaller viewport")
    return scale


def _colour(found: OpenedObject, cells: bytes) -> Image.Image:
    header = found.header
    rows, columns = integer(header, "Rows") or 0, integer(header, "Columns") or 0
    plain = text(header, "PhotometricInterpretation") == "RGB" and integer(header, "BitsAllocated") == 8
    if not plain or not found.is_native or len(cells) < 3 * rows * columns:
        raise NotAnalysed("of colour images, only RGB of 8 bits that is not compressed is shown")
    values = np.frombuffer(cells, np.uint8, 3 * rows * columns)
    by_plane = integer(header, "PlanarConfiguration") == 1
    planes = values.reshape(3, rows, columns).transpose(1, 2, 0) if by_plane else values.reshape(rows, columns, 3)
    return Image.fromarray(np.ascontiguousarray(planes))


def _grey(found: OpenedObject, cells: bytes, window: Window | None) -> Image.Image:
    if integer(found.header, "BitsAllocated") == 1:
        rows, columns = integer(found.header, "Rows") or 0, integer(found.header, "Columns") or 0
        bits = np.unpackbits(np.frombuffer(cells, np.uint8), count=rows * columns, bitorder="little")
        return Image.fromarray(bits.reshape(rows, columns) * np.uint8(255))
    pixel_format = found.pixel_format()
    size = pixel_format.rows * pixel_format.columns
    if len(cells) < size * pixel_format.cell_bytes:
        raise NotAnalysed("Pixel Data ends inside the frame")
    stored = np.frombuffer(cells, f"<u{pixel_format.cell_bytes}", size)
    lowest_bit, mask = pixel_format.high_bit + 1 - pixel_format.bits_stored, (1 << pixel_format.bits_stored) - 1
    stored = np.bitwise_and(np.right_shift(stored, lowest_bit), mask).astype(stored.dtype, copy=False)
    table = _table(found, pixel_format, stored, window)
    return Image.fromarray(table[stored].reshape(pixel_format.rows, pixel_format.columns))


def _table(
    found: OpenedObject, pixel_format: PixelFormat, stored: npt.NDArray[Any], window: Window | None
) -> npt.NDArray[np.uint8]:
    """The grey of every value that the stored bits can have."""
    bits = np.arange(1 << pixel_format.bits_stored)
    half = 1 << (pixel_format.bits_stored - 1)
    values = np.where(pixel_format.signed & (bits >= half), bits - 2 * half, bits).astype(np.float64)
    slope, intercept = numbers(found.header, "RescaleSlope"), numbers(found.header, "RescaleIntercept")
    values = values * (slope[0] if slope else 1.0) + (intercept[0] if intercept else 0.0)
    used = window or _own_window(found) or _whole_range(values[np.unique(stored)])
    grey = used.apply(values)
    if text(found.header, "PhotometricInterpretation") == "MONOCHROME1":
        grey = 1 - grey
    return np.asarray(np.round(255 * grey), np.uint8)


def _own_window(found: OpenedObject) -> Window | None:
    """The first window of the header, if it has a usable one."""
    centers, widths = numbers(found.header, "WindowCenter"), numbers(found.header, "WindowWidth")
    function = text(found.header, "VOILUTFunction") or "LINEAR"
    try:
        return Window(centers[0], widths[0], function) if centers and widths else None
    except MalformedRequest:
        return None


def _whole_range(values: npt.NDArray[np.float64]) -> Window:
    low, high = float(values.min()), float(values.max())
    return Window((low + high) / 2, max(high - low, 1.0), "LINEAR_EXACT")


def _mark(
    picture: Image.Image, findings: Sequence[Finding], *, origin: tuple[float, float], scale: float
) -> Image.Image:
    """Outlines and names of findings, and what the marks are not for."""
    marked = picture.convert("RGB")
    pen = ImageDraw.Draw(marked)
    height = max(12, marked.height // 40)
    font = ImageFont.load_default(0.7 * height)
    for finding in findings:
        corners = [((x - origin[0]) * scale, (y - origin[1]) * scale) for x, y in finding.mark.outline_cr]
        pen.line([*corners, corners[0]], fill=_YELLOW, width=max(1, marked.height // 400))
        words = f"{finding.tracking_id} {finding.mark.suspicion:.2f}"
        place = (max(0.0, min(x for x, _ in corners)), max(y for _, y in corners) + 2)
        pen.text(place, words, fill=_YELLOW, font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    pen.text((4, 2), _LEGEND, fill=_YELLOW, font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    return marked
