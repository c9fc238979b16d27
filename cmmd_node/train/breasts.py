"""The breasts of a collection, which is what labels of malignancy and subtype are about, and their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from cmmd_node.facts import BreastLabel, Classification, Mark, Subtype
from cmmd_node.train.answers import Answers
from cmmd_node.train.manifest import LabelledImage


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

    Its probability, if the model gives one. Else the mean over the breast's images of the highest product of a mark's
    suspicion and its probability of malignancy, for a probability counts as far as there is a lesion; an image without
    marks scores 0. Of a model that gives no probabilities at all, the highest suspicion of a mark.
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
    return fmean(max(map(_weight, marks), default=0.0) for marks in views)


def subtype_shares(answers: Answers, breast: Breast) -> Mapping[Subtype, float] | None:
    """How probable a model takes each subtype to be; None where it does not tell.

    Its own word, or else the mean over the breast's images of what the most malignant mark says.
    """
    own = answers.breasts.get(breast.first.breast)
    if own is not None and own.subtypes is not None:
        return own.subtypes
    told = [mark for marks in _marks_by_view(answers, breast) for mark in sorted(marks, key=_weight)[-1:]]
    shares = [mark.subtypes for mark in told if mark.subtypes is not None]
    return {subtype: fmean(one.get(subtype, 0.0) for one in shares) for subtype in Subtype} if shares else None


def _marks_by_view(answers: Answers, breast: Breast) -> list[tuple[Mark, ...]]:
    told = [answers.images[image.path] for image in breast.images if image.path in answers.images]
    return [answer.marks for answer in told if answer.problem is None]


def _weight(mark: Mark) -> float:
    return mark.suspicion * (mark.probability_malignant or 0.0)
