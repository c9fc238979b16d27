"""Outlines of what was found: simple polygons, in mm on the coarse grid of `breast`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from cmmd_node.cad.breast import GRID_MM, Field

Points = NDArray[np.float64]
"""Shape (n, 2): (column, row), mm."""

ANGLES: Final = 48
RIM_FEATURES: Final = (
    "radius",
    "unevenness of radius",
    "raggedness of radius",
    "fall of brightness at rim",
    "fall where it is least",
    "evenness of fall",
    "inside over outside",
    "inside over outside in units of outside",
    "core over inside",
    "unrest inside over outside",
    "part of outside brighter than inside",
    "unrest inside",
    "brightness inside",
)
_STEP_MM: Final = 0.4
_STEP_COST: Final = 0.08
"""Of a step of the rim inwards or outwards from one angle to the next."""
_RADII: Final = np.arange(1.2, 24.0, _STEP_MM)


def rims(level: Field, centers_mm: Points, radii_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], Field]:
    """The rims of bright, roughly round things, and what they look like.

    The rim is the way around the centre along which brightness falls most steeply outwards, found by dynamic
    programming in polar coordinates; so it is star-shaped about the centre and never crosses itself.

    Parameters
    ----------
    level : numpy.ndarray, float32, shape (rows, columns)
        Brightness on the coarse grid.
    centers_mm : numpy.ndarray, shape (n, 2)
    radii_mm : numpy.ndarray, shape (n,)
        About how large each is.

    Returns
    -------
    rims_mm : numpy.ndarray, shape (n, ANGLES)
        Distance of the rim from the centre at ANGLES even angles, mm.
    looks : numpy.ndarray, float32, shape (n, len(RIM_FEATURES))
    """
    turn = 2.0 * np.pi * np.arange(ANGLES) / ANGLES
    directions = np.stack([np.cos(turn), np.sin(turn)])  # (2, angles)
    along = centers_mm[:, :, None, None] + directions[None, :, :, None] * _RADII
    smooth = ndimage.uniform_filter(level, 3, mode="nearest")
    columns, rows = (along / GRID_MM - 0.5).swapaxes(0, 1)
    levels = ndimage.map_coordinates(smooth, [rows, columns], order=1, mode="nearest")  # (n, angles, radii)

    reach = 3
    fall = np.zeros_like(levels)
    fall[..., reach:-reach] = levels[..., : -2 * reach] - levels[..., 2 * reach :]
    steepness = fall / (fall.max(axis=(1, 2), keepdims=True) + 1e-6)
    gain = steepness - 0.9 * np.square(np.log(_RADII[None, :] / radii_mm[:, None]))[:, None, :]
    gain[..., :reach] = gain[..., -reach:] = -10.0

    path = _best_way_round(gain)
    rim: NDArray[np.float64] = ndimage.uniform_filter1d(_RADII[path], 3, axis=1, mode="wrap")
    return rim, _looks(levels, fall, path, rim)


def _looks(levels: Field, fall: Field, path: NDArray[np.intp], rim: NDArray[np.float64]) -> Field:
    at_rim = np.take_along_axis(fall, path[..., None], axis=2)[..., 0]
    ratio = _RADII / rim[..., None]
    mean, spread = {}, {}
    for name, low, high in (("inside", 0.0, 0.85), ("outside", 1.2, 1.7), ("core", 0.0, 0.5)):
        weight = ((ratio >= low) & (ratio <= high)) * _RADII
        share = weight / np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1e-6)
        mean[name] = (levels * share).sum(axis=(1, 2))
        square = (levels * levels * share).sum(axis=(1, 2))
        spread[name] = np.sqrt(np.maximum(square - mean[name] ** 2, 1e-4))
    beyond = (ratio >= 1.2) & (ratio <= 1.7)
    brighter = beyond & (levels > mean["inside"][:, None, None])
    radius = rim.mean(axis=1)
    return np.stack(
        [
            np.log(radius),
            rim.std(axis=1) / radius,
            np.abs(np.diff(rim, axis=1, append=rim[:, :1])).mean(axis=1) / radius,
            at_rim.mean(axis=1),
            np.quantile(at_rim, 0.2, axis=1),
            at_rim.mean(axis=1) / (at_rim.std(axis=1) + 0.05),
            mean["inside"] - mean["outside"],
            (mean["inside"] - mean["outside"]) / (spread["outside"] + 0.05),
            mean["core"] - mean["inside"],
            spread["inside"] / (spread["outside"] + 0.05),
            brighter.sum(axis=(1, 2)) / np.maximum(beyond.sum(axis=(1, 2)), 1),
            spread["inside"],
            mean["inside"],
        ],
        axis=1,
    ).astype(np.float32)


def _best_way_round(gain: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each of n tables (angles, radii) the radius at each angle that gains most, with steps of at most one.

    The way goes round twice, and the middle turn is kept: there it has forgotten where it began.
    """
    count, angles, radii = gain.shape
    total = np.full((count, radii + 2), -np.inf)  # framed, so that no way leads from beyond the ends
    total[:, 1:-1] = 0.0
    came_from = np.zeros((2 * angles, count, radii), np.intp)
    for turn in range(2 * angles):
        inwards, level, outwards = total[:, :-2] - _STEP_COST, total[:, 1:-1], total[:, 2:] - _STEP_COST
        best = np.maximum(np.maximum(inwards, level), outwards)
        came_from[turn] = np.arange(radii) + np.where(inwards == best, -1, np.where(level == best, 0, 1))
        total[:, 1:-1] = best + gain[:, turn % angles]
    path = np.empty((count, 2 * angles), np.intp)
    here = total[:, 1:-1].argmax(axis=1)
    for turn in range(2 * angles - 1, -1, -1):
        path[:, turn] = here
        here = came_from[turn, np.arange(count), here]
    half = angles // 2
    return np.roll(path[:, half : half + angles], half, axis=1)


def rim_corners(center_mm: NDArray[np.float64], rim_mm: NDArray[np.float64], *, limits_mm: Points) -> Points:
    """The corners of a rim, drawn in towards the centre where they would lie outside of limits_mm.

    Parameters
    ----------
    center_mm : numpy.ndarray, shape (2,)
    rim_mm : numpy.ndarray, shape (angles,)
    limits_mm : numpy.ndarray, shape (2, 2)
        The least and the greatest (column, row).
    """
    turn = 2.0 * np.pi * np.arange(rim_mm.size) / rim_mm.size
    offsets = np.stack([np.cos(turn), np.sin(turn)], axis=1) * rim_mm[:, None]
    room = np.where(offsets > 0.0, limits_mm[1] - center_mm, center_mm - limits_mm[0])
    shrink = np.minimum(1.0, (room / np.maximum(np.abs(offsets), 1e-9)).min(axis=1))
    corners: Points = center_mm + offsets * shrink[:, None]
    return corners


def hull_corners(points_mm: Points, *, margin_mm: float, limits_mm: Points) -> Points:
    """Corners of the convex hull of discs of margin_mm around the points, cut at limits_mm."""
    turn = 2.0 * np.pi * np.arange(8) / 8
    ring = margin_mm * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    around = np.clip((points_mm[:, None, :] + ring).reshape(-1, 2), limits_mm[0], limits_mm[1])
    corners: Points = around[ConvexHull(around).vertices]
    return corners
