"""Microcalcifications, at the full resolution of the image, and the clusters that they form.

A calcification is a bright spot of 0.2 to 0.8 mm that stands out from the noise around it, is not part of a line such
as a vessel, and lies well beneath the skin. Three within 1 cm2 make a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cmmd_node.cad.breast import GRID_MM, Breast, Field, resampled
from cmmd_node.cad.outlines import Points
from cmmd_node.facts import Spacing

COARSEST_MM: Final = 0.15
"""With larger pixels single calcifications cannot be told from noise; such images get no clusters."""
FINEST_MM: Final = 0.07
"""Smaller pixels are brought to USUAL_MM: a calcification is no clearer in them, and the time goes with the square."""
USUAL_MM: Final = 0.09
CLUSTER_RADIUS_MM: Final = 5.64
"""Of a disc of 1 cm2."""
_LINK_MM: Final = 4.0
_LEAST_PROMINENCE: Final = 4.5
_MOST_SPOTS: Final = 400
_RIM_MM: Final = 3.0
_SCALES_MM: Final = ((0.09, 0.28), (0.17, 0.5))
"""Standard deviations of the narrow and the wide Gaussian of each difference."""


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """Single bright spots of one image."""

    places_mm: Points
    """(column, row) on the coarse grid of the breast, shape (n, 2)."""
    prominence: NDArray[np.float64]
    """Height above the surroundings, in standard deviations of the noise there, shape (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """At least three spots, of which three lie within 1 cm2."""

    places_mm: Points
    strength: float
    """The higher, the more and the clearer spots."""


def find_clusters(pixels: Field, breast: Breast) -> list[Cluster]:
    """Find clusters of microcalcifications.

    Parameters
    ----------
    pixels : numpy.ndarray, float32, shape (rows, columns)
        The image in which the breast was found, at full resolution.
    """
    spacing = breast.placement.spacing
    if max(spacing.row_mm, spacing.column_mm) > COARSEST_MM:
        return []
    return clusters(find_spots(full_resolution(pixels, breast)))


@dataclass(frozen=True, slots=True, eq=False)
class FullResolution:
    """The part of an image that holds the breast, at full resolution; the chest wall is on the left."""

    image: Field
    valid: NDArray[np.bool_]
    """Well beneath the skin; shape of `image`."""
    spacing: Spacing
    first_mm: tuple[float, float]
    """(column, row) of its corner on the coarse grid of the breast."""


def full_resolution(pixels: Field, breast: Breast) -> FullResolution:
    """Cut the breast out of its image, for the looks at single calcifications."""
    spacing, first_mm = breast.placement.spacing, breast.placement.first_column_mm
    stored = pixels[:, ::-1] if breast.placement.mirrored else pixels
    if max(spacing.row_mm, spacing.column_mm) < FINEST_MM:
        stored = resampled(stored, row_step=USUAL_MM / spacing.row_mm, column_step=USUAL_MM / spacing.column_mm)
        spacing = Spacing(row_mm=USUAL_MM, column_mm=USUAL_MM)
    used = np.flatnonzero(breast.mask.any(axis=1)) * GRID_MM
    top, left = int(used[0] / spacing.row_mm), int(first_mm / spacing.column_mm)
    bottom = int((used[-1] + GRID_MM) / spacing.row_mm)
    right = int((first_mm + breast.mask.shape[1] * GRID_MM) / spacing.column_mm)
    image = np.ascontiguousarray(stored[top:bottom, left:right])
    bottom, right = top + image.shape[0], left + image.shape[1]

    deep = breast.to_skin_mm > _RIM_MM
    coarse_row = _coarse(np.arange(top, bottom), spacing.row_mm, 0.0, deep.shape[0])
    coarse_column = _coarse(np.arange(left, right), spacing.column_mm, first_mm, deep.shape[1])
    valid = deep[coarse_row[:, None], coarse_column[None, :]]
    return FullResolution(image, valid, spacing, (left * spacing.column_mm - first_mm, top * spacing.row_mm))


def find_spots(full: FullResolution, *, least: float = _LEAST_PROMINENCE) -> Spots:
    """Find single bright spots of at least this prominence, the most prominent first."""
    image, spacing = full.image, full.spacing
    response = np.zeros_like(image)
    for narrow, wide in _SCALES_MM:
        peaks = _smooth(image, narrow, spacing) - _smooth(image, wide, spacing)
        np.maximum(response, peaks / _noise(peaks, full.valid.astype(np.float32), spacing), out=response)
    highest = ndimage.maximum_filter(response, size=5)
    r, c = np.nonzero((response == highest) & (response > least) & full.valid)

    first_column, first_row = full.first_mm
    places = np.stack([(c + 0.5) * spacing.column_mm + first_column, (r + 0.5) * spacing.row_mm + first_row], axis=1)
    keep = _is_round(_smooth(image, 0.12, spacing), r, c)
    places, prominence = places[keep], response[r, c][keep].astype(np.float64)
    order = np.lexsort((places[:, 0], places[:, 1], -prominence))[:_MOST_SPOTS]
    return Spots(places[order], prominence[order])


def _coarse(index: NDArray[np.intp], step_mm: float, first_mm: float, size: int) -> NDArray[np.intp]:
    """Rows or columns of the coarse grid in which those of the full image lie."""
    coarse: NDArray[np.intp] = np.clip((((index + 0.5) * step_mm - first_mm) / GRID_MM).astype(np.intp), 0, size - 1)
    return coarse


def clusters(spots: Spots) -> list[Cluster]:
    """Group spots into clusters."""
    count = len(spots.places_mm)
    if count < 3:
        return []
    tree = cKDTree(spots.places_mm)
    near = np.array([len(found) for found in tree.query_ball_point(spots.places_mm, CLUSTER_RADIUS_MM)])
    pairs = tree.query_pairs(_LINK_MM, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    parts, label = connected_components(links, directed=False)
    found = []
    for part in range(parts):
        members = np.flatnonzero(label == part)
        if len(members) >= 3 and near[members].max() >= 3:
            found.append(Cluster(spots.places_mm[members], _strength(spots, members)))
    return found


def _strength(spots: Spots, members: NDArray[np.intp]) -> float:
    """Of the best square centimetre: how far its spots rise above what is just a spot, each counted up to a limit."""
    places = spots.places_mm[members]
    rise = np.clip((spots.prominence[members] - _LEAST_PROMINENCE) / 4.0, 0.0, 1.5) + 0.15
    within = np.hypot(*(places[:, None, :] - places[None, :, :]).T) <= CLUSTER_RADIUS_MM
    return float((within * rise[None, :]).sum(axis=1).max())


def _smooth(image: Field, sigma_mm: float, spacing: Spacing) -> Field:
    smooth: Field = ndimage.gaussian_filter(
        image, (sigma_mm / spacing.row_mm, sigma_mm / spacing.column_mm), mode="nearest", truncate=3.0
    )
    return smooth


def _noise(peaks: Field, valid: Field, spacing: Spacing) -> Field:
    """Local standard deviation of a difference of Gaussians, little moved by the few spots that are sought."""
    window = (int(8.0 / spacing.row_mm) | 1, int(8.0 / spacing.column_mm) | 1)
    share = np.maximum(ndimage.uniform_filter(valid, window, mode="reflect"), np.float32(0.05))

    def deviation(field: Field) -> Field:
        power = ndimage.uniform_filter(field * field * valid, window, mode="reflect") / share
        root: Field = np.sqrt(np.maximum(power, np.float32(0.0)))
        return root

    rough = deviation(peaks) + np.float32(1e-3)
    return deviation(np.clip(peaks, -3.0 * rough, 3.0 * rough)) + np.float32(2e-3)


def _is_round(smooth: Field, r: NDArray[np.intp], c: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether brightness falls in all directions from each place, unlike on a line."""
    step = 2
    r, c = np.clip(r, step, smooth.shape[0] - 1 - step), np.clip(c, step, smooth.shape[1] - 1 - step)
    here = 2.0 * smooth[r, c]
    yy = here - smooth[r - step, c] - smooth[r + step, c]
    xx = here - smooth[r, c - step] - smooth[r, c + step]
    yx = (
        smooth[r - step, c + step]
        + smooth[r + step, c - step]
        - smooth[r - step, c - step]
        - smooth[r + step, c + step]
    ) / 4.0
    mean, half = (yy + xx) / 2.0, np.hypot((yy - xx) / 2.0, yx)
    round_enough: NDArray[np.bool_] = (mean - half) > 0.35 * (mean + half)
    return round_enough
