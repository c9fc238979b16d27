"""Masses: the places that look most like the centre of one, and what a second look at each of them says.

A first small fitted network reads `places` and picks candidates; the rim of each is found; a second network reads what
the first one saw together with rim, inside and surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmmd_node.cad.breast import GRID_MM, Breast, Field
from cmmd_node.cad.network import Network
from cmmd_node.cad.outlines import RIM_FEATURES, Points, rims
from cmmd_node.cad.places import PLACE_FEATURES, RADII_MM, STRIDE, describe, flattened

CANDIDATE_FEATURES: Final = (
    *PLACE_FEATURES,
    *RIM_FEATURES,
    "log odds",
    "log odds above the candidates around",
)
_NOWHERE: Final = np.float32(-10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where candidates are looked for, and how many of them are kept."""

    most: int = 30
    """The likeliest."""
    apart_mm: float = 8.0
    """None is nearer to a likelier one."""
    least_depth_mm: float = 3.0
    """From the skin."""
    deepest_in_muscle_mm: float = 8.0
    """From its edge, which is not always found where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Places that may be the centre of a mass."""

    centers_mm: Points
    """(column, row) on the coarse grid, shape (n, 2)."""
    rims_mm: NDArray[np.float64]
    """Distance of the rim from the centre at even angles, shape (n, angles)."""
    log_odds: Field
    """What the first network says of them, shape (n,)."""
    features: Field
    """What the second network reads, shape (n, len(CANDIDATE_FEATURES))."""
    level: Field
    """`flattened`."""

    def rims_from(self, centers_mm: Points, candidate: NDArray[np.int64]) -> NDArray[np.float64]:
        """`rims_mm` of some candidates as they are from centres near theirs, shape (n, angles)."""
        edges, _ = rims(self.level, centers_mm, _radii(self.features[candidate]))
        return edges


def find_candidates(breast: Breast, network: Network, search: Search) -> Candidates:
    """Find the places that look most like the centre of a mass, the likeliest first.

    Parameters
    ----------
    network : Network
        From the features of a place to the log odds that it is the centre of a mass.
    """
    level = flattened(breast)
    return pick_candidates(breast, level, describe(breast, level), network, search)


def pick_candidates(breast: Breast, level: Field, features: Field, network: Network, search: Search) -> Candidates:
    """`find_candidates` where `flattened` and `describe` have been at work already."""
    depth, muscle = breast.to_skin_mm[::STRIDE, ::STRIDE], breast.to_muscle_mm[::STRIDE, ::STRIDE]
    sought = breast.mask[::STRIDE, ::STRIDE] & (depth > search.least_depth_mm) & (muscle > -search.deepest_in_muscle_mm)
    log_odds = np.full(sought.shape, _NOWHERE, np.float32)
    log_odds[sought] = np.maximum(network(features[sought]), _NOWHERE)
    smooth = ndimage.gaussian_filter(log_odds, 1.0)
    apart = int(search.apart_mm / (STRIDE * GRID_MM))
    y, x = np.mgrid[-apart : apart + 1, -apart : apart + 1]
    highest = ndimage.maximum_filter(smooth, footprint=x * x + y * y <= apart * apart)
    rows, columns = np.nonzero((smooth == highest) & sought)
    order = np.lexsort((columns, rows, -smooth[rows, columns]))[: search.most]
    rows, columns = rows[order], columns[order]

    centers: Points = (np.stack([columns, rows], axis=1).astype(np.float64) * STRIDE + 0.5) * GRID_MM
    here = features[rows, columns]
    edges, looks = rims(level, centers, _radii(here))
    values = smooth[rows, columns]
    compared = np.stack([values, values - _around(centers, values)], axis=1)
    together = np.concatenate([here, looks, compared], axis=1).astype(np.float32)
    return Candidates(centers, edges, values, together, level)


def _radii(features: Field) -> NDArray[np.float64]:
    """About how large a mass at each place would be, mm: where contrast and convergence are best."""
    count = len(RADII_MM)
    contrast, convergence = features[:, count : 2 * count], features[:, 2 * count : 3 * count]
    radii: NDArray[np.float64] = np.array(RADII_MM)[(contrast + convergence).argmax(axis=1)]
    return radii


def _around(centers_mm: Points, values: Field) -> NDArray[np.float64]:
    """Mean over all candidates, weighted towards those within some 30 mm."""
    offsets = centers_mm[:, None, :] - centers_mm[None, :, :]
    weight = 1.0 / (1.0 + (offsets**2).sum(axis=2) / 30.0**2)
    mean: NDArray[np.float64] = (weight @ values) / weight.sum(axis=1)
    return mean
