"""The breast of a phantom view: outline, pectoral muscle, fat and parenchyma, before any lesion.

Everything is drawn as a left breast, chest wall at column 0, on a grid of half the resolution (`GRID_MM`), and
enlarged at the end; `exam` flips right breasts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmmd_node.facts import ViewPosition
from cmmd_node.phantom.stream import Field, Stream, doubled, power_law

ROWS, COLUMNS = 2294, 1914
PIXEL_MM = 0.094090909
GRID_MM = 2 * PIXEL_MM
GRID_ROWS, GRID_COLUMNS = 1152, 960
"""Half of the image and a few rows and columns more, so that both can be halved again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What the views of one breast have in common; lengths in mm, grey values of the 8-bit image."""

    depth: float
    """Chest wall to skin at the nipple."""
    width: float
    """Half the extent along the chest wall in CC."""
    fat: float
    gland: float
    """Glandular tissue is brighter than fat by this much."""
    density: float
    """0 almost entirely fatty to 1 extremely dense."""

    @classmethod
    def from_stream(cls, stream: Stream) -> Build:
        depth = stream.uniform(58.0, 98.0)
        return cls(
            depth=depth,
            width=min(92.0, depth * stream.uniform(0.9, 1.15) + 12.0),
            fat=stream.uniform(58.0, 84.0),
            gland=stream.uniform(48.0, 72.0),
            density=stream.uniform(0.05, 0.95),
        )


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One view without lesions, as a left breast."""

    grey: Field
    """Grey value, shape (GRID_ROWS, GRID_COLUMNS); only meaningful within the breast."""
    skin_mm: NDArray[np.float64]
    """Chest wall to skin in each row of the full image, mm, shape (ROWS,); 0 where there is no breast."""
    to_skin_mm: Field
    """Depth beneath the skin, 0 outside, shape of `grey`."""
    pectoral: Field
    """0 to 1, how much of the pixel is pectoral muscle, shape of `grey`."""
    nipple_mm: tuple[float, float]
    """(column, row) of the nipple."""


def make_anatomy(build: Build, position: ViewPosition, stream: Stream) -> Anatomy:
    """Draw one view of a breast."""
    nipple_row_mm, skin = (_cc_outline if position is ViewPosition.CC else _mlo_outline)(build, stream)
    to_skin_mm = _depth_beneath(skin)
    if position is ViewPosition.MLO:
        pectoral = _pectoral(build, stream)
    else:
        pectoral = np.zeros((GRID_ROWS, GRID_COLUMNS), np.float32)
    nipple_mm = (float(np.interp(nipple_row_mm, _row_mm(ROWS, PIXEL_MM), skin)), nipple_row_mm)
    grey = _tissue(build, stream, to_skin_mm, pectoral, nipple_mm)
    return Anatomy(grey, skin, to_skin_mm, pectoral, nipple_mm)


def _row_mm(count: int, step_mm: float) -> NDArray[np.float64]:
    return (np.arange(count, dtype=np.float64) + 0.5) * step_mm


def _cc_outline(build: Build, stream: Stream) -> tuple[float, NDArray[np.float64]]:
    """The nipple's row, mm, and the skin's distance from the chest wall in each row, mm."""
    middle = stream.uniform(100.0, 116.0)
    t = (_row_mm(ROWS, PIXEL_MM) - middle) / build.width
    square = np.clip(1.0 - t * t, 0.0, None)
    roundness = stream.uniform(0.45, 0.8)
    skin = build.depth * (roundness * np.sqrt(square) + (1.0 - roundness) * square)
    nipple = middle + stream.uniform(-6.0, 6.0)
    return nipple, _with_nipple(skin, nipple, stream)


def _mlo_outline(build: Build, stream: Stream) -> tuple[float, NDArray[np.float64]]:
    y = _row_mm(ROWS, PIXEL_MM)
    nipple = stream.uniform(118.0, 136.0)
    fold = min(nipple + build.depth * stream.uniform(0.75, 0.95), 204.0)
    top = build.depth * stream.uniform(0.42, 0.6)
    above = 1.0 - np.clip(1.0 - y / nipple, 0.0, 1.0) ** stream.uniform(1.6, 2.1)
    t = np.clip((y - nipple) / (fold - nipple), 0.0, 1.0)
    below = np.sqrt(np.clip(1.0 - t * t, 0.0, None))
    belly = stream.uniform(7.0, 12.0) + 0.12 * np.clip(y - fold, 0.0, None)
    skin = np.where(y < nipple, top + (build.depth - top) * above, belly + (build.depth - belly) * below)
    return nipple, _with_nipple(ndimage.uniform_filter1d(skin, 121, mode="nearest"), nipple, stream)


def _with_nipple(skin: NDArray[np.float64], nipple: float, stream: Stream) -> NDArray[np.float64]:
    t = (_row_mm(ROWS, PIXEL_MM) - nipple) / stream.uniform(4.5, 6.5)
    return skin + stream.uniform(1.5, 3.5) * np.clip(1.0 - t * t, 0.0, None) ** 2


