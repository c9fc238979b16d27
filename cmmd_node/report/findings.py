"""What was found: TID 4003, 4006, 4009 to 4011 and 4108, and what TID 1500 shares with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.sr.coding import Code

from cmmd_node.facts import Finding, Kind, Mark, Model, PointCR, Spacing
from cmmd_node.report import codes
from cmmd_node.report.algorithm import algorithm_identification
from cmmd_node.report.content import Item, Node, Relation, code, container, num, text, uidref
from cmmd_node.report.geometry import center, geometry
from cmmd_node.report.sizes import sizes

#: What a mark is called in CID 6014, which knows no mass: the standard's own example reports one as a density.
FINDING_CODES = {Kind.MASS: codes.BREAST_DENSITY, Kind.CALCIFICATION_CLUSTER: codes.CALCIFICATION_CLUSTER}


@dataclass(frozen=True, slots=True)
class Site:
    """An image of the library as findings refer to it."""

    entry: Item
    spacing: Spacing | None


def individual_impression(intent: Code, children: Sequence[Node]) -> Item:
    """Individual Impression/Recommendation (PS3.16 TID 4003; non-extensible); rows 4 and 5 are the children."""
    shown = code(Relation.HAS_CONCEPT_MOD, codes.RENDERING_INTENT, intent)  # row 2
    return container(Relation.INFERRED_FROM, codes.INDIVIDUAL_IMPRESSION, (shown, *children))  # row 1


def single_image_finding(
    finding: Finding, model: Model, sites: Mapping[str, Site], relation: Relation = Relation.CONTAINS
) -> Item:
    """Single Image Finding (PS3.16 TID 4006; non-extensible, order significant).

    Parameters
    ----------
    sites
        Where the images of the library are, by SOP Instance UID.
    """
    mark, on = finding.mark, sites[finding.sop_instance_uid]
    children = (
        code(Relation.HAS_CONCEPT_MOD, codes.RENDERING_INTENT, codes.PRESENTATION_REQUIRED),  # row 2
        *tracking(finding),  # row 4
        *algorithm_identification(model),  # row 5
        *scores(mark, Relation.HAS_PROPERTIES),  # rows 6, 7
        *geometry(mark, on.entry),  # row 8
        *measurements(mark, on.spacing, Relation.HAS_PROPERTIES),  # row 13, TID 4010 rows 3 to 5; row 14, TID 4011
        *(_individual_calcification(center_cr, model, on.entry) for center_cr in mark.calcifications_cr),  # row 25
    )
    return code(relation, codes.SINGLE_IMAGE_FINDING, FINDING_CODES[mark.kind], children)  # row 1


def _individual_calcification(center_cr: PointCR, model: Model, on: Item) -> Item:
    """One calcification of a cluster (PS3.16 TID 4006): its place is all that is known of it."""
    children = (
        code(Relation.HAS_CONCEPT_MOD, codes.RENDERING_INTENT, codes.PRESENTATION_OPTIONAL),  # row 2
        *algorithm_identification(model),  # row 5
        center(center_cr, on),  # row 8
    )
    value = codes.INDIVIDUAL_CALCIFICATION
    return code(Relation.INFERRED_FROM, codes.SINGLE_IMAGE_FINDING, value, children)  # row 1


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


def measurements(mark: Mark, spacing: Spacing | None, relation: Relation) -> Iterator[Item]:
    """How many calcifications a cluster has, and how large the mark is where the spacing is known."""
    if mark.kind is Kind.CALCIFICATION_CLUSTER:
        yield num(relation, codes.NUMBER_OF_CALCIFICATIONS, len(mark.calcifications_cr), codes.NO_UNITS)
    if spacing is not None:
        long_axis_mm, area_mm2 = sizes(mark.outline_cr, spacing)
        yield num(relation, codes.LONG_AXIS, round(long_axis_mm, 1), codes.MM)  # TID 1400 row 1
        yield num(relation, codes.AREA, round(area_mm2, 1), codes.SQUARE_MILLIMETER)  # TID 1401 row 1
