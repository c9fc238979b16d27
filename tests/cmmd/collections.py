"""Collections in the shape of CMMD: the real tables of headers and labels, and small folders of phantoms."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
from pydicom.dataset import Dataset

from cmmd_node.cmmd.images import CmmdImage
from cmmd_node.cmmd.known import SHEET_NAME
from cmmd_node.cmmd.labels import COLUMNS
from cmmd_node.phantom import make_exam, to_datasets
from tests.conftest import SHARED
from tests.mammograms import code_item, make_mammogram

REAL = SHARED / "data" / "cmmd"
REAL_SHEET = REAL / SHEET_NAME

#: Rows of the little sheet: patients that the split knows, so that a folder of them is a part of the collection.
ROWS: tuple[tuple[Any, ...], ...] = (
    ("D1-0001", "R", 44, 2, "calcification", "Benign", None),
    ("D1-0202", "L", 38, 2, "calcification", "Malignant", None),
    ("D1-0202", "R", 38, 2, "calcification", "Benign", None),
    ("D1-0951", "R", 51, 2, "mass", "Malignant", None),
    ("D1-1343", "L", 41, 2, "both", "Malignant", None),
    ("D2-0041", "L", 55, 2, "mass", "Malignant", "Luminal A"),
    ("D2-0284", "L", 38, 2, "both", "Malignant", "Luminal B"),
)
#: The views that there are of each of them.
SIDES = {"D1-0001": "R", "D1-0202": "LR", "D1-0951": "R", "D1-1343": "L", "D2-0041": "LR", "D2-0284": "LR"}


def real_headers() -> Iterator[dict[str, str]]:
    """The header table of all images."""
    with (REAL / "image_headers.csv").open(newline="") as file:
        yield from csv.DictReader(file)


@cache
def real_images() -> tuple[CmmdImage, ...]:
    """All images of the collection, each from a data set with the header values that the table gives."""
    ds = make_mammogram()
    images = []
    for row in real_headers():
        for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "ImageLaterality", "PatientAge"):
            setattr(ds, keyword, row[keyword])
        ds.PatientOrientation = row["PatientOrientation"].split("\\")
        ds.ViewCodeSequence = [code_item(row["ViewCode"])]
        ds.BitsAllocated, ds.BitsStored = int(row["BitsStored"]), int(row["BitsStored"])
        ds.HighBit = ds.BitsStored - 1
        images.append(CmmdImage.from_dataset(ds, Path(f"{row['PatientID']}/{row['InstanceNumber']}.dcm")))
    return tuple(images)


def write_sheet(path: Path, rows: Iterable[Sequence[Any]] = ROWS, columns: Sequence[str] = COLUMNS) -> Path:
    """A label sheet."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.append(list(columns))
    for row in rows:
        sheet.append(list(row))
    workbook.save(path)
    return path


def write_collection(folder: Path, sides: Mapping[str, str] = SIDES) -> Path:
    """A folder of phantoms under CMMD's patients, with the little sheet, D1-0202 twice and the 16-bit pair."""
    write_sheet(folder / SHEET_NAME)
    ages = {row[0]: row[2] for row in ROWS}
    for patient_id, letters in sides.items():
        for number, ds in enumerate(phantom(patient_id, age=ages.get(patient_id, 50)), start=1):
            if ds.ImageLaterality in letters:
                where = folder / "images" / patient_id
                where.mkdir(parents=True, exist_ok=True)
                ds.save_as(where / f"1-{number}.dcm", enforce_file_format=True)
    return folder


def phantom(patient_id: str, *, age: int = 50) -> Iterator[Dataset]:
    """The four images of a patient, small; each patient's pixels are others, but for those published twice."""
    drawn = "D1-0202" if patient_id == "D2-0284" else patient_id
    for ds in to_datasets(_exam(), study=patient_id, patient_id=patient_id):
        pixels = np.frombuffer(ds.PixelData, np.uint8).reshape(ds.Rows, ds.Columns)[::8, ::8].copy()
        tissue = pixels > 0
        pixels[tissue] = np.clip(pixels[tissue], 1, 250) + int(drawn[3:]) % 5
        pixels[100:103, 100:130] = int(drawn[3:]) % 251  # its number, so to say
        ds.Rows, ds.Columns = pixels.shape
        ds.PatientAge = f"{age:03d}Y"
        if patient_id == "D1-1343":
            pixels = pixels.astype(np.uint16) * 257
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = pixels.tobytes()
        ds["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
        yield ds


@cache
def _exam() -> Any:
    return make_exam(7)
