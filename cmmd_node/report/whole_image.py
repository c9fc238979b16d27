"""What is said of an image as a whole: breast composition and image quality, TID 4006 with 4007, 4008 and 4014."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydicom.sr.coding import Code

from cmmd_node.facts import BreastComposition, Model, QualityFinding, StudyResult, ViewResult
from cmmd_node.report import codes
from cmmd_node.report.algorithm import algorithm_identification
from cmmd_node.report.content import Item, Link, Node, Relation, code
from cmmd_node.report.findings import Site, individual_impression
from cmmd_node.report.geometry import breast_outline

#: CID 6000
_COMPOSITION = {
    BreastComposition.FAT: Code("129716005", "SCT", "Almost entirely fat"),
    BreastComposition.SCATTERED: Code("129717001", "SCT", "Scattered fibroglandular densities"),
    BreastComposition.HETEROGENEOUSLY_DENSE: Code("129718006", "SCT", "Heterogeneously dense"),
    BreastComposition.EXTREMELY_DENSE: Code("129719003", "SCT", "Extremely dense"),
}

#: CID 6041
_QUALITY = {
    QualityFinding.INADEQUATE_COMPRESSION: Code("111196", "DCM", "Inadequate compression"),
    QualityFinding.POSITIONING: Code("111209", "DCM", "Positioning"),
    QualityFinding.MOTION_BLUR: Code("111210", "DCM", "Motion blur"),
    QualityFinding.UNDER_EXPOSED: Code("111211", "DCM", "Under exposed"),
    QualityFinding.OVER_EXPOSED: Code("111212", "DCM", "Over exposed"),
    QualityFinding.DETECTOR_ARTIFACT: Code("111214", "DCM", "Detector artifact(s)"),
    QualityFinding.OTHER_ARTIFACT: Code("111215", "DCM", "Artifact(s) other than grid or detector artifact"),
}


def whole_image_impressions(result: StudyResult, sites: Mapping[str, Site]) -> Iterator[Item]:
    """One Individual Impression/Recommendation (PS3.16 TID 4003) for each thing that is said of an image as a whole."""
    for view in result.views:
        on = sites[view.sop_instance_uid].entry
        for intent, finding in (*_composition(view, result, on), *_quality(view, result.model, on)):
            yield individual_impression(intent, [finding])


def _composition(view: ViewResult, result: StudyResult, on: Item) -> Iterator[tuple[Code, Item]]:
    """Breast composition, tied to its image by the breast's geometry (TID 4006 row 10)."""
    if view.composition is None:
        return
    value = code(Relation.HAS_PROPERTIES, codes.BREAST_COMPOSITION, _COMPOSITION[view.composition])
    links: list[Node] = []
    if view.breast is not None and result.geometry is not None:
        outline = [breast_outline(view.breast, on)]  # row 11, TID 4008
        hidden = codes.NOT_FOR_PRESENTATION
        located = _finding(codes.BREAST_GEOMETRY, hidden, result.geometry, outline)
        links.append(Link(Relation.INFERRED_FROM, located))  # row 10
        yield hidden, located
    shown = codes.PRESENTATION_REQUIRED
    yield shown, _finding(codes.BREAST_COMPOSITION, shown, result.model, [value, *links])  # row 9


def _quality(view: ViewResult, model: Model, on: Item) -> Iterator[tuple[Code, Item]]:
    """CAD Image Quality (PS3.16 TID 4014); an image without a fault has none."""
    if view.quality:
        faults = [code(Relation.HAS_PROPERTIES, codes.QUALITY_FINDING, _QUALITY[one]) for one in view.quality]
        whole = Link(Relation.INFERRED_FROM, on)  # row 18
        shown = codes.PRESENTATION_REQUIRED
        yield shown, _finding(codes.IMAGE_QUALITY, shown, model, [whole, *faults])  # row 21


def _finding(value: Code, intent: Code, model: Model, children: Sequence[Node]) -> Item:
    """Single Image Finding (PS3.16 TID 4006) without a place of its own."""
    head = (
        code(Relation.HAS_CONCEPT_MOD, codes.RENDERING_INTENT, intent),  # row 2
        *algorithm_identification(model),  # row 5
    )
    return code(Relation.CONTAINS, codes.SINGLE_IMAGE_FINDING, value, (*head, *children))  # row 1
