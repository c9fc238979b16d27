"""Images as training sees them: the candidates in the breast and what is known of them, kept on disk.

Known is which of them are lesions, where somebody outlined these, and what the label of the breast says. Preparing an
image takes a fraction of a second and leaves some hundred kilobytes, so it is done once: the cache is a folder with one
file for each image and kind of lesion, named by the digest of what decides its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from cmmd_node.cad import candidates
from cmmd_node.cad.breast import Breast, find_breast
from cmmd_node.cad.candidates import Sighted, sighted
from cmmd_node.cad.classical import ClassicalDetector
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import BreastLabel, Classification, Kind, PointCR, Subtype
from cmmd_node.isolation import IsolatedPool, Lost
from cmmd_node.train.images import read_picture
from cmmd_node.train.manifest import LabelledImage

_MALIGNANT = {Classification.MALIGNANT: 1, Classification.BENIGN: 0}
_SUBTYPES = tuple(Subtype)
_LEAST_HALF_MM = 2.0
"""Lesions that are smaller than twice this are given some room."""
_SECONDS: Final = 300.0
"""Deadline of one image."""
_AHEAD: Final = 8
"""Images for each process that are given out before the first of them is read back."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """One image with its candidates and its lesions of one kind."""

    sheets: npt.NDArray[np.uint8]
    """What patches are read from, as `cad.candidates.Sighted` has it; shape (sheets, rows, columns)."""
    sheet: npt.NDArray[np.int64]
    """Which of them each candidate is on, shape (candidates,)."""
    places_mm: npt.NDArray[np.float32]
    """Where it is there, shape (candidates, 2)."""
    features: npt.NDArray[np.float32]
    """Shape (candidates, features), as the network reads them."""
    rings: npt.NDArray[np.float32]
    """As `cad.candidates.Sighted` has them."""
    log_odds: npt.NDArray[np.float32]
    """Shape (candidates,): what the classical detector says of them."""
    hits: npt.NDArray[np.bool_]
    """Shape (candidates, lesions): the centre of the candidate lies in the outline of the lesion."""
    off: npt.NDArray[np.float32]
    """Shape (candidates, lesions): how far off the middle of the lesion's box, 1 at its edges."""
    boxes_mm: npt.NDArray[np.float32]
    """Shape (lesions, 2, 2): first and last corner of each lesion's box, (column, row) on the grid of the breast."""
    corners_mm: npt.NDArray[np.float32]
    """Shape (corners, 2): of the outlines of all lesions, one after the other, on the same grid."""
    lesion_of_corner: npt.NDArray[np.int64]
    """Shape (corners,)."""
    malignant: npt.NDArray[np.int8]
    """Shape (lesions,): 1 malignant, 0 benign, -1 unknown."""
    subtype: npt.NDArray[np.int8]
    """Shape (lesions,): which of `Subtype`, -1 unknown or none."""
    outlined: npt.NDArray[np.bool_]
    """Shape (): whether the lesions are all there are, since somebody looked for them; else none are told."""
    holds: npt.NDArray[np.int8]
    """Shape (): 1 when the breast holds a lesion of the kind, 0 when it does not, -1 unknown."""
    breast_malignant: npt.NDArray[np.int8]
    """Shape (): as `malignant`, of the breast."""
    breast_subtype: npt.NDArray[np.int8]
    """Shape (): as `subtype`, of the breast."""

    def hits_of(self, places_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which lesions places on the grid of the breast lie in; shape (places, lesions)."""
        outlines = (self.corners_mm[self.lesion_of_corner == lesion] for lesion in range(len(self.malignant)))
        hits = [_inside(places_mm, outline.astype(np.float64)) for outline in outlines]
        return np.stack(hits, axis=1) if hits else np.zeros((len(places_mm), 0), np.bool_)

    @property
    def weak(self) -> bool:
        """The breast holds a lesion of the kind, and nobody outlined it."""
        return not self.outlined and bool(self.holds == 1)

    @property
    def clean(self) -> bool:
        """Every candidate that hits no lesion is none."""
        return bool(self.outlined) or bool(self.holds == 0)

    @property
    def shows(self) -> bool:
        """A lesion of the kind is there to learn from."""
        return self.weak or len(self.malignant) > 0


@dataclass(frozen=True, slots=True)
class Unprepared:
    """An image that cannot be trained on, and why."""

    path: Path
    reason: str


def prepared_images(
    images: Sequence[LabelledImage], folder: Path, *, processes: int
) -> Iterator[Mapping[Kind, PreparedImage] | Unprepared]:
    """Prepare images, or take them from the cache; in their order.

    Parameters
    ----------
    folder : Path
        The cache.
    processes : int
        How many images are worked on at once, each in a child process; one that crashes or hangs costs its image only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pool = IsolatedPool(processes)
    try:
        for first in range(0, len(images), _AHEAD * processes):
            some = images[first : first + _AHEAD * processes]
            for image, told in zip(some, pool.map(partial(_prepared, folder), some, seconds=_SECONDS), strict=True):
                if isinstance(told, Lost):
                    yield Unprepared(image.path, told.reason)
                else:
                    yield told if isinstance(told, Unprepared) else {kind: _read(file) for kind, file in told.items()}
    finally:
        pool.close()


def _prepared(folder: Path, image: LabelledImage) -> Mapping[Kind, Path] | Unprepared:
    """The files of an image in the cache; runs in a child process."""
    classical = _classical()
    try:
        digest = _digest(image, classical)
        files = {kind: folder / f"{digest}-{kind}.npz" for kind in Kind}
        if not all(file.is_file() for file in files.values()):
            for kind, prepared in prepare(image, classical).items():
                _write(prepared, files[kind])
    except (NotAnalysed, OSError) as error:
        return Unprepared(image.path, str(error))
    return files


@cache
def _classical() -> ClassicalDetector:
    return ClassicalDetector()


def prepare(image: LabelledImage, classical: ClassicalDetector) -> dict[Kind, PreparedImage]:
    """One image as training sees it, for each kind of lesion.

    Raises
    ------
    NotAnalysed
        It cannot be read, nothing is known of lesions on it, its spacing is not known or no breast is found.
    """
    if image.lesions is None and image.label.kinds is None and image.label.classification is not Classification.NORMAL:
        raise NotAnalysed("nobody outlined lesions on it, and no label says which its breast holds")
    picture = read_picture(image)
    if picture.spacing is None:
        raise NotAnalysed("its pixel spacing is not known")
    breast = find_breast(picture.pixels, position=image.view.position, spacing=picture.spacing)
    if breast is None:
        raise NotAnalysed("no breast is found in it")
    return {kind: _of_kind(image, kind, sighted(kind, picture.pixels, breast, classical), breast) for kind in Kind}


def _of_kind(image: LabelledImage, kind: Kind, seen: Sighted, breast: Breast) -> PreparedImage:
    lesions = [lesion for lesion in image.lesions or () if lesion.kind is kind]
    outlines = [_on_grid(lesion.outline_cr, breast) for lesion in lesions]
    centers = seen.centers_mm
    boxes = np.array([[o.min(axis=0), o.max(axis=0)] for o in outlines]).reshape(-1, 2, 2)  # lesions, corners, (x, y)
    half = (boxes[:, 1] - boxes[:, 0]) / 2.0
    off = np.abs(centers[:, None] - boxes.mean(axis=1)) / np.maximum(half, _LEAST_HALF_MM)
    hits = [_inside(centers, outline) for outline in outlines]
    malignant = np.array([_malignant(lesion.classification) for lesion in lesions], np.int8)
    label = image.label
    subtype = -1 if label.subtype is None else _SUBTYPES.index(label.subtype)
    return PreparedImage(
        sheets=seen.sheets,
        sheet=seen.sheet,
        places_mm=seen.places_mm.astype(np.float32),
        features=seen.features.astype(np.float32),
        rings=seen.rings,
        log_odds=seen.log_odds.astype(np.float32),
        hits=np.stack(hits, axis=1) if hits else np.zeros((len(centers), 0), np.bool_),
        off=off.max(axis=2).astype(np.float32),
        boxes_mm=boxes.astype(np.float32),
        corners_mm=np.concatenate([np.zeros((0, 2)), *outlines]).astype(np.float32),
        lesion_of_corner=np.repeat(np.arange(len(outlines)), [len(outline) for outline in outlines]),
        malignant=malignant,
        subtype=np.where(malignant == 1, subtype, -1).astype(np.int8),
        outlined=np.array(image.lesions is not None),
        holds=np.array(_holds(label, kind), np.int8),
        breast_malignant=np.array(_malignant(label.classification), np.int8),
        breast_subtype=np.array(subtype, np.int8),
    )


def _malignant(classification: Classification | None) -> int:
    return -1 if classification is None else _MALIGNANT.get(classification, -1)


def _holds(label: BreastLabel, kind: Kind) -> int:
    if label.kinds is not None:
        return int(kind in label.kinds)
    return 0 if label.classification is Classification.NORMAL else -1


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
    label = image.label
    kinds = None if label.kinds is None else sorted(label.kinds)
    known = image.spacing, image.view, image.lesions, label.classification, kinds, label.subtype
    told = [field.name for field in fields(PreparedImage)]
    digest.update(repr((known, classical.model.digest, _candidate_code(), told)).encode())
    return digest.hexdigest()


def _candidate_code() -> str:
    """Of the modules that decide candidates and patches, besides those that the classical detector names."""
    folder = Path(candidates.__file__).parent
    content = b"".join(
        (folder / name).read_bytes() for name in ("candidates.py", "margins.py", "patches.py", "specks.py")
    )
    return hashlib.sha256(content).hexdigest()


def _write(image: PreparedImage, file: Path) -> None:
    draft = file.with_suffix(".draft")
    with draft.open("wb") as out:
        np.savez_compressed(out, **{field.name: getattr(image, field.name) for field in fields(image)})
    draft.replace(file)


def _read(file: Path) -> PreparedImage:
    with np.load(file, allow_pickle=False) as arrays:
        return PreparedImage(**{field.name: arrays[field.name] for field in fields(PreparedImage)})
