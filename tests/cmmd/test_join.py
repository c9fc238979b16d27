"""Labels and images together: the real collection, and whatever does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmmd_node.cmmd.images import CmmdImage
from cmmd_node.cmmd.join import Joined, join
from cmmd_node.cmmd.known import cohort_of
from cmmd_node.cmmd.labels import read_label_sheet
from cmmd_node.facts import BreastLabel, Laterality, View, ViewPosition
from tests.cmmd.collections import REAL_SHEET, real_images, write_sheet


@pytest.mark.shared
def test_real_collection_joins_without_a_problem() -> None:
    joined = join(read_label_sheet(REAL_SHEET), real_images())
    assert joined.problems == ()
    assert len(joined.breasts) == 2601
    assert len(joined.labelled) == 1872


@pytest.mark.shared
def test_unlabelled_breasts_are_unknown_and_never_benign() -> None:
    joined = join(read_label_sheet(REAL_SHEET), real_images())
    unlabelled = [breast for breast in joined.breasts if breast.row is None]
    assert len(unlabelled) == 729
    assert {cohort_of(breast.patient_id) for breast in unlabelled} == {"D2"}
    assert {breast.label for breast in unlabelled} == {BreastLabel()}
    assert BreastLabel().classification is None


def images(*names: str, age: int | None = 44) -> list[CmmdImage]:
    """Images by patient, side and view."""
    return [
        CmmdImage(
            path=Path(f"{name}.dcm"),
            sop_instance_uid=f"1.2.{number}",
            patient_id=name.split()[0],
            view=View(Laterality(name.split()[1]), ViewPosition(name.split()[2])),
            bits_stored=8,
            age=age,
        )
        for number, name in enumerate(names)
    ]


BOTH_VIEWS = ("D1-0001 R CC", "D1-0001 R MLO")
OTHER_SIDE = ("D1-0001 L CC", "D1-0001 L MLO")
ROW = ("D1-0001", "R", 44, 2, "mass", "Benign", None)
ROW_D2 = ("D2-0001", "R", 44, 2, "mass", "Malignant", "Luminal A")


def joined(tmp_path: Path, rows: list[tuple[object, ...]], found: list[CmmdImage]) -> Joined:
    return join(read_label_sheet(write_sheet(tmp_path / "s.xlsx", rows)), found)


def test_what_fits_is_no_problem(tmp_path: Path) -> None:
    assert joined(tmp_path, [ROW], images(*BOTH_VIEWS)).problems == ()
    d2 = images("D2-0001 R CC", "D2-0001 R MLO", "D2-0001 L CC", "D2-0001 L MLO")
    assert joined(tmp_path, [ROW_D2], d2).problems == ()


@pytest.mark.parametrize(
    ("rows", "found", "problem"),
    [
        ([ROW, ROW_D2], images(*BOTH_VIEWS), "label sheet, row 3: D2-0001 R: the patient has no images"),
        (
            [ROW, (ROW[0], "L", *ROW[2:])],
            images(*BOTH_VIEWS),
            "label sheet, row 3: D1-0001 L: there is no image of this breast",
        ),
        ([ROW], images(*BOTH_VIEWS, *OTHER_SIDE), "D1-0001 L: there are images, and no label of this breast"),
        ([ROW], images(*BOTH_VIEWS, "D2-0005 L CC"), "D2-0005 L: there are images, and no label of the patient"),
        ([ROW], images(BOTH_VIEWS[0]), "label sheet, row 2: D1-0001 R: number is 2, but there are 1 images"),
        (
            [ROW],
            images(*BOTH_VIEWS, age=45),
            "label sheet, row 2: D1-0001 R: Age is 44, but the headers say 45",
        ),
        (
            [ROW, (*ROW_D2[:5], "Malign", None)],
            images(*BOTH_VIEWS),
            "label sheet, row 3: D2-0001: classification is 'Malign', not one of benign, malignant",
        ),
    ],
)
def test_what_does_not_fit_is_told(
    tmp_path: Path, rows: list[tuple[object, ...]], found: list[CmmdImage], problem: str
) -> None:
    assert joined(tmp_path, rows, found).problems == (problem,)


def test_age_comes_from_the_header_where_there_is_no_label(tmp_path: Path) -> None:
    found = images("D2-0001 R CC", "D2-0001 R MLO") + [
        replace(image, sop_instance_uid=f"1.3.{number}")
        for number, image in enumerate(images("D2-0001 L CC", "D2-0001 L MLO", age=60))
    ]
    ages = {breast.laterality: breast.age for breast in joined(tmp_path, [ROW_D2], found).breasts}
    assert ages == {Laterality.RIGHT: 44, Laterality.LEFT: 60}
