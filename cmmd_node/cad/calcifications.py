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
from scipy.sparse import coo_matrix, csr_array
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
_ROUNDNESS_MM: Final = 0.12
"""Standard deviation of the Gaussian through which the shape of a spot is looked at."""


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
    valid = deep[coarse_row][:, coarse_column]
    return FullResolution(image, valid, spacing, (left * spacing.column_mm - first_mm, top * spacing.row_mm))


def find_spots(full: FullResolution, *, least: float = _LEAST_PROMINENCE) -> Spots:
    """Find single bright spots of at least this prominence, the most prominent first."""
    image, spacing = full.image, full.spacing
    valid = full.valid.astype(np.float32)
    share = np.maximum(_averaged(valid.copy(), spacing), np.float32(0.05))
    response = np.zeros_like(image)
    for narrow, wide in _SCALES_MM:
        peaks = smoothed(image, narrow, spacing)
        peaks -= smoothed(image, wide, spacing)
        peaks /= _noise(peaks, valid, share, spacing)
        np.maximum(response, peaks, out=response)
    r, c = np.nonzero((response > least) & full.valid)
    highest = response[r, c] == _neighbourhoods(response, r, c, reach=2).max(axis=(1, 2), initial=0.0)
    r, c = r[highest], c[highest]

    first_column, first_row = full.first_mm
    places = np.stack([(c + 0.5) * spacing.column_mm + first_column, (r + 0.5) * spacing.row_mm + first_row], axis=1)
    keep = _is_round(image, r, c, spacing)
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


def smoothed(image: Field, sigma_mm: float, spacing: Spacing) -> Field:
    """Mean around each pixel, weighted by a Gaussian that ends at three standard deviations; edges are continued."""
    for step_mm in (spacing.row_mm, spacing.column_mm):
        image = _rows_convolved(image, _bell(sigma_mm / step_mm)).T
    return image


def _bell(sigma: float) -> Field:
    """Weights of a Gaussian, whose sum is 1."""
    reach = int(3.0 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    bell: Field = (weights / weights.sum()).astype(np.float32)
    return bell


def _rows_convolved(image: Field, weights: Field) -> Field:
    """Each row replaced by the weighted sum of those around it: a product with a sparse matrix.

    A dense one would go through BLAS, whose threads wait for each other where cores are busy.
    """
    size, reach = image.shape[0], len(weights) // 2
    rows = np.clip(np.arange(size)[:, None] + np.arange(-reach, reach + 1), 0, size - 1)
    starts = np.arange(0, rows.size + 1, len(weights))
    band = csr_array((np.tile(weights, size), rows.ravel(), starts), shape=(size, size))
    sums: Field = band @ np.ascontiguousarray(image)
    return sums


def _averaged(field: Field, spacing: Spacing) -> Field:
    """Mean over the surroundings in which noise is judged, in place."""
    window = (int(8.0 / spacing.row_mm) | 1, int(8.0 / spacing.column_mm) | 1)
    ndimage.uniform_filter(field, window, mode="reflect", output=field)
    return field


def _noise(peaks: Field, valid: Field, share: Field, spacing: Spacing) -> Field:
    """Local standard deviation of a difference of Gaussians, little moved by the few spots that are sought.

    `share` is the part of the surroundings that is valid.
    """

    def deviation(squares: Field) -> Field:
        power = _averaged(squares, spacing)
        power /= share
        return np.sqrt(np.maximum(power, np.float32(0.0), out=power), out=power)

    squares = peaks * peaks
    squares *= valid
    limits = deviation(squares.copy())
    limits += np.float32(1e-3)
    limits *= np.float32(3.0)
    noise = deviation(np.minimum(squares, np.square(limits, out=limits), out=squares))
    noise += np.float32(2e-3)
    return noise


def _neighbourhoods(image: Field, r: NDArray[np.intp], c: NDArray[np.intp], *, reach: int) -> Field:
    """The squares around places, edges continued; shape (n, 2 * reach + 1, 2 * reach + 1)."""
    offsets = np.arange(-reach, reach + 1)
    rows = np.clip(r[:, None] + offsets, 0, image.shape[0] - 1)
    columns = np.clip(c[:, None] + offsets, 0, image.shape[1] - 1)
    squares: Field = image[rows[:, :, None], columns[:, None, :]]
    return squares


def _is_round(image: Field, r: NDArray[np.intp], c: NDArray[np.intp], spacing: Spacing) -> NDArray[np.bool_]:
    """Whether brightness falls in all directions from each place, unlike on a line."""
    step = 2
    bells = [_bell(_ROUNDNESS_MM / step_mm) for step_mm in (spacing.row_mm, spacing.column_mm)]
    reach = step + max(map(len, bells)) // 2
    r, c = np.clip(r, step, image.shape[0] - 1 - step), np.clip(c, step, image.shape[1] - 1 - step)
    along_rows, along_columns = (
        np.stack(
            [
                np.pad(bell, (reach + offset - len(bell) // 2, reach - offset - len(bell) // 2))
                for offset in (-step, 0, step)
            ]
        )
        for bell in bells
    )
    smooth = along_rows @ _neighbourhoods(image, r, c, reach=reach) @ along_columns.T  # (n, 3, 3)
    here = 2.0 * smooth[:, 1, 1]
    yy = here - smooth[:, 0, 1] - smooth[:, 2, 1]
    xx = here - smooth[:, 1, 0] - smooth[:, 1, 2]
    yx = (smooth[:, 0, 2] + smooth[:, 2, 0] - smooth[:, 0, 0] - smooth[:, 2, 2]) / 4.0
    mean, half = (yy + xx) / 2.0, np.hypot((yy - xx) / 2.0, yx)
    round_enough: NDArray[np.bool_] = (mean - half) > 0.35 * (mean + half)
    return round_enough
