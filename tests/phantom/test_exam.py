"""Phantom exams: what they show is what their truth says."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cmmd_node.facts import SCREENING_VIEWS, Kind, Laterality, ViewPosition
from cmmd_node.phantom import Exam, PhantomView, make_exam

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module", params=SEEDS)
def exam(request: pytest.FixtureRequest) -> Exam:
    return make_exam(request.param)


def polygon_mask(outline_cr: tuple[tuple[float, float], ...], shape: tuple[int, int]) -> np.ndarray:
    image = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(image).polygon([(c - 0.5, r - 0.5) for c, r in outline_cr], fill=1)
    return np.asarray(image)


def from_chest_wall(view: PhantomView) -> np.ndarray:
    """The pixels with the chest wall at column 0."""
    return view.pixels if view.view.laterality is Laterality.LEFT else view.pixels[:, ::-1]


def test_an_exam_has_the_four_screening_views_in_the_size_of_cmmd(exam: Exam) -> None:
    assert {view.view for view in exam.views} == SCREENING_VIEWS
    assert {(view.pixels.shape, view.pixels.dtype) for view in exam.views} == {((2294, 1914), np.dtype(np.uint8))}


def test_a_seed_gives_the_same_exam_everywhere() -> None:
    digest = hashlib.sha256()
    for view in make_exam(7).views:
        digest.update(view.pixels.tobytes())
        digest.update(repr([(t.kind.value, [round(x, 6) for x in t.center_cr]) for t in view.truths]).encode())
    assert digest.hexdigest() == "3a0d145b749aa813622beb4752b359173755f906b5dda42b782df81f8993c8b1"


def test_another_seed_gives_another_exam() -> None:
    first, second = make_exam(1).views[0], make_exam(2).views[0]
    assert not np.array_equal(first.pixels, second.pixels)


def test_air_is_exactly_zero_and_the_breast_is_not(exam: Exam) -> None:
    for view in exam.views:
        pixels = from_chest_wall(view)
        inside = pixels > 0
        edge = inside.sum(axis=1)
        assert not (np.diff(inside.astype(np.int8), axis=1) > 0).any()  # one run from the chest wall to the skin
        assert edge.max() > 500
        assert 0.15 < inside.mean() < 0.75


def test_only_mlo_views_show_the_pectoral_muscle() -> None:
    for view in make_exam(1, abnormal=False).views:
        corner = from_chest_wall(view)[20:220, 20:120]
        if view.view.position is ViewPosition.MLO:
            assert corner.mean() > 100
        else:
            assert corner.mean() < 20


def test_truth_lies_within_the_breast(exam: Exam) -> None:
    for view in exam.views:
        for truth in view.truths:
            mask = polygon_mask(truth.outline_cr, view.pixels.shape)
            assert mask.sum() > 400
            assert (view.pixels[mask] > 0).all()
            assert mask[int(truth.center_cr[1]), int(truth.center_cr[0])]


def test_an_abnormal_exam_has_a_mass_and_a_cluster_in_both_views_of_a_breast(exam: Exam) -> None:
    assert {truth.kind for view in exam.views for truth in view.truths} == set(Kind)
    for side in Laterality:
        cc, mlo = (
            {t.lesion: (t, v) for v in exam.views if str(v.view) == f"{side} {position}" for t in v.truths}
            for position in ViewPosition
        )
        assert cc.keys() == mlo.keys()
        for lesion, (truth, view) in cc.items():
            other, other_view = mlo[lesion]
            assert truth.kind is other.kind
            distances = [math.dist(t.center_cr, v.nipple_cr) for t, v in ((truth, view), (other, other_view))]
            assert abs(distances[0] - distances[1]) < 120  # 11 mm


def test_a_normal_exam_has_no_lesions() -> None:
    assert not any(view.truths for view in make_exam(1, abnormal=False).views)


def test_masses_are_brighter_than_the_same_tissue_without_them() -> None:
    for with_mass, without in zip(make_exam(4).views, make_exam(4, abnormal=False).views, strict=True):
        for truth in with_mass.truths:
            if truth.kind is Kind.MASS:
                mask = polygon_mask(truth.outline_cr, with_mass.pixels.shape)
                assert with_mass.pixels[mask].mean() > without.pixels[mask].mean() + 10


def test_clusters_have_bright_spots_where_the_truth_says(exam: Exam) -> None:
    for view in exam.views:
        for truth in view.truths:
            if truth.kind is Kind.CALCIFICATION_CLUSTER:
                assert len(truth.calcifications_cr) >= 5
                mask = polygon_mask(truth.outline_cr, view.pixels.shape)
                for column, row in truth.calcifications_cr:
                    assert mask[int(row), int(column)]
                spots = [int(view.pixels[int(row), int(column)]) for column, row in truth.calcifications_cr]
                assert np.mean(spots) > np.median(view.pixels[mask]) + 15
