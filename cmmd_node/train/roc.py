"""How well scores tell two classes apart: area under the ROC curve, the curve, operating points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmmd_node.train.bootstrap import FloatArray

BoolArray = npt.NDArray[np.bool_]


def auc(scores: FloatArray, truth: BoolArray, weights: FloatArray | None = None) -> float:
    """The chance that a positive unit scores higher than a negative one; ties count half.

    Parameters
    ----------
    scores, truth : numpy.ndarray, shape (units,)
    weights : numpy.ndarray, optional
        How often each unit counts.

    Returns
    -------
    float
        NaN when there are no units of one class.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    levels, place = np.unique(scores, return_inverse=True)
    positive = np.bincount(place, weights * truth, len(levels))
    negative = np.bincount(place, weights * ~truth, len(levels))
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2.0)).sum() / pairs)


def roc_curve(scores: FloatArray, truth: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Thresholds, falling, and the shares of negative and of positive units that score at least each of them.

    The first threshold is infinity, where nothing is positive.
    """
    levels, place = np.unique(scores, return_inverse=True)
    counts = [np.bincount(place, one, len(levels))[::-1].cumsum() for one in (~truth, truth)]
    false, true = (np.concatenate([[0.0], count / count.max(initial=1.0)]) for count in counts)
    return np.concatenate([[np.inf], levels[::-1]]), false, true


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What happens when units that score at least `threshold` are called positive."""

    threshold: float
    sensitivity: float
    specificity: float


def at_threshold(
    scores: FloatArray, truth: BoolArray, threshold: float, weights: FloatArray | None = None
) -> OperatingPoint:
    """Sensitivity and specificity at a threshold; NaN where a class is empty."""
    weights = np.ones(len(scores)) if weights is None else weights
    called = scores >= threshold
    shares = []
    for chosen, right in ((truth, called), (~truth, ~called)):
        total = weights[chosen].sum()
        shares.append(float(weights[chosen & right].sum() / total) if total else float("nan"))
    return OperatingPoint(threshold, *shares)


def threshold_for_sensitivity(scores: FloatArray, truth: BoolArray, wanted: float) -> float:
    """The highest threshold at which at least this share of the positive units is found."""
    thresholds, _, true = roc_curve(scores, truth)
    return float(thresholds[int(np.argmax(true >= wanted))])


def threshold_for_specificity(scores: FloatArray, truth: BoolArray, wanted: float) -> float:
    """The lowest threshold at which at least this share of the negative units is left alone."""
    thresholds, false, _ = roc_curve(scores, truth)
    return float(thresholds[int(np.flatnonzero(1.0 - false >= wanted)[-1])])
