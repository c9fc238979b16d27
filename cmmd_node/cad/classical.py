"""The detector that needs no trained weights: the fallback of the node, and what a network has to beat."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cmmd_node.cad.breast import Breast, Field, find_breast
from cmmd_node.cad.calcifications import find_clusters
from cmmd_node.cad.masses import CANDIDATE_FEATURES, Candidates, Search, find_candidates
from cmmd_node.cad.network import Network
from cmmd_node.cad.outlines import Points, hull_corners, rim_corners
from cmmd_node.cad.places import PLACE_FEATURES
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import Kind, Mark, Model, PointCR, Spacing, Subtype, View

_FOLDER: Final = Path(__file__).parent
_COEFFICIENTS: Final = _FOLDER / "classical.json"
_DECIDING: Final = (
    "breast.py",
    "calcifications.py",
    "classical.py",
    "classical.json",
    "masses.py",
    "network.py",
    "outlines.py",
    "places.py",
)
"""Files that decide the answers: their bytes are the identity of the model."""

_SEARCH: Final = Search()
_USUAL_STRENGTH: Final = 4.5
"""Of a cluster with suspicion 0.5."""
_CLUSTER_MARGIN_MM: Final = 1.5


class ClassicalDetector:
    """Finds masses and microcalcification clusters by their looks; gives no probability of malignancy."""

    model: Model
    threshold: float = 0.5
    """Marks of at least this suspicion are reported unless told otherwise; the same for both kinds."""

    def __init__(self) -> None:
        digest = hashlib.sha256()
        for name in _DECIDING:
            content = (_FOLDER / name).read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
        self.model = Model(name="cmmd-node-classical", version="1.0", digest=digest.hexdigest())
        self._places = Network.from_file(_COEFFICIENTS, "places", features=PLACE_FEATURES)
        self._candidates = Network.from_file(_COEFFICIENTS, "candidates", features=CANDIDATE_FEATURES)

    def marks(
        self,
        pixels: NDArray[np.float32],
        *,
        view: View,
        spacing: Spacing | None,
        threshold: float | None = None,
    ) -> tuple[Mark, ...]:
        """Mark what looks suspicious in one view.

        Parameters
        ----------
        pixels : numpy.ndarray, float32, shape (rows, columns)
            0 is air and 1 the densest, as stored: never flipped, the chest wall may be on either side.
        view : View
            Only in MLO is there a pectoral muscle to look for.
        spacing : Spacing or None
            May differ between rows and columns.
        threshold : float, optional
            The least suspicion of a mark, 0 to 1; 0 lists every candidate. Default: ``self.threshold``.

        Returns
        -------
        tuple of Mark
            The most suspicious first, in coordinates of the stored image. Empty as well where no breast is found.

        Raises
        ------
        NotAnalysed
            The spacing is not known: without it nothing tells a mass from a calcification.
        """
        breast = breast_in(pixels, view=view, spacing=spacing)
        if breast is None:
            return ()
        marks = [*self._masses(breast), *cluster_marks(pixels, breast)]
        return reported(marks, self.threshold if threshold is None else threshold)

    def candidates(self, breast: Breast, search: Search = _SEARCH) -> Candidates:
        """Places that may be the centre of a mass."""
        return find_candidates(breast, self._places, search)

    def log_odds(self, found: Candidates) -> Field:
        """What the detector says of candidates, shape (n,)."""
        total: Field = (found.log_odds + self._candidates(found.features)) / 2.0
        return total

    def _masses(self, breast: Breast) -> list[Mark]:
        found = self.candidates(breast)
        return [
            mass_mark(center, rim, float(value), breast)
            for center, rim, value in zip(found.centers_mm, found.rims_mm, self.log_odds(found), strict=True)
        ]


def breast_in(pixels: Field, *, view: View, spacing: Spacing | None) -> Breast | None:
    """The breast in an image whose spacing may be unknown.

    Raises
    ------
    NotAnalysed
        The spacing is not known: without it nothing tells a mass from a calcification.
    """
    if spacing is None:
        raise NotAnalysed("The pixel spacing is not known, and sizes decide what is looked for.")
    return find_breast(pixels, position=view.position, spacing=spacing)


def cluster_marks(pixels: Field, breast: Breast) -> list[Mark]:
    """The calcification clusters of a breast."""
    marks = []
    for cluster in find_clusters(pixels, breast):
        unlikely = 0.5 ** (cluster.strength / _USUAL_STRENGTH)
        marks.append(cluster_mark(cluster.places_mm, math.log(max(1.0 - unlikely, 1e-12) / unlikely), breast))
    return marks


def reported(marks: Sequence[Mark], threshold: float) -> tuple[Mark, ...]:
    """Marks of at least this suspicion, the most suspicious first."""
    enough = [mark for mark in marks if mark.suspicion >= threshold]
    return tuple(sorted(enough, key=lambda mark: (-mark.suspicion, mark.kind, mark.center_cr[::-1])))


def mass_mark(
    center_mm: Points,
    rim_mm: NDArray[np.float64],
    log_odds: float,
    breast: Breast,
    *,
    probability_malignant: float | None = None,
    subtypes: Mapping[Subtype, float] | None = None,
) -> Mark:
    """A mass as it is reported: its suspicion is the probability of the log odds."""
    (center_cr,) = _in_image(center_mm[None, :], breast)
    return Mark(
        kind=Kind.MASS,
        center_cr=center_cr,
        outline_cr=_in_image(rim_corners(center_mm, rim_mm, limits_mm=_limits(breast)), breast),
        suspicion=_rounded(1.0 / (1.0 + math.exp(-log_odds))),
        probability_malignant=probability_malignant,
        subtypes=subtypes,
    )


def cluster_mark(
    places_mm: Points,
    log_odds: float,
    breast: Breast,
    *,
    probability_malignant: float | None = None,
    subtypes: Mapping[Subtype, float] | None = None,
) -> Mark:
    """A cluster of calcifications at these places, as `mass_mark`."""
    outline = hull_corners(places_mm, margin_mm=_CLUSTER_MARGIN_MM, limits_mm=_limits(breast))
    return Mark(
        kind=Kind.CALCIFICATION_CLUSTER,
        center_cr=breast.placement.to_image(*map(float, places_mm.mean(axis=0))),
        outline_cr=_in_image(outline, breast),
        suspicion=_rounded(1.0 / (1.0 + math.exp(-log_odds))),
        probability_malignant=probability_malignant,
        calcifications_cr=_in_image(places_mm, breast),
        subtypes=subtypes,
    )


def _rounded(suspicion: float) -> float:
    """To what is meant: the last bits depend on how the linear algebra of a machine adds up."""
    return round(suspicion, 4)


def _limits(breast: Breast) -> Points:
    """The least and the greatest (column, row) of the stored image, mm on the coarse grid."""
    place = breast.placement
    width, height = place.columns * place.spacing.column_mm, place.rows * place.spacing.row_mm
    return np.array([[-place.first_column_mm, 0.0], [width - place.first_column_mm, height]])


def _in_image(points_mm: Points, breast: Breast) -> tuple[PointCR, ...]:
    return tuple(breast.placement.to_image(float(column), float(row)) for column, row in points_mm)
