"""How well models tell malignant breasts from others: the part of a report that rests on biopsy.

The unit is the labelled breast; intervals come from drawing patients. Parts of a collection (cohorts) come before the
whole, since a whole whose parts have different shares of cancers flatters whoever can tell the parts apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cmmd_node.facts import Laterality
from cmmd_node.train.answers import Answers
from cmmd_node.train.bootstrap import FloatArray, bootstrap, interval
from cmmd_node.train.breasts import Breast, malignancy_scores, tells_probability
from cmmd_node.train.calibration import calibration_of
from cmmd_node.train.manifest import ABNORMALITIES
from cmmd_node.train.metadata import metadata_scores
from cmmd_node.train.roc import (
    BoolArray,
    at_threshold,
    auc,
    roc_curve,
    threshold_for_sensitivity,
    threshold_for_specificity,
)

METADATA: Final = "age and cohort only"
_WANTED: Final = 0.9
"""Sensitivity and specificity that thresholds are looked up for."""
_MOST_POINTS: Final = 200


def malignancy(breasts: Sequence[Breast], entrants: Sequence[tuple[str, Answers]], *, draws: int) -> dict[str, Any]:
    """Compare models on the labelled breasts that all of them answered.

    Parameters
    ----------
    breasts
        Unlabelled ones are counted and not used.
    entrants
        Name and answers; the first is the model in question, the others are what it is compared with.

    Returns
    -------
    dict
        Plain values, ready for JSON.
    """
    labelled = [breast for breast in breasts if breast.label.classification is not None]
    told = [malignancy_scores(answers, labelled) for _, answers in entrants]
    answered = np.array([all(s[unit] is not None for s in told) for unit in range(len(labelled))], dtype=bool)
    units = [breast for breast, kept in zip(labelled, answered, strict=True) if kept]
    of_metadata = metadata_scores(labelled)
    names = [*(name for name, _ in entrants), METADATA]
    scores = np.array([[math.nan if one is None else one for one in s] for s in told] + [list(of_metadata)])
    scores = scores.reshape(len(names), len(labelled))[:, answered]
    truth = np.array([breast.malignant for breast in units], dtype=bool)
    parts = [
        (f"cohort {name}", np.array([breast.first.cohort == name for breast in units], dtype=bool))
        for name in sorted({breast.first.cohort for breast in units if breast.first.cohort is not None})
    ]
    parts = [(name, inside) for name, inside in parts if 0 < truth[inside].sum() < inside.sum()]
    parts.append(("all", np.ones(len(units), dtype=bool)))
    groups = np.array([breast.first.group for breast in units], dtype=str)
    _, first = entrants[0]
    return {
        "labelled_breasts": len(labelled),
        "unlabelled_breasts": len(breasts) - len(labelled),
        "compared_breasts": len(units),
        "unanswered": {name: sum(one is None for one in s) for (name, _), s in zip(entrants, told, strict=True)},
        "scores": {
            name: "probability of malignancy" if tells_probability(answers) else "highest suspicion of a mark"
            for name, answers in entrants
        },
        "parts": [
            {"name": name}
            | _compared(names, scores[:, inside], truth[inside], groups[inside], draws=draws)
            | (
                {"calibration": calibration_of(scores[0, inside], truth[inside], list(groups[inside]), draws=draws)}
                if tells_probability(first)
                else {}
            )
            for name, inside in parts
        ],
        "operating_points": _operating_points(
            scores[0], truth, groups, parts[0], thresholds=first.thresholds, draws=draws
        ),
        "subgroups": _subgroups(units, scores[0], truth, groups, draws=draws),
    }


def _compared(
    names: Sequence[str], scores: FloatArray, truth: BoolArray, groups: np.ndarray[Any, Any], *, draws: int
) -> dict[str, Any]:
    """AUC of each model, and by how much the first is better than each other in the same draws."""
    whole, drawn = bootstrap(
        list(groups), lambda weights: np.array([auc(row, truth, weights) for row in scores]), draws=draws
    )
    rows = []
    for number, name in enumerate(names):
        row: dict[str, Any] = {"model": name, "auc": interval(whole[number], drawn[:, number]).to_json()}
        if number:
            row["first_is_better_by"] = interval(whole[0] - whole[number], drawn[:, 0] - drawn[:, number]).to_json()
        rows.append(row)
    return {
        "breasts": len(truth),
        "malignant": int(truth.sum()),
        "models": rows,
        "curves": {name: _curve(row, truth) for name, row in zip(names, scores, strict=True)},
    }


def _curve(scores: FloatArray, truth: BoolArray) -> list[list[float]]:
    """Points (1 - specificity, sensitivity), not more than a picture can show."""
    _, false, true = roc_curve(scores, truth)
    chosen = np.unique(np.linspace(0, len(false) - 1, min(_MOST_POINTS, len(false))).round().astype(int))
    return [[round(float(false[i]), 4), round(float(true[i]), 4)] for i in chosen]


def _operating_points(
    scores: FloatArray,
    truth: BoolArray,
    groups: np.ndarray[Any, Any],
    part: tuple[str, BoolArray],
    *,
    thresholds: Mapping[str, float],
    draws: int,
) -> list[dict[str, Any]]:
    """Of the first model, in the first part of the collection."""
    name, inside = part
    scores, truth, groups = scores[inside], truth[inside], groups[inside]
    if not 0 < truth.sum() < len(truth):
        return []
    chosen = [(f"{label} (fixed beforehand)", threshold) for label, threshold in sorted(thresholds.items())]
    chosen += [
        (f"sensitivity {_WANTED} (chosen on these breasts)", threshold_for_sensitivity(scores, truth, _WANTED)),
        (f"specificity {_WANTED} (chosen on these breasts)", threshold_for_specificity(scores, truth, _WANTED)),
    ]
    points = []
    for label, threshold in chosen:

        def statistic(weights: FloatArray, threshold: float = threshold) -> FloatArray:
            point = at_threshold(scores, truth, threshold, weights)
            return np.array([point.sensitivity, point.specificity])

        whole, drawn = bootstrap(list(groups), statistic, draws=draws)
        points.append(
            {
                "name": label,
                "part": name,
                "threshold": threshold if math.isfinite(threshold) else None,
                "sensitivity": interval(whole[0], drawn[:, 0]).to_json(),
                "specificity": interval(whole[1], drawn[:, 1]).to_json(),
            }
        )
    return points


def _subgroups(
    breasts: Sequence[Breast], scores: FloatArray, truth: BoolArray, groups: np.ndarray[Any, Any], *, draws: int
) -> list[dict[str, Any]]:
    """AUC of the first model in parts of all breasts; parts of one class have none and are told all the same."""
    told = []
    for by, name, part in _divisions(breasts):
        inside = np.array(part, dtype=bool)
        if inside.any():
            (row,) = _compared([name], scores[None, inside], truth[inside], groups[inside], draws=draws)["models"]
            told.append(
                {
                    "by": by,
                    "name": name,
                    "breasts": int(inside.sum()),
                    "malignant": int(truth[inside].sum()),
                    "auc": row["auc"],
                }
            )
    return told


def _divisions(breasts: Sequence[Breast]) -> Iterable[tuple[str, str, list[bool]]]:
    """By what, name of the part, and of each breast whether it is in it."""
    ages = [breast.first.age for breast in breasts]
    known = sorted(age for age in ages if age is not None)
    if known:
        low, high = known[len(known) // 3], known[2 * len(known) // 3]
        yield "age", f"under {low}", [age is not None and age < low for age in ages]
        yield "age", f"{low} to {high - 1}", [age is not None and low <= age < high for age in ages]
        yield "age", f"{high} and over", [age is not None and age >= high for age in ages]
    for word, kinds in ABNORMALITIES.items():
        yield "abnormality", word, [breast.label.kinds == kinds for breast in breasts]
    for side in Laterality:
        yield "side", side.value, [breast.first.view.laterality is side for breast in breasts]
    for count in (1, 2):
        yield "images", str(count), [len(breast.images) == count for breast in breasts]
