"""Masses of some breasts put into others, so that a map does not learn by heart the few that it is shown.

What is cut out is laid over another place with a soft edge, and made as bright as that place is around it. The same is
done with places where no mass is: such an edge is no sign of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cmmd_node.cad.breast import GRID_MM
from cmmd_node.train.prepared import PreparedImage

_OFTEN: Final = 0.5
"""So often a mass is pasted into an image, and as often a place without one."""
_WIDER: Final = 1.5
"""How much farther than the box of a mass what is cut out reaches."""
_TRIALS: Final = 12
"""Places that are tried before a cut-out is given up."""
_LEAST, _MOST = 4.0, 40.0
"""Half sides of a mass, in pixels of the coarse grid: smaller ones are given some room, larger ones are not pasted."""

_Pixels = npt.NDArray[np.int64]
"""(column, row) on the coarse grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A breast and its masses."""

    levels: npt.NDArray[np.float32]
    """`cad.patches.tissue_levels`, shape (rows, columns)."""
    boxes: npt.NDArray[np.float64]
    """Of the masses, shape (n, 2, 2): first and last corner, (column, row) in pixels."""
    malignant: npt.NDArray[np.int8]
    """Shape (n,), as `PreparedImage` has it."""


def scene_of(image: PreparedImage) -> Scene:
    """The breast of an image as it is."""
    return Scene(image.sheets[0].astype(np.float32), image.boxes_mm.astype(np.float64) / GRID_MM, image.malignant)


def with_pasted(scene: Scene, donors: Sequence[PreparedImage], rng: np.random.Generator) -> Scene:
    """A breast into which half of the time a mass of a donor is put, and half of the time a place without one.

    Parameters
    ----------
    donors
        Images with masses; without any the breast stays as it is.
    """
    for of_mass in (True, False) if donors else ():
        if rng.random() < _OFTEN:
            scene = _pasted(scene, donors[int(rng.integers(len(donors)))], of_mass, rng)
    return scene


def _pasted(scene: Scene, donor: PreparedImage, of_mass: bool, rng: np.random.Generator) -> Scene:
    """The breast as it is where the mass is too large, or no place for it is found."""
    source = scene_of(donor)
    which = int(rng.integers(len(source.boxes)))
    half = (source.boxes[which, 1] - source.boxes[which, 0]) / 2.0
    if half.max() > _MOST:
        return scene
    half = np.maximum(half, _LEAST)
    reach = np.ceil(half * _WIDER).astype(np.int64)
    here = source.boxes[which].mean(axis=0).astype(np.int64) if of_mass else _free(source, reach, rng)
    if here is None or not _within(source.levels, here, reach):
        return scene
    cut, half = _turned(_window(source.levels, here, reach), half, rng)
    reach = np.array(cut.shape[::-1]) // 2
    there = _free(scene, reach, rng)
    if there is None:
        return scene
    levels = scene.levels.copy()
    _lay(_window(levels, there, reach), cut, half)
    if not of_mass:
        return Scene(levels, scene.boxes, scene.malignant)
    box = np.stack([there - half, there + half])
    return Scene(levels, np.append(scene.boxes, box[None], axis=0), np.append(scene.malignant, donor.malignant[which]))


def _window(levels: npt.NDArray[np.float32], center: _Pixels, reach: _Pixels) -> npt.NDArray[np.float32]:
    (x, y), (wide, high) = center, reach
    return levels[y - high : y + high + 1, x - wide : x + wide + 1]


def _within(levels: npt.NDArray[np.float32], center: _Pixels, reach: _Pixels) -> bool:
    """Whether a window lies on the grid, its middle in the breast."""
    size = np.array(levels.shape[::-1])
    return bool(((center >= reach) & (center + reach < size)).all()) and bool(levels[center[1], center[0]] > 0)


def _free(scene: Scene, reach: _Pixels, rng: np.random.Generator) -> _Pixels | None:
    """The middle of a window in the breast and away from its masses; None where none was found."""
    size = np.array(scene.levels.shape[::-1])
    if (size <= 2 * reach + 1).any():
        return None
    for _ in range(_TRIALS):
        center = rng.integers(reach, size - reach)
        apart = (center + reach < scene.boxes[:, 0]) | (center - reach > scene.boxes[:, 1])
        if apart.any(axis=1).all() and (_window(scene.levels, center, reach)[::4, ::4] > 0).all():
            return center
    return None


def _turned(
    cut: npt.NDArray[np.float32], half: npt.NDArray[np.float64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """By some quarters, and mirrored half of the time."""
    quarters = int(rng.integers(4))
    cut = np.rot90(cut, quarters)
    return (cut[:, ::-1] if rng.random() < 0.5 else cut), (half[::-1] if quarters % 2 else half)


def _lay(window: npt.NDArray[np.float32], cut: npt.NDArray[np.float32], half: npt.NDArray[np.float64]) -> None:
    """Over a window: wholly within the ellipse of the mass's box, less and less beyond; air is not laid."""
    high, wide = (np.arange(size) - size // 2 for size in cut.shape)
    off = np.hypot(wide[None] / half[0], high[:, None] / half[1])
    over = np.clip((_WIDER - off) / (_WIDER - 1.0), 0.0, 1.0)
    over = (over * over * (3.0 - 2.0 * over) * (cut > 0)).astype(np.float32)
    around = ((off > 1.0) & (cut > 0)).astype(np.float32)
    brighter = ((window - cut) * around).sum() / max(float(around.sum()), 1.0)
    window += over * (np.clip(cut + brighter, 1.0, 255.0) - window)
