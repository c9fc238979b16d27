"""What is known of CMMD before a file is opened: whose it is, how much there is, and what is doubtful in it.

The numbers were counted on the official label sheet and on the headers of all images. What is said of pixels was
reported by others; `check` finds again what can be found again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from cmmd_node.facts import Laterality, View, ViewPosition

CITATION: Final = (
    "Cui C, Li L, Cai H, Fan Z, Zhang L, Dan T, Li J, Wang J. The Chinese Mammography Database (CMMD): An online "
    "mammography database with biopsy confirmed types for machine diagnosis of breast. The Cancer Imaging Archive, "
    "2021. https://doi.org/10.7937/tcia.eqde-4b16"
)
LICENCE: Final = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"

#: The sheet as the archive publishes it.
SHEET_NAME: Final = "CMMD_clinicaldata_revision.xlsx"
SHEET_SHA256: Final = "44fa2d44b2cf5a1710182f246ba241d138a6b3393bbaee7e7f9310c412daca49"

NUMBERS: Final = MappingProxyType(
    {
        "patients": 1775,
        "patients of D1": 1026,
        "patients of D2": 749,
        "images": 5202,
        "breasts": 2601,
        "labelled breasts": 1872,
        "unlabelled breasts": 729,
        "benign": 556,
        "malignant": 1316,
        "mass": 1149,
        "both": 461,
        "calcification": 262,
        "luminal-a": 152,
        "luminal-b": 376,
        "her2-enriched": 135,
        "triple-negative": 86,
    }
)


class Doubt(StrEnum):
    """Why an image may be left out."""

    DUPLICATE = "duplicate"
    """Its pixels were published under two patients."""
    DAMAGED = "damaged"
    SIDE = "side"
    """Its side tag is said to disagree with its pixels."""
    SIXTEEN_BIT = "16-bit"
    """16 bits where all others have 8."""


#: Left out unless somebody asks for them; 16 bits are read like 8.
USUALLY_LEFT_OUT: Final = frozenset({Doubt.DUPLICATE, Doubt.DAMAGED, Doubt.SIDE})


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Images of one patient that something is said about."""

    patient_id: str
    doubt: Doubt
    reason: str
    views: frozenset[View] | None = None
    """None: it is not told which of the patient's images."""

    def concerns(self, patient_id: str, view: View) -> bool:
        return patient_id == self.patient_id and (self.views is None or view in self.views)


@dataclass(frozen=True, slots=True)
class PublishedTwice:
    """Two patients that share images; a split keeps them together."""

    first: str
    second: str
    images: int
    """How many images of each are identical pixel by pixel; 0: reported as nearly identical only."""

    @property
    def reason(self) -> str:
        if self.images == 0:
            return f"{self.first} and {self.second} are reported as nearly identical (not checked on pixels)"
        share = "one image" if self.images == 1 else f"{self.images} images"
        return f"{self.first} and {self.second} share {share}, and their labels disagree"


PUBLISHED_TWICE: Final = (
    PublishedTwice("D1-0202", "D2-0284", 4),
    PublishedTwice("D1-0808", "D1-1292", 1),
    PublishedTwice("D1-0014", "D1-0269", 0),
)
SIDE_DISPUTED: Final = (
    *("D1-0252", "D1-0690", "D1-0711", "D1-0999"),
    *("D2-0041", "D2-0112", "D2-0224", "D2-0229", "D2-0642"),
)
_LEFT = frozenset(View(Laterality.LEFT, position) for position in ViewPosition)

DOUBTFUL: Final = (
    *(Doubtful(one, Doubt.DUPLICATE, pair.reason) for pair in PUBLISHED_TWICE for one in (pair.first, pair.second)),
    *(
        Doubtful(one, Doubt.SIDE, "the side tag of some of its images is said to disagree with their pixels")
        for one in SIDE_DISPUTED
    ),
    Doubtful(
        "D1-0951",
        Doubt.DAMAGED,
        "the image is said to have black holes",
        frozenset({View(Laterality.RIGHT, ViewPosition.MLO)}),
    ),
    Doubtful("D1-1343", Doubt.SIXTEEN_BIT, "the image has 16 bits, all others have 8", _LEFT),
)


def doubts_about(patient_id: str, view: View) -> tuple[Doubtful, ...]:
    """All that is said about one image."""
    return tuple(one for one in DOUBTFUL if one.concerns(patient_id, view))


def group_of(patient_id: str) -> str:
    """What a split keeps together: the first of two patients that share images, or the patient."""
    return next((pair.first for pair in PUBLISHED_TWICE if patient_id == pair.second), patient_id)


def cohort_of(patient_id: str) -> str:
    """D1 or D2: the part of the collection that a patient is of."""
    return patient_id.partition("-")[0]
