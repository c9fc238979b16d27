"""The baseline without pixels: a logistic regression that never scores what it was fitted on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmmd_node.cmmd.join import join
from cmmd_node.cmmd.known import Doubt, cohort_of, doubts_about, group_of
from cmmd_node.cmmd.labels import read_label_sheet
from cmmd_node.cmmd.split import read_split
from cmmd_node.facts import BreastLabel, Classification, Laterality, View, ViewPosition
from cmmd_node.train.breasts import Breast
from cmmd_node.train.manifest import LabelledImage
from cmmd_node.train.metadata import fit_logistic, metadata_scores
from cmmd_node.train.roc import auc
from tests.cmmd.collections import REAL_SHEET, real_images

VIEW = View(Laterality.LEFT, ViewPosition.CC)


def breast(number: int, *, age: int | None, cohort: str, malignant: bool, fold: int | None) -> Breast:
    label = BreastLabel(classification=Classification.MALIGNANT if malignant else Classification.BENIGN)
    name = f"P{number}"
    return Breast(
        (
            LabelledImage(
                path=Path(name), patient=name, view=VIEW, group=name, age=age, cohort=cohort, label=label, fold=fold
            ),
        )
    )


def breasts(*, folds: bool = True) -> list[Breast]:
    rng = np.random.default_rng(5)
    told = []
    for number in range(200):
        age, cohort = int(rng.integers(30, 80)), "D1" if rng.random() < 0.6 else "D2"
        malignant = rng.random() < 1 / (1 + np.exp(-(age - 55) / 8 - (1.5 if cohort == "D2" else -0.5)))
        told.append(
            breast(
                number,
                age=None if number % 20 == 0 else age,
                cohort=cohort,
                malignant=bool(malignant),
                fold=number % 5 if folds else None,
            )
        )
    return told


def test_fit_finds_the_coefficients_that_made_the_data() -> None:
    rng = np.random.default_rng(2)
    features = np.stack([np.ones(20_000), rng.normal(size=20_000)], axis=1)
    truth = (rng.random(20_000) < 1 / (1 + np.exp(-(features @ [-0.5, 1.2])))).astype(float)
    assert fit_logistic(features, truth) == pytest.approx([-0.5, 1.2], abs=0.06)


def test_fit_of_separable_classes_stays_finite() -> None:
    features = np.stack([np.ones(40), np.repeat([-1.0, 1.0], 20)], axis=1)
    assert np.isfinite(fit_logistic(features, np.repeat([0.0, 1.0], 20))).all()


@pytest.mark.parametrize("folds", [True, False])
def test_no_breast_is_scored_by_its_own_label(folds: bool) -> None:
    own = breasts(folds=folds)
    before = metadata_scores(own)
    assert auc(before, np.array([one.malignant for one in own])) > 0.7
    first = own[7]
    other = Classification.BENIGN if first.malignant else Classification.MALIGNANT
    own[7] = Breast((replace(first.first, label=BreastLabel(classification=other)),))
    after = metadata_scores(own)
    assert after[7] == before[7]
    assert (after != before).any()


def test_one_class_has_the_share_as_score() -> None:
    told = [one for one in breasts() if one.malignant]
    assert set(metadata_scores(told)) == {1.0}
    assert metadata_scores([]).shape == (0,)


@pytest.mark.shared
def test_real_collection_is_told_apart_without_pixels_as_well_as_known() -> None:
    rows = read_split().rows
    told = []
    for one in join(read_label_sheet(REAL_SHEET), real_images()).labelled:
        (image, *_) = one.images
        if Doubt.DUPLICATE not in {doubt.doubt for doubt in doubts_about(one.patient_id, image.view)}:
            told.append(
                Breast(
                    (
                        LabelledImage(
                            path=image.path,
                            patient=one.patient_id,
                            view=image.view,
                            group=group_of(one.patient_id),
                            age=one.age,
                            cohort=cohort_of(one.patient_id),
                            label=one.label,
                            fold=rows[one.patient_id].fold,
                        ),
                    )
                )
            )
    scores, truth = metadata_scores(told), np.array([one.malignant for one in told])
    inside_d1 = np.array([one.first.cohort == "D1" for one in told])
    assert len(told) == 1865
    assert auc(scores, truth) == pytest.approx(0.847, abs=0.002)
    assert auc(scores[inside_d1], truth[inside_d1]) == pytest.approx(0.670, abs=0.002)
