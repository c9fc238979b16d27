"""The same breast shown in another way gives the same findings, within stated bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmmd_node.cad import ClassicalDetector, open_detector
from cmmd_node.facts import Kind, Mark
from cmmd_node.phantom import PhantomView
from cmmd_node.phantom.cases import Case
from cmmd_node.phantom.simulate import simulate
from cmmd_node.settings import BUILTIN, CLASSICAL
from tests.bench.robustness import SEED, Change, compare, marks_of, plain, table_of

EXACT = ("mirrored", "16-bit twin", "MONOCHROME1 twin")
#: The largest change of suspicion at a reported mark of `marked_view`, by either model.
BOUNDS = {"contrast -20 %": 0.1, "contrast +20 %": 0.1, "on pixels of 0.07 mm": 0.2, "on pixels of 0.14 mm": 0.3}


@pytest.fixture(scope="module", params=[CLASSICAL, BUILTIN])
def table(request: pytest.FixtureRequest, marked_view: PhantomView) -> dict[str, list[Change]]:
    """The view in every way but as it is, to each model that comes with the program."""
    return table_of(open_detector(request.param), [marked_view])


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
    """A missing view changes no mark on the others: only how malignant they are is weighed with it, afterwards."""
    case = Case.from_seed(SEED, 0)
    cc, mlo = simulate(replace(case, sides=(case.laterality,)))
    first, fresh = ClassicalDetector(), ClassicalDetector()
    marks_of(first, plain(mlo))
    assert marks_of(first, plain(cc)) == marks_of(fresh, plain(cc))
    assert not np.array_equal(cc.pixels, mlo.pixels)
