"""Whether a probability is one: of those told 70 %, are 70 % positive?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cmmd_node.train.bootstrap import FloatArray
from cmmd_node.train.roc import BoolArray

BINS: Final = 10
_NORMAL_95: Final = 1.959964


@dataclass(frozen=True, slots=True)
class Bin:
    """Units with probabilities between two tenths."""

    count: int
    predicted: float
    """Mean probability."""
    observed: float
    """Share of positive units."""
    low: float
    high: float
    """Wilson's 95 % interval of `observed`; it takes units for independent."""


def brier(probabilities: FloatArray, truth: BoolArray, weights: FloatArray | None = None) -> float:
    """Mean squared distance of probability and truth; NaN without units."""
    weights = np.ones(len(truth)) if weights is None else weights
    return _mean((probabilities - truth) ** 2, weights)


def expected_calibration_error(probabilities: FloatArray, truth: BoolArray, weights: FloatArray | None = None) -> float:
    """Mean distance between probability and share of positive units over ten equally wide bins (ECE)."""
    weights = np.ones(len(truth)) if weights is None else weights
    if weights.sum() == 0:
        return float("nan")
    surplus = np.bincount(_bin_of(probabilities), weights * (probabilities - truth), BINS)
    return float(np.abs(surplus).sum() / weights.sum())


def reliability(probabilities: FloatArray, truth: BoolArray) -> tuple[Bin, ...]:
    """The bins that are not empty, by rising probability."""
    place = _bin_of(probabilities)
    bins = []
    for number in np.unique(place):
        inside = place == number
        count, share = int(inside.sum()), float(truth[inside].mean())
        center = (share + _NORMAL_95**2 / (2 * count)) / (1 + _NORMAL_95**2 / count)
        half = _NORMAL_95 * np.sqrt(share * (1 - share) / count + (_NORMAL_95 / (2 * count)) ** 2)
        half /= 1 + _NORMAL_95**2 / count
        bins.append(Bin(count, float(probabilities[inside].mean()), share, float(center - half), float(center + half)))
    return tuple(bins)


def _bin_of(probabilities: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)


def _mean(values: FloatArray, weights: FloatArray) -> float:
    return float((values * weights).sum() / weights.sum()) if weights.sum() else float("nan")
