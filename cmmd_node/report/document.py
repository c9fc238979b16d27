"""The content tree of the Mammography CAD SR: TID 4000."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydicom.dataset import Dataset

from cmmd_node.facts import StudyResult
from cmmd_node.report import codes
from cmmd_node.report.content import Item, Relation, code, container
from cmmd_node.report.features import composite_feature
from cmmd_node.report.findings import Site, individual_impression, single_image_finding
from cmmd_node.report.library import image_entry
from cmmd_node.report.performed import summary_of_analyses, summary_of_detections
from cmmd_node.report.summary import overall_impression
from cmmd_node.report.whole_image import whole_image_impressions


def document_root(result: StudyResult, images: Sequence[Dataset]) -> Item:
    """Mammography CAD Document Root (PS3.16 TID 4000; root, non-extensible, order significant).

    Parameters
    ----------
    images
        Headers of all images of the study, in the order of the library.
    """
    views = {view.sop_instance_uid: view for view in result.views}
    entries: dict[str, Item] = {}
    sites: dict[str, Site] = {}
    for ds in images:
        view = views.get(ds.SOPInstanceUID)
        entries[ds.SOPInstanceUID] = image_entry(ds, view.view if view else None)
        sites[ds.SOPInstanceUID] = Site(entries[ds.SOPInstanceUID], view.spacing if view else None)
    impressions = [*_lesions(result, sites), *whole_image_impressions(result, sites)]
    children = (
        code(Relation.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.ENGLISH),  # row 2, TID 1204
        container(Relation.CONTAINS, codes.IMAGE_LIBRARY, entries.values()),  # rows 3, 4
        overall_impression(result, impressions),  # row 5
        summary_of_detections(result, entries),  # rows 6, 7
        summary_of_analyses(result, entries),  # rows 8, 9
    )
    return container(None, codes.MAMMOGRAPHY_CAD_REPORT, children)  # row 1


def _lesions(result: StudyResult, sites: Mapping[str, Site]) -> Iterator[Item]:
    """One Individual Impression/Recommendation (PS3.16 TID 4003) for each lesion."""
    for lesion in result.lesions:
        if len(lesion) > 1 and result.geometry is not None:
            found = [composite_feature(lesion, result.model, result.geometry, sites)]  # TID 4003 row 4
        else:
            found = [single_image_finding(finding, result.model, sites) for finding in lesion]  # TID 4003 row 5
        yield individual_impression(codes.PRESENTATION_REQUIRED, found)
