"""The label sheet: one row for each breast that biopsy says something about.

A row with a fault becomes a problem and costs that breast its label; nothing is dropped without a word. A breast
that has no row is unknown: the sheet says nothing about it, least of all that it is benign.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from cmmd_node.errors import NodeError
from cmmd_node.facts import BreastLabel, Classification, Kind, Laterality, RowProblem, Subtype

COLUMNS: Final = ("ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype")
REPLACING_ID: Final = "ID2"
"""Not in every edition of the sheet; where a row has it, the archive's PatientID is this one."""

PATIENT_ID: Final = re.compile(r"D[12]-\d{4}")
_SIDES: Final = {"L": Laterality.LEFT, "R": Laterality.RIGHT}
_CLASSIFICATIONS: Final = {"benign": Classification.BENIGN, "malignant": Classification.MALIGNANT}
_ABNORMALITIES: Final = {
    "mass": frozenset({Kind.MASS}),
    "calcification": frozenset({Kind.CALCIFICATION_CLUSTER}),
    "both": frozenset(Kind),
}
_SUBTYPES: Final = {
    "luminal a": Subtype.LUMINAL_A,
    "luminal b": Subtype.LUMINAL_B,
    "her2-enriched": Subtype.HER2_ENRICHED,
    "triple negative": Subtype.TRIPLE_NEGATIVE,
}
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledBreast:
    """One row of the sheet."""

    row: int
    """As spreadsheets count: the header is row 1."""
    patient_id: str
    laterality: Laterality
    age: int
    """Years."""
    number: int
    """How many images the sheet says there are of this breast."""
    label: BreastLabel


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSheet:
    """All rows."""

    breasts: tuple[LabelledBreast, ...]
    problems: tuple[RowProblem, ...]
    sha256: str


def read_label_sheet(path: Path) -> LabelSheet:
    """Read the sheet; the first of the workbook counts.

    Raises
    ------
    NodeError
        The file is no XLSX workbook, or columns are missing.
    """
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles that openpyxl does not know
            workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            rows = list(workbook.worksheets[0].iter_rows(values_only=True))
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, IndexError, SyntaxError) as error:
        raise NodeError(f"{path} is no XLSX workbook that can be read: {error}") from error
    header = [_text(value) for value in rows[0]] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise NodeError(f"{path} has no column {', '.join(missing)}; a CMMD label sheet has {', '.join(COLUMNS)}")
    breasts: dict[tuple[str, Laterality], LabelledBreast] = {}
    problems = []
    for number, values in enumerate(rows[1:], start=2):
        cells = {name: _text(value) for name, value in zip(header, values, strict=False)}
        if not any(cells.values()):
            continue  # spreadsheets end in empty rows
        try:
            breast = _breast(number, cells)
            if before := breasts.get((breast.patient_id, breast.laterality)):
                raise ValueError(f"{breast.patient_id} {breast.laterality} has a label already, in row {before.row}")
        except ValueError as error:
            problems.append(RowProblem(number, str(error)))
        else:
            breasts[breast.patient_id, breast.laterality] = breast
    return LabelSheet(
        breasts=tuple(breasts.values()), problems=tuple(problems), sha256=hashlib.sha256(data).hexdigest()
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _breast(row: int, cells: Mapping[str, str]) -> LabelledBreast:
    """One row; ValueError says what is wrong with it."""
    patient_id = cells.get(REPLACING_ID) or cells["ID1"]
    if not PATIENT_ID.fullmatch(patient_id):
        raise ValueError(f"the patient is {patient_id!r}, not D1- or D2- and four digits")

    def word(name: str, known: Mapping[str, _Value]) -> _Value:
        text = cells.get(name, "")
        by_case = {key.casefold(): value for key, value in known.items()}
        if text.casefold() not in by_case:
            raise ValueError(f"{patient_id}: {name} is {text!r}, not one of {', '.join(known)}")
        return by_case[text.casefold()]

    def natural(name: str) -> int:
        text = cells.get(name, "")
        if not re.fullmatch(r"\d{1,3}", text):
            raise ValueError(f"{patient_id}: {name} is {text!r}, not a whole number")
        return int(text)

    return LabelledBreast(
        row=row,
        patient_id=patient_id,
        laterality=word("LeftRight", _SIDES),
        age=natural("Age"),
        number=natural("number"),
        label=BreastLabel(
            classification=word("classification", _CLASSIFICATIONS),
            kinds=word("abnormality", _ABNORMALITIES),
            subtype=word("subtype", _SUBTYPES) if cells.get("subtype") else None,
        ),
    )
