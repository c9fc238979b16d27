"""Breast, nipple, and the marks that are one lesion in CC and MLO."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cmmd_node.cad.geometry import DISTANCE_MM, breast_geometry, collocations
from cmmd_node.facts import BreastGeometry, Kind, Laterality, Mark, Spacing, View, ViewPosition, ViewResult, ViewStatus
from cmmd_node.phantom import make_exam
from cmmd_node.report.mask import outline_mask

SPACING = Spacing(row_mm=0.1, column_mm=0.1)
CC, MLO = (
    ViewResult(
        sop_instance_uid=f"1.2.{number}",
        sop_class_uid="1.2",
        view=View(Laterality.LEFT, position),
        status=ViewStatus.ANALYSED,
        reason=None,
        spacing=SPACING,
        breast=BreastGeometry(outline_cr=((0.0, 0.0), (900.0, 500.0), (0.0, 1000.0)), nipple_cr=(900.0, 500.0)),
    )
    for number, position in enumerate(ViewPosition)
)


def mark(distance_mm: float, *, diameter_mm: float = 10.0, kind: Kind = Kind.MASS, angle: float = 3.0) -> Mark:
    """A round mark at a distance from the nipple."""
    column, row = 900.0 + 10.0 * distance_mm * math.cos(angle), 500.0 + 10.0 * distance_mm * math.sin(angle)
    turns = np.linspace(0.0, 2.0 * math.pi, 16, endpoint=False)
    radius = 5.0 * diameter_mm
    outline = tuple((column + radius * math.cos(turn), row + radius * math.sin(turn)) for turn in turns)
    few = ((column, row),) * 3 if kind is Kind.CALCIFICATION_CLUSTER else ()
    return Mark(kind=kind, center_cr=(column, row), outline_cr=outline, suspicion=0.5, calcifications_cr=few)


def paired(cc: list[Mark], mlo: list[Mark]) -> list[tuple[int, int]]:
    return sorted(collocations(CC, cc, MLO, mlo))


def test_marks_as_far_from_the_nipple_are_one_lesion() -> None:
    assert paired([mark(40.0)], [mark(40.0 + DISTANCE_MM - 0.1, angle=2.5)]) == [(0, 0)]
    assert paired([mark(40.0)], [mark(40.0 + DISTANCE_MM + 0.1)]) == []


def test_marks_of_other_size_or_kind_are_not() -> None:
    assert paired([mark(40.0)], [mark(40.0, diameter_mm=19.9)]) == [(0, 0)]
    assert paired([mark(40.0)], [mark(40.0, diameter_mm=20.2)]) == []
    assert paired([mark(40.0)], [mark(40.0, kind=Kind.CALCIFICATION_CLUSTER)]) == []


def test_each_mark_has_one_partner_and_most_find_one() -> None:
    assert paired([mark(30.0), mark(40.0)], [mark(41.0), mark(52.0)]) == [(0, 0), (1, 1)]
    assert paired([mark(40.0)], [mark(48.0), mark(41.0), mark(39.5)]) == [(0, 2)]
    assert paired([], [mark(40.0)]) == []


def test_spacing_counts_for_each_view_by_itself() -> None:
    finer = replace(MLO, spacing=Spacing(row_mm=0.05, column_mm=0.05))
    assert not list(collocations(CC, [mark(40.0)], finer, [mark(40.0)]))
    assert list(collocations(CC, [mark(40.0)], finer, [mark(80.0, diameter_mm=20.0)]))


@pytest.mark.parametrize("seed", [21, 22])
def test_breast_and_nipple_are_found_on_both_sides(seed: int) -> None:
    spacing = Spacing(row_mm=0.094090909, column_mm=0.094090909)
    for view in make_exam(seed).views:
        pixels: NDArray[np.float32] = view.pixels.astype(np.float32) / 255.0
        found = breast_geometry(pixels, view=view.view, spacing=spacing)
        assert found is not None
        shown = pixels > 0
        inside = outline_mask(found.outline_cr, *pixels.shape)
        assert (inside & shown).sum() / (inside | shown).sum() > 0.95
        if view.view.position is ViewPosition.CC:
            assert math.dist(found.nipple_cr, view.nipple_cr) * 0.094 < 2.0


def test_nothing_is_said_of_air_or_without_spacing() -> None:
    view = View(Laterality.LEFT, ViewPosition.CC)
    assert breast_geometry(np.zeros((800, 600), np.float32), view=view, spacing=SPACING) is None
    assert breast_geometry(np.ones((800, 600), np.float32), view=view, spacing=None) is None
