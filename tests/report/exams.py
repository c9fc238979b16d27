"""Small exams for the tests of this folder: CMMD-like headers and results made from them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from cmmd_node.facts import (
    BreastComposition,
    BreastGeometry,
    Finding,
    Kind,
    Laterality,
    Mark,
    Model,
    QualityFinding,
    Reference,
    Round,
    Spacing,
    StudyResult,
    View,
    ViewPosition,
    ViewResult,
    ViewStatus,
)
from cmmd_node.report import Place, with_findings

STUDY = "1.3.6.1.4.1.14519.5.2.1.1239.1759.24151979"
SERIES = "1.3.6.1.4.1.14519.5.2.1.1239.1759.61082364"
NODE = "2.25.207812344309486702384238472394823749823"
ROWS, COLUMNS = 64, 48
MODEL = Model(name="builtin", version="1.0", digest="ab" * 32)

VIEWS = {
    str(view): view for view in (View(laterality, position) for laterality in Laterality for position in ViewPosition)
}
_CODES = {
    ViewPosition.CC: ("399162004", "cranio-caudal"),
    ViewPosition.MLO: ("399368009", "medio-lateral oblique"),
}
_ORIENTATION = {"L CC": ["A", "R"], "R CC": ["P", "L"], "L MLO": ["A", "FR"], "R MLO": ["P", "FL"]}


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def sop_instance_uid(name: str) -> str:
    return f"1.3.6.1.4.1.14519.5.2.1.1239.1759.5867252{list(VIEWS).index(name)}"


def make_header(name: str = "L MLO", /, **changes: object) -> Dataset:
    """One CMMD header without its pixels; a change of None takes an attribute away."""
    view = VIEWS[name]
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    ds.SOPInstanceUID = sop_instance_uid(name)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20100718"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "000000"
    ds.AccessionNumber = ds.Manufacturer = ds.ReferringPhysicianName = ds.StudyID = ""
    ds.Modality, ds.PresentationIntentType = "MG", "FOR PRESENTATION"
    ds.AnatomicRegionSequence = [code_item("76752008", "SCT", "Breast")]
    ds.PatientName = ds.PatientID = "D1-0002"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "", "F", "040Y"
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "Per DICOM PS 3.15 AnnexE. Details in 0012,0064"
    ds.BodyPartExamined, ds.PositionerType, ds.DetectorType = "BREAST", "MAMMOGRAPHIC", "SCINTILLATOR"
    ds.ImagerPixelSpacing = [0.094090909, 0.094090909]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, SERIES
    ds.SeriesNumber, ds.InstanceNumber = 1, list(VIEWS).index(name) + 1
    ds.PatientOrientation, ds.ImageLaterality = _ORIENTATION[name], view.laterality.value
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = ROWS, COLUMNS
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.BurnedInAnnotation, ds.LossyImageCompression, ds.OrganExposed = "NO", "00", "BREAST"
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = "128.0", "256.0", "SIGMOID"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0.0", "1.0", "US"
    ds.AcquisitionContextSequence = []
    ds.ViewCodeSequence = [code_item(_CODES[view.position][0], "SCT", _CODES[view.position][1])]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
    ds.PresentationLUTShape = "IDENTITY"
    with disable_value_validation():  # peers send what pydicom would warn of
        for keyword, value in changes.items():
            ds.pop(keyword, None)  # an element keeps the rules that it was made under
            if value is not None:
                setattr(ds, keyword, value)
    return ds


def make_pixels(_sop_instance_uid: str) -> npt.NDArray[np.float32]:
    return np.full((ROWS, COLUMNS), 0.5, np.float32)


def make_exam() -> list[Dataset]:
    return [make_header(name) for name in VIEWS]


def make_round(*, number: int = 1, predecessors: tuple[Reference, ...] = ()) -> Round:
    return Round(
        node_uid=NODE,
        study_instance_uid=STUDY,
        number=number,
        created=datetime(2026, 11, 22, 17, 0, 3),  # noqa: DTZ001 - DICOM times have no zone here
        predecessors=predecessors,
    )


MASS = Mark(
    kind=Kind.MASS,
    center_cr=(20.5, 30.5),
    outline_cr=((15.0, 25.0), (26.0, 24.25), (27.5, 36.0), (15.0, 37.0)),
    suspicion=0.875,
    probability_malignant=0.61,
)
CLUSTER = Mark(
    kind=Kind.CALCIFICATION_CLUSTER,
    center_cr=(30.5, 40.5),
    outline_cr=((28.0, 38.0), (34.0, 39.0), (33.0, 44.0)),
    suspicion=1 / 3,
    calcifications_cr=((29.5, 39.5), (31.5, 40.5), (32.5, 42.5)),
)


GEOMETRY = Model(name="geometry", version="1.0", digest="ef" * 32)
SPACING = Spacing(row_mm=0.094090909, column_mm=0.094090909)
BREAST = BreastGeometry(outline_cr=((0.0, 2.0), (40.0, 20.0), (44.0, 34.0), (0.0, 60.0)), nipple_cr=(44.0, 34.0))


def make_result(
    *,
    marks: dict[str, tuple[Mark, ...]] | None = None,
    pairs: Collection[tuple[tuple[str, int], tuple[str, int]]] = (),
    not_analysed: dict[str, str] | None = None,
    failed: dict[str, str] | None = None,
    round_: Round | None = None,
    earlier: Sequence[Finding] = (),
    names: Collection[str] = tuple(VIEWS),
    **whole: Any,
) -> StudyResult:
    """A result over the standard views; the tests name what is on them or why there is nothing.

    Parameters
    ----------
    pairs
        Marks that are one lesion, each by its view and its number there.
    whole
        What is said of each analysed image as a whole.
    """
    views = []
    for name in names:
        reason = (not_analysed or {}).get(name) or (failed or {}).get(name)
        status = ViewStatus.ANALYSED
        if reason:
            status = ViewStatus.FAILED if name in (failed or {}) else ViewStatus.NOT_ANALYSED
        views.append(
            ViewResult(
                sop_instance_uid=sop_instance_uid(name),
                sop_class_uid=DigitalMammographyXRayImageStorageForPresentation,
                view=VIEWS[name],
                status=status,
                reason=reason,
                **({} if reason else {"spacing": SPACING, "breast": BREAST, **whole}),
            )
        )
    order = list(names)
    found = with_findings(
        round_ or make_round(),
        views,
        [(marks or {}).get(name, ()) for name in names],
        pairs=[(Place(order.index(a), i), Place(order.index(b), j)) for (a, i), (b, j) in pairs],
        earlier=earlier,
    )
    return StudyResult(study_instance_uid=STUDY, model=MODEL, views=found, geometry=GEOMETRY)


#: One result for each outcome, and a mixed one.
OUTCOMES = {
    "findings": make_result(marks={"L CC": (MASS,), "R MLO": (CLUSTER, MASS)}),
    "one lesion in two views": make_result(
        marks={"R CC": (MASS, CLUSTER), "R MLO": (CLUSTER, MASS), "L CC": (MASS,)},
        pairs=[(("R CC", 0), ("R MLO", 1)), (("R CC", 1), ("R MLO", 0))],
        composition=BreastComposition.SCATTERED,
        quality=tuple(QualityFinding),
    ),
    "no-findings": make_result(),
    "not-analysed": make_result(not_analysed=dict.fromkeys(VIEWS, "a spot view is not taken")),
    "failed": make_result(failed=dict.fromkeys(VIEWS, "the detector broke down")),
    "mixed": make_result(
        marks={"L CC": (MASS,)},
        not_analysed={"L MLO": "the view is not said"},
        failed={"R CC": "the pixel data end before the last row"},
    ),
}
