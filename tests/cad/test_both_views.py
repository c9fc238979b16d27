"""How malignant a lesion is, by both views of its breast."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cmmd_node.cad.both_views import APART_MM, BothViews, MarkedView, with_both_views
from cmmd_node.facts import Kind, Laterality, Mark, View, ViewPosition

EVEN = BothViews(own=0.5, other=0.5)


def mark(suspicion: float, malignant: float | None, kind: Kind = Kind.MASS) -> Mark:
    few = ((1.0, 1.0),) * 3 if kind is Kind.CALCIFICATION_CLUSTER else ()
    return Mark(
        kind=kind,
        center_cr=(5.0, 5.0),
        outline_cr=((0.0, 0.0), (10.0, 0.0), (0.0, 10.0)),
        suspicion=suspicion,
        probability_malignant=malignant,
        calcifications_cr=few,
    )


def seen(position: ViewPosition, *marks: tuple[Mark, float], side: Laterality = Laterality.LEFT) -> MarkedView:
    """Marks and how far each is from the nipple."""
    return MarkedView(View(side, position), tuple(one for one, _ in marks), np.array([mm for _, mm in marks]))


def log_odds(probability: float | None) -> float:
    assert probability is not None
    return math.log(probability / (1.0 - probability))


def test_log_odds_of_both_views_are_weighed() -> None:
    cc, mlo = seen(ViewPosition.CC, (mark(0.8, 0.9), 40.0)), seen(ViewPosition.MLO, (mark(0.7, 0.3), 45.0))
    (first,), (second,) = with_both_views([cc, mlo], BothViews(own=0.75, other=0.5))
    assert log_odds(first.probability_malignant) == pytest.approx(0.75 * log_odds(0.9) + 0.5 * log_odds(0.3))
    assert log_odds(second.probability_malignant) == pytest.approx(0.75 * log_odds(0.3) + 0.5 * log_odds(0.9))
    assert (first.suspicion, second.suspicion) == (0.8, 0.7)


def test_several_marks_count_by_the_odds_that_they_are_the_same() -> None:
    cc = seen(ViewPosition.CC, (mark(0.8, 0.5), 40.0))
    others = (mark(0.5, 0.1), 40.0), (mark(0.8, 0.2), 40.0), (mark(0.8, 0.9), 40.0 + APART_MM)
    (first,), _ = with_both_views([cc, seen(ViewPosition.MLO, *others)], EVEN)
    odds = np.array([1.0, 4.0, 4.0 / math.e])
    there = (odds * [log_odds(0.1), log_odds(0.2), log_odds(0.9)]).sum() / odds.sum()
    assert log_odds(first.probability_malignant) == pytest.approx(0.5 * there)
    twice = [seen(ViewPosition.MLO, one) for one in others]  # as if the view had been taken three times
    (again,), *_ = with_both_views([cc, *twice], EVEN)
    assert again.probability_malignant == pytest.approx(first.probability_malignant)


@pytest.mark.parametrize(
    "other",
    [
        seen(ViewPosition.MLO, (mark(0.9, 0.9), 40.0), side=Laterality.RIGHT),
        seen(ViewPosition.CC, (mark(0.9, 0.9), 40.0)),
        seen(ViewPosition.MLO, (mark(0.9, 0.9, Kind.CALCIFICATION_CLUSTER), 40.0)),
        seen(ViewPosition.MLO, (mark(0.9, None), 40.0)),
        seen(ViewPosition.MLO),
    ],
    ids=["other breast", "same view", "other kind", "no probability", "no mark"],
)
def test_nothing_else_is_weighed(other: MarkedView) -> None:
    cc = seen(ViewPosition.CC, (mark(0.8, 0.6), 40.0), (mark(0.2, None), 40.0))
    assert with_both_views([cc, other], EVEN) == [cc.marks, other.marks]


def test_certainty_stays_a_probability() -> None:
    cc, mlo = seen(ViewPosition.CC, (mark(1.0, 1.0), 1.0)), seen(ViewPosition.MLO, (mark(1.0, 1.0), 1.0))
    (first,), _ = with_both_views([cc, mlo], BothViews(own=2.0, other=2.0))
    assert first.probability_malignant == pytest.approx(1.0)
