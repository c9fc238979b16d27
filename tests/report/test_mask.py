"""Outlines to masks: a pixel belongs to the mask when its centre lies inside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmmd_node.facts import PointCR
from cmmd_node.report.mask import outline_mask

ROWS, COLUMNS = 20, 30


def inside(outline_cr: tuple[PointCR, ...], column: float, row: float) -> bool:
    """Even-odd rule, one point at a time."""
    crossings = 0
    for (start_c, start_r), (end_c, end_r) in zip(outline_cr, (*outline_cr[1:], outline_cr[0]), strict=True):
        if (start_r <= row) != (end_r <= row):
            crossing_c = start_c + (row - start_r) / (end_r - start_r) * (end_c - start_c)
            crossings += crossing_c <= column
    return crossings % 2 == 1


def test_a_box_on_pixel_borders_is_exactly_these_pixels() -> None:
    mask = outline_mask(((3.0, 5.0), (8.0, 5.0), (8.0, 9.0), (3.0, 9.0)), ROWS, COLUMNS)
    wanted = np.zeros((ROWS, COLUMNS), dtype=bool)
    wanted[5:9, 3:8] = True
    assert np.array_equal(mask, wanted)


def test_the_whole_image_is_the_whole_mask() -> None:
    assert outline_mask(((0, 0), (COLUMNS, 0), (COLUMNS, ROWS), (0, ROWS)), ROWS, COLUMNS).all()


@pytest.mark.parametrize(
    "outline_cr",
    [
        ((4.1, 6.1), (4.3, 6.1), (4.2, 6.2)),  # within one pixel, away from its centre
        ((2.0, 6.25), (9.0, 6.25), (5.0, 6.25)),  # without height
        ((COLUMNS, ROWS), (COLUMNS, ROWS - 0.1), (COLUMNS - 0.1, ROWS)),  # in the last corner
    ],
)
def test_no_mark_is_lost_for_being_thin(outline_cr: tuple[PointCR, ...]) -> None:
    assert outline_mask(outline_cr, ROWS, COLUMNS).any()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4 * COLUMNS).map(lambda quarter: quarter / 4),
            st.integers(0, 4 * ROWS).map(lambda quarter: quarter / 4),
        ),
        min_size=3,
        max_size=8,
    )
)
def test_the_mask_is_the_even_odd_rule_at_pixel_centres(corners: list[PointCR]) -> None:
    outline_cr = tuple(corners)
    wanted = [[inside(outline_cr, column + 0.5, row + 0.5) for column in range(COLUMNS)] for row in range(ROWS)]
    mask = outline_mask(outline_cr, ROWS, COLUMNS)
    assert np.array_equal(mask, wanted) or not np.any(wanted)
