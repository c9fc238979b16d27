"""The one factory of mammograms for all tests: small, synthetic, valid, the same on every run.

Each test states its one difference: ``make_mammogram(PhotometricInterpretation="MONOCHROME1")``. A keyword argument
sets the attribute of that DICOM keyword; None takes it away. Headers are CMMD's, with what CMMD lacks filled in so
that dciodvfy has no errors to report.
"""

from __future__ import annotations

import importlib
import subprocess
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

VIEWS = ("L CC", "L MLO", "R CC", "R MLO")

_VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
_DCMCJPEG = {
    JPEGBaseline8Bit: ["+eb"],
    JPEGExtended12Bit: ["+ee"],
    JPEGLossless: ["+el"],
    JPEGLosslessSV1: ["+e1"],
}
_ORIENTATIONS = {"L CC": ["A", "R"], "L MLO": ["A", "FR"], "R CC": ["P", "L"], "R MLO": ["P", "FL"]}


def code_item(value: str, scheme: str = "SCT", meaning: str = "meaning", **more: Any) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    for keyword, content in more.items():
        setattr(item, keyword, content)
    return item


def breast(rows: int = 128, columns: int = 96, *, laterality: str = "L", seed: int = 0) -> npt.NDArray[np.uint8]:
    """A breast-shaped picture: air is 0, the chest wall at column 0 of a left breast and at the last of a right one."""
    down, across = np.mgrid[0:rows, 0:columns]
    depth = 1 - ((down - rows / 2) / (0.45 * rows)) ** 2 - (across / (0.7 * columns)) ** 2  # 0 at the skin
    texture = np.random.default_rng(seed).normal(0, 8, (rows, columns))
    gland = 70 * np.exp(-(((down - rows / 2) / (0.2 * rows)) ** 2) - ((across - 0.3 * columns) / (0.2 * columns)) ** 2)
    picture = np.where(depth > 0, np.clip(80 * np.sqrt(np.clip(depth, 0, 1)) + gland + texture + 20, 1, 255), 0)
    return (picture if laterality == "L" else picture[:, ::-1]).astype(np.uint8)


def make_mammogram(
    pixels: npt.NDArray[Any] | None = None,
    *,
    view: str = "L MLO",
    study: str = "study",
    patient: str = "patient",
    **differences: Any,
) -> FileDataset:
    """A Digital Mammography X-Ray Image For Presentation, Explicit VR Little Endian.

    Parameters
    ----------
    pixels : numpy.ndarray, uint8, uint16, int8 or int16, shape (rows, columns)
        A breast of 128 x 96 pixels when not given. Rows, Columns, the bits and Pixel Representation follow from it.
    view
        Laterality and view, one of `VIEWS`.
    study, patient
        Seeds: equal seeds and view, equal UIDs. An image of one patient in another study keeps its Patient ID.
    differences
        Attributes by their DICOM keyword; None removes.
    """
    laterality, position = view.split()
    if pixels is None:
        pixels = breast(laterality=laterality, seed=VIEWS.index(view))
    bits = pixels.dtype.itemsize * 8
    value, meaning = _VIEW_CODES[position]
    uid = _uids(patient, study)
    ds = _header(patient)
    ds.SOPInstanceUID = uid(view)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study"), uid("series")
    ds.InstanceNumber = VIEWS.index(view) + 1
    ds.ImageLaterality, ds.PatientOrientation = laterality, _ORIENTATIONS[view]
    ds.ViewCodeSequence = [code_item(value, meaning=meaning, ViewModifierCodeSequence=Sequence())]
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    ds.WindowCenter, ds.WindowWidth = 1 << (bits - 1), 1 << bits
    _set_pixels(ds, pixels)
    for keyword, content in differences.items():
        if content is not None:
            setattr(ds, keyword, content)
        elif keyword in ds:
            delattr(ds, keyword)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "")
    return ds


def exam(*, study: str = "study", patient: str = "patient", **differences: Any) -> list[FileDataset]:
    """The four standard views of one study."""
    return [make_mammogram(view=view, study=study, patient=patient, **differences) for view in VIEWS]


def save(ds: FileDataset, path: Path) -> Path:
    """Write a file in its transfer syntax, with whatever is wrong in it."""
    uid = ds.file_meta.TransferSyntaxUID
    dcmwrite(path, ds, implicit_vr=uid.is_implicit_VR, little_endian=uid.is_little_endian, enforce_file_format=True)
    return path


