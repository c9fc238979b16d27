"""Ask a detector of this program about every image of a collection."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from cmmd_node.cad import Detector, both_views_of, open_detector
from cmmd_node.cad.both_views import MarkedView, with_both_views
from cmmd_node.cad.geometry import breast_geometry, from_nipple_mm
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

    Both views of a breast are weighed with each other if the model wants that.

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
    model = _detector(bundle).model
    both_views = None if bundle == UNTRAINED else both_views_of(bundle)
    answers: dict[Path, ImageAnswer] = {}
    breasts: dict[object, dict[Path, MarkedView]] = defaultdict(dict)
    pool = IsolatedPool(processes)
    try:
        for first in range(0, len(images), processes):
            some = images[first : first + processes]
            for image, answer in zip(some, pool.map(partial(_answer, bundle), some, seconds=_SECONDS), strict=True):
                if isinstance(answer, Lost):
                    answers[image.path] = ImageAnswer(problem=answer.reason)
                    continue
                answers[image.path], from_nipple = answer
                if from_nipple is not None:
                    marks = answers[image.path].marks
                    breasts[image.breast][image.path] = MarkedView(image.view, marks, from_nipple)
            tell(first + len(some), len(images))
    finally:
        pool.close()
    if both_views is not None:
        for views in breasts.values():
            for path, marks in zip(views, with_both_views(tuple(views.values()), both_views), strict=True):
                answers[path] = replace(answers[path], marks=marks)
    return Answers(model=model, images=answers)


def _answer(bundle: str, image: LabelledImage) -> tuple[ImageAnswer, npt.NDArray[np.float64] | None]:
    """What is said of an image, and how far the marks are from the nipple, mm; runs in a child process."""
    detector = _detector(bundle)
    start = time.perf_counter()
    try:
        picture = read_picture(image)
        marks = detector.marks(picture.pixels, view=image.view, spacing=picture.spacing, threshold=0.0)
    except (NotAnalysed, ModelFault) as error:
        return ImageAnswer(problem=str(error)), None
    answer = ImageAnswer(marks, time.perf_counter() - start)
    breast = breast_geometry(picture.pixels, view=image.view, spacing=picture.spacing)
    if breast is None or picture.spacing is None:
        return answer, None
    return answer, from_nipple_mm(breast, picture.spacing, marks)


@cache
def _detector(bundle: str) -> Detector:
    if bundle == UNTRAINED:
        from cmmd_node.cad.untrained import UntrainedDetector  # noqa: PLC0415 - loads torch, which others do without

        return UntrainedDetector()
    return open_detector(bundle)
