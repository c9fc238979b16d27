"""The Segmentation object: the findings on one image, and its breast, as masks in its own pixel grid (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds

from cmmd_node import __version__
from cmmd_node.facts import BreastGeometry, Finding, Form, Kind, Laterality, Model, Round, View
from cmmd_node.report import codes, header
from cmmd_node.report.content import code_item
from cmmd_node.report.envelope import MANUFACTURER, NOTICE, ResultObject, describe, sealed, series_number
from cmmd_node.report.mask import outline_mask
from cmmd_node.report.uids import derived_uid, series_uid

#: What a mark is called outside of CAD SR, whose own value sets know no mass.
PROPERTY_TYPE = {Kind.MASS: codes.MASS, Kind.CALCIFICATION_CLUSTER: codes.CALCIFICATION_CLUSTER}
SIDE = {Laterality.LEFT: codes.LEFT, Laterality.RIGHT: codes.RIGHT}


def segmentation(
    findings: Sequence[Finding],
    image: Dataset,
    *,
    view: View | None,
    geometry: tuple[BreastGeometry, Model] | None,
    identity: Dataset,
    round_: Round,
    model: Model,
    instance_number: int,
) -> ResultObject:
    """Write the binary SEG of one image with a segment for each finding on it, and one for the breast.

    Parameters
    ----------
    geometry
        Where the breast is, and what found it; None when nobody knows.
    image
        Header of the image that the findings are on; needs Rows and Columns.
    identity
        Patient and study attributes, as :func:`cmmd_node.report.header.identity` returns them.
    instance_number
        Place of this object in its series, from 1.
    """
    outlines = [finding.mark.outline_cr for finding in findings]
    segments = [_finding_segment(number, finding, view, model) for number, finding in enumerate(findings, start=1)]
    if geometry is not None:
        breast, finder = geometry
        outlines.append(breast.outline_cr)
        segments.append(_breast_segment(len(outlines), view, finder))
    masks = [outline_mask(outline_cr, image.Rows, image.Columns) for outline_cr in outlines]
    ds = Segmentation(
        source_images=[_source_image(image)],
        pixel_array=np.moveaxis(np.stack(masks), 0, -1)[np.newaxis],  # (frames, rows, columns, segments)
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=series_uid(round_, Form.SEG),
        series_number=series_number(round_, Form.SEG),
        sop_instance_uid=series_uid(round_, Form.SEG),  # left out when sealed
        instance_number=instance_number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=__version__,
        device_serial_number=round_.node_uid,
        content_label="CAD_FINDINGS",
        content_description=NOTICE,
    )
    describe(ds, identity, round_, model, Form.SEG)
    # General Image wants the orientation of a grid without frame of reference; highdicom leaves it out
    ds.PatientOrientation = list(header.patient_orientation(image) or ())
    _name_dimensions(ds, round_, image.SOPInstanceUID)
    return sealed(ds, round_, model, Form.SEG, image=image.SOPInstanceUID)


def _source_image(image: Dataset) -> Dataset:
    """What highdicom reads of an image, without the patient: it refuses some values and warns by name of others."""
    ds = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns"):
        setattr(ds, keyword, image[keyword].value)
    for keyword in header.TYPE_2:
        setattr(ds, keyword, "")
    ds.Modality = "MG"
    _copy_compression(ds, image)
    return ds


def _copy_compression(ds: Dataset, image: Dataset) -> None:
    """Say what the image has lost before the masks were made from it (PS3.3 C.8.20.2)."""
    ds.LossyImageCompression = "01" if header.text(image, "LossyImageCompression") == "01" else "00"
    method = header.text(image, "LossyImageCompressionMethod")
    methods = [method] if method else list(header.values(image, "LossyImageCompressionMethod"))
    ratios = header.numbers(image, "LossyImageCompressionRatio", len(methods)) if methods else ()
    if ratios:
        ds.LossyImageCompressionMethod = methods
        ds.LossyImageCompressionRatio = [format_number_as_ds(ratio) for ratio in ratios]


def _finding_segment(number: int, finding: Finding, view: View | None, model: Model) -> SegmentDescription:
    category_and_type = codes.ABNORMAL_STRUCTURE, PROPERTY_TYPE[finding.mark.kind]
    return _segment(number, finding.tracking_id, category_and_type, view, model, finding=finding)


def _breast_segment(number: int, view: View | None, finder: Model) -> SegmentDescription:
    """Breast and pectoral muscle; no lesion, so it is not tracked."""
    label = f"{view.laterality} breast" if view else "breast"
    return _segment(number, label, (codes.ANATOMICAL_STRUCTURE, codes.BREAST), view, finder)


def _segment(
    number: int,
    label: str,
    category_and_type: tuple[Code, Code],
    view: View | None,
    model: Model,
    *,
    finding: Finding | None = None,
) -> SegmentDescription:
    description = SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=category_and_type[0],
        segmented_property_type=category_and_type[1],
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=model.name,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=model.version,
            source=MANUFACTURER,
            parameters={"model sha256": model.digest},
        ),
        tracking_uid=finding.tracking_uid if finding else None,
        tracking_id=finding.tracking_id if finding else None,
        anatomic_regions=[codes.BREAST],
    )
    if view is not None:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [code_item(SIDE[view.laterality])]
    return description


def _name_dimensions(ds: Dataset, round_: Round, sop_instance_uid: str) -> None:
    """Put a derived UID where highdicom drew one by chance."""
    uid = UID(derived_uid("dimensions", node=round_.node_uid, round=round_.number, image=str(sop_instance_uid)))
    for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
