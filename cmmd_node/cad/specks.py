"""Candidates for microcalcification clusters: more of them than the classical detector reports, for a network to judge.

Each is a group of bright spots that are sought at full resolution, fainter ones among them, with a cut-out of the image
around it that keeps the shape of every calcification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cmmd_node.cad.breast import GRID_MM, Breast, Field, resampled
from cmmd_node.cad.calcifications import (
    CLUSTER_RADIUS_MM,
    COARSEST_MM,
    FullResolution,
    Spots,
    find_spots,
    full_resolution,
    smoothed,
)
from cmmd_node.cad.outlines import Points
from cmmd_node.cad.patches import CLUSTER_GRIDS, Levels

SPECK_FEATURES: Final = (
    "log count",
    "highest prominence",
    "median prominence",
    "third prominence",
    "spread",
    "slimness",
    "distance to the next spot",
    "spots in the breast",
    "depth beneath skin",
    "distance from muscle",
    "log odds by prominence",
)
MOST_GROUPS: Final = 12
CUT_OUT: Final = 208
"""Rows and columns of a cut-out on the finest grid: room for a turned patch."""
_LEAST_PROMINENCE: Final = 3.6
_USUAL_PROMINENCE: Final = 4.5
_APART_MM: Final = 6.0
_USUAL_STRENGTH: Final = 4.5
_AROUND_MM: Final = 0.5
_CLIP: Final = (-4.0, 14.0)
"""Standard deviations of the noise at which levels end."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Groups of spots, the most prominent first."""

    members_mm: tuple[Points, ...]
    """The spots of each, at least three: (column, row) on the coarse grid."""
    features: Field
    """Shape (n, len(SPECK_FEATURES))."""
    cut_outs: Levels
    """The image around the middle of each, as `_cut_out` gives it, shape (n, CUT_OUT, CUT_OUT)."""

    @property
    def centers_mm(self) -> Points:
        """Shape (n, 2)."""
        return np.array([members.mean(axis=0) for members in self.members_mm]).reshape(-1, 2)


def find_groups(pixels: Field, breast: Breast) -> Groups:
    """Find groups of at least three spots; none in images too coarse to show calcifications."""
    spacing = breast.placement.spacing
    if max(spacing.row_mm, spacing.column_mm) > COARSEST_MM:
        empty = np.zeros((0, CUT_OUT, CUT_OUT), np.uint8)
        return Groups((), np.zeros((0, len(SPECK_FEATURES)), np.float32), empty)
    full = full_resolution(pixels, breast)
    spots = find_spots(full, least=_LEAST_PROMINENCE)
    groups = _grouped(spots)
    members = tuple(spots.places_mm[group] for group in groups)
    features = [_features(spots, group, breast) for group in groups]
    return Groups(
        members,
        np.array(features, np.float32).reshape(-1, len(SPECK_FEATURES)),
        np.array([_cut_out(full, group.mean(axis=0)) for group in members], np.uint8).reshape(-1, CUT_OUT, CUT_OUT),
    )


def _cut_out(full: FullResolution, center_mm: Points) -> Levels:
    """How far each pixel around a place rises above what is around it, in standard deviations of the noise there.

    Returns
    -------
    numpy.ndarray, uint8, shape (CUT_OUT, CUT_OUT)
        0 to 255 from the lower end of `_CLIP` to the upper one.
    """
    pixel_mm, spacing = CLUSTER_GRIDS.pixel_mm[0], full.spacing
    half = CUT_OUT // 2 * pixel_mm
    column, row = center_mm - np.array(full.first_mm)
    sides = []
    for middle, step, size in (
        (row, spacing.row_mm, full.image.shape[0]),
        (column, spacing.column_mm, full.image.shape[1]),
    ):
        first = round((middle - half) / step)
        sides.append(np.clip(np.arange(first, first + int(2.0 * half / step) + 1), 0, size - 1))
    window = np.ix_(*sides)
    image, valid = full.image[window], full.valid[window]
    rise = image - smoothed(image, _AROUND_MM, spacing)
    noise = rise[valid].std(dtype=np.float64) if valid.any() else 1.0
    noise = np.clip(rise[valid], -3.0 * noise, 3.0 * noise).std(dtype=np.float64) if valid.any() else 1.0
    low, high = _CLIP
    levels = (np.clip(rise / np.float32(noise + 2e-3), low, high) - low) * np.float32(255.0 / (high - low))
    fine = resampled(levels, row_step=pixel_mm / spacing.row_mm, column_step=pixel_mm / spacing.column_mm)
    framed = np.pad(fine, ((0, CUT_OUT), (0, CUT_OUT)), mode="edge")[:CUT_OUT, :CUT_OUT]
    quantised: Levels = np.round(framed).astype(np.uint8)
    return quantised


