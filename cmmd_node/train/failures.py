"""The worst errors of a model, by a stated rule, as pictures: what figures do not show.

The rule: of the labelled breasts, the malignant ones with the lowest and the others with the highest scores; of the
outlined lesions, those that no mark above the threshold of one false mark per image hits, the largest first; of the
false marks, the most suspicious ones. Left-out images do not appear.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import Mark, PointCR
from cmmd_node.train.answers import Answers
from cmmd_node.train.breasts import breasts_of, malignancy_scores
from cmmd_node.train.detection import diameter_mm, least_suspicion, marks_on, read_for_lesions
from cmmd_node.train.froc import marks_within
from cmmd_node.train.images import image_spacing, read_picture
from cmmd_node.train.manifest import LabelledImage, Lesion

MOST: Final = 12
"""Pictures of each sort."""
_ROWS: Final = 420
"""Height of a picture."""
_SHOWN: Final = 0.5
"""Marks below this part of the highest suspicion on the image would hide the picture."""
_LESION, _MARK = (80, 220, 120), (255, 120, 60)


@dataclass(frozen=True, slots=True)
class Failure:
    """One picture of the gallery."""

    sort: str
    caption: str
    image: LabelledImage


def failures(images: Sequence[LabelledImage], answers: Answers, *, most: int = MOST) -> list[Failure]:
    """The worst errors of each sort, the worst first."""
    return [*_breasts(images, answers, most), *_lesions(images, answers, most), *_marks(images, answers, most)]


def picture(failure: Failure, answers: Answers) -> str:
    """The image as a PNG in a data URL: outlines green, marks orange with their suspicion.

    Raises
    ------
    NotAnalysed
        Its pixels cannot be read.
    """
    read = read_picture(failure.image)
    rows, columns = read.pixels.shape
    aspect = 1.0 if read.spacing is None else read.spacing.column_mm / read.spacing.row_mm
    size = (max(1, round(_ROWS * columns / rows * aspect)), _ROWS)
    grey = Image.fromarray((read.pixels * 255.0).astype(np.uint8)).resize(size, Image.Resampling.BOX)
    drawn = grey.convert("RGB")
    pen = ImageDraw.Draw(drawn)

    def at(point_cr: PointCR) -> tuple[float, float]:
        return point_cr[0] * size[0] / columns, point_cr[1] * size[1] / rows

    marks = marks_on(answers, failure.image)
    highest = max((mark.suspicion for mark in marks), default=0.0)
    for mark in marks:
        if mark.suspicion >= _SHOWN * highest:
            pen.polygon([at(point) for point in mark.outline_cr], outline=_MARK)
            right = max(at(point)[0] for point in mark.outline_cr)
            pen.text((right + 2, at(mark.center_cr)[1] - 5), f"{mark.suspicion:.2f}", fill=_MARK)
    for lesion in failure.image.lesions or ():
        pen.polygon([at(point) for point in lesion.outline_cr], outline=_LESION)
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def pictures(chosen: Sequence[Failure], answers: Answers) -> list[tuple[Failure, str | None]]:
    """Each failure with its picture; None where its pixels cannot be read."""
    drawn: list[tuple[Failure, str | None]] = []
    for failure in chosen:
        try:
            drawn.append((failure, picture(failure, answers)))
        except NotAnalysed:
            drawn.append((failure, None))
    return drawn


def _breasts(images: Sequence[LabelledImage], answers: Answers, most: int) -> list[Failure]:
    labelled = [breast for breast in breasts_of(images) if breast.label.classification is not None]
    scores = malignancy_scores(answers, labelled)
    scored = [(score, breast) for score, breast in zip(scores, labelled, strict=True) if score is not None]
    scored.sort(key=lambda one: one[0])
    missed = [one for one in scored if one[1].malignant][:most]
    alarmed = [one for one in reversed(scored) if not one[1].malignant][:most]
    return [
        Failure(sort, f"{breast.label.classification}, score {score:.2f}", image)
        for sort, chosen in (("malignant breasts with the lowest scores", missed), ("others with the highest", alarmed))
        for score, breast in chosen
        for image in breast.images
    ]


def _lesions(images: Sequence[LabelledImage], answers: Answers, most: int) -> list[Failure]:
    least = least_suspicion(images, answers)
    missed: list[tuple[float, Lesion, LabelledImage]] = []
    for image in read_for_lesions(images):
        for lesion in image.lesions or ():
            if not any(mark.suspicion > least for mark in marks_within(marks_on(answers, image), lesion)):
                missed.append((diameter_mm(lesion, image_spacing(image)) or 0.0, lesion, image))
    missed.sort(key=lambda one: one[0], reverse=True)
    return [
        Failure("lesions that were missed", f"{lesion.kind}, {f'{size:.0f} mm' if size else 'size unknown'}", image)
        for size, lesion, image in missed[:most]
    ]


def _marks(images: Sequence[LabelledImage], answers: Answers, most: int) -> list[Failure]:
    false: list[tuple[Mark, LabelledImage]] = []
    for image in read_for_lesions(images):
        marks = marks_on(answers, image)
        hits = {id(mark) for lesion in image.lesions or () for mark in marks_within(marks, lesion)}
        false += [(mark, image) for mark in marks if id(mark) not in hits]
    false.sort(key=lambda one: one[0].suspicion, reverse=True)
    return [
        Failure("most suspicious false marks", f"{mark.kind}, suspicion {mark.suspicion:.2f}", image)
        for mark, image in false[:most]
    ]
