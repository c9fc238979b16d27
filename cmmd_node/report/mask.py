"""Outlines to masks, the same on every machine and with every version of a drawing library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cmmd_node.facts import PointCR


def outline_mask(outline_cr: tuple[PointCR, ...], rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Return the pixels whose centres lie inside a polygon.

    Parameters
    ----------
    outline_cr
        Corners of a simple polygon, (column, row), the first not repeated; it is closed by itself.
    rows, columns
        Size of the image.

    Returns
    -------
    numpy.ndarray, bool, shape (rows, columns)
        A polygon so thin that it holds no pixel centre gives the pixels that its corners lie in: no mark is lost.
    """
    mask = np.zeros((rows, columns), dtype=bool)
    start_cr = np.asarray(outline_cr, dtype=np.float64)
    end_cr = np.roll(start_cr, -1, axis=0)
    sloped = start_cr[:, 1] != end_cr[:, 1]
    (start_c, start_r), (end_c, end_r) = start_cr[sloped].T, end_cr[sloped].T
    low_r, high_r = np.minimum(start_r, end_r), np.maximum(start_r, end_r)
    first = max(0, int(np.floor(start_cr[:, 1].min())))
    last = min(rows, int(np.ceil(start_cr[:, 1].max())))
    centers_c = np.arange(columns) + 0.5
    for row in range(first, last):
        center_r = row + 0.5
        crossed = (low_r <= center_r) & (center_r < high_r)
        share = (center_r - start_r[crossed]) / (end_r[crossed] - start_r[crossed])
        crossings_c = np.sort(start_c[crossed] + share * (end_c[crossed] - start_c[crossed]))
        mask[row] = np.searchsorted(crossings_c, centers_c, side="right") % 2 == 1
    if not mask.any():
        inside_cr = np.clip(np.floor(start_cr).astype(int), 0, (columns - 1, rows - 1))
        mask[inside_cr[:, 1], inside_cr[:, 0]] = True
    return mask
