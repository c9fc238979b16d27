"""Small exams that the classical detector finds something in within milliseconds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset

from tests.mammograms import VIEWS, breast, make_mammogram

#: So coarse that 128 x 96 pixels are a breast of natural size; the images without a mass show a square centimetre.
_SPACING_MM = "0.7"
_MARKED = ("L CC", "L MLO")


def small_exam(study: str, *, patient: str | None = None) -> list[FileDataset]:
    """Four views of one study, the two of the left breast with a mass; equal seeds, equal bytes."""
    return [
        make_mammogram(
            _with_mass(view) if view in _MARKED else None,
            view=view,
            study=study,
            patient=patient or f"patient of {study}",
            **({"ImagerPixelSpacing": [_SPACING_MM, _SPACING_MM]} if view in _MARKED else {}),
        )
        for view in VIEWS
    ]


def _with_mass(view: str) -> npt.NDArray[np.uint8]:
    picture = breast(laterality=view[0], seed=VIEWS.index(view)).astype(np.float32)
    rows, columns = picture.shape
    down, across = np.mgrid[0:rows, 0:columns]
    distance = ((down - rows / 2) ** 2 + (across - 0.3 * columns) ** 2) / (2 * 5.7**2)
    return np.clip(picture + 60 * np.exp(-(distance**2)) * (picture > 0), 0, 255).astype(np.uint8)
