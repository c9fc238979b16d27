"""Digital Mammography X-Ray Images For Presentation (PS3.3 A.27), under the header that every image of CMMD has.

For who makes such objects: phantoms, and pictures that are brought in.
"""

from __future__ import annotations

import uuid
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

from cmmd_node.facts import Laterality, View, ViewPosition

#: What is the same in all of them, or empty because nobody knows it.
_CONSTANTS: Final = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["DERIVED", "PRIMARY"],
    "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation,
    "StudyDate": "",
    "StudyTime": "",
    "AccessionNumber": "",
    "Modality": "MG",
    "PresentationIntentType": "FOR PRESENTATION",
    "Manufacturer": "",
    "ReferringPhysicianName": "",
    "PatientBirthDate": "",
    "PatientSex": "",
    "BodyPartExamined": "BREAST",
    "PositionerType": "MAMMOGRAPHIC",
    "DetectorType": "",
    "StudyID": "",
    "SeriesNumber": "1",
    "SamplesPerPixel": 1,
    "PixelRepresentation": 0,
    "BurnedInAnnotation": "NO",
    "PixelIntensityRelationship": "LOG",
    "RescaleIntercept": "0.0",
    "RescaleSlope": "1.0",
    "RescaleType": "US",
    "LossyImageCompression": "00",
    "OrganExposed": "BREAST",
}

#: Code Value, Coding Scheme Designator, Code Meaning; as CMMD spells them.
_BREAST: Final = ("76752008", "SCT", "Breast")
_VIEW_CODES: Final = {
    ViewPosition.CC: ("399162004", "SCT", "cranio-caudal"),
    ViewPosition.MLO: ("399368009", "SCT", "medio-lateral oblique"),
}

#: Towards where a row and a column run (PS3.3 C.7.6.1.1.1), the chest wall of a left breast at the left edge.
_PATIENT_ORIENTATION: Final = {
    (Laterality.LEFT, ViewPosition.CC): ["A", "R"],
    (Laterality.RIGHT, ViewPosition.CC): ["P", "L"],
    (Laterality.LEFT, ViewPosition.MLO): ["A", "FR"],
    (Laterality.RIGHT, ViewPosition.MLO): ["P", "FL"],
}


def for_presentation(
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], view: View, *, low_is_bright: bool = False
) -> FileDataset:
    """An image that lacks its identity: UIDs, patient, Instance Number and Imager Pixel Spacing are the caller's.

    Explicit VR Little Endian. Its window is all of its bits; Bits Stored are 8, or as many as the largest value needs.

    Parameters
    ----------
    pixels
        Shape (rows, columns), oriented as in CMMD: the chest wall of a left breast at the left edge.
    low_is_bright
        Dense tissue has small values: MONOCHROME1.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]
    for keyword, value in _CONSTANTS.items():
        setattr(ds, keyword, value)
    ds.AnatomicRegionSequence = code_items(_BREAST)
    ds.AcquisitionContextSequence = Sequence()
    ds.PatientOrientation = _PATIENT_ORIENTATION[view.laterality, view.position]
    ds.ImageLaterality = view.laterality.value
    ds.ViewCodeSequence = code_items(_VIEW_CODES[view.position])
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    ds.PhotometricInterpretation = "MONOCHROME1" if low_is_bright else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if low_is_bright else "IDENTITY"
    ds.PixelIntensityRelationshipSign = 1 if low_is_bright else -1
    allocated = 8 * pixels.dtype.itemsize
    stored = 8 if allocated == 8 else max(8, int(pixels.max()).bit_length())
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, stored, stored - 1
    ds.WindowCenter, ds.WindowWidth = f"{1 << (stored - 1)}.0", f"{1 << stored}.0"
    ds.WindowCenterWidthExplanation = f"Full width of {stored} bit data"
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    ds["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return ds


def code_items(*codes: tuple[str, str, str]) -> Sequence:
    """A sequence of codes: Code Value, Coding Scheme Designator, Code Meaning."""
    items = []
    for value, scheme, meaning in codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        items.append(item)
    return Sequence(items)


def derived_uid(namespace: uuid.UUID, *names: object) -> UID:
    """A UID that follows from names alone (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(namespace, '/'.join(map(str, names))).int}")
