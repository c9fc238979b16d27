"""What the CAD did: the summaries of detections and analyses with TID 4015 and 4017."""

from __future__ import annotations

from collections.abc import Sequence

from cmmd_node.facts import Model
from cmmd_node.report import codes
from cmmd_node.report.algorithm import algorithm_identification
from cmmd_node.report.content import Item, Link, Node, Relation, code, container
from cmmd_node.report.findings import FINDING_CODES


def summary_of_detections(model: Model, succeeded: Sequence[Item], failed: Sequence[Item]) -> Item:
    """Summary of Detections (PS3.16 TID 4000 rows 6 and 7) over the images of the library that were attempted."""
    if succeeded:
        status = codes.PARTIALLY_SUCCEEDED if failed else codes.SUCCEEDED
    else:
        status = codes.FAILED if failed else codes.NOT_ATTEMPTED
    # TID 4015: a list without images is absent
    lists = [
        container(Relation.INFERRED_FROM, name, _detections(model, images))
        for name, images in (
            (codes.SUCCESSFUL_DETECTIONS, succeeded),  # rows 1, 2
            (codes.FAILED_DETECTIONS, failed),  # rows 3, 4
        )
        if images
    ]
    return code(Relation.CONTAINS, codes.SUMMARY_OF_DETECTIONS, status, lists)


def summary_of_analyses() -> Item:
    """Summary of Analyses (PS3.16 TID 4000 row 8): detection is all that the node does."""
    return code(Relation.CONTAINS, codes.SUMMARY_OF_ANALYSES, codes.NOT_ATTEMPTED)


def _detections(model: Model, images: Sequence[Item]) -> list[Item]:
    """Detection Performed (PS3.16 TID 4017), once for each kind of finding that the model looks for."""
    children: list[Node] = [
        *algorithm_identification(model),  # row 2
        *(Link(Relation.HAS_PROPERTIES, image) for image in images),  # row 4
    ]
    return [
        code(Relation.CONTAINS, codes.DETECTION_PERFORMED, value, children)  # row 1
        for value in FINDING_CODES.values()
    ]
