"""Phantom exams as DICOM objects, under the header that every image of CMMD has.

Element for element what the archive serves (header dump of D1-0002, left MLO), less what is the archive's own: the
private CTP block and POSDA's name in the file meta information. So a node that reads these reads CMMD.
"""

from __future__ import annotations

import uuid
from typing import Final

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

from cmmd_node.facts import Laterality, ViewPosition
from cmmd_node.phantom.exam import Exam, PhantomView

_NAMESPACE: Final = uuid.UUID("5a0ddc3c-6f61-4d3f-9a51-6d3a5e0f6b7e")

#: What is the same in all images of the collection, or is here in all images of all phantoms.
_CONSTANTS: Final = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["DERIVED", "PRIMARY"],
    "InstanceCreationDate": "20170818",
    "InstanceCreationTime": "114640",
    "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation,
    "StudyDate": "20100718",
    "SeriesDate": "20100718",
    "AcquisitionDate": "20100718",
    "ContentDate": "20100718",
    "StudyTime": "000000",
    "SeriesTime": "000000",
    "AcquisitionTime": "000000",
    "ContentTime": "000000",
    "AccessionNumber": "",
    "Modality": "MG",
    "PresentationIntentType": "FOR PRESENTATION",
    "Manufacturer": "",
    "ReferringPhysicianName": "",
    "PatientBirthDate": "",
    "PatientSex": "F",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "Per DICOM PS 3.15 AnnexE. Details in 0012,0064",
    "BodyPartExamined": "BREAST",
    "ImagerPixelSpacing": ["0.094090909", "0.094090909"],
    "PositionerType": "MAMMOGRAPHIC",
    "DetectorType": "SCINTILLATOR",
    "StudyID": "",
    "SeriesNumber": "1",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelRepresentation": 0,
    "BurnedInAnnotation": "NO",
    "LongitudinalTemporalInformationModified": "MODIFIED",
    "PixelIntensityRelationship": "LOG",
    "PixelIntensityRelationshipSign": -1,
    "WindowCenter": "128.0",
    "WindowWidth": "256.0",
    "RescaleIntercept": "0.0",
    "RescaleSlope": "1.0",
    "RescaleType": "US",
    "WindowCenterWidthExplanation": "Full width of 8 bit data",
    "VOILUTFunction": "SIGMOID",
    "LossyImageCompression": "00",
    "OrganExposed": "BREAST",
    "PresentationLUTShape": "IDENTITY",
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
}

#: Code Value, Coding Scheme Designator, Code Meaning; as CMMD spells them.
_BREAST: Final = ("76752008", "SCT", "Breast")
_VIEW_CODES: Final = {
    ViewPosition.CC: ("399162004", "SCT", "cranio-caudal"),
    ViewPosition.MLO: ("399368009", "SCT", "medio-lateral oblique"),
}
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

#: Towards where a row and a column run (PS3.3 C.7.6.1.1.1).
_PATIENT_ORIENTATION: Final = {
    (Laterality.LEFT, ViewPosition.CC): ["A", "R"],
    (Laterality.RIGHT, ViewPosition.CC): ["P", "L"],
    (Laterality.LEFT, ViewPosition.MLO): ["A", "FR"],
    (Laterality.RIGHT, ViewPosition.MLO): ["P", "FL"],
}


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


def _uid(*names: object) -> UID:
    """A UID that follows from names alone (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(map(str, names))).int}")


def to_dataset(view: PhantomView, *, study: str, patient_id: str, age: int, instance_number: int) -> FileDataset:
    """One image as CMMD would hold it; `study` decides all UIDs, as in `to_datasets`."""
    sop_instance_uid = _uid(study, "instance", view.view)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = sop_instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation class")
    meta.ImplementationVersionName = "CMMD_PHANTOM"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]

    for keyword, value in _CONSTANTS.items():
        setattr(ds, keyword, value)
    ds.InstanceCreatorUID = _uid("instance creator")
    ds.SOPInstanceUID = sop_instance_uid
    ds.StudyInstanceUID = _uid(study, "study")
    ds.SeriesInstanceUID = _uid(study, "series")
    ds.InstanceNumber = str(instance_number)
    ds.PatientName = ds.PatientID = patient_id
    ds.PatientAge = f"{age:03d}Y"
    ds.AnatomicRegionSequence = _codes(_BREAST)
    ds.DeidentificationMethodCodeSequence = _codes(*_DEIDENTIFICATION)
    ds.AcquisitionContextSequence = Sequence()
    ds.PatientOrientation = _PATIENT_ORIENTATION[view.view.laterality, view.view.position]
    ds.ImageLaterality = view.view.laterality.value
    ds.ViewCodeSequence = _codes(_VIEW_CODES[view.view.position])
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    ds.Rows, ds.Columns = view.pixels.shape
    ds.PixelData = view.pixels.tobytes()
    ds["PixelData"].VR = "OB"
    return ds


def _codes(*codes: tuple[str, str, str]) -> Sequence:
    items = []
    for value, scheme, meaning in codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        items.append(item)
    return Sequence(items)
