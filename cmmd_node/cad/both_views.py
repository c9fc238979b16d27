"""How malignant a lesion is, by both views of its breast.

A view shows a lesion's margin from one side. What the model says of a mark is weighed with what it says of the marks in
the other view, each by the odds that it is the same lesion: a suspicious one of the same kind, about as far from the
nipple. The suspicion of a mark stays what its own view shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cmmd_node.facts import Mark, View

APART_MM: Final = 30.0
"""A mark that is so much nearer to the nipple, or farther, counts as one with an e-th of the odds."""
_SURE: Final = 1e-6


class BothViews(BaseModel):
    """How the log odds of malignancy in both views are weighed; a bundle's metadata says it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    own: Annotated[float, Field(ge=0.0, le=2.0)]
    other: Annotated[float, Field(ge=0.0, le=2.0)]


@dataclass(frozen=True, slots=True, eq=False)
class MarkedView:
    """One view and what a model says of it."""

    view: View
    marks: tuple[Mark, ...]
    from_nipple_mm: NDArray[np.float64]
    """Of each mark, shape (marks,)."""


def with_both_views(views: Sequence[MarkedView], weights: BothViews) -> list[tuple[Mark, ...]]:
    """Weigh what is said of malignancy with what the other view of the breast says.

    Parameters
    ----------
    views
        Of one study; those of a breast find each other.

    Returns
    -------
    list of tuple of Mark
        The marks of each view in their order. As they were are those without a probability, and those with no mark of
        their kind in the other view.
    """
    return [tuple(_weighed(one, number, views, weights) for number in range(len(one.marks))) for one in views]


def _weighed(one: MarkedView, number: int, views: Sequence[MarkedView], weights: BothViews) -> Mark:
    mark = one.marks[number]
    if mark.probability_malignant is None:
        return mark
    others = [
        (_log_odds(other.suspicion) - (apart_mm / APART_MM) ** 2, _log_odds(other.probability_malignant))
        for view in views
        if view.view.laterality is one.view.laterality and view.view.position is not one.view.position
        for other, apart_mm in zip(view.marks, view.from_nipple_mm - one.from_nipple_mm[number], strict=True)
        if other.kind is mark.kind and other.probability_malignant is not None
    ]
    if not others:
        return mark
    same, malignant = np.array(others).T
    there = float(np.average(malignant, weights=np.exp(same)))
    together = weights.own * _log_odds(mark.probability_malignant) + weights.other * there
    return replace(mark, probability_malignant=1.0 / (1.0 + math.exp(-together)))


def _log_odds(share: float) -> float:
    share = min(max(share, _SURE), 1.0 - _SURE)
    return math.log(share / (1.0 - share))
