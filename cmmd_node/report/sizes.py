"""How large an outline is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmmd_node.facts import PointCR, Spacing


def sizes(outline_cr: Sequence[PointCR], spacing: Spacing) -> tuple[float, float]:
    """Measure a simple polygon.

    Returns
    -------
    tuple of float
        The longest distance of two of its corners, mm, and its area, mm2; both in the plane of the image.
    """
    corners_mm = np.array(outline_cr) * (spacing.column_mm, spacing.row_mm)
    apart_mm = np.linalg.norm(corners_mm[:, None] - corners_mm[None, :], axis=2)
    column_mm, row_mm = corners_mm.T
    twice_mm2 = column_mm @ np.roll(row_mm, -1) - row_mm @ np.roll(column_mm, -1)
    return float(apart_mm.max()), abs(float(twice_mm2)) / 2.0
