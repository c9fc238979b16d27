"""On which side of the image the chest wall is, by its pixels, and whether the header agrees."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from cmmd_node.assemble.header import text, texts

#: The half with the chest wall holds so much more breast; with less the pixels do not tell.
_CLEAR_FACTOR = 1.1


class Side(StrEnum):
    """A vertical edge of the stored image."""

    LEFT = "left"
    """At column 0."""
    RIGHT = "right"
    """At the last column."""


def chest_wall_side(pixels: npt.NDArray[np.float32]) -> Side | None:
    """The edge that the breast lies against, or None when the pixels do not tell.

    A breast is broad at the chest wall and ends at the nipple, so the half of the image with the chest wall shows more
    of it, however large it is.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (rows, columns)
        As `pixels.read_pixels` gives them: 0 is air.
    """
    breast = np.count_nonzero(pixels, axis=0)
    half = breast.size // 2
    left, right = int(breast[:half].sum()), int(breast[breast.size - half :].sum())
    if left > _CLEAR_FACTOR * right:
        return Side.LEFT
    return Side.RIGHT if right > _CLEAR_FACTOR * left else None


def side_warning(ds: Dataset, pixels: npt.NDArray[np.float32]) -> str | None:
    """A sentence when the header and the pixels put the chest wall on different sides of the image, or None.

    Patient Orientation says where rows run: to the front (A) of the patient, then the chest wall is on the left, or to
    the back (P). Where it does not say, the usual hanging is expected, the left breast with the chest wall on the
    left. Only a warning: nobody can know from the image which of the two is wrong.
    """
    seen = chest_wall_side(pixels)
    laterality = text(ds, "ImageLaterality") or text(ds, "Laterality")
    directions = set("".join(texts(ds, "PatientOrientation")[:1])) & set("AP")
    if len(directions) == 1:
        expected = Side.LEFT if directions == {"A"} else Side.RIGHT
        told = f"Patient Orientation of the {laterality} image"
    elif laterality in ("L", "R"):
        expected = Side.LEFT if laterality == "L" else Side.RIGHT
        told = f"Laterality {laterality} without Patient Orientation"
    else:
        return None
    if seen is None or seen is expected:
        return None
    return f"{told} puts the chest wall on the {expected}, the pixels show it on the {seen}"
