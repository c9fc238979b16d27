"""What was found: TID 4003, 4006, 4010 and 4108, and what TID 1500 shares with them."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.sr.coding import Code

from cmmd_node.facts import Finding, Kind, Mark, Model
from cmmd_node.report import codes
from cmmd_node.report.algorithm import algorithm_identification
from cmmd_node.report.content import Item, Relation, code, container, num, text, uidref
from cmmd_node.report.geometry import geometry

#: What a mark is called in CID 6014, which knows no mass: the standard's own example reports one as a density.
FINDING_CODES = {Kind.MASS: codes.BREAST_DENSITY, Kind.CALCIFICATION_CLUSTER: codes.CALCIFICATION_CLUSTER}


def individual_impression(finding: Finding, model: Model, on: Item) -> Item:
    """Individual Impression/Recommendation (PS3.16 TID 4003; non-extensible), one for each finding.

    Parameters
    ----------
    on
        The image of the library that the finding is on.
    """
    children = (
        code(Relation.HAS_CONCEPT_MOD, codes.RENDERING_INTENT, codes.PRESENTATION_REQUIRED),  # row 2
        _single_image_finding(finding, model, on),  # row 5
    )
    return container(Relation.INFERRED_FROM, codes.INDIVIDUAL_IMPRESSION, children)  # row 1


def _single_image_finding(finding: Finding, model: Model, on: Item) -> Item:
    """Single Image Finding (PS3.16 TID 4006; non-extensible, order significant)."""
    children = (
        code(Relation.HAS_CONCEPT_MOD, codes.RENDERING_INTENT, codes.PRESENTATION_REQUIRED),  # row 2
        *tracking(finding),  # row 4
        *algorithm_identification(model),  # row 5
        *scores(finding.mark, Relation.HAS_PROPERTIES),  # rows 6, 7
        *geometry(finding.mark, on),  # row 8
        *calcification_count(finding.mark, Relation.HAS_PROPERTIES),  # row 13, TID 4010 row 3
    )
    value = FINDING_CODES[finding.mark.kind]
    return code(Relation.CONTAINS, codes.SINGLE_IMAGE_FINDING, value, children)  # row 1


def tracking(finding: Finding) -> tuple[Item, ...]:
    """Tracking Identifier (PS3.16 TID 4108)."""
    return (
        text(Relation.HAS_OBS_CONTEXT, codes.TRACKING_IDENTIFIER, finding.tracking_id),  # row 1
        uidref(Relation.HAS_OBS_CONTEXT, codes.TRACKING_UNIQUE_IDENTIFIER, finding.tracking_uid),  # row 2
    )


def scores(mark: Mark, relation: Relation) -> Iterator[Item]:
    """Certainty of finding, and probability of cancer where a model gives one: TID 4006 rows 6, 7 and TID 1500."""
    yield _percent(relation, codes.CERTAINTY_OF_FINDING, mark.suspicion)
    if mark.probability_malignant is not None:
        yield _percent(relation, codes.PROBABILITY_OF_CANCER, mark.probability_malignant)


def _percent(relation: Relation, name: Code, share: float) -> Item:
    return num(relation, name, round(100.0 * share, 2), codes.PERCENT)


def calcification_count(mark: Mark, relation: Relation) -> Iterator[Item]:
    """How many calcifications a cluster has; nothing of another mark."""
    if mark.kind is Kind.CALCIFICATION_CLUSTER:
        yield num(relation, codes.NUMBER_OF_CALCIFICATIONS, len(mark.calcifications_cr), codes.NO_UNITS)