def _rise(spots: Spots) -> NDArray[np.float64]:
    """How much each spot counts: with its prominence, up to a limit."""
    rise: NDArray[np.float64] = np.clip((spots.prominence - _LEAST_PROMINENCE) / 4.0, 0.0, 1.5) + 0.05
    return rise


def _grouped(spots: Spots) -> list[NDArray[np.intp]]:
    """Spots within the radius of a cluster of the places where most are, none of these near another."""
    places = spots.places_mm
    if len(places) < 3:
        return []
    near = np.hypot(*(places[:, None, :] - places[None, :, :]).T) <= CLUSTER_RADIUS_MM
    density = near @ _rise(spots)
    groups: list[NDArray[np.intp]] = []
    centers: list[Points] = []
    for first in np.argsort(-density, kind="stable"):
        if any(np.hypot(*(places[first] - center)) < _APART_MM for center in centers):
            continue
        center = places[first]
        for _ in range(3):  # towards the middle of what is around
            inside = np.hypot(*(places - center).T) <= CLUSTER_RADIUS_MM
            center = np.average(places[inside], axis=0, weights=_rise(spots)[inside])
        group = np.flatnonzero(np.hypot(*(places - center).T) <= CLUSTER_RADIUS_MM)
        far = all(np.hypot(*(center - other)) >= _APART_MM for other in centers)
        if len(group) < 3 or not far:
            continue
        groups.append(_clear(spots, group))
        centers.append(center)
        if len(groups) == MOST_GROUPS:
            break
    return groups


def _clear(spots: Spots, group: NDArray[np.intp]) -> NDArray[np.intp]:
    """The members that are no mere noise; of few clear ones, the three clearest."""
    clear = group[spots.prominence[group] > _USUAL_PROMINENCE]
    return clear if len(clear) >= 3 else group[:3]


def _features(spots: Spots, group: NDArray[np.intp], breast: Breast) -> list[float]:
    places, prominence = spots.places_mm[group], np.sort(spots.prominence[group])[::-1]
    offsets = places - places.mean(axis=0)
    spread = np.linalg.eigvalsh(offsets.T @ offsets / len(places))
    apart = np.hypot(*(places[:, None, :] - places[None, :, :]).T) + 99.0 * np.eye(len(places))
    strength = float(np.clip((prominence - _USUAL_PROMINENCE) / 4.0, 0.0, 1.5).sum()) + 0.15 * len(places)
    suspicion = 1.0 - 0.5 ** (strength / _USUAL_STRENGTH)
    row, column = np.clip((places.mean(axis=0)[::-1] / GRID_MM).astype(int), 0, np.array(breast.mask.shape) - 1)
    return [
        float(np.log(len(group))),
        float(min(prominence[0], 30.0)),
        float(min(np.median(prominence), 20.0)),
        float(min(prominence[2], 20.0)),
        float(np.sqrt(spread.sum())),
        float(np.sqrt(max(spread[0], 0.0) / max(spread[1], 1e-6))),
        float(apart.min(axis=1).mean()),
        float(np.log1p((spots.prominence > _USUAL_PROMINENCE).sum())),
        float(min(breast.to_skin_mm[row, column], 40.0)),
        float(np.clip(breast.to_muscle_mm[row, column], -15.0, 40.0)),
        float(np.log(suspicion / (1.0 - suspicion))),
    ]
