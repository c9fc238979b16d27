"""The label sheet: the real one, and what a faulty one costs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cmmd_node.cmmd.known import NUMBERS, SHEET_SHA256, cohort_of
from cmmd_node.cmmd.labels import COLUMNS, read_label_sheet
from cmmd_node.errors import NodeError
from cmmd_node.facts import BreastLabel, Classification, Kind, Laterality, Subtype
from tests.cmmd.collections import REAL_SHEET, ROWS, write_sheet


@pytest.mark.shared
def test_real_sheet_has_the_known_numbers() -> None:
    sheet = read_label_sheet(REAL_SHEET)
    assert sheet.problems == ()
    assert sheet.sha256 == SHEET_SHA256
    labels = [breast.label for breast in sheet.breasts]
    assert len(labels) == NUMBERS["labelled breasts"] == 1872
    assert len({breast.patient_id for breast in sheet.breasts}) == 1775
    assert Counter(label.classification for label in labels) == {
        Classification.BENIGN: 556,
        Classification.MALIGNANT: 1316,
    }
    assert Counter(label.kinds for label in labels) == {
        frozenset({Kind.MASS}): 1149,
        frozenset(Kind): 461,
        frozenset({Kind.CALCIFICATION_CLUSTER}): 262,
    }
    assert Counter(label.subtype for label in labels if label.subtype) == {
        Subtype.LUMINAL_B: 376,
        Subtype.LUMINAL_A: 152,
        Subtype.HER2_ENRICHED: 135,
        Subtype.TRIPLE_NEGATIVE: 86,
    }


@pytest.mark.shared
def test_patients_with_two_labelled_breasts_are_those_known() -> None:
    classes: dict[str, list[Classification | None]] = {}
    for breast in read_label_sheet(REAL_SHEET).breasts:
        classes.setdefault(breast.patient_id, []).append(breast.label.classification)
    two = [one for one in classes.values() if len(one) == 2]
    assert len(two) == 97
    assert sum(set(one) == {Classification.BENIGN, Classification.MALIGNANT} for one in two) == 30
    assert all(len(one) <= 2 for one in classes.values())


@pytest.mark.shared
def test_cohort_and_classification_go_together_as_known() -> None:
    sheet = read_label_sheet(REAL_SHEET)
    told = Counter((cohort_of(breast.patient_id), str(breast.label.classification)) for breast in sheet.breasts)
    assert told == {("D1", "benign"): 544, ("D1", "malignant"): 563, ("D2", "benign"): 12, ("D2", "malignant"): 753}


def test_row_is_read(tmp_path: Path) -> None:
    row = ("D2-0041", "L", 55, 2, "Both", "malignant ", "luminal a")  # cases and blanks differ between editions
    (breast,) = read_label_sheet(write_sheet(tmp_path / "s.xlsx", [row])).breasts
    assert (breast.row, breast.patient_id, breast.laterality, breast.age) == (2, "D2-0041", Laterality.LEFT, 55)
    assert breast.label == BreastLabel(
        classification=Classification.MALIGNANT, kinds=frozenset(Kind), subtype=Subtype.LUMINAL_A
    )


def test_second_id_replaces_the_first_where_both_are_given(tmp_path: Path) -> None:
    rows = [("D1-0007", "D2-0123", *ROWS[5][1:]), ("D1-0001", None, *ROWS[0][1:])]
    sheet = read_label_sheet(write_sheet(tmp_path / "s.xlsx", rows, ("ID1", "ID2", *COLUMNS[1:])))
    assert [breast.patient_id for breast in sheet.breasts] == ["D2-0123", "D1-0001"]
    assert sheet.problems == ()


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("ID1", None, "the patient is '', not D1- or D2- and four digits"),
        ("ID1", "X1-0001", "the patient is 'X1-0001'"),
        ("LeftRight", "B", "D1-0001: LeftRight is 'B', not one of L, R"),
        ("Age", "old", "D1-0001: Age is 'old', not a whole number"),
        ("Age", 44.5, "D1-0001: Age is '44.5', not a whole number"),
        ("number", None, "D1-0001: number is '', not a whole number"),
        ("abnormality", "distortion", "abnormality is 'distortion', not one of mass, calcification, both"),
        ("classification", None, "classification is '', not one of benign, malignant"),
        ("classification", "normal", "classification is 'normal', not one of benign, malignant"),
        ("subtype", "Luminal C", "subtype is 'Luminal C', not one of luminal a"),
        ("subtype", "Luminal A", "subtype luminal-a of a breast whose classification is benign"),
    ],
)
def test_faulty_row_is_named_and_costs_its_breast_only(tmp_path: Path, column: str, value: Any, reason: str) -> None:
    row = list(ROWS[0])
    row[COLUMNS.index(column)] = value
    sheet = read_label_sheet(write_sheet(tmp_path / "s.xlsx", [row, ROWS[3]]))
    assert [breast.patient_id for breast in sheet.breasts] == ["D1-0951"]
    (problem,) = sheet.problems
    assert problem.row == 2
    assert reason in problem.reason


def test_second_row_of_a_breast_is_a_problem(tmp_path: Path) -> None:
    sheet = read_label_sheet(write_sheet(tmp_path / "s.xlsx", [ROWS[0], [None] * 7, ROWS[0]]))
    assert len(sheet.breasts) == 1
    assert [str(problem) for problem in sheet.problems] == ["row 4: D1-0001 R has a label already, in row 2"]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "s.xlsx", [], [name for name in COLUMNS if name not in ("Age", "subtype")])
    with pytest.raises(NodeError, match="has no column Age, subtype; a CMMD label sheet has ID1"):
        read_label_sheet(path)


@pytest.mark.parametrize("content", [b"", b"ID1,LeftRight\n", b"PK\x03\x04 cut short"])
def test_file_that_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.xlsx"
    path.write_bytes(content)
    with pytest.raises(NodeError, match="is no XLSX workbook"):
        read_label_sheet(path)
