"""The breasts of a collection, which is what labels of malignancy and subtype are about, and their scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
import numpy.typing as npt

from cmmd_node.facts import BreastLabel, Classification, Mark, Subtype
from cmmd_node.train.answers import Answers
from cmmd_node.train.manifest import LabelledImage

_LEAST_SHARE: Final = 1e-4
"""Shares nearer to 0 or 1 are taken for this near."""
_NOTHING: Final = 0.05
"""How probable malignancy is where there is no lesion to be seen."""


@dataclass(frozen=True, slots=True)
class Breast:
    """One breast and its images that are used."""

    images: tuple[LabelledImage, ...]

    @property
    def first(self) -> LabelledImage:
        """Any of its images: what is known of the breast and its patient is the same in all."""
        return self.images[0]

    @property
    def label(self) -> BreastLabel:
        return self.first.label

    @property
    def malignant(self) -> bool:
        return self.label.classification is Classification.MALIGNANT


def breasts_of(images: Iterable[LabelledImage]) -> list[Breast]:
    """The breasts that there are used images of, in the order of the manifest."""
    found: dict[object, list[LabelledImage]] = {}
    for image in images:
        if image.excluded is None:
            found.setdefault(image.breast, []).append(image)
    return [Breast(tuple(of_breast)) for of_breast in found.values()]


def tells_probability(answers: Answers) -> bool:
    """Whether the model gives any probability of malignancy, of breasts or of marks."""
    return any(answer.malignant is not None for answer in answers.breasts.values()) or any(
        mark.probability_malignant is not None for answer in answers.images.values() for mark in answer.marks
    )


def malignancy_scores(answers: Answers, breasts: Iterable[Breast]) -> list[float | None]:
    """How malignant a model takes each breast to be; None where it did not answer.

    Its probability, if the model gives one. Else what its marks say: the mean of their log odds of malignancy, each
    weighted by the odds that it is a lesion (its suspicion), beside even odds that there is none, which is `_NOTHING`;
    of each image, then of the breast's images. So the likeliest lesion decides, not the most malignant of many false
    marks. Of a model that gives no probabilities at all, the highest suspicion of a mark.
    """
    by_suspicion = not tells_probability(answers)
    return [_score(answers, breast, by_suspicion=by_suspicion) for breast in breasts]


def _score(answers: Answers, breast: Breast, *, by_suspicion: bool) -> float | None:
    own = answers.breasts.get(breast.first.breast)
    if own is not None and own.malignant is not None:
        return own.malignant
    views = _marks_by_view(answers, breast)
    if not views:
        return None
    if by_suspicion:
        return max((mark.suspicion for marks in views for mark in marks), default=0.0)
    return 1.0 / (1.0 + math.exp(-fmean(map(_log_odds_malignant, views))))


def _log_odds_malignant(marks: Iterable[Mark]) -> float:
    """Of one image."""
    telling = [(mark, mark.probability_malignant) for mark in marks if mark.probability_malignant is not None]
    weights = [1.0, *(_odds(mark.suspicion) for mark, _ in telling)]
    said = [math.log(_odds(_NOTHING)), *(math.log(_odds(probability)) for _, probability in telling)]
    return float(np.average(said, weights=weights))


def subtype_shares(answers: Answers, breast: Breast) -> Mapping[Subtype, float] | None:
    """How probable a model takes each subtype to be; None where it does not tell.

    Its own word, or else the geometric mean of what its marks say, weighted as in `malignancy_scores` and by how
    probable it is that they are malignant: no other lesion has a subtype.
    """
    own = answers.breasts.get(breast.first.breast)
    if own is not None and own.subtypes is not None:
        return own.subtypes
    views = [[mark for mark in marks if mark.subtypes is not None] for marks in _marks_by_view(answers, breast)]
    told = [_log_shares(marks) for marks in views if marks]
    if not told:
        return None
    shares = np.exp(np.mean(told, axis=0))
    return dict(zip(Subtype, (shares / shares.sum()).tolist(), strict=True))


def _log_shares(marks: Sequence[Mark]) -> npt.NDArray[np.float64]:
    """Of one image, shape (subtypes,)."""
    shares = [[(mark.subtypes or {}).get(subtype, 0.0) for subtype in Subtype] for mark in marks]
    said: npt.NDArray[np.float64] = np.average(
        np.log(np.maximum(shares, _LEAST_SHARE)),
        axis=0,
        weights=[_odds(mark.suspicion) * _malignant(mark) for mark in marks],
    )
    return said


def _malignant(mark: Mark) -> float:
    """How probable it is; 1 of all where the model does not tell."""
    return 1.0 if mark.probability_malignant is None else max(mark.probability_malignant, _LEAST_SHARE)


def _marks_by_view(answers: Answers, breast: Breast) -> list[tuple[Mark, ...]]:
    told = [answers.images[image.path] for image in breast.images if image.path in answers.images]
    return [answer.marks for answer in told if answer.problem is None]


def _odds(share: float) -> float:
    inside = min(max(share, _LEAST_SHARE), 1.0 - _LEAST_SHARE)
    return inside / (1.0 - inside)
