"""TIFF and PNG mammograms with a table that says what they show, as DICOM files; so CMMD itself was made.

The table is a CSV file, one row a picture. Its columns have the names that they have in manifests (`train.manifest`):

========================== =========================================================================================
path                       the TIFF or PNG file, below the folder of pictures; grey, 8 or 16 bits, without names in it,
                           the chest wall of a left breast at the left edge
patient                    Patient ID
side                       L or R
view                       CC or MLO
row_mm                     distance of pixel centres between rows, at the detector
column_mm                  the same between columns
study_date                 YYYYMMDD; empty: unknown
accession_number           empty: none
age                        years; empty: unknown
sex                        F, M or O; empty: unknown
photometric_interpretation MONOCHROME1 for a negative, where dense tissue is dark; empty: MONOCHROME2
========================== =========================================================================================

The last five may be missing altogether. Rows of one patient, study date and accession number are one study. All UIDs
follow from what a row and its pixels say, so the same picture with the same words is the same object wherever and
however often it is brought in.
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from io import BytesIO
from pathlib import Path

from pydicom.dataset import FileDataset
from pydicom.valuerep import format_number_as_ds

from cmmd_node.digital_mammography import derived_uid, for_presentation
from cmmd_node.errors import NotAnalysed, UnreadableInstance
from cmmd_node.facts import Laterality, View, ViewPosition
from cmmd_node.pictures import read_grey
from cmmd_node.retrieve.media import MediaFile
from cmmd_node.rows import Row, natural, read_rows

NEEDED = ("path", "patient", "side", "view", "row_mm", "column_mm")
COLUMNS = (*NEEDED, "study_date", "accession_number", "age", "sex", "photometric_interpretation")

_NAMESPACE = uuid.UUID("0d3f5a5e-5c3c-4d0e-8f0b-6a4d4f2c9b17")
_INSTANCE_NUMBERS = {
    View(laterality, position): number
    for number, (laterality, position) in enumerate(
        ((laterality, position) for laterality in Laterality for position in ViewPosition), start=1
    )
}


def picture_files(table: Path, folder: Path) -> Iterator[MediaFile]:
    """The rows of a table, each as the DICOM file that its picture becomes.

    Raises
    ------
    NodeError
        The table cannot be used at all; what is wrong with a row, its own file says.
    """
    before: dict[str, int] = {}
    for row in read_rows(table, table.read_bytes(), columns=COLUMNS, needed=NEEDED):
        yield MediaFile(f"{table} row {row.number}", partial(_pieces, row, folder, before))


def _pieces(row: Row, folder: Path, before: dict[str, int]) -> Iterator[bytes]:
    try:
        name = row.needed("path", str, "a file")
        if before.setdefault(name, row.number) != row.number:  # as whose, nobody could tell
            raise ValueError(f"{name} came in row {before[name]}")
        ds = _object(row, _below(folder, name))
    except (ValueError, NotAnalysed) as error:
        raise UnreadableInstance(str(error)) from error
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    yield buffer.getvalue()


def _below(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"there is no file {name!r} in {folder}")
    return path


def _object(row: Row, path: Path) -> FileDataset:
    """The object of a row and its picture; ValueError or NotAnalysed says what is wrong with it."""
    patient = row.needed("patient", _words(64), "at most 64 characters without a backslash")
    view = View(row.needed("side", Laterality, "L or R"), row.needed("view", ViewPosition, "CC or MLO"))
    spacing = [row.needed(name, _millimetres, "a number of millimetres") for name in ("row_mm", "column_mm")]
    study_date = row.value("study_date", _date, "YYYYMMDD") or ""
    accession_number = row.value("accession_number", _words(16), "at most 16 characters without a backslash") or ""
    age = row.value("age", _age, "a number of years") or ""
    sex = row.value("sex", _one_of("F", "M", "O"), "F, M or O") or ""
    interpretations = ("MONOCHROME2", "MONOCHROME1")
    photometric = row.value("photometric_interpretation", _one_of(*interpretations), " or ".join(interpretations))
    pixels = read_grey(path, formats=("TIFF", "PNG"))

    ds = for_presentation(pixels, view, low_is_bright=photometric == "MONOCHROME1")
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = ds.PatientID = patient
    ds.PatientSex, ds.PatientAge = sex, age
    ds.StudyDate, ds.AccessionNumber = study_date, accession_number
    ds.InstanceNumber = _INSTANCE_NUMBERS[view]
    ds.ImagerPixelSpacing = spacing
    study = (patient, study_date, accession_number)
    told = (str(view), *spacing, age, sex, str(ds.PhotometricInterpretation))
    stored = (pixels.shape, pixels.dtype.str, hashlib.sha256(pixels.tobytes()).hexdigest())
    ds.StudyInstanceUID = derived_uid(_NAMESPACE, "study", study)
    ds.SeriesInstanceUID = derived_uid(_NAMESPACE, "series", study)
    ds.SOPInstanceUID = derived_uid(_NAMESPACE, "instance", study, told, stored)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def _words(most: int) -> Callable[[str], str]:
    """Text of a VR of so many characters (PS3.5 table 6.2-1)."""

    def read(text: str) -> str:
        if len(text) > most or not text.isprintable() or "\\" in text:
            raise ValueError(text)
        return text

    return read


def _one_of(*values: str) -> Callable[[str], str]:
    return {value: value for value in values}.__getitem__


def _millimetres(text: str) -> str:
    value = float(text)
    if not 0.0 < value < math.inf:
        raise ValueError(text)
    return format_number_as_ds(value)


def _date(text: str) -> str:
    if not re.fullmatch(r"\d{8}", text, re.ASCII):
        raise ValueError(text)
    return f"{date(int(text[:4]), int(text[4:6]), int(text[6:])):%Y%m%d}"


def _age(text: str) -> str:
    years = natural(text)
    if years > 150:
        raise ValueError(text)
    return f"{years:03d}Y"