def _depth_beneath(skin: NDArray[np.float64]) -> Field:
    """Distance to the skin, mm; the film's edges are not skin."""
    step = 2 * GRID_MM
    rows = np.interp(_row_mm(GRID_ROWS // 2, step), _row_mm(ROWS, PIXEL_MM), skin)
    inside = _row_mm(GRID_COLUMNS // 2, step)[None, :] < rows[:, None]
    margin = 60
    distance = ndimage.distance_transform_edt(np.pad(inside, ((margin, margin), (margin, 0)), mode="edge"))
    return doubled((distance[margin:-margin, margin:] * step).astype(np.float32))


def _pectoral(build: Build, stream: Stream) -> Field:
    top, length = build.depth * stream.uniform(0.36, 0.5), stream.uniform(95.0, 140.0)
    bulge = stream.uniform(-0.1, 0.25)
    t = _row_mm(GRID_ROWS, GRID_MM) / length
    edge = top * (1.0 - t) * (1.0 + bulge * t)
    soft_mm = stream.uniform(1.2, 2.5)
    x = _row_mm(GRID_COLUMNS, GRID_MM)
    waver = np.float32(0.7) * power_law(stream, GRID_ROWS, GRID_COLUMNS, octaves=8, fall=0.36)
    inside = (edge[:, None] - x[None, :]).astype(np.float32) + waver
    return _smoothstep(inside * np.float32(1.0 / soft_mm) + np.float32(0.5))


def _tissue(build: Build, stream: Stream, to_skin_mm: Field, pectoral: Field, nipple_mm: tuple[float, float]) -> Field:
    one = np.float32(1.0)
    texture = power_law(stream, GRID_ROWS, GRID_COLUMNS, octaves=7, fall=0.68)
    lobes = doubled(doubled(power_law(stream, GRID_ROWS // 4, GRID_COLUMNS // 4, octaves=6, fall=0.45)))
    strands = doubled(_strands(stream))

    inner = np.minimum(to_skin_mm * np.float32(1.0 / stream.uniform(11.0, 17.0)), one)
    thickness = one - (one - inner) * (one - inner)
    fatty = np.float32(build.fat) * (np.float32(0.3) + np.float32(0.7) * thickness)

    behind = stream.uniform(0.42, 0.5)  # the parenchyma's centre, as a part of the way from chest wall to nipple
    reach = 0.25 + 0.3 * build.density
    x = _row_mm(GRID_COLUMNS, GRID_MM)[None, :] / nipple_mm[0]
    y = (_row_mm(GRID_ROWS, GRID_MM)[:, None] - nipple_mm[1] + stream.uniform(2.0, 12.0)) / build.width
    cone = (1.0 - ((x - behind) / (reach + 0.12)) ** 2 - (y / (reach * 1.05)) ** 2).astype(np.float32)
    amount = cone * np.float32(0.6) + lobes * np.float32(0.28) + np.float32(build.density - 0.35)
    gland = _smoothstep(amount * np.float32(0.8) + np.float32(0.15)) * _smoothstep(inner * np.float32(1.3))

    grey = fatty + gland * np.float32(build.gland) * (np.float32(0.82) + np.float32(0.16) * lobes)
    grey += strands * (np.float32(17.0) + np.float32(12.0) * gland) * inner
    grey += texture * (np.float32(5.0) + np.float32(6.0) * gland) * (np.float32(0.3) + np.float32(0.7) * inner)
    skin_line = np.clip(one - np.abs(to_skin_mm - np.float32(0.9)) * np.float32(1.0 / 0.8), 0.0, 1.0)
    grey += skin_line * np.float32(16.0)
    muscle = np.float32(build.fat + stream.uniform(55.0, 85.0)) + texture * np.float32(5.0) + strands * np.float32(5.0)
    mixed: Field = grey + (muscle - grey) * pectoral
    return mixed


def _strands(stream: Stream) -> Field:
    """Fine bright lines, as of ligaments, ducts and vessels: where a smooth noise changes its sign."""
    lines = np.zeros((GRID_ROWS // 2, GRID_COLUMNS // 2), np.float32)
    for octaves, width, weight in ((7, 0.09, 0.8), (6, 0.12, 0.7), (5, 0.18, 0.5)):
        level = power_law(stream, *lines.shape, octaves=octaves, fall=0.42)
        strength = power_law(stream, *lines.shape, octaves=octaves, fall=0.42)
        ridge = np.clip(np.float32(1.0) - np.abs(level) * np.float32(1.0 / width), 0.0, 1.0)
        lines += np.float32(weight) * ridge * np.clip(strength + np.float32(0.4), 0.0, 1.5)
    return lines


def _smoothstep(t: Field) -> Field:
    t = np.clip(t, 0.0, 1.0)
    return t * t * (np.float32(3.0) - np.float32(2.0) * t)
