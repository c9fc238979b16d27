"""Ask the node's detector about every image of a collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache

from cmmd_node.cad import ClassicalDetector
from cmmd_node.cad.isolation import IsolatedPool, Lost
from cmmd_node.errors import NotAnalysed
from cmmd_node.train.answers import Answers, ImageAnswer
from cmmd_node.train.images import read_picture
from cmmd_node.train.manifest import LabelledImage

_SECONDS = 300.0
"""Deadline of one image."""


def ask_detector(
    images: Sequence[LabelledImage],
    *,
    processes: int,
    tell: Callable[[int, int], None] = lambda done, all_: None,
) -> Answers:
    """Every candidate mark on every image, and how long reading and marking took.

    Parameters
    ----------
    processes : int
        How many images are worked on at once, each in a child process; one that crashes or hangs costs its image only.
    tell
        Called with how many images are done and how many there are.
    """
    answers = {}
    pool = IsolatedPool(processes)
    try:
        for first in range(0, len(images), processes):
            some = images[first : first + processes]
            for image, answer in zip(some, pool.map(_answer, some, seconds=_SECONDS), strict=True):
                answers[image.path] = ImageAnswer(problem=answer.reason) if isinstance(answer, Lost) else answer
            tell(first + len(some), len(images))
    finally:
        pool.close()
    return Answers(model=_detector().model, images=answers)


def _answer(image: LabelledImage) -> ImageAnswer:
    """Runs in a child process."""
    detector = _detector()
    start = time.perf_counter()
    try:
        picture = read_picture(image)
        marks = detector.marks(picture.pixels, view=image.view, spacing=picture.spacing, threshold=0.0)
    except NotAnalysed as error:
        return ImageAnswer(problem=str(error))
    return ImageAnswer(marks, time.perf_counter() - start)


@cache
def _detector() -> ClassicalDetector:
    return ClassicalDetector()
