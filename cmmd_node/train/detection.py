"""How well models find lesions: FROC with intervals, and which lesions are found.

Only images count that somebody read for lesions: with outlines, or with the word that there is nothing to outline. An
image that a model did not answer counts as one without marks, so failing is never an advantage.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cmmd_node.facts import Classification, Kind, Mark, Spacing, ViewPosition
from cmmd_node.train.answers import Answers, ImageAnswer
from cmmd_node.train.bootstrap import FloatArray, bootstrap, interval
from cmmd_node.train.breasts import tells_probability
from cmmd_node.train.calibration import calibration_of
from cmmd_node.train.froc import RATES, Froc, MarkedImage, marks_within, score_marks
from cmmd_node.train.images import image_spacing
from cmmd_node.train.manifest import LabelledImage, Lesion
from cmmd_node.train.roc import auc

HIT_RULE: Final = (
    "A lesion is found when the centre of a mark of its kind lies within its outline, box or circle. All marks in a "
    "lesion count as one; a mark in no lesion of its kind is false."
)
USUAL_RATE: Final = 1.0
"""False marks per image at which single lesions are called found or missed."""
_MOST_POINTS: Final = 200
_NO_ANSWER: Final = ImageAnswer()


def marks_on(answers: Answers, image: LabelledImage) -> tuple[Mark, ...]:
    """The marks of a model; none where it did not answer."""
    return answers.images.get(image.path, _NO_ANSWER).marks


def read_for_lesions(images: Iterable[LabelledImage]) -> list[LabelledImage]:
    """The used images that somebody read for lesions."""
    return [image for image in images if image.excluded is None and image.lesions is not None]


def detection(
    images: Sequence[LabelledImage], entrants: Sequence[tuple[str, Answers]], *, draws: int
) -> dict[str, Any] | None:
    """Compare models on the images that were read for lesions.

    Returns
    -------
    dict or None
        Plain values, ready for JSON; None when no image with a lesion was outlined.
    """
    read = read_for_lesions(images)
    kinds = [kind for kind in Kind if any(lesion.kind is kind for image in read for lesion in image.lesions or ())]
    if not kinds:
        return None
    asked: list[Kind | None] = [*kinds, None] if len(kinds) > 1 else [*kinds]
    marked = [
        (name, [score_marks(marks_on(answers, image), image.lesions or ()) for image in read])
        for name, answers in entrants
    ]
    groups = [image.group for image in read]
    return {
        "hit_rule": HIT_RULE,
        "images": len(read),
        "images_without_lesion": sum(not image.lesions for image in read),
        "unanswered": {
            name: sum(answers.images.get(image.path, ImageAnswer(problem="")).problem is not None for image in read)
            for name, answers in entrants
        },
        "kinds": [_of_kind(kind, marked, groups, draws=draws) for kind in asked],
        "subgroups": _subgroups(read, entrants[0][1]),
        "malignancy_of_lesions": _malignancy_of_lesions(read, entrants, draws=draws),
    }


def least_suspicion(images: Sequence[LabelledImage], answers: Answers) -> float:
    """What a mark must exceed for there to be `USUAL_RATE` false marks on each image with lesions."""
    read = read_for_lesions(images)
    return Froc([score_marks(marks_on(answers, image), image.lesions or ()) for image in read]).least_suspicion(
        USUAL_RATE
    )


def _of_kind(
    kind: Kind | None, marked: Sequence[tuple[str, list[MarkedImage]]], groups: Sequence[str], *, draws: int
) -> dict[str, Any]:
    rows, curves = [], {}
    for name, images in marked:
        over_lesions, over_normal = Froc(images, kind), Froc(images, kind, over_normal=True)

        def statistic(weights: FloatArray, both: tuple[Froc, Froc] = (over_lesions, over_normal)) -> FloatArray:
            return np.array([curve.sensitivity(rate, weights) for curve in both for rate in RATES])

        whole, drawn = bootstrap(groups, statistic, draws=draws)
        told = [interval(value, drawn[:, number]).to_json() for number, value in enumerate(whole)]
        rows.append(
            {
                "model": name,
                "over_images_with_lesions": dict(zip(map(str, RATES), told[: len(RATES)], strict=True)),
                "over_images_without": dict(zip(map(str, RATES), told[len(RATES) :], strict=True)),
                "marks_must_exceed": {str(rate): round(over_lesions.least_suspicion(rate), 4) for rate in RATES},
            }
        )
        curves[name] = _curve(over_lesions)
    return {
        "kind": "all" if kind is None else kind.value,
        "lesions": over_lesions.lesions,
        "images": over_lesions.images,
        "images_without": over_normal.images_counted,
        "models": rows,
        "curves": curves,
    }


def _curve(froc: Froc) -> list[list[float]]:
    """Points (false marks per image, sensitivity) up to the last rate, not more than a picture can show."""
    rates, sensitivity = froc.curve()
    within = np.flatnonzero(rates <= RATES[-1])
    chosen = np.unique(np.linspace(0, len(within) - 1, min(_MOST_POINTS, len(within))).round().astype(int))
    return [[round(float(rates[i]), 4), round(float(sensitivity[i]), 4)] for i in within[chosen]]


@dataclass(frozen=True, slots=True)
class _LesionOnImage:
    lesion: Lesion
    image: LabelledImage
    diameter_mm: float | None
    found: bool


def _subgroups(read: Sequence[LabelledImage], answers: Answers) -> list[dict[str, Any]]:
    """Share of lesions found at the threshold that gives one false mark per image with lesions, over all kinds."""
    least = least_suspicion(read, answers)
    lesions = [
        _LesionOnImage(
            lesion=lesion,
            image=image,
            diameter_mm=diameter_mm(lesion, image_spacing(image)),
            found=any(mark.suspicion > least for mark in marks_within(marks_on(answers, image), lesion)),
        )
        for image in read
        for lesion in image.lesions or ()
    ]
    told = []
    for by, name, part in _divisions(lesions):
        inside = [one for one, within in zip(lesions, part, strict=True) if within]
        if inside:
            share = sum(one.found for one in inside) / len(inside)
            told.append({"by": by, "name": name, "lesions": len(inside), "found": share})
    return told


def _divisions(lesions: Sequence[_LesionOnImage]) -> Iterable[tuple[str, str, list[bool]]]:
    """By what, name of the part, and of each lesion whether it is in it."""
    for kind in Kind:
        yield "kind", kind.value, [one.lesion.kind is kind for one in lesions]
    for position in ViewPosition:
        yield "view", position.value, [one.image.view.position is position for one in lesions]
    for word in Classification:
        yield "classification", word.value, [one.lesion.classification is word for one in lesions]
    sizes = [one.diameter_mm for one in lesions]
    known = sorted(size for size in sizes if size is not None)
    if known:
        low, high = known[len(known) // 3], known[2 * len(known) // 3]
        yield "size", f"under {low:.1f} mm", [size is not None and size < low for size in sizes]
        yield "size", f"{low:.1f} to {high:.1f} mm", [size is not None and low <= size < high for size in sizes]
        yield "size", f"{high:.1f} mm and over", [size is not None and size >= high for size in sizes]


def diameter_mm(lesion: Lesion, spacing: Spacing | None) -> float | None:
    """Diameter of the circle with the area of the outline; None where the spacing is unknown."""
    if spacing is None:
        return None
    corners = np.array(lesion.outline_cr)
    (x, y), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    area = abs(float((x * y1 - x1 * y).sum())) / 2.0 * spacing.row_mm * spacing.column_mm
    return 2.0 * math.sqrt(area / math.pi)


def _malignancy_of_lesions(
    read: Sequence[LabelledImage], entrants: Sequence[tuple[str, Answers]], *, draws: int
) -> dict[str, Any] | None:
    """Whether marks on malignant lesions get higher probabilities than those on benign ones, and whether they are any.

    A lesion on one image is the unit, and its most suspicious mark speaks for it. One without a mark scores 0, and is
    left out of the calibration, which is that of the first model.
    """
    lesions = [(lesion, image) for image in read for lesion in image.lesions or () if lesion.classification is not None]
    truth = np.array([lesion.classification is Classification.MALIGNANT for lesion, _ in lesions], dtype=bool)
    telling = [(name, answers) for name, answers in entrants if tells_probability(answers)]
    if not 0 < truth.sum() < len(truth) or not telling:
        return None
    within = [[marks_within(marks_on(answers, image), lesion) for lesion, image in lesions] for _, answers in telling]
    scores = np.array([[_probability_malignant(marks) for marks in row] for row in within])
    groups = [image.group for _, image in lesions]
    whole, drawn = bootstrap(
        groups,
        lambda weights: np.array([auc(row, truth, weights) for row in scores]),
        draws=draws,
    )
    marked = [number for number, marks in enumerate(within[0]) if marks]
    return {
        "lesions": len(lesions),
        "malignant": int(truth.sum()),
        "models": [
            {
                "model": name,
                "marked": sum(map(bool, within[number])),
                "auc": interval(whole[number], drawn[:, number]).to_json(),
            }
            for number, (name, _) in enumerate(telling)
        ],
        "calibration": calibration_of(
            scores[0, marked], truth[marked], [groups[number] for number in marked], draws=draws
        ),
    }


def _probability_malignant(marks: Sequence[Mark]) -> float:
    speaks = max(marks, key=lambda mark: mark.suspicion, default=None)
    return 0.0 if speaks is None else speaks.probability_malignant or 0.0
