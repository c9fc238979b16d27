"""The manifest: what a row may say, and that a faulty row costs itself only."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from cmmd_node.errors import NodeError
from cmmd_node.facts import BreastLabel, Classification, Kind, Laterality, Spacing, Subtype, View, ViewPosition
from cmmd_node.train.manifest import COLUMNS, LabelledImage, Lesion, read_manifest, write_manifest

GOOD = {"path": "a.png", "patient": "P1", "side": "L", "view": "CC"}


def write(folder: Path, *rows: dict[str, str], files: bool = True) -> Path:
    path = folder / "manifest.csv"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    for row in rows if files else ():
        if row.get("path"):
            (folder / row["path"]).touch()
    return path


def test_full_row_is_read(tmp_path: Path) -> None:
    lesions = [
        {"kind": "mass", "polygon": [[1, 2], [5, 2], [5, 6]], "classification": "benign"},
        {"kind": "mass", "box": [10, 20, 30, 40]},
        {"kind": "calcification-cluster", "circle": [100, 50, 10]},
    ]
    row = GOOD | {
        "group": "twins",
        "row_mm": "0.1",
        "column_mm": "0.2",
        "age": "47",
        "cohort": "D2",
        "classification": "malignant",
        "abnormality": "both",
        "subtype": "luminal-b",
        "lesions": json.dumps(lesions),
        "fold": "3",
        "excluded": "damaged",
        "source": "Cui et al. 2021, CC BY 4.0",
    }
    manifest = read_manifest(write(tmp_path, row))
    assert manifest.problems == ()
    (image,) = manifest.images
    assert image.path == tmp_path / "a.png"
    assert image.view == View(Laterality.LEFT, ViewPosition.CC)
    assert (image.patient, image.group, image.age, image.cohort, image.fold) == ("P1", "twins", 47, "D2", 3)
    assert image.spacing == Spacing(row_mm=0.1, column_mm=0.2)
    assert image.label == BreastLabel(
        classification=Classification.MALIGNANT, kinds=frozenset(Kind), subtype=Subtype.LUMINAL_B
    )
    assert (image.excluded, image.source) == ("damaged", "Cui et al. 2021, CC BY 4.0")
    assert image.lesions is not None
    polygon, box, circle = image.lesions
    assert polygon == Lesion(kind=Kind.MASS, outline_cr=((1, 2), (5, 2), (5, 6)), classification=Classification.BENIGN)
    assert box.outline_cr == ((10, 20), (30, 20), (30, 40), (10, 40))
    assert box.classification is None
    assert {round(math.dist(corner, (100, 50)), 6) for corner in circle.outline_cr} == {10.0}
    write_manifest(tmp_path / "again.csv", [image])
    assert read_manifest(tmp_path / "again.csv").images == (image,)


def test_what_is_not_told_is_unknown(tmp_path: Path) -> None:
    (image,) = read_manifest(write(tmp_path, GOOD | {"classification": "", "lesions": ""})).images
    assert image == LabelledImage(
        path=tmp_path / "a.png", patient="P1", view=View(Laterality.LEFT, ViewPosition.CC), group="P1"
    )
    assert image.label.classification is None
    assert image.lesions is None
    (read,) = read_manifest(write(tmp_path, GOOD | {"lesions": "[]", "abnormality": "none"})).images
    assert read.lesions == ()
    assert read.label.kinds == frozenset()


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({"side": "left"}, "side is 'left', not L or R"),
        ({"view": "ML"}, "view is 'ML', not CC or MLO"),
        ({"patient": " "}, "patient is empty"),
        ({"path": ""}, "path is empty"),
        ({"classification": "Malign"}, "classification is 'Malign', not one of benign, malignant, normal"),
        ({"abnormality": "lump"}, "abnormality is 'lump', not one of mass, calcification, both, none"),
        ({"classification": "malignant", "subtype": "Luminal A"}, "subtype is 'Luminal A', not one of luminal-a"),
        ({"classification": "benign", "subtype": "luminal-a"}, "subtype luminal-a of a breast whose classification"),
        ({"classification": "normal", "abnormality": "mass"}, "a normal breast with mass"),
        ({"age": "-3"}, "age is '-3', not a number of years"),
        ({"fold": "first"}, "fold is 'first', not a whole number"),
        ({"row_mm": "0.1"}, "only one of row_mm and column_mm"),
        ({"row_mm": "0", "column_mm": "0.1"}, "pixel spacing: row_mm is 0.0"),
        ({"row_mm": "a", "column_mm": "0.1"}, "row_mm is 'a', not a number of millimetres"),
        ({"lesions": "mass"}, "lesions is not JSON"),
        ({"lesions": "{}"}, "lesions is not a JSON list"),
        ({"lesions": '[{"kind": "mass"}]'}, "a lesion needs a kind"),
        ({"lesions": '[{"kind": "lump", "box": [0, 0, 1, 1]}]'}, "a lesion needs a kind"),
        ({"lesions": '[{"kind": "mass", "box": [0, 0, 1, 1], "colour": 1}]'}, "a lesion is"),
        ({"lesions": '[{"kind": "mass", "box": [2, 0, 1, 1]}]'}, "the box of a lesion is"),
        ({"lesions": '[{"kind": "mass", "circle": [2, 0, 0]}]'}, "the circle of a lesion is"),
        ({"lesions": '[{"kind": "mass", "polygon": [[0, 0], [1, 1]]}]'}, "the polygon of a lesion is"),
        ({"lesions": '[{"kind": "mass", "polygon": [[0, 0], [1, 1], [NaN, 1]]}]'}, "the polygon of a lesion is"),
        ({"lesions": '[{"kind": "mass", "box": [0, 0, 1, 1], "classification": "bad"}]'}, "the classification of a"),
    ],
)
def test_faulty_row_costs_itself_only(tmp_path: Path, difference: dict[str, str], reason: str) -> None:
    manifest = read_manifest(write(tmp_path, GOOD | difference, GOOD | {"path": "b.png", "patient": "P2"}))
    assert [image.patient for image in manifest.images] == ["P2"]
    (problem,) = manifest.problems
    assert problem.row == 2
    assert reason in problem.reason


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"path": "a.png", "view": "MLO"}, "the file came before, in row 2"),
        ({"classification": "benign"}, "the breast has another label in row 2"),
        ({"group": "others"}, "the patient is in another group in row 2"),
        ({"fold": "1"}, "the group is in another fold in row 2"),
    ],
)
def test_row_that_contradicts_an_earlier_one_is_a_problem(tmp_path: Path, second: dict[str, str], reason: str) -> None:
    first = GOOD | {"classification": "malignant", "fold": "0", "group": "P1"}
    third = first | {"path": "c.png"}
    manifest = read_manifest(write(tmp_path, first, first | {"path": "b.png"} | second, third))
    assert [image.path.name for image in manifest.images] == ["a.png", "c.png"]
    assert [str(problem) for problem in manifest.problems] == [f"row 3: {reason}"]


def test_missing_file_and_ragged_row_are_problems(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, files=False)
    path.write_text(path.read_text() + "a.png,P1,L\n")
    manifest = read_manifest(path)
    assert [problem.row for problem in manifest.problems] == [2, 3]
    assert "there is no file" in manifest.problems[0].reason
    assert "cells" in manifest.problems[1].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no column path, patient, side, view"),
        ("path,patient,side\n", "no column view"),
        ("path,patient,side,view,clasification\n", "unknown column 'clasification'; is classification meant?"),
        ("path,patient,side,view,Xyz\n", "unknown column 'Xyz'; known are path,"),
        ("path,patient,side,view\n", "a header and no rows"),
        ('path,patient,side,view\n"a"b,P,L,CC\n', "no CSV file"),
    ],
)
def test_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(NodeError, match=reason.replace("?", r"\?")):
        read_manifest(path)


def test_columns_are_those_of_the_docstring() -> None:
    from cmmd_node.train import manifest

    assert manifest.__doc__
    table = manifest.__doc__.split("=====\n")[1]
    assert tuple(line.split()[0] for line in table.splitlines() if line[:1].strip("= ")) == COLUMNS
