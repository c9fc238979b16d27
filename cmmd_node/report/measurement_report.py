"""The Comprehensive 3D SR with a Measurement Report (PS3.16 TID 1500), the form that IHE AI Results asks for.

Each finding is a planar region with tracking identifier, codes, site and scores. How suspicious a mark looks is written
as Certainty of Finding, the concept that the CAD SR has for it; Probability of cancer only where a model gives one.
A report without findings says that there are none on the images of its library, which are those that were analysed;
the template has no place for what failed or was not attempted (the CAD SR says it), so then there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from cmmd_node.facts import Finding, Form, Model, Round, StudyResult, ViewResult
from cmmd_node.report import codes
from cmmd_node.report.algorithm import algorithm_identification
from cmmd_node.report.content import (
    Item,
    Relation,
    code,
    container,
    encoded,
    image,
    scoord,
    template_item,
    text,
    uidref,
)
from cmmd_node.report.envelope import MANUFACTURER, ResultObject, describe, sealed
from cmmd_node.report.evidence import describe_document
from cmmd_node.report.findings import measurements, scores, tracking
from cmmd_node.report.geometry import closed
from cmmd_node.report.segmentation import PROPERTY_TYPE, SIDE
from cmmd_node.report.uids import model_uid


def measurement_report(
    result: StudyResult, images: Sequence[Dataset], identity: Dataset, round_: Round
) -> ResultObject:
    """Write the TID 1500 report of a study of which at least one image was analysed.

    Parameters
    ----------
    images
        Headers of the images that were analysed, in the order of the library.
    identity
        Patient and study attributes, as :func:`cmmd_node.report.header.identity` returns them.
    """
    ds = encoded(_root(result, images))
    ds.ContentTemplateSequence = [template_item("1500")]
    ds.SOPClassUID = Comprehensive3DSRStorage
    describe(ds, identity, round_, result.model, Form.TID1500)
    ds.InstanceNumber = 1
    describe_document(ds, round_, images)
    return sealed(ds, round_, result.model, Form.TID1500, image=None)


def _root(result: StudyResult, images: Sequence[Dataset]) -> Item:
    """Measurement Report (PS3.16 TID 1500)."""
    groups = [_group(finding, view, result.model) for view in result.views for finding in view.findings]
    children = (
        code(Relation.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.ENGLISH),  # row 2, TID 1204
        *_observer(result.model),  # row 3, TID 1001
        code(Relation.HAS_CONCEPT_MOD, codes.PROCEDURE_REPORTED, codes.MAMMOGRAPHY),  # row 4
        _library(images),  # row 5, TID 1600
        container(Relation.CONTAINS, codes.IMAGING_MEASUREMENTS, groups),  # rows 6, 7
    )
    return container(None, codes.IMAGING_MEASUREMENT_REPORT, children)  # row 1


def _observer(model: Model) -> Iterator[Item]:
    """The model as observer (PS3.16 TID 1002, 1004), in the words of the Contributing Equipment (IHE AIR)."""
    context = Relation.HAS_OBS_CONTEXT
    yield code(context, codes.OBSERVER_TYPE, codes.DEVICE)  # TID 1002 row 1
    yield uidref(context, codes.DEVICE_OBSERVER_UID, model_uid(model))  # TID 1004 row 1
    yield text(context, codes.DEVICE_OBSERVER_NAME, MANUFACTURER)  # row 2
    yield text(context, codes.DEVICE_OBSERVER_MANUFACTURER, MANUFACTURER)  # row 3
    yield text(context, codes.DEVICE_OBSERVER_MODEL_NAME, model.name)  # row 4


def _library(images: Sequence[Dataset]) -> Item:
    """Image Library (PS3.16 TID 1600) of one group, its images without descriptors."""
    entries = [image(Relation.CONTAINS, ds.SOPClassUID, ds.SOPInstanceUID) for ds in images]
    group = container(Relation.CONTAINS, codes.IMAGE_LIBRARY_GROUP, entries)
    return container(Relation.CONTAINS, codes.IMAGE_LIBRARY, [group])


def _group(finding: Finding, view: ViewResult, model: Model) -> Item:
    """Planar ROI Measurements and Qualitative Evaluations (PS3.16 TID 1410) of one finding."""
    mark = finding.mark
    selected = image(Relation.SELECTED_FROM, view.sop_class_uid, view.sop_instance_uid)  # row 6
    sides = [code(Relation.HAS_CONCEPT_MOD, codes.LATERALITY, SIDE[view.view.laterality])] if view.view else []
    children = (
        *tracking(finding),  # rows 2, 3
        code(Relation.CONTAINS, codes.FINDING_CATEGORY, codes.ABNORMAL_STRUCTURE),
        code(Relation.CONTAINS, codes.FINDING, PROPERTY_TYPE[mark.kind]),  # row 3b
        *algorithm_identification(model, Relation.HAS_CONCEPT_MOD),
        scoord(Relation.CONTAINS, codes.IMAGE_REGION, "POLYLINE", closed(mark.outline_cr), selected),  # row 5
        code(Relation.HAS_CONCEPT_MOD, codes.FINDING_SITE, codes.BREAST, sides),  # TID 1419 rows 2, 3
        *scores(mark, Relation.CONTAINS),  # TID 1419 row 5
        *measurements(mark, view.spacing, Relation.CONTAINS),  # TID 1419 row 5
    )
    return container(Relation.CONTAINS, codes.MEASUREMENT_GROUP, children, template="1410")  # row 1
