"""What a network of this program judges: candidates of one kind in one breast, the same for training and service."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cmmd_node.cad.breast import Breast, Field
from cmmd_node.cad.classical import ClassicalDetector
from cmmd_node.cad.margins import ring_features
from cmmd_node.cad.masses import Candidates, Search
from cmmd_node.cad.patches import CLUSTER_GRIDS, Levels, tissue_levels
from cmmd_node.cad.second_look import MASS_FEATURES
from cmmd_node.cad.specks import CUT_OUT, Groups, find_groups
from cmmd_node.facts import Kind

SEARCH: Final = Search(most=45, apart_mm=6.0, least_depth_mm=0.5, deepest_in_muscle_mm=math.inf)
"""For masses, wider than that of the classical detector, which has nobody to take a second look at what it finds."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighted:
    """Candidates of one kind, and the sheets that their patches are read from."""

    centers_mm: NDArray[np.float64]
    """(column, row) on the coarse grid of the breast, shape (n, 2)."""
    features: Field
    """As the network of the kind reads them, shape (n, features)."""
    rings: Field
    """Of masses: `margins.ring_features`; else shape (n, 0, 0)."""
    log_odds: Field
    """What the detector without a network says of them, shape (n,)."""
    sheets: Levels
    """The whole breast once, or a cut-out for each candidate, shape (sheets, rows, columns)."""
    places_mm: NDArray[np.float64]
    """Where the candidates are on their sheets, shape (n, 2)."""
    found: Candidates | Groups
    """What the detector knows of them."""

    @property
    def sheet(self) -> NDArray[np.int64]:
        """Which sheet each candidate is on, shape (n,)."""
        count = len(self.centers_mm)
        return np.arange(count) if len(self.sheets) == count != 1 else np.zeros(count, np.int64)


def sighted(kind: Kind, pixels: Field, breast: Breast, classical: ClassicalDetector) -> Sighted:
    """The candidates of a kind in a breast that was found in an image."""
    return _masses(pixels, breast, classical) if kind is Kind.MASS else _clusters(pixels, breast)


def _masses(pixels: Field, breast: Breast, classical: ClassicalDetector) -> Sighted:
    found = classical.candidates(breast, SEARCH)
    return Sighted(
        centers_mm=found.centers_mm,
        features=found.features[:, : len(MASS_FEATURES)],
        rings=ring_features(pixels, breast, found.centers_mm),
        log_odds=classical.log_odds(found),
        sheets=tissue_levels(breast)[None],
        places_mm=found.centers_mm,
        found=found,
    )


def _clusters(pixels: Field, breast: Breast) -> Sighted:
    found = find_groups(pixels, breast)
    middle = CUT_OUT / 2 * CLUSTER_GRIDS.pixel_mm[0]
    return Sighted(
        centers_mm=found.centers_mm,
        features=found.features,
        rings=np.zeros((len(found.features), 0, 0), np.float32),
        log_odds=found.features[:, -1],
        sheets=found.cut_outs,
        places_mm=np.full((len(found.members_mm), 2), middle),
        found=found,
    )