def encoded(ds: FileDataset, transfer_syntax: UID) -> FileDataset:
    """A copy of an unsigned image in another transfer syntax; JPEG needs DCMTK's dcmcjpeg."""
    copy = deepcopy(ds)
    copy.file_meta.TransferSyntaxUID = transfer_syntax
    cells = np.frombuffer(ds.PixelData, f"<u{ds.BitsAllocated // 8}")[: ds.Rows * ds.Columns]
    cells = cells.reshape(ds.Rows, ds.Columns)
    if transfer_syntax == ExplicitVRBigEndian:
        copy.PixelData = cells.astype(cells.dtype.newbyteorder(">")).tobytes()
        copy["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
        return copy
    if not transfer_syntax.is_compressed:
        return copy
    copy.PixelData = encapsulate([compressed(cells, transfer_syntax, ds.BitsStored)])
    copy["PixelData"].VR = "OB"
    copy["PixelData"].is_undefined_length = True
    return copy


def compressed(cells: npt.NDArray[Any], transfer_syntax: UID, bits_stored: int) -> bytes:
    """One frame of unsigned pixels as a codestream."""
    rows, columns = cells.shape
    bits = cells.dtype.itemsize * 8
    if transfer_syntax in (JPEGLSLossless, JPEGLSNearLossless):
        lossy_error = 2 if transfer_syntax == JPEGLSNearLossless else 0
        jpeg_ls = importlib.import_module("jpeg_ls")
        return bytes(jpeg_ls.encode_array(cells, lossy_error=lossy_error, interleave_mode=0))
    if transfer_syntax in (JPEG2000Lossless, JPEG2000):
        lossy = {"compression_ratios": [4]} if transfer_syntax == JPEG2000 else {}
        return bytes(
            importlib.import_module("openjpeg").encode_pixel_data(
                cells.tobytes(),
                rows=rows,
                columns=columns,
                samples_per_pixel=1,
                bits_allocated=bits,
                bits_stored=bits_stored,
                pixel_representation=0,
                photometric_interpretation="MONOCHROME2",
                **lossy,
            )
        )
    if transfer_syntax == RLELossless:
        fields = {"samples_per_pixel": 1, "pixel_representation": 0, "photometric_interpretation": "MONOCHROME2"}
        size = {"rows": rows, "columns": columns, "bits_allocated": bits, "bits_stored": bits, "number_of_frames": 1}
        options: dict[str, Any] = fields | size
        return RLELosslessEncoder.encode(cells.tobytes(), encoding_plugin="pydicom", **options)
    return _compressed_by_dcmtk(cells, transfer_syntax, bits_stored)


def _compressed_by_dcmtk(cells: npt.NDArray[Any], transfer_syntax: UID, bits_stored: int) -> bytes:
    """JPEG, lossy and lossless, 8 to 16 bits."""
    ds = make_mammogram(cells, BitsStored=bits_stored, HighBit=bits_stored - 1)
    with TemporaryDirectory() as folder:
        native, coded = save(ds, Path(folder) / "native"), Path(folder) / "coded"
        subprocess.run(["dcmcjpeg", "--uid-never", *_DCMCJPEG[transfer_syntax], native, coded], check=True)
        return next(generate_frames(dcmread(coded).PixelData, number_of_frames=1))


def _uids(patient: str, study: str) -> Any:
    return lambda name: generate_uid(entropy_srcs=["mammograms", patient, study, name])


def _set_pixels(ds: FileDataset, pixels: npt.NDArray[Any]) -> None:
    value = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = value + b"\0" * (len(value) % 2)
    ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"


def _header(patient: str) -> FileDataset:
    """What is the same in every image: CMMD's header, device and dose completed."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, content in {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["DERIVED", "PRIMARY"],
        "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation,
        "StudyDate": "20100718",
        "SeriesDate": "20100718",
        "AcquisitionDate": "20100718",
        "ContentDate": "20100718",
        "StudyTime": "101500",
        "SeriesTime": "101500",
        "AcquisitionTime": "101500",
        "ContentTime": "101500",
        "AccessionNumber": "",
        "Modality": "MG",
        "PresentationIntentType": "FOR PRESENTATION",
        "Manufacturer": "Synthetic",
        "ReferringPhysicianName": "",
        "AnatomicRegionSequence": [code_item("76752008", meaning="Breast")],
        "PatientName": f"Phantom^{patient}",
        "PatientID": patient,
        "PatientBirthDate": "",
        "PatientSex": "F",
        "PatientAge": "047Y",
        "BodyPartExamined": "BREAST",
        "ImagerPixelSpacing": ["0.094090909", "0.094090909"],
        "PositionerType": "MAMMOGRAPHIC",
        "DetectorType": "SCINTILLATOR",
        "StudyID": "",
        "SeriesNumber": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BurnedInAnnotation": "NO",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "RescaleIntercept": "0",
        "RescaleSlope": "1",
        "RescaleType": "US",
        "WindowCenterWidthExplanation": "full width",
        "VOILUTFunction": "SIGMOID",
        "LossyImageCompression": "00",
        "OrganExposed": "BREAST",
        "AcquisitionContextSequence": Sequence(),
        "PresentationLUTShape": "IDENTITY",
    }.items():
        setattr(ds, keyword, content)
    return ds
