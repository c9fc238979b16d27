"""Free-response ROC: how many lesions are found at how many false marks per image.

The hit rule: a lesion is found when the centre of a mark of its kind lies within its outline (polygon, box or circle).
All marks in a lesion count as one. A mark in no lesion of its kind is false, also when it lies in something that is not
counted. False marks are counted over the images that hold a lesion of the kind in question, which is the primary
figure, or over images that a reader found to hold no lesion at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cmmd_node.facts import Kind, Mark, PointCR
from cmmd_node.train.bootstrap import FloatArray
from cmmd_node.train.manifest import Lesion

RATES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
"""False marks per image at which sensitivity is told."""


def holds(outline_cr: Sequence[PointCR], point_cr: PointCR) -> bool:
    """Whether a point is inside a polygon (even-odd rule)."""
    x, y = point_cr
    inside = False
    for (x0, y0), (x1, y1) in zip(outline_cr, (*outline_cr[1:], outline_cr[0]), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


@dataclass(frozen=True, slots=True)
class MarkedImage:
    """What a detector's marks are worth on one image."""

    found: tuple[tuple[Kind, float], ...]
    """Of each lesion: its kind, and the highest suspicion of a mark in it; 0 if there is none."""
    false: tuple[tuple[Kind, float], ...]
    """Of each false mark: its kind and suspicion."""

    @property
    def normal(self) -> bool:
        """Whether there is no lesion."""
        return not self.found


def marks_within(marks: Iterable[Mark], lesion: Lesion) -> tuple[Mark, ...]:
    """The marks that hit a lesion."""
    return tuple(mark for mark in marks if mark.kind is lesion.kind and holds(lesion.outline_cr, mark.center_cr))


def score_marks(marks: Sequence[Mark], lesions: Sequence[Lesion]) -> MarkedImage:
    """Compare the marks on one image with its lesions."""
    hits = [marks_within(marks, lesion) for lesion in lesions]
    used = {id(mark) for of_lesion in hits for mark in of_lesion}
    return MarkedImage(
        found=tuple(
            (lesion.kind, max((mark.suspicion for mark in of_lesion), default=0.0))
            for lesion, of_lesion in zip(lesions, hits, strict=True)
        ),
        false=tuple((mark.kind, mark.suspicion) for mark in marks if id(mark) not in used),
    )


class Froc:
    """The free-response curve of one kind of lesion, or of all together.

    Parameters
    ----------
    images
        All images that were read for lesions, those without any among them.
    kind : Kind or None
        None: every lesion, each to be found by marks of its own kind, and every false mark.
    over_normal : bool
        Count false marks over the images without any lesion, not over those that hold one of this kind.
    """

    def __init__(self, images: Sequence[MarkedImage], kind: Kind | None = None, *, over_normal: bool = False) -> None:
        found = [[s for k, s in image.found if kind in (None, k)] for image in images]
        holding = [number for number, of_image in enumerate(found) if of_image]
        counted = [n for n, image in enumerate(images) if image.normal] if over_normal else holding
        false = sorted(((s, n) for n in counted for k, s in images[n].false if kind in (None, k)), reverse=True)
        self.images = len(holding)
        """How many hold a lesion."""
        self.images_counted = len(counted)
        """How many false marks are counted over."""
        self._counted = np.array(counted, dtype=np.int64)
        self._of_lesion = np.array([n for n in holding for _ in found[n]], dtype=np.int64)
        self._scores = np.array([s for n in holding for s in found[n]], dtype=np.float64)
        self._of_false = np.array([n for _, n in false], dtype=np.int64)
        self._false = np.array([s for s, _ in false], dtype=np.float64)
        self._all = len(images)

    @property
    def lesions(self) -> int:
        return len(self._scores)

    def least_suspicion(self, rate: float, weights: FloatArray | None = None) -> float:
        """The suspicion that a mark must exceed for there to be no more than `rate` false marks per image."""
        weights = np.ones(self._all) if weights is None else weights
        allowed = rate * weights[self._counted].sum() + 1e-9
        over = np.flatnonzero(weights[self._of_false].cumsum() > allowed)
        return float(self._false[over[0]]) if over.size else 0.0

    def sensitivity(self, rate: float, weights: FloatArray | None = None) -> float:
        """The share of lesions that are found at no more than `rate` false marks per image.

        Parameters
        ----------
        weights : numpy.ndarray, shape (images,), optional
            How often each image counts.

        Returns
        -------
        float
            NaN when there are no lesions, or no images to count false marks over.
        """
        weights = np.ones(self._all) if weights is None else weights
        of_lesion = weights[self._of_lesion]
        if of_lesion.sum() == 0 or weights[self._counted].sum() == 0:
            return float("nan")
        found = self._scores > self.least_suspicion(rate, weights)
        return float((of_lesion * found).sum() / of_lesion.sum())

    def at_suspicion(self, least: float) -> tuple[float, float]:
        """Sensitivity and false marks per image when marks of at least this suspicion are shown."""
        sensitivity = float(np.mean(self._scores >= least)) if self.lesions else float("nan")
        return sensitivity, float((self._false >= least).sum() / max(self.images_counted, 1))

    def curve(self) -> tuple[FloatArray, FloatArray]:
        """False marks per image, rising, and the sensitivity at each."""
        rates = np.arange(len(self._false) + 1) / max(self.images_counted, 1)
        least = np.concatenate([self._false, [0.0]])
        sensitivity = 1.0 - np.searchsorted(np.sort(self._scores), least, side="right") / max(self.lesions, 1)
        return rates, sensitivity
