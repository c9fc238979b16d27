"""Phantoms for training: physics that can be checked, and a truth that only the lesions tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from cmmd_node.facts import Classification, Kind, Laterality, Subtype, ViewPosition
from cmmd_node.phantom import PhantomView
from cmmd_node.phantom.anatomy import COLUMNS, GRID_COLUMNS, GRID_MM, GRID_ROWS, PIXEL_MM
from cmmd_node.phantom.cases import Case
from cmmd_node.phantom.growths import MALIGNANT_LOOKS, Calcifications, Margin, Mass, Morphology, turned
from cmmd_node.phantom.simulate import simulate
from cmmd_node.train.roc import auc

CASES = [Case.from_seed(3, number) for number in range(400)]


@pytest.fixture(scope="module")
def case() -> Case:
    """One breast with both kinds of lesion."""
    return next(case for case in CASES if len(case.sides) == 1 and case.kinds == frozenset(Kind))


@pytest.fixture(scope="module")
def views(case: Case) -> tuple[PhantomView, ...]:
    return tuple(simulate(case))


@pytest.fixture(scope="module")
def without_lesions(case: Case) -> tuple[PhantomView, ...]:
    return tuple(simulate(replace(case, lesions=())))


def mass(margin: Margin, **changes: object) -> Mass:
    facts: dict[str, object] = {
        "name": ("a mass",),
        "number": 1,
        "nipple_distance_mm": 40.0,
        "radius_mm": 8.0,
        "margin": margin,
        "grey_per_mm": 1.0,
    }
    return Mass(**{**facts, **changes})  # type: ignore[arg-type]


def drawn(body: Mass, position: ViewPosition) -> np.ndarray:
    """How long the rays run through a mass, mm."""
    grey = np.zeros((GRID_ROWS, GRID_COLUMNS), np.float32)
    body.draw(grey, (60.0, 100.0), position)
    return grey


def test_lesions_change_the_image_where_truth_says_and_nowhere_else(
    views: tuple[PhantomView, ...], without_lesions: tuple[PhantomView, ...]
) -> None:
    for view, plain in zip(views, without_lesions, strict=True):
        rows, columns = np.nonzero(view.pixels != plain.pixels)
        for truth in view.truths:
            corners = np.array(truth.outline_cr)
            center, reach = corners.mean(axis=0), 3.0 * np.ptp(corners, axis=0).max()
            near = np.hypot(columns - center[0], rows - center[1]) < reach
            assert near.sum() > 20
            rows, columns = rows[~near], columns[~near]
        assert rows.size == 0


def test_air_is_exactly_zero_and_the_breast_is_not(views: tuple[PhantomView, ...]) -> None:
    for view in views:
        pixels = view.pixels if view.view.laterality is Laterality.LEFT else view.pixels[:, ::-1]
        assert not (np.diff((pixels > 0).astype(np.int8), axis=1) > 0).any()
        assert (pixels[:, -1] == 0).all()


def test_both_views_show_a_lesion_at_one_depth(case: Case, views: tuple[PhantomView, ...]) -> None:
    depths: dict[int, list[float]] = {}
    for view in views:
        for truth in view.truths:
            away = np.hypot(*(np.array(truth.center_cr) - np.array(view.nipple_cr))) * PIXEL_MM
            depths.setdefault(truth.lesion, []).append(float(away))
    assert sorted(depths) == [lesion.number for lesion in case.lesions]
    for both in depths.values():
        assert len(both) == 2
        assert abs(both[0] - both[1]) < 10.0


def test_parenchyma_has_the_power_spectrum_of_mammograms(without_lesions: tuple[PhantomView, ...]) -> None:
    """The power falls with about the third power of the frequency (`phantom.stream.power_law`)."""
    cc = next(view for view in without_lesions if view.view.position is ViewPosition.CC)
    pixels = cc.pixels if cc.view.laterality is Laterality.LEFT else cc.pixels[:, ::-1]
    size = 384
    row = int(cc.nipple_cr[1]) - size // 2
    part = pixels[row : row + size, 40 : 40 + size].astype(np.float64)
    window = np.hanning(size)[:, None] * np.hanning(size)
    power = np.abs(np.fft.fft2((part - part.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size, PIXEL_MM), np.fft.fftfreq(size, PIXEL_MM)))
    edges = np.geomspace(0.15, 1.0, 9)
    means = [power[(frequency >= a) & (frequency < b)].mean() for a, b in pairwise(edges)]
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(means), 1)[0]
    assert -4.0 < slope < -2.2


def test_a_mass_is_one_body_seen_from_two_sides() -> None:
    for margin in (Margin.CIRCUMSCRIBED, Margin.MICROLOBULATED):
        volumes = [drawn(mass(margin), position).sum() * GRID_MM**2 for position in ViewPosition]
        assert volumes[0] == pytest.approx(volumes[1], rel=0.02)
        assert volumes[0] == pytest.approx(4.0 / 3.0 * np.pi * 8.0**3, rel=0.3)
    assert not np.allclose(*(drawn(mass(Margin.MICROLOBULATED), position) for position in ViewPosition))


def test_an_indistinct_margin_is_softer_than_a_circumscribed_one() -> None:
    steepest = {margin: np.abs(np.diff(drawn(mass(margin), ViewPosition.CC))).max() for margin in Margin}
    assert steepest[Margin.INDISTINCT] < 0.5 * steepest[Margin.CIRCUMSCRIBED]


def test_spicules_reach_beyond_the_body() -> None:
    extent = {margin: (drawn(mass(margin), ViewPosition.CC) > 0.5).sum() * GRID_MM**2 for margin in Margin}
    assert extent[Margin.SPICULATED] > 1.3 * extent[Margin.CIRCUMSCRIBED]


@pytest.mark.parametrize("morphology", list(Morphology))
def test_a_cluster_has_its_calcifications_in_both_views(morphology: Morphology) -> None:
    cluster = Calcifications(
        name=("a cluster",),
        number=1,
        nipple_distance_mm=40.0,
        radius_mm=5.0,
        morphology=morphology,
        count=9,
        contrast=50.0,
    )
    spots = []
    for position in ViewPosition:
        image = np.zeros((2294, COLUMNS), np.float32)
        truth = cluster.draw(image, (60.0, 100.0), position)
        assert len(truth.calcifications_mm) == 9
        for column, row in truth.calcifications_mm:
            r, c = int(row / PIXEL_MM), int(column / PIXEL_MM)
            assert image[r - 5 : r + 6, c - 5 : c + 6].max() > 5.0
        spots.append(np.array(truth.calcifications_mm))
    np.testing.assert_allclose(spots[0][:, 0], spots[1][:, 0])  # the oblique view is a turn about this axis
    assert not np.allclose(spots[0][:, 1], spots[1][:, 1])


def test_a_turn_keeps_lengths() -> None:
    points = np.random.default_rng(0).normal(size=(5, 3))
    for position in ViewPosition:
        np.testing.assert_allclose(np.linalg.norm(turned(points, position), axis=1), np.linalg.norm(points, axis=1))


def looks_of(case: Case) -> set[str]:
    return {lesion.margin if isinstance(lesion, Mass) else lesion.morphology for lesion in case.lesions}


def test_malignancy_follows_from_margin_and_morphology() -> None:
    for case in CASES:
        malignant = case.classification is Classification.MALIGNANT
        assert {look in MALIGNANT_LOOKS for look in looks_of(case)} == {malignant}
        assert (case.subtype is not None) is malignant
    assert {case.subtype for case in CASES} == {*Subtype, None}
    assert {look for case in CASES for look in looks_of(case)} == {*Margin, *Morphology}


def test_nothing_but_the_lesion_tells_malignancy() -> None:
    def told(values: Iterable[float]) -> float:
        return auc(np.array(list(values), float), truth)

    truth = np.array([case.classification is Classification.MALIGNANT for case in CASES])
    assert 0.5 < truth.mean() < 0.7
    for values in (
        [case.age for case in CASES],
        [len(case.sides) for case in CASES],
        [case.build.depth for case in CASES],
        [case.build.density for case in CASES],
        [lesion.radius_mm for case in CASES for lesion in case.lesions[:1]],
    ):
        assert 0.4 < told(values) < 0.6


def test_a_seed_and_a_number_give_the_same_image(case: Case, views: tuple[PhantomView, ...]) -> None:
    again = next(iter(simulate(Case.from_seed(3, case.number))))
    assert np.array_equal(again.pixels, views[0].pixels)
    assert again.truths == views[0].truths
