"""Whether a probability is one: of those told 70 %, are 70 % positive?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from cmmd_node.train.bootstrap import FloatArray, bootstrap, interval
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


def calibration_of(probabilities: FloatArray, truth: BoolArray, groups: Sequence[str], *, draws: int) -> dict[str, Any]:
    """Brier score, calibration error and reliability of what a model told, with intervals over groups.

    Returns
    -------
    dict
        Plain values, ready for JSON.
    """
    whole, drawn = bootstrap(
        groups,
        lambda weights: np.array(
            [brier(probabilities, truth, weights), expected_calibration_error(probabilities, truth, weights)]
        ),
        draws=draws,
    )
    share = float(truth.mean()) if len(truth) else math.nan
    return {
        "brier": interval(whole[0], drawn[:, 0]).to_json(),
        "brier_of_the_share_of_cancers": share * (1.0 - share) if math.isfinite(share) else None,
        "expected_calibration_error": interval(whole[1], drawn[:, 1]).to_json(),
        "bins": [asdict(one) for one in reliability(probabilities, truth)],
    }


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
