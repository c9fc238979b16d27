"""The same breast shown in another way gives the same findings, within stated bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmmd_node.cad import ClassicalDetector
from cmmd_node.facts import Kind, Mark
from cmmd_node.phantom.cases import Case
from cmmd_node.phantom.simulate import simulate
from tests.bench.robustness import SEED, Change, compare, marks_of, plain, table_of

EXACT = ("mirrored", "16-bit twin", "MONOCHROME1 twin")
#: Of the classical detector on the view below: the largest change of suspicion at a reported mark.
BOUNDS = {"contrast -20 %": 0.1, "contrast +20 %": 0.1, "on pixels of 0.07 mm": 0.2, "on pixels of 0.14 mm": 0.3}


@pytest.fixture(scope="module")
def table() -> dict[str, list[Change]]:
    """A view with a mass and a cluster, in every way but as it is."""
    case = next(
        case for case in (Case.from_seed(SEED, number) for number in range(50)) if case.kinds == frozenset(Kind)
    )
    view = next(iter(simulate(replace(case, sides=(case.laterality,)))))
    return table_of(ClassicalDetector(), [view])


@pytest.mark.parametrize("name", EXACT)
def test_findings_do_not_depend_on_how_an_image_is_stored_or_turned(table: dict[str, list[Change]], name: str) -> None:
    (change,) = table[name]
    assert change.reported > 0
    assert (change.again, change.more) == (change.reported, 0)
    assert max(map(abs, change.suspicion)) <= 1e-3


@pytest.mark.parametrize("name", BOUNDS)
def test_contrast_and_spacing_change_suspicion_within_bounds(table: dict[str, list[Change]], name: str) -> None:
    (change,) = table[name]
    assert change.reported > 0
    assert max(map(abs, change.suspicion)) <= BOUNDS[name]
    assert abs(change.more) <= 2


def test_all_ways_are_told(table: dict[str, list[Change]]) -> None:
    assert table.keys() == {*EXACT, *BOUNDS}


def test_a_mark_that_is_gone_counts_in_full() -> None:
    mark = Mark(kind=Kind.MASS, center_cr=(10.0, 10.0), outline_cr=((0, 0), (20, 0), (20, 20)), suspicion=0.8)
    assert compare([mark], [], 0.5) == Change(1, 0, (-0.8,), -1)
    assert compare([mark], [replace(mark, center_cr=(12.0, 10.0))], 0.5) == Change(1, 1, (0.0,), 0)


def test_a_view_is_marked_whether_or_not_the_other_one_is_there() -> None:
    """Views are judged one by one: whatever a missing view changes, it is not the marks on the others."""
    case = Case.from_seed(SEED, 0)
    cc, mlo = simulate(replace(case, sides=(case.laterality,)))
    first, fresh = ClassicalDetector(), ClassicalDetector()
    marks_of(first, plain(mlo))
    assert marks_of(first, plain(cc)) == marks_of(fresh, plain(cc))
    assert not np.array_equal(cc.pixels, mlo.pixels)
