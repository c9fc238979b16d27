"""Ask a detector of this program about every image of a collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Final

from cmmd_node.cad import Detector, open_detector
from cmmd_node.errors import ModelFault, NotAnalysed
from cmmd_node.isolation import IsolatedPool, Lost
from cmmd_node.train.answers import Answers, ImageAnswer
from cmmd_node.train.images import read_picture
from cmmd_node.train.manifest import LabelledImage

UNTRAINED: Final = "untrained"
"""Names the network of this program before it learnt anything, where others name a bundle."""

_SECONDS: Final = 300.0
"""Deadline of one image."""


def ask_detector(
    bundle: str,
    images: Sequence[LabelledImage],
    *,
    processes: int,
    tell: Callable[[int, int], None] = lambda done, all_: None,
) -> Answers:
    """Every candidate mark on every image, and how long reading and marking took.

    Parameters
    ----------
    bundle : str
        "builtin", "classical", "untrained" or the folder of a bundle.
    processes : int
        How many images are worked on at once, each in a child process; one that crashes or hangs costs its image only.
    tell
        Called with how many images are done and how many there are.

    Raises
    ------
    BundleRefused
        The bundle cannot be used.
    """
    model, answers = _detector(bundle).model, {}
    pool = IsolatedPool(processes)
    try:
        for first in range(0, len(images), processes):
            some = images[first : first + processes]
            for image, answer in zip(some, pool.map(partial(_answer, bundle), some, seconds=_SECONDS), strict=True):
                answers[image.path] = ImageAnswer(problem=answer.reason) if isinstance(answer, Lost) else answer
            tell(first + len(some), len(images))
    finally:
        pool.close()
    return Answers(model=model, images=answers)


def _answer(bundle: str, image: LabelledImage) -> ImageAnswer:
    """Runs in a child process."""
    detector = _detector(bundle)
    start = time.perf_counter()
    try:
        picture = read_picture(image)
        marks = detector.marks(picture.pixels, view=image.view, spacing=picture.spacing, threshold=0.0)
    except (NotAnalysed, ModelFault) as error:
        return ImageAnswer(problem=str(error))
    return ImageAnswer(marks, time.perf_counter() - start)


@cache
def _detector(bundle: str) -> Detector:
    if bundle == UNTRAINED:
        from cmmd_node.cad.untrained import UntrainedDetector  # noqa: PLC0415 - loads torch, which others do without

        return UntrainedDetector()
    return open_detector(bundle)
