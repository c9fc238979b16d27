"""Figures of merit against what they mean: counted by hand, repeated instead of weighted, or another's formula."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from cmmd_node.facts import Kind, Mark
from cmmd_node.train.bootstrap import bootstrap, interval
from cmmd_node.train.calibration import brier, expected_calibration_error, reliability
from cmmd_node.train.froc import Froc, MarkedImage, holds, score_marks
from cmmd_node.train.manifest import Lesion, circle_outline
from cmmd_node.train.roc import (
    at_threshold,
    auc,
    roc_curve,
    threshold_for_sensitivity,
    threshold_for_specificity,
)

RNG = np.random.default_rng(7)
SCORES = np.round(RNG.random(60), 1)  # with ties
TRUTH = RNG.random(60) < 0.4
MASS, CLUSTER = Kind.MASS, Kind.CALCIFICATION_CLUSTER


def test_auc_is_the_share_of_pairs_in_order() -> None:
    pairs = list(itertools.product(SCORES[TRUTH], SCORES[~TRUTH]))
    assert auc(SCORES, TRUTH) == pytest.approx(np.mean([(p > n) + 0.5 * (p == n) for p, n in pairs]))
    u = stats.mannwhitneyu(SCORES[TRUTH], SCORES[~TRUTH]).statistic
    assert auc(SCORES, TRUTH) == pytest.approx(u / len(pairs))


def test_weight_is_repetition() -> None:
    weights = RNG.integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weights)
    assert auc(SCORES, TRUTH, weights.astype(float)) == pytest.approx(auc(SCORES[repeated], TRUTH[repeated]))
    assert at_threshold(SCORES, TRUTH, 0.5, weights.astype(float)) == at_threshold(
        SCORES[repeated], TRUTH[repeated], 0.5
    )
    for figure in (brier, expected_calibration_error):
        assert figure(SCORES, TRUTH, weights.astype(float)) == pytest.approx(figure(SCORES[repeated], TRUTH[repeated]))


def test_auc_of_one_class_is_no_figure() -> None:
    assert np.isnan(auc(SCORES, np.ones(60, bool)))
    assert np.isnan(auc(np.zeros(0), np.zeros(0, bool)))


def test_curve_and_operating_points() -> None:
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, True, False, True, False])
    thresholds, false, true = roc_curve(scores, truth)
    assert thresholds.tolist() == [np.inf, 0.9, 0.8, 0.7, 0.6, 0.5]
    assert false.tolist() == [0, 0, 0, 0.5, 0.5, 1]
    assert true.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1, 1])
    assert float(np.trapezoid(true, false)) == pytest.approx(auc(scores, truth))
    assert threshold_for_sensitivity(scores, truth, 0.9) == 0.6
    assert threshold_for_specificity(scores, truth, 0.9) == 0.8
    point = at_threshold(scores, truth, 0.7)
    assert (point.sensitivity, point.specificity) == pytest.approx((2 / 3, 0.5))


def test_bootstrap_draws_patients_with_all_that_is_theirs() -> None:
    groups = ["a", "a", "b", "c", "c", "c"]
    seen = []

    def statistic(weights: np.ndarray) -> np.ndarray:
        seen.append(weights)
        return np.array([weights.sum()])

    whole, drawn = bootstrap(groups, statistic, draws=50)
    assert whole.tolist() == [6.0]
    assert drawn.shape == (50, 1)
    for weights in seen:
        assert weights[0] == weights[1]
        assert weights[3] == weights[4] == weights[5]
        assert weights[0] + weights[2] + weights[3] == 3  # as many patients as there are
    _, same = bootstrap(groups, statistic, draws=50)
    assert np.array_equal(drawn, same)


def test_interval_of_independent_units_is_the_textbooks() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(800) < 0.5
    scores = rng.normal(size=800) + truth
    whole, drawn = bootstrap([str(i) for i in range(800)], lambda w: np.array([auc(scores, truth, w)]), draws=500)
    estimate = interval(whole[0], drawn[:, 0])
    a, positive, negative = estimate.value, truth.sum(), (~truth).sum()
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)  # Hanley and McNeil 1982
    error = np.sqrt((a * (1 - a) + (positive - 1) * (q1 - a * a) + (negative - 1) * (q2 - a * a)) / positive / negative)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert estimate.low < a < estimate.high


def test_interval_of_doubled_patients_is_no_narrower() -> None:
    scores, truth = np.tile(SCORES, 2), np.tile(TRUTH, 2)
    widths = []
    for names in ([str(i % 60) for i in range(120)], [str(i) for i in range(120)]):
        whole, drawn = bootstrap(names, lambda w: np.array([auc(scores, truth, w)]), draws=400)
        estimate = interval(whole[0], drawn[:, 0])
        widths.append(estimate.high - estimate.low)
    assert widths[0] > 1.2 * widths[1]


def test_interval_without_a_figure_has_no_numbers() -> None:
    assert interval(float("nan"), np.array([1.0])).to_json() == {"value": None, "low": None, "high": None}
    whole, drawn = bootstrap([], lambda w: np.array([w.sum() * np.nan]))
    assert interval(whole[0], drawn[:, 0]).to_json()["value"] is None


def mark(kind: Kind, column: float, row: float, suspicion: float) -> Mark:
    corners = ((column - 1, row - 1), (column + 1, row - 1), (column, row + 1))
    return Mark(
        kind=kind,
        center_cr=(column, row),
        outline_cr=corners,
        suspicion=suspicion,
        calcifications_cr=corners if kind is CLUSTER else (),
    )


def test_mark_hits_by_its_centre_and_its_kind() -> None:
    box = Lesion(kind=MASS, outline_cr=((0, 0), (10, 0), (10, 10), (0, 10)))
    circle = Lesion(kind=CLUSTER, outline_cr=circle_outline(50, 50, 5))
    marks = [
        mark(MASS, 5, 5, 0.3),
        mark(MASS, 9.9, 9.9, 0.8),
        mark(MASS, 10.1, 5, 0.9),
        mark(MASS, 50, 50, 0.7),
        mark(CLUSTER, 53, 53, 0.4),
        mark(CLUSTER, 54, 54, 0.5),
    ]
    image = score_marks(marks, [box, circle])
    assert image.found == ((MASS, 0.8), (CLUSTER, 0.4))
    assert image.false == ((MASS, 0.9), (MASS, 0.7), (CLUSTER, 0.5))
    assert score_marks([], [box]).found == ((MASS, 0.0),)


def test_outline_holds_what_is_inside() -> None:
    notched = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 2.0), (0.0, 10.0))
    assert holds(notched, (1.0, 5.0))
    assert holds(notched, (9.0, 5.0))
    assert not holds(notched, (5.0, 5.0))
    assert not holds(notched, (11.0, 1.0))


IMAGES = (
    MarkedImage(found=((MASS, 0.9), (CLUSTER, 0.2)), false=((MASS, 0.8), (CLUSTER, 0.7))),
    MarkedImage(found=((MASS, 0.5),), false=((MASS, 0.6), (MASS, 0.1))),
    MarkedImage(found=((MASS, 0.0),), false=()),
    MarkedImage(found=(), false=((MASS, 0.95), (CLUSTER, 0.3))),
)


def test_sensitivity_is_counted_as_by_hand() -> None:
    mass = Froc(IMAGES, MASS)
    assert (mass.lesions, mass.images, mass.images_counted) == (3, 3, 3)
    assert mass.sensitivity(0.25) == pytest.approx(1 / 3)  # no false mark is allowed: above 0.8
    assert mass.least_suspicion(0.25) == 0.8
    assert mass.sensitivity(0.34) == pytest.approx(1 / 3)  # one is: above 0.6
    assert mass.sensitivity(2 / 3) == pytest.approx(2 / 3)  # two are: above 0.1
    assert mass.sensitivity(4.0) == pytest.approx(2 / 3)  # the third has no mark and is never found
    normal = Froc(IMAGES, MASS, over_normal=True)
    assert (normal.lesions, normal.images_counted) == (3, 1)
    assert normal.sensitivity(0.5) == 0.0  # the false mark at 0.95 hides them all
    assert normal.sensitivity(1.0) == pytest.approx(2 / 3)
    every = Froc(IMAGES)
    assert (every.lesions, every.images) == (4, 3)
    assert every.sensitivity(0.67) == pytest.approx(1 / 4)
    assert mass.at_suspicion(0.5) == pytest.approx((2 / 3, 2 / 3))
    assert np.isnan(Froc(IMAGES[3:], MASS).sensitivity(1.0))


def test_weighted_sensitivity_is_that_of_repeated_images() -> None:
    rng = np.random.default_rng(1)
    images = [
        MarkedImage(
            found=tuple((MASS, float(s)) for s in rng.random(rng.integers(0, 3))),
            false=tuple((MASS, float(s)) for s in rng.random(rng.integers(0, 6))),
        )
        for _ in range(40)
    ]
    weights = rng.integers(0, 3, 40)
    repeated = Froc([image for image, times in zip(images, weights, strict=True) for _ in range(times)], MASS)
    for rate in (0.25, 0.5, 1.0, 2.0):
        assert Froc(images, MASS).sensitivity(rate, weights.astype(float)) == pytest.approx(repeated.sensitivity(rate))


def test_curve_goes_through_the_figures() -> None:
    rates, sensitivity = Froc(IMAGES, MASS).curve()
    assert rates.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert sensitivity.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])


def test_calibration_is_counted_as_by_hand() -> None:
    probabilities, truth = np.array([0.05, 0.15, 0.95, 1.0]), np.array([False, True, True, True])
    assert brier(probabilities, truth) == pytest.approx((0.05**2 + 0.85**2 + 0.05**2) / 4)
    assert expected_calibration_error(probabilities, truth) == pytest.approx((0.05 + 0.85 + 0.05) / 4)
    low, middle, high = reliability(probabilities, truth)
    assert (low.count, low.predicted, low.observed) == (1, 0.05, 0.0)
    assert (middle.predicted, middle.observed) == (0.15, 1.0)
    assert (high.count, high.predicted, high.observed) == (2, pytest.approx(0.975), 1.0)
    for one in (low, middle, high):
        assert 0.0 <= one.low <= one.observed + 1e-9
        assert one.observed - 1e-9 <= one.high <= 1.0
    told = stats.binomtest(2, 2).proportion_ci(method="wilson")
    assert (high.low, high.high) == pytest.approx((told.low, told.high), abs=1e-6)
    assert np.isnan(brier(np.zeros(0), np.zeros(0, bool)))
