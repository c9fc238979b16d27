"""Phantom exams as DICOM objects, under the header that every image of CMMD has.

Element for element what the archive serves (header dump of D1-0002, left MLO), less what is the archive's own: the
private CTP block and POSDA's name in the file meta information. So a node that reads these reads CMMD.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import Final

from pydicom.dataset import FileDataset

from cmmd_node.digital_mammography import code_items, derived_uid, for_presentation
from cmmd_node.phantom.exam import Exam, PhantomView

_uid = partial(derived_uid, uuid.UUID("5a0ddc3c-6f61-4d3f-9a51-6d3a5e0f6b7e"))

#: What is the same in all images of the collection, or is here in all images of all phantoms.
_CONSTANTS: Final = {
    "InstanceCreationDate": "20170818",
    "InstanceCreationTime": "114640",
    "StudyDate": "20100718",
    "SeriesDate": "20100718",
    "AcquisitionDate": "20100718",
    "ContentDate": "20100718",
    "StudyTime": "000000",
    "SeriesTime": "000000",
    "AcquisitionTime": "000000",
    "ContentTime": "000000",
    "PatientSex": "F",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "Per DICOM PS 3.15 AnnexE. Details in 0012,0064",
    "ImagerPixelSpacing": ["0.094090909", "0.094090909"],
    "DetectorType": "SCINTILLATOR",
    "LongitudinalTemporalInformationModified": "MODIFIED",
    "VOILUTFunction": "SIGMOID",
}

#: Code Value, Coding Scheme Designator, Code Meaning; as CMMD spells them.
_DEIDENTIFICATION: Final = (
    ("113100", "DCM", "Basic Application Confidentiality Profile"),
    ("113101", "DCM", "Clean Pixel Data Option"),
    ("113104", "DCM", "Clean Structured Content Option"),
    ("113105", "DCM", "Clean Descriptors Option"),
    ("113107", "DCM", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "DCM", "Retain Patient Characteristics Option"),
    ("113109", "DCM", "Retain Device Identity Option"),
    ("113111", "DCM", "Retain Safe Private Option"),
)


def to_datasets(exam: Exam, *, study: str | None = None, patient_id: str | None = None) -> tuple[FileDataset, ...]:
    """The four images of an exam as CMMD would hold them, ready to be written or sent.

    Parameters
    ----------
    exam : Exam
    study : str, optional
        What all UIDs are derived from, so another one gives the same pixels as another study. Default: the exam's seed.
    patient_id : str, optional
        Patient ID and Patient's Name. Default: "PHANTOM-" and the exam's seed in six digits.

    Returns
    -------
    tuple of pydicom.FileDataset
        In the order of ``exam.views``; Explicit VR Little Endian, one study, one series.
    """
    study = str(exam.seed) if study is None else study
    patient_id = f"PHANTOM-{exam.seed:06d}" if patient_id is None else patient_id
    return tuple(
        to_dataset(view, study=study, patient_id=patient_id, age=30 + exam.seed % 50, instance_number=number)
        for number, view in enumerate(exam.views, start=1)
    )


def to_dataset(view: PhantomView, *, study: str, patient_id: str, age: int, instance_number: int) -> FileDataset:
    """One image as CMMD would hold it; `study` decides all UIDs, as in `to_datasets`."""
    ds = for_presentation(view.pixels, view.view)
    ds.file_meta.ImplementationClassUID = _uid("implementation class")
    ds.file_meta.ImplementationVersionName = "CMMD_PHANTOM"
    for keyword, value in _CONSTANTS.items():
        setattr(ds, keyword, value)
    ds.InstanceCreatorUID = _uid("instance creator")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = _uid(study, "instance", view.view)
    ds.StudyInstanceUID = _uid(study, "study")
    ds.SeriesInstanceUID = _uid(study, "series")
    ds.InstanceNumber = str(instance_number)
    ds.PatientName = ds.PatientID = patient_id
    ds.PatientAge = f"{age:03d}Y"
    ds.DeidentificationMethodCodeSequence = code_items(*_DEIDENTIFICATION)
    return ds
