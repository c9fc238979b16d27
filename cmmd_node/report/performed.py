"""What the CAD did: the summaries of detections and analyses with TID 4015 to 4018."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydicom.sr.coding import Code

from cmmd_node.facts import Model, StudyResult, ViewResult, ViewStatus
from cmmd_node.report import codes
from cmmd_node.report.algorithm import algorithm_identification
from cmmd_node.report.content import Item, Link, Node, Relation, code, container

#: What every model looks for (CID 6014): densities, clusters and what these are made of.
_DETECTED = (codes.BREAST_DENSITY, codes.CALCIFICATION_CLUSTER, codes.INDIVIDUAL_CALCIFICATION)


def summary_of_detections(result: StudyResult, entries: Mapping[str, Item]) -> Item:
    """Summary of Detections (PS3.16 TID 4000 rows 6 and 7) over the images that were attempted.

    Parameters
    ----------
    entries
        The images of the library, by SOP Instance UID.
    """

    def detections(status: ViewStatus) -> list[Item]:
        images = [entries[view.sop_instance_uid] for view in result.views if view.status is status]
        return [_performed(codes.DETECTION_PERFORMED, one, result.model, images) for one in _DETECTED if images]

    succeeded, failed = detections(ViewStatus.ANALYSED), detections(ViewStatus.FAILED)
    if succeeded:
        status = codes.PARTIALLY_SUCCEEDED if failed else codes.SUCCEEDED
    else:
        status = codes.FAILED if failed else codes.NOT_ATTEMPTED
    # TID 4015: a list without images is absent
    lists = [
        container(Relation.INFERRED_FROM, name, performed)
        for name, performed in (
            (codes.SUCCESSFUL_DETECTIONS, succeeded),  # rows 1, 2
            (codes.FAILED_DETECTIONS, failed),  # rows 3, 4
        )
        if performed
    ]
    return code(Relation.CONTAINS, codes.SUMMARY_OF_DETECTIONS, status, lists)


def summary_of_analyses(result: StudyResult, entries: Mapping[str, Item]) -> Item:
    """Summary of Analyses (PS3.16 TID 4000 rows 8 and 9): what needs more than one mark, or the image as a whole.

    An analysis is attempted where all that it needs is there, and none of them can fail then.
    """
    performed = [
        _performed(codes.ANALYSIS_PERFORMED, value, model, [entries[view.sop_instance_uid] for view in views])
        for value, model, views in _analyses(result)
        if views
    ]
    if not performed:
        return code(Relation.CONTAINS, codes.SUMMARY_OF_ANALYSES, codes.NOT_ATTEMPTED)
    succeeded = container(Relation.INFERRED_FROM, codes.SUCCESSFUL_ANALYSES, performed)  # TID 4016 rows 1, 2
    return code(Relation.CONTAINS, codes.SUMMARY_OF_ANALYSES, codes.SUCCEEDED, [succeeded])


def _analyses(result: StudyResult) -> Iterator[tuple[Code, Model, list[ViewResult]]]:
    """What may have been analysed (CID 6043), by what, and on which images it was."""
    if result.geometry is not None:
        collocated = {view.sop_instance_uid for pair in result.collocated for view in pair}
        views = [view for view in result.views if view.sop_instance_uid in collocated]
        yield codes.SPATIAL_COLLOCATION_ANALYSIS, result.geometry, views
    rated = [view for view in result.views if view.quality is not None]
    yield codes.IMAGE_QUALITY_ANALYSIS, result.model, rated
    composed = [view for view in result.views if view.composition is not None]
    yield codes.BREAST_COMPOSITION_ANALYSIS, result.model, composed


def _performed(name: Code, value: Code, model: Model, images: Sequence[Item]) -> Item:
    """Detection Performed or Analysis Performed (PS3.16 TID 4017, 4018)."""
    children: list[Node] = [
        *algorithm_identification(model),  # row 2
        *(Link(Relation.HAS_PROPERTIES, image) for image in images),  # row 4
    ]
    return code(Relation.CONTAINS, name, value, children)  # row 1
