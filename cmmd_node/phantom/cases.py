"""Patients in the shape of CMMD: who has which lesion, and what pathology says of it.

Truth follows from looks: a lesion is malignant when its margin or the morphology of its calcifications is, and the
subtype decides which of the malignant looks are likely. Nothing else tells: age, size, density and number of images are
drawn without looking at the class, so that a model has to look at the lesion.
"""

from __future__ import annotations

from dataclasses import dataclass

from cmmd_node.facts import Classification, Kind, Laterality, Subtype
from cmmd_node.phantom.anatomy import Build
from cmmd_node.phantom.growths import Calcifications, Margin, Mass, Morphology
from cmmd_node.phantom.stream import Stream

Growth = Mass | Calcifications

_MALIGNANT_SHARE = 0.6
_FOUR_IMAGES_SHARE = 0.3
_LUMINAL = (Subtype.LUMINAL_A, Subtype.LUMINAL_B)
_FIRST_NUMBER = 2001
"""Patients of CMMD have lower numbers."""
MOST_CASES = 9999 - _FIRST_NUMBER + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One patient with one breast that biopsy says something about."""

    seed: int
    number: int
    patient_id: str
    age: int
    build: Build
    laterality: Laterality
    """Of the labelled breast."""
    sides: tuple[Laterality, ...]
    """Of which there are images; the other one has no lesion, and no label."""
    classification: Classification
    kinds: frozenset[Kind]
    subtype: Subtype | None
    lesions: tuple[Growth, ...]

    @classmethod
    def from_seed(cls, seed: int, number: int) -> Case:
        """Patient `number`, from 0, of the collection of a seed."""
        stream = Stream(seed, "case", number)
        build = Build.from_stream(stream)
        laterality = tuple(Laterality)[stream.below(2)]
        both = stream.chance(_FOUR_IMAGES_SHARE)
        malignant = stream.chance(_MALIGNANT_SHARE)
        subtype = tuple(Subtype)[_weighted((0.3, 0.3, 0.2, 0.2), stream)] if malignant else None
        kinds = (
            frozenset({Kind.MASS}),
            frozenset({Kind.CALCIFICATION_CLUSTER}),
            frozenset(Kind),
        )[_weighted((0.5, 0.28, 0.22), stream)]
        lesions: list[Growth] = []
        for count, kind in enumerate(sorted(kinds), start=1):
            name, own = (seed, "case", number, kind), Stream(seed, "case", number, kind)
            make = _mass if kind is Kind.MASS else _calcifications
            lesions.append(make(name, count, build.depth, subtype, own))
        return cls(
            seed=seed,
            number=number,
            patient_id=f"{'D2' if both else 'D1'}-{_FIRST_NUMBER + number:04d}",
            age=28 + stream.below(25) + stream.below(25),
            build=build,
            laterality=laterality,
            sides=tuple(Laterality) if both else (laterality,),
            classification=Classification.MALIGNANT if malignant else Classification.BENIGN,
            kinds=kinds,
            subtype=subtype,
            lesions=tuple(lesions),
        )


def _mass(name: tuple[object, ...], number: int, depth: float, subtype: Subtype | None, stream: Stream) -> Mass:
    if subtype is None:
        margins = ((Margin.CIRCUMSCRIBED, 0.75), (Margin.OBSCURED, 0.25))
    elif subtype in _LUMINAL:
        margins = ((Margin.SPICULATED, 0.8), (Margin.INDISTINCT, 0.2))
    else:
        margins = ((Margin.MICROLOBULATED, 0.75), (Margin.INDISTINCT, 0.25))
    chosen = margins[_weighted(tuple(share for _, share in margins), stream)][0]
    return Mass(
        name=name,
        number=number,
        nipple_distance_mm=depth * stream.uniform(0.3, 0.7),
        radius_mm=stream.uniform(4.5, 11.5),
        margin=chosen,
        grey_per_mm=stream.uniform(2.4, 3.9),
    )


def _calcifications(
    name: tuple[object, ...], number: int, depth: float, subtype: Subtype | None, stream: Stream
) -> Calcifications:
    if subtype is None:
        looks = ((Morphology.PUNCTATE, 0.6), (Morphology.ROUND, 0.4))
    elif subtype in _LUMINAL:
        looks = ((Morphology.PLEOMORPHIC, 0.85), (Morphology.LINEAR, 0.15))
    else:
        looks = ((Morphology.PLEOMORPHIC, 0.15), (Morphology.LINEAR, 0.85))
    chosen = looks[_weighted(tuple(share for _, share in looks), stream)][0]
    return Calcifications(
        name=name,
        number=number,
        nipple_distance_mm=depth * stream.uniform(0.3, 0.7),
        radius_mm=stream.uniform(3.0, 6.5),
        morphology=chosen,
        count=6 + stream.below(12),
        contrast=stream.uniform(18.0, 60.0),
    )


def _weighted(shares: tuple[float, ...], stream: Stream) -> int:
    """One of so many, each with its share."""
    point = stream.uniform(0.0, sum(shares))
    for number, share in enumerate(shares[:-1]):
        if point < share:
            return number
        point -= share
    return len(shares) - 1
