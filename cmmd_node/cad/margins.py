"""What is seen around a mass, ring by ring, down to 0.1 mm: what tells malignant masses from benign ones.

A benign mass has a sharp and even margin; a malignant one is drawn out into spicules, which are lines that point away
from it. On the rings around a candidate, brightness and its slope and curvature are told apart by direction: outwards
from the candidate, and along the ring. The rings widen by the same factor from one to the next, so that what is at the
margin of a small mass and of a large one differs by a shift only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmmd_node.cad.breast import GRID_MM, Breast, Field, resampled
from cmmd_node.cad.outlines import Points
from cmmd_node.cad.patches import tissue_scale

SMOOTHED_MM: Final = (0.1, 0.2, 0.4)
"""Standard deviations of the filters that the rings are read with, each on a grid with pixels of that size,
twice those of the one before."""
RING_EDGES_MM: Final = tuple(float(edge) for edge in np.geomspace(1.0, 30.0, 15))
"""Where one ring ends and the next begins."""
RING_FEATURES: Final = (
    "brightness",
    "unrest",
    "slope outwards",
    "steepness outwards",
    "steepness along the ring",
    "share of slopes along the ring",
    "ridges that point outwards",
    "ridges along the ring",
    "strong ridges that point outwards",
    "unevenness around the ring",
    "unevenness of the slope around the ring",
    "raggedness around the ring",
)
"""Of each ring at each smoothing."""
_FINE: Final = round(GRID_MM / SMOOTHED_MM[0])
"""Rows and columns of the finest grid in one of the coarse."""
_ANGLES: Final = 64
_STEPS: Final = 4
"""Radii at which a ring is read."""
_DARKEST, _BRIGHTEST = -3.0, 4.0
_FAINT: Final = 1e-4


def ring_features(pixels: Field, breast: Breast, centers_mm: Points) -> Field:
    """The rings around places in a breast.

    Parameters
    ----------
    pixels : numpy.ndarray, float32, shape (rows, columns)
        The image in which the breast was found.
    centers_mm : numpy.ndarray, shape (n, 2)
        (column, row) on the coarse grid of the breast.

    Returns
    -------
    numpy.ndarray, float32, shape (n, rings, len(SMOOTHED_MM) * len(RING_FEATURES))
    """
    turn = 2.0 * np.pi * np.arange(_ANGLES) / _ANGLES
    outwards = np.stack([np.cos(turn), np.sin(turn)])  # (2, angles)
    steps = (np.arange(_STEPS) + 0.5) / _STEPS
    radii = np.stack([first + (last - first) * steps for first, last in pairwise(RING_EDGES_MM)])
    # (2, n, rings, steps, angles)
    places = centers_mm.T[:, :, None, None, None] + outwards[:, None, None, None] * radii[None, None, :, :, None]
    seen = _read(breast.mask.astype(np.float32), places / GRID_MM) > 0.5
    level, told = _finest(pixels, breast), []
    for pixel_mm in SMOOTHED_MM:
        told.append(_told(ndimage.gaussian_filter(level, 1.0), places / pixel_mm, outwards, seen))
        level = _halved(level)
    return np.concatenate(told, axis=2).astype(np.float32)


def _finest(pixels: Field, breast: Breast) -> Field:
    """The breast on the finest grid in steps of the standard deviation of its tissue."""
    place, pixel_mm = breast.placement, SMOOTHED_MM[0]
    upright = pixels[:, ::-1] if place.mirrored else pixels
    spacing = place.spacing
    image = resampled(upright, row_step=pixel_mm / spacing.row_mm, column_step=pixel_mm / spacing.column_mm)
    image = image[:, round(place.first_column_mm / pixel_mm) :]
    inside = np.kron(breast.mask, np.ones((_FINE, _FINE), np.bool_))
    rows, columns = (min(sizes) for sizes in zip(image.shape, inside.shape, strict=True))
    middle, spread = tissue_scale(breast)
    level = np.where(inside[:rows, :columns], (image[:rows, :columns] - middle) / spread, _DARKEST)
    return level.clip(_DARKEST, _BRIGHTEST).astype(np.float32)


def _halved(level: Field) -> Field:
    """Means over two by two pixels; a last one that is single is left out."""
    rows, columns = (size // 2 for size in level.shape)
    means: Field = level[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean(axis=(1, 3))
    return means


def _read(level: Field, places: NDArray[np.float64]) -> Field:
    """Bilinearly between the middles of pixels, the edge repeated.

    Parameters
    ----------
    places : numpy.ndarray, shape (2, ...)
        (column, row) in pixels from the corner of the grid.
    """
    height, width = level.shape
    columns, rows = (places - 0.5).astype(np.float32)
    columns, rows = columns.clip(0.0, width - 1.001), rows.clip(0.0, height - 1.001)
    first_column, first_row = columns.astype(np.int32), rows.astype(np.int32)
    right, below = columns - first_column, rows - first_row
    flat, at = level.ravel(), first_row * width + first_column
    upper = flat[at] + (flat[at + 1] - flat[at]) * right
    lower = flat[at + width] + (flat[at + width + 1] - flat[at + width]) * right
    read: Field = upper + (lower - upper) * below
    return read


def _told(smooth: Field, places: NDArray[np.float64], outwards: NDArray[np.float64], seen: NDArray[np.bool_]) -> Field:
    """`RING_FEATURES` of rings that are read at places, shape (2, n, rings, steps, angles), in pixels."""
    step = outwards[:, None, None, None]
    aside = np.stack([-step[1], step[0]])
    level, beyond, before, left, right = (
        _read(smooth, places + offset) for offset in (np.zeros(1), step, -step, aside, -aside)
    )
    out: Field = (beyond - before) / np.float32(2.0)
    along: Field = (left - right) / np.float32(2.0)
    bent_out, bent_along = beyond + before - 2.0 * level, left + right - 2.0 * level
    pointing = np.maximum(-bent_along - np.abs(bent_out), 0.0)
    around = np.maximum(-bent_out - np.abs(bent_along), 0.0)
    weight = (seen / np.maximum(seen.sum(axis=(2, 3), keepdims=True), 1)).astype(np.float32)

    def mean(values: Field) -> Field:
        weighted: Field = (values * weight).sum(axis=(2, 3))
        return weighted

    per_angle = np.maximum(seen.sum(axis=2), 1)
    there: NDArray[np.bool_] = np.asarray(seen.any(axis=2))
    profile, slopes = ((values * seen).sum(axis=2) / per_angle for values in (level, out))
    middle = mean(level)
    return np.stack(
        [
            middle,
            np.sqrt(mean(np.square(level - middle[:, :, None, None]))),
            mean(out),
            np.log(mean(out**2) + _FAINT),
            np.log(mean(along**2) + _FAINT),
            mean(along**2 / (out**2 + along**2 + 1e-6)),
            np.log(mean(pointing) + _FAINT),
            np.log(mean(around) + _FAINT),
            np.log(mean(pointing**2) + _FAINT / 10.0),
            _spread(profile, there),
            _spread(slopes, there),
            np.abs(np.diff(profile, axis=2)).mean(axis=2),
        ],
        axis=2,
    )


def _spread(values: Field, there: NDArray[np.bool_]) -> Field:
    """Standard deviation over the angles at which something is seen."""
    count = np.maximum(there.sum(axis=2), 1)
    mean = (values * there).sum(axis=2) / count
    spread: Field = np.sqrt(((values - mean[..., None]) ** 2 * there).sum(axis=2) / count)
    return spread
