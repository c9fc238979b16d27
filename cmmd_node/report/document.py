"""The content tree of the Mammography CAD SR: TID 4000."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from cmmd_node.facts import StudyResult, ViewStatus
from cmmd_node.report import codes
from cmmd_node.report.content import Item, Relation, code, container
from cmmd_node.report.detections import summary_of_analyses, summary_of_detections
from cmmd_node.report.findings import individual_impression
from cmmd_node.report.library import image_entry
from cmmd_node.report.summary import overall_impression


def document_root(result: StudyResult, images: Sequence[Dataset]) -> Item:
    """Mammography CAD Document Root (PS3.16 TID 4000; root, non-extensible, order significant).

    Parameters
    ----------
    images
        Headers of all images of the study, in the order of the library.
    """
    views = {view.sop_instance_uid: view.view for view in result.views}
    entries = {ds.SOPInstanceUID: image_entry(ds, views.get(ds.SOPInstanceUID)) for ds in images}
    impressions = [
        individual_impression(finding, result.model, entries[finding.sop_instance_uid]) for finding in result.findings
    ]

    def attempted(status: ViewStatus) -> list[Item]:
        return [entries[view.sop_instance_uid] for view in result.views if view.status is status]

    children = (
        code(Relation.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.ENGLISH),  # row 2, TID 1204
        container(Relation.CONTAINS, codes.IMAGE_LIBRARY, entries.values()),  # rows 3, 4
        overall_impression(result, impressions),  # row 5
        summary_of_detections(  # rows 6, 7
            result.model, attempted(ViewStatus.ANALYSED), attempted(ViewStatus.FAILED)
        ),
        summary_of_analyses(),  # row 8
    )
    return container(None, codes.MAMMOGRAPHY_CAD_REPORT, children)  # row 1
