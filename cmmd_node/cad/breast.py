"""Where the breast is in a mammogram, where its skin and its pectoral muscle.

Everything here works on a coarse copy of the image (`GRID_MM`) with the chest wall at column 0; `Placement` turns
places on that copy back into the stored image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array

from cmmd_node.facts import PointCR, Spacing, ViewPosition

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

GRID_MM: Final = 0.4
_SMALLEST_BREAST_MM2: Final = 400.0
_TIP_MM: Final = 1.0
"""How deep the tip is whose middle is taken for the nipple."""
_OUTLINE_ROWS: Final = 5
"""Rows of the grid from one corner of the outline to the next: 2 mm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How places on the coarse grid lie in the stored image."""

    columns: int
    rows: int
    spacing: Spacing
    mirrored: bool
    """The chest wall is on the right of the stored image."""
    first_column_mm: float
    """Distance of the coarse grid's first column from that side of the image on which the chest wall is."""

    def to_image(self, column_mm: float, row_mm: float) -> PointCR:
        """(column, row) in the stored image of a place in mm on the coarse grid, clipped to the image."""
        column = (column_mm + self.first_column_mm) / self.spacing.column_mm
        column = min(max(column, 0.0), float(self.columns))
        row = min(max(row_mm / self.spacing.row_mm, 0.0), float(self.rows))
        return (self.columns - column if self.mirrored else column, row)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Breast:
    """One breast on the coarse grid, chest wall at column 0; arrays have shape (rows, columns)."""

    image: Field
    """0 to 1, air outside."""
    mask: Mask
    to_skin_mm: Field
    """Depth beneath the skin; 0 outside."""
    to_muscle_mm: Field
    """Distance from the edge of the pectoral muscle, negative within it; from the chest wall where none is seen."""
    placement: Placement

    @property
    def nipple_mm(self) -> tuple[float, float]:
        """(column, row) of the nipple in profile: the middle of what lies farthest from the muscle.

        In the CC, and in an MLO without a visible muscle, that is what lies farthest from the chest wall.
        """
        depth = np.where(self.mask, self.to_muscle_mm, -np.inf)
        rows, columns = np.nonzero(depth > depth.max() - _TIP_MM)
        return float(columns.mean() + 0.5) * GRID_MM, float(rows.mean() + 0.5) * GRID_MM

    @property
    def outline_mm(self) -> NDArray[np.float64]:
        """Corners of a simple polygon around the mask, (column, row), from row to row along both of its sides."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        kept = np.unique(np.append(rows[::_OUTLINE_ROWS], rows[-1]))
        start = self.mask[kept].argmax(axis=1)
        end = self.mask.shape[1] - self.mask[kept, ::-1].argmax(axis=1)
        sides = [np.stack([edge, kept + 0.5], axis=1) for edge in (end, start)]
        outline: NDArray[np.float64] = np.concatenate([sides[0], sides[1][::-1]]) * GRID_MM
        return outline


def find_breast(pixels: Field, *, position: ViewPosition, spacing: Spacing) -> Breast | None:
    """Find the breast in an image.

    Parameters
    ----------
    pixels : numpy.ndarray, float32, shape (rows, columns)
        0 is air and 1 the densest.

    Returns
    -------
    Breast or None
        None where no part of the image looks like a breast.
    """
    rows, columns = pixels.shape
    if min(rows * spacing.row_mm, columns * spacing.column_mm) < 20.0 * GRID_MM:
        return None
    lines = _rows_resampled(pixels, GRID_MM / spacing.row_mm)
    image = _columns_resampled(lines, GRID_MM / spacing.column_mm)
    mask = breast_mask(image)
    if mask.sum() * GRID_MM**2 < _SMALLEST_BREAST_MM2:
        return None
    width = mask.shape[1] // 2
    mirrored = bool(mask[:, -width:].sum() > mask[:, :width].sum())
    if mirrored:  # resampled anew, so that a mirrored image gives exactly mirrored marks
        image = _columns_resampled(lines[:, ::-1], GRID_MM / spacing.column_mm)
        mask = breast_mask(image)
    first, last = _column_range(mask)
    mask = np.logical_or.accumulate(mask[:, first:last][:, ::-1], axis=1)[:, ::-1]  # dark fat is breast, too
    image = _without_film_edge(image[:, first:last])
    placement = Placement(
        columns=columns, rows=rows, spacing=spacing, mirrored=mirrored, first_column_mm=first * GRID_MM
    )
    return Breast(
        image=np.where(mask, image, np.float32(0.0)),
        mask=mask,
        to_skin_mm=_depth_beneath_skin(mask),
        to_muscle_mm=_distance_from_muscle(image, mask, position),
        placement=placement,
    )


def resampled(image: Field, *, row_step: float, column_step: float) -> Field:
    """Mean over cells of row_step x column_step pixels; a last cell that is not whole is left out."""
    return _columns_resampled(_rows_resampled(image, row_step), column_step)


def _columns_resampled(image: Field, step: float) -> Field:
    return np.ascontiguousarray(_rows_resampled(image.T, step).T)


def _rows_resampled(image: Field, step: float) -> Field:
    """Mean over cells of so many rows: the product with a sparse matrix of the part of each row in each cell."""
    size = image.shape[0]
    first = np.arange(int(size / step + 1e-9)) * step
    rows = first.astype(np.intp)[:, None] + np.arange(int(step) + 2)
    parts = np.minimum(rows + 1, first[:, None] + step) - np.maximum(rows, first[:, None])
    parts = np.where(rows < size, np.maximum(parts, 0.0), 0.0) / step
    rows, starts = np.minimum(rows, size - 1), np.arange(0, rows.size + 1, rows.shape[1])
    cells = csr_array((parts.astype(np.float32).ravel(), rows.ravel(), starts), shape=(len(first), size))
    means: Field = cells @ np.ascontiguousarray(image)
    return means


def breast_mask(image: Field) -> Mask:
    """The largest part brighter than the background, without labels and the edges of the film."""
    smooth = ndimage.uniform_filter(image, 5, mode="nearest")
    darkest = np.bincount((np.clip(smooth, 0.0, 0.999) * 200).astype(np.intp).ravel(), minlength=200)[:50]
    background = int(darkest.argmax()) / 200.0
    bright = smooth > background + 0.035
    opened = ndimage.binary_opening(bright[::4, ::4], _disk(3)) if min(bright.shape) > 40 else bright[::4, ::4]
    labels, count = ndimage.label(opened)
    if count == 0:
        return np.zeros(image.shape, np.bool_)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    part = ndimage.binary_dilation(labels == sizes.argmax(), _disk(2))
    near = np.kron(part, np.ones((4, 4), np.bool_))[: image.shape[0], : image.shape[1]]
    mask: Mask = ndimage.binary_fill_holes(bright & near)
    labels, count = ndimage.label(mask)
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = labels == sizes.argmax()
    return mask


def _disk(radius: int) -> Mask:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk: Mask = x * x + y * y <= radius * radius + 1
    return disk


def _column_range(mask: Mask) -> tuple[int, int]:
    """Columns of the breast, from the chest wall on; a few stray columns before it do not count."""
    height = mask.sum(axis=0)
    used = np.flatnonzero(height)
    well = np.flatnonzero(height > 0.25 * height.max())
    return int(well[0]), int(used[-1]) + 1


def _without_film_edge(image: Field) -> Field:
    """The image with bright bars along its edges, as digitised film has them, replaced by what is next to them."""
    image = image.copy()
    reach = 8
    if min(image.shape) <= 4 * reach:
        return image
    for lines in (image.T, image, image[::-1]):  # chest wall, top, bottom
        inner = lines[reach : 2 * reach].mean()
        bars = np.flatnonzero(lines[:reach].mean(axis=1) > inner + 0.12)
        if bars.size:
            lines[: bars[-1] + 2] = lines[bars[-1] + 2]
    return image


def _depth_beneath_skin(mask: Mask) -> Field:
    """Distance to air, mm, where the edges of the image count as more breast."""
    padded = np.pad(mask, 25, mode="edge")
    padded[:, -25:] = False
    depth: Field = (ndimage.distance_transform_edt(padded)[25:-25, 25:-25] * GRID_MM).astype(np.float32)
    return depth


def _distance_from_muscle(image: Field, mask: Mask, position: ViewPosition) -> Field:
    y = ((np.arange(image.shape[0]) + 0.5) * GRID_MM)[:, None]
    x = ((np.arange(image.shape[1]) + 0.5) * GRID_MM)[None, :]
    line = muscle_line(image, mask) if position is ViewPosition.MLO else None
    if line is None:
        return np.broadcast_to(x, image.shape).astype(np.float32)
    top, length = line
    distance: Field = ((x / top + y / length - 1.0) / np.hypot(1.0 / top, 1.0 / length)).astype(np.float32)
    return distance


def muscle_line(image: Field, mask: Mask) -> tuple[float, float] | None:
    """The straight line that best parts the bright corner at the top of the chest wall from the breast.

    Returns
    -------
    tuple of float or None
        Where it crosses the top edge and where the chest wall, mm from the corner; None where there is no such line.
    """
    smooth = ndimage.uniform_filter(image, 5, mode="nearest")
    first = int(np.flatnonzero(mask.any(axis=1))[0])
    widest = int(mask[first : first + 25].sum(axis=1).max()) * GRID_MM
    top, length = np.meshgrid(np.arange(14.0, 0.95 * widest, 3.0), np.arange(45.0, 175.0, 5.0), indexing="ij")
    steep = (length > 1.05 * top) & (length < 6.0 * top)
    top, length = top[steep], length[steep]
    if top.size == 0:
        return None
    t = np.linspace(0.08, 0.92, 36)
    x, y = top[:, None] * (1.0 - t), length[:, None] * t + first * GRID_MM
    normal = np.stack([1.0 / top, 1.0 / length]) / np.hypot(1.0 / top, 1.0 / length)
    step = 2.4
    sides = []
    for sign in (-1.0, 1.0):
        px, py = x + sign * step * normal[0][:, None], y + sign * step * normal[1][:, None]
        r, c = (py / GRID_MM).astype(np.intp), (px / GRID_MM).astype(np.intp)
        inside = (r >= 0) & (r < image.shape[0]) & (c >= 0) & (c < image.shape[1])
        r, c = np.clip(r, 0, image.shape[0] - 1), np.clip(c, 0, image.shape[1] - 1)
        sides.append((smooth[r, c], inside & mask[r, c]))
    both = sides[0][1] & sides[1][1]
    count = both.sum(axis=1)
    step_down = np.where(both, sides[0][0] - sides[1][0], 0.0)
    mean = step_down.sum(axis=1) / np.maximum(count, 1)
    steady = (np.clip(step_down, -0.02, 0.12)).sum(axis=1) / 36.0
    best = int(np.where(count > 20, steady * np.sqrt(length), -1.0).argmax())
    if count[best] <= 20 or mean[best] < 0.025:
        return None
    return float(top[best]), float(length[best] + first * GRID_MM)
