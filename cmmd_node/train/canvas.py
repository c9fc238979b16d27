"""What a map of masses is shown, a breast on a canvas, each time otherwise; and what it should say of its cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from cmmd_node.cad.breast import GRID_MM
from cmmd_node.cad.mass_map import CELL_MM, STRIDE, planes_of
from cmmd_node.train.pasting import scene_of, with_pasted
from cmmd_node.train.prepared import PreparedImage

CANVAS: Final = (640, 384)
"""Rows and columns of what is shown, 256 x 154 mm from the chest wall; what is larger is cut off."""
_CELLS: Final = (CANVAS[0] // STRIDE, CANVAS[1] // STRIDE)
_NARROW: Final = 0.2
"""Standard deviation of what counts as near a centre, in sides of the lesion's box."""
_WITHIN: Final = 0.5
"""So near a centre, a cell tells whether the mass is malignant."""


def shown(
    image: PreparedImage, donors: Sequence[PreparedImage], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An image as it is shown once, with masses of donors: its planes, and `near` and `malignant` of its cells."""
    scene = with_pasted(scene_of(image), donors, rng)
    sheet = scene.levels
    turn = _turn(rng)
    middle, canvas_middle = np.array([0.0, sheet.shape[0] / 2.0]), np.array([0.0, CANVAS[0] / 2.0])
    planes = _drawn(planes_of(sheet), turn, middle, canvas_middle)
    boxes = scene.boxes
    centers = (boxes.mean(axis=1) - middle) @ turn.T + canvas_middle
    sides = np.sqrt((boxes[:, 1] - boxes[:, 0]) ** 2 @ (turn**2).T)  # as the spread of a bell of that shape turns
    near, malignant = wanted(centers * GRID_MM, sides * GRID_MM, scene.malignant)
    level, inside = _other_look(planes[0], rng), planes[1]
    _erase(level, centers, rng)
    level = torch.lerp(torch.full_like(level, -1.0), level.clamp(-1.0, 1.0), inside)
    return torch.stack([level, inside]), torch.from_numpy(near), torch.from_numpy(malignant)


def _turn(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """From (column, row) off the middle of the chest wall to the same as shown; shape (2, 2).

    Larger or smaller, wider or higher, sheared, turned a little, upside down half of the time.
    """
    scale, aspect = rng.uniform(-math.log(1.25), math.log(1.25)), rng.uniform(-0.06, 0.06)
    shear, angle = rng.uniform(-0.1, 0.1), rng.uniform(-math.pi / 12.0, math.pi / 12.0)
    cos, sin, flip = math.cos(angle), math.sin(angle), rng.choice([-1.0, 1.0])
    stretch = np.diag([math.exp(scale + aspect), flip * math.exp(scale - aspect)])
    turned: npt.NDArray[np.float64] = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, shear], [0.0, 1.0]])
    return turned @ stretch


def _drawn(
    planes: torch.Tensor,
    turn: npt.NDArray[np.float64],
    middle: npt.NDArray[np.float64],
    canvas_middle: npt.NDArray[np.float64],
) -> torch.Tensor:
    """Planes on the canvas, air beyond them; `affine_grid` counts both from -1 to 1."""
    size, canvas = np.array(planes.shape[:0:-1], np.float64), np.array(CANVAS[::-1], np.float64)  # columns, rows
    back = np.linalg.inv(turn)
    moved = (back @ (canvas / 2.0 - canvas_middle) + middle) * 2.0 / size - 1.0
    theta = np.concatenate([back * (canvas / size[:, None]), moved[:, None]], axis=1).astype(np.float32)
    grid = affine_grid(torch.from_numpy(theta)[None], [1, len(planes), *CANVAS], align_corners=False)
    above_air = torch.stack([planes[0] + 1.0, planes[1]])
    level, inside = grid_sample(above_air[None], grid, align_corners=False)[0]
    return torch.stack([level - 1.0, inside])


def _other_look(level: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """With more or less contrast, brighter or darker, blurred half of the time, with noise."""
    contrast, shift = rng.uniform(0.75, 1.25), rng.uniform(-0.15, 0.15)
    if rng.random() < 0.5:
        level = torch.lerp(level, avg_pool2d(level[None], 3, stride=1, padding=1)[0], rng.uniform(0.0, 1.0))
    noise = torch.from_numpy(rng.standard_normal(tuple(level.shape), dtype=np.float32))
    return level * contrast + shift + noise * rng.uniform(0.0, 0.06)


def _erase(level: torch.Tensor, centers: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
    """Make a rectangle even, half of the time, unless a mass is centred in it."""
    high, wide = rng.integers(20, 80, 2)
    top, left = rng.integers(0, CANVAS[0] - high), rng.integers(0, CANVAS[1] - wide)
    value = rng.uniform(-0.5, 0.5)
    inside = (centers >= (left, top)) & (centers < (left + wide, top + high))
    if rng.random() < 0.5 and not inside.all(axis=1).any():
        level[top : top + high, left : left + wide] = value


def wanted(
    centers_mm: npt.NDArray[np.float64], sides_mm: npt.NDArray[np.float64], malignant: npt.NDArray[np.int8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What should be said of the cells of a canvas.

    Parameters
    ----------
    centers_mm, sides_mm : numpy.ndarray, shape (lesions, 2)
        Of the boxes of the masses, (column, row) from the corner of the canvas. Those centred beyond it do not count.
    malignant : numpy.ndarray, shape (lesions,)
        1 malignant, 0 benign, -1 unknown.

    Returns
    -------
    tuple of numpy.ndarray, float32, shape (rows, columns) in cells
        `near` and `malignant` of `map_loss`; a cell near several centres belongs to the nearest.
    """
    near, result = np.zeros(_CELLS, np.float32), np.full(_CELLS, np.nan, np.float32)
    down, across = (np.arange(count) for count in _CELLS)
    for (x, y), sides, label in zip(centers_mm / CELL_MM, sides_mm / CELL_MM, malignant, strict=True):
        column, row = math.floor(x), math.floor(y)
        if not (0 <= column < _CELLS[1] and 0 <= row < _CELLS[0]):
            continue
        wide, high = np.maximum(sides * _NARROW, 1.0)
        bell = np.exp(-0.5 * ((across - column)[None] / wide) ** 2 - 0.5 * ((down - row)[:, None] / high) ** 2)
        result[(bell > near) & (bell > _WITHIN)] = np.nan if label < 0 else label
        near = np.maximum(near, bell.astype(np.float32))
    return near, result
