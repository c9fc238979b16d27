"""Images as training sees them: the breast, the candidates in it and which of them are masses, kept on disk.

Preparing an image takes about half a second and leaves a hundred kilobytes, so it is done once: the cache is a folder
with one file an image, named by the digest of what decides its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cmmd_node.cad.breast import Breast, find_breast
from cmmd_node.cad.classical import ClassicalDetector
from cmmd_node.cad.native import candidates_of
from cmmd_node.cad.patches import tissue_levels
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import Classification, Kind, PointCR
from cmmd_node.train.images import read_picture
from cmmd_node.train.manifest import LabelledImage, Lesion

_MALIGNANT = {Classification.MALIGNANT: 1, Classification.BENIGN: 0}
_LEAST_HALF_MM = 2.0
"""Masses that are smaller than twice this are given some room."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """One image with its candidates and its masses."""

    levels: npt.NDArray[np.uint8]
    """The breast, as `cad.patches.tissue_levels` gives it."""
    centers_mm: npt.NDArray[np.float32]
    """Shape (candidates, 2)."""
    features: npt.NDArray[np.float32]
    """Shape (candidates, features), as the network reads them."""
    hits: npt.NDArray[np.bool_]
    """Shape (candidates, masses): the centre of the candidate lies in the outline of the mass."""
    off: npt.NDArray[np.float32]
    """Shape (candidates, masses): how far off the middle of the mass's box, 1 at its edges."""
    half_mm: npt.NDArray[np.float32]
    """Shape (masses,): half the shorter side of the box."""
    malignant: npt.NDArray[np.int8]
    """Shape (masses,): 1 malignant, 0 benign, -1 unknown."""

    @property
    def log_odds(self) -> npt.NDArray[np.float32]:
        """Shape (candidates,): what the classical detector says of them."""
        return self.features[:, -1]


@dataclass(frozen=True, slots=True)
class Unprepared:
    """An image that cannot be trained on, and why."""

    path: Path
    reason: str


def prepared_images(images: Sequence[LabelledImage], cache: Path) -> Iterator[PreparedImage | Unprepared]:
    """Prepare images, or take them from the cache, one after the other."""
    cache.mkdir(parents=True, exist_ok=True)
    classical = ClassicalDetector()
    for image in images:
        try:
            file = cache / f"{_digest(image, classical)}.npz"
            if not file.is_file():
                _write(prepare(image, classical), file)
            yield _read(file)
        except (NotAnalysed, OSError) as error:
            yield Unprepared(image.path, str(error))


def prepare(image: LabelledImage, classical: ClassicalDetector) -> PreparedImage:
    """One image as training sees it.

    Raises
    ------
    NotAnalysed
        It cannot be read, nobody outlined lesions on it, its spacing is not known or no breast is found.
    """
    if image.lesions is None:
        raise NotAnalysed("nobody outlined lesions on it")
    picture = read_picture(image)
    if picture.spacing is None:
        raise NotAnalysed("its pixel spacing is not known")
    breast = find_breast(picture.pixels, position=image.view.position, spacing=picture.spacing)
    if breast is None:
        raise NotAnalysed("no breast is found in it")
    found, features = candidates_of(breast, classical)
    masses = [lesion for lesion in image.lesions if lesion.kind is Kind.MASS]
    outlines = [_on_grid(lesion.outline_cr, breast) for lesion in masses]
    centers = found.centers_mm
    boxes = np.array([[o.min(axis=0), o.max(axis=0)] for o in outlines]).reshape(-1, 2, 2)  # masses, corners, (x, y)
    half = (boxes[:, 1] - boxes[:, 0]) / 2.0
    off = np.abs(centers[:, None] - boxes.mean(axis=1)) / np.maximum(half, _LEAST_HALF_MM)
    hits = [_inside(centers, outline) for outline in outlines]
    return PreparedImage(
        levels=tissue_levels(breast),
        centers_mm=centers.astype(np.float32),
        features=features.astype(np.float32),
        hits=np.stack(hits, axis=1) if hits else np.zeros((len(centers), 0), np.bool_),
        off=off.max(axis=2).astype(np.float32),
        half_mm=half.min(axis=1).astype(np.float32),
        malignant=np.array([_malignant(lesion) for lesion in masses], np.int8),
    )


def _malignant(lesion: Lesion) -> int:
    return -1 if lesion.classification is None else _MALIGNANT.get(lesion.classification, -1)


def _on_grid(outline_cr: tuple[PointCR, ...], breast: Breast) -> npt.NDArray[np.float64]:
    """Corners in mm on the grid of the breast: what `Placement.to_image` turns back; shape (corners, 2)."""
    place = breast.placement
    columns, rows = np.array(outline_cr, np.float64).T
    columns = place.columns - columns if place.mirrored else columns
    return np.stack([columns * place.spacing.column_mm - place.first_column_mm, rows * place.spacing.row_mm], axis=1)


def _inside(points: npt.NDArray[np.float64], outline: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which points lie in a polygon (even-odd rule)."""
    (x, y), inside = points.T, np.zeros(len(points), np.bool_)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _digest(image: LabelledImage, classical: ClassicalDetector) -> str:
    digest = hashlib.sha256(image.path.read_bytes())
    known = image.spacing, image.view, image.lesions, classical.model.digest
    digest.update(repr(known).encode())
    return digest.hexdigest()


def _write(image: PreparedImage, file: Path) -> None:
    draft = file.with_suffix(".draft")
    with draft.open("wb") as out:
        np.savez_compressed(out, **{field.name: getattr(image, field.name) for field in fields(image)})
    draft.replace(file)


def _read(file: Path) -> PreparedImage:
    with np.load(file, allow_pickle=False) as arrays:
        return PreparedImage(**{field.name: arrays[field.name] for field in fields(PreparedImage)})
