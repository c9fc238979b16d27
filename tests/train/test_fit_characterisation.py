"""What the two lines learn, and from which masses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmmd_node.cad.characterisation import Characterisation
from cmmd_node.cad.margins import RING_EDGES_MM, RING_FEATURES, SMOOTHED_MM
from cmmd_node.cad.second_look import MASS_FEATURES
from cmmd_node.train.fit_characterisation import LEAST, fit_characterisation
from cmmd_node.train.platt import platt
from cmmd_node.train.prepared import PreparedImage
from cmmd_node.train.roc import auc

RINGS = len(RING_EDGES_MM) - 1, len(SMOOTHED_MM) * len(RING_FEATURES)


def image(rng: np.random.Generator, malignant: int, *, brighter: float = 0.0) -> PreparedImage:
    """Two candidates in one mass and one beside it; the rings of a malignant mass differ a little in one feature."""
    radius = rng.uniform(4.0, 12.0)
    features = rng.normal(0.0, 1.0, (3, len(MASS_FEATURES))).astype(np.float32)
    features[:, 0] = np.log(radius)
    rings = rng.normal(0.0, 1.0, (3, *RINGS)).astype(np.float32)
    rings[:, :, 6] += 1.5 * (malignant == 1)
    rings[:, :, 0] += brighter
    hits = np.array([[True], [True], [False]])
    return PreparedImage(
        sheets=np.zeros((1, 8, 8), np.uint8),
        sheet=np.zeros(3, np.int64),
        places_mm=np.zeros((3, 2), np.float32),
        features=features,
        rings=rings,
        log_odds=np.zeros(3, np.float32),
        hits=hits,
        off=np.zeros((3, 1), np.float32),
        boxes_mm=np.array([[[0.0, 0.0], [2.0 * radius, 2.0 * radius]]], np.float32),
        corners_mm=np.zeros((0, 2), np.float32),
        lesion_of_corner=np.zeros(0, np.int64),
        malignant=np.array([malignant], np.int8),
        subtype=np.array([-1], np.int8),
        outlined=np.array(True),
        holds=np.array(1, np.int8),
        breast_malignant=np.array(-1, np.int8),
        breast_subtype=np.array(-1, np.int8),
    )


def images(count: int, seed: int = 0) -> list[PreparedImage]:
    rng = np.random.default_rng(seed)
    return [image(rng, number % 2) for number in range(count)]


def patients(count: int) -> list[str]:
    """Two images each."""
    return [str(number // 2) for number in range(count)]


def fitted(made: list[PreparedImage], cohorts: list[str | None]) -> Characterisation:
    network = fit_characterisation(made, cohorts, patients(len(made)))
    assert network is not None
    return network.eval()


@torch.no_grad()
def said(network: Characterisation, one: PreparedImage) -> float:
    return float(network(torch.from_numpy(one.features), torch.from_numpy(one.rings))[0])


def test_size_and_malignancy_are_learnt() -> None:
    network, fresh = fitted(images(400), [None] * 400), images(200, seed=1)
    scores = np.array([said(network, one) for one in fresh])
    assert auc(scores, np.arange(200) % 2 == 1) > 0.9
    with torch.no_grad():
        radii = torch.cat([network.log_radius(torch.from_numpy(one.features[:1])) for one in fresh]).exp()
    truth = torch.tensor([float(one.boxes_mm[0, 1, 0]) / 2.0 for one in fresh])
    assert float(torch.corrcoef(torch.stack([radii, truth]))[0, 1]) > 0.8


def test_what_they_say_are_log_odds() -> None:
    """Of fresh masses, which say by themselves how steep they are; lines that overfit would be too steep."""
    network, fresh = fitted(images(160), [None] * 160), images(2000, seed=3)
    scores = torch.tensor([[said(network, one)] for one in fresh])
    offset, slope = platt(scores, torch.arange(2000) % 2)
    assert slope == pytest.approx(1.0, abs=0.3)
    assert offset == pytest.approx(0.0, abs=0.3)


def test_what_tells_cohorts_apart_is_not_taken_for_malignancy() -> None:
    """A brighter cohort with more cancers: brightness says nothing within either."""
    rng = np.random.default_rng(5)
    many = [image(rng, int(rng.random() < 0.8), brighter=2.0) for _ in range(200)]
    few = [image(rng, int(rng.random() < 0.2)) for _ in range(200)]
    within = fitted(many + few, ["many"] * 200 + ["few"] * 200)
    pooled = fitted(many + few, [None] * 400)

    def of_brightness(network: Characterisation) -> float:
        brightness = 1 + len(MASS_FEATURES) + np.arange(6) * RINGS[1]
        return float(network.malignant.sum.weight.detach()[0, brightness].sum())

    assert of_brightness(pooled) > 0.1
    assert abs(of_brightness(within)) < 0.3 * of_brightness(pooled)


def test_a_cohort_with_one_result_teaches_nothing() -> None:
    made, rng = images(200), np.random.default_rng(9)
    cancers = [image(rng, 1, brighter=3.0) for _ in range(100)]
    alone = fitted(made, ["both"] * 200)
    beside = fitted(made + cancers, ["both"] * 200 + ["cancers"] * 100)
    scores = np.array([[said(network, one) for one in images(100, seed=2)] for network in (alone, beside)])
    np.testing.assert_allclose(scores[0], scores[1], rtol=0.0, atol=1e-5)


def test_too_few_masses_with_a_result_teach_no_lines() -> None:
    assert fit_characterisation(images(2 * LEAST - 2), [None] * (2 * LEAST - 2), patients(2 * LEAST - 2)) is None
    assert fit_characterisation(images(2 * LEAST), [None] * (2 * LEAST), patients(2 * LEAST)) is not None
    unknown = [image(np.random.default_rng(1), -1) for _ in range(300)]
    assert fit_characterisation(unknown, [None] * 300, patients(300)) is None
    of_one = ["the same"] * (2 * LEAST)
    assert fit_characterisation(images(2 * LEAST), [None] * (2 * LEAST), of_one) is None
