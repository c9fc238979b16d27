"""What is said about single images: each trap of the collection, and what is left out for it."""

from __future__ import annotations

import pytest

from cmmd_node.cmmd.images import by_breast
from cmmd_node.cmmd.known import DOUBTFUL, USUALLY_LEFT_OUT, Doubt, doubts_about, group_of
from cmmd_node.cmmd.labels import read_label_sheet
from cmmd_node.cmmd.split import read_split
from cmmd_node.facts import Laterality, View, ViewPosition
from tests.cmmd.collections import REAL_SHEET, real_images

L_CC, R_MLO = View(Laterality.LEFT, ViewPosition.CC), View(Laterality.RIGHT, ViewPosition.MLO)


@pytest.mark.parametrize(
    ("patient_id", "view", "doubts"),
    [
        ("D1-0202", L_CC, [Doubt.DUPLICATE]),
        ("D2-0284", R_MLO, [Doubt.DUPLICATE]),
        ("D1-0808", R_MLO, [Doubt.DUPLICATE]),
        ("D1-1292", R_MLO, [Doubt.DUPLICATE]),
        ("D1-0951", R_MLO, [Doubt.DAMAGED]),
        ("D1-0951", View(Laterality.RIGHT, ViewPosition.CC), []),
        ("D1-1343", L_CC, [Doubt.SIXTEEN_BIT]),
        *((patient_id, L_CC, [Doubt.SIDE]) for patient_id in ("D1-0252", "D1-0690", "D1-0711", "D1-0999")),
        *((f"D2-{number}", R_MLO, [Doubt.SIDE]) for number in ("0041", "0112", "0224", "0229", "0642")),
        ("D1-0001", L_CC, []),
    ],
)
def test_doubt_is_known(patient_id: str, view: View, doubts: list[Doubt]) -> None:
    assert [one.doubt for one in doubts_about(patient_id, view)] == doubts


def test_patients_published_twice_are_one_group() -> None:
    assert group_of("D2-0284") == group_of("D1-0202") == "D1-0202"
    assert group_of("D1-1292") == group_of("D1-0808") == "D1-0808"
    assert group_of("D1-0001") == "D1-0001"


def test_doubtful_patients_are_of_the_collection() -> None:
    rows = read_split().rows
    for one in DOUBTFUL:
        sides = {view.laterality for view in one.views or ()}
        assert sides <= set(rows[one.patient_id].sides)


@pytest.mark.shared
def test_labels_of_the_patients_published_twice_disagree() -> None:
    labels = {(breast.patient_id, breast.laterality): breast.label for breast in read_label_sheet(REAL_SHEET).breasts}
    left, right = Laterality.LEFT, Laterality.RIGHT
    assert labels["D1-0202", left].kinds != labels["D2-0284", left].kinds
    assert ("D1-0202", right) in labels
    assert ("D2-0284", right) not in labels
    assert labels["D1-0808", right].classification != labels["D1-1292", right].classification


@pytest.mark.shared
def test_so_many_labelled_breasts_are_left_out() -> None:
    breasts = by_breast(real_images())
    left_out = [
        (breast.patient_id, breast.laterality)
        for breast in read_label_sheet(REAL_SHEET).breasts
        if all(
            USUALLY_LEFT_OUT & {one.doubt for one in doubts_about(image.patient_id, image.view)}
            for image in breasts[breast.patient_id, breast.laterality]
        )
    ]
    assert len(left_out) == 7 + 10  # published twice; of the nine with a disputed side, one has two labelled breasts
