"""The breasts of a collection, which is what labels of malignancy and subtype are about, and their scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cmmd_node.facts import BreastLabel, Classification
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

    Its probability, if the model gives one; else the highest probability of a mark on its images; for a model that
    gives no probabilities at all, the highest suspicion of a mark. A breast without marks scores 0.
    """
    by_suspicion = not tells_probability(answers)
    return [_score(answers, breast, by_suspicion=by_suspicion) for breast in breasts]


def _score(answers: Answers, breast: Breast, *, by_suspicion: bool) -> float | None:
    own = answers.breasts.get(breast.first.breast)
    if own is not None and own.malignant is not None:
        return own.malignant
    told = [answers.images[image.path] for image in breast.images if image.path in answers.images]
    answered = [answer for answer in told if answer.problem is None]
    if not answered:
        return None
    marks = [mark for answer in answered for mark in answer.marks]
    scores = [mark.suspicion if by_suspicion else mark.probability_malignant for mark in marks]
    return max((score for score in scores if score is not None), default=0.0)
