"""Operating point and calibration, by images that were held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmmd_node.cad.characterisation import Characterisation
from cmmd_node.cad.margins import RING_EDGES_MM, RING_FEATURES, SMOOTHED_MM
from cmmd_node.cad.mass_map import ANSWERS, REACH_MM, STRIDE, MassMaps
from cmmd_node.cad.native import Networks
from cmmd_node.cad.second_look import FEATURES, SecondLook, SecondLooks
from cmmd_node.facts import Kind
from cmmd_node.train.prepared import PreparedImage
from cmmd_node.train.validation import calibrate, judged

CANDIDATES = 6
APART_MM = 2.0 * REACH_MM + 5.0
"""So far that no two of them become one."""
SQUARE_MM = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * (REACH_MM + 1.0)
RINGS = len(RING_EDGES_MM) - 1, len(SMOOTHED_MM) * len(RING_FEATURES)


def images(count: int) -> list[PreparedImage]:
    """Noise with candidates, one of which hits a mass; every other mass is malignant."""
    rng = np.random.default_rng(4)
    made = []
    for number in range(count):
        sheet = rng.integers(1, 120, (64, 256)).astype(np.uint8)
        places = np.stack([np.arange(CANDIDATES) * APART_MM + 8.0, np.full(CANDIDATES, 12.0)], axis=1)
        hits = np.zeros((CANDIDATES, 1), np.bool_)
        hits[hit := rng.integers(CANDIDATES)] = True
        features = rng.normal(0.0, 1.0, (CANDIDATES, len(FEATURES[Kind.MASS]))).astype(np.float32)
        made.append(
            PreparedImage(
                sheets=sheet[None],
                sheet=np.zeros(CANDIDATES, np.int64),
                places_mm=places.astype(np.float32),
                features=features,
                rings=rng.normal(0.0, 1.0, (CANDIDATES, *RINGS)).astype(np.float32),
                log_odds=np.zeros(CANDIDATES, np.float32),
                hits=hits,
                off=np.where(hits, 0.0, 3.0).astype(np.float32),
                boxes_mm=np.zeros((1, 2, 2), np.float32),
                corners_mm=(places[hit] + SQUARE_MM).astype(np.float32),
                lesion_of_corner=np.zeros(len(SQUARE_MM), np.int64),
                malignant=np.array([number % 2], np.int8),
                subtype=np.array([-1], np.int8),
                outlined=np.array(True),
                holds=np.array(1, np.int8),
                breast_malignant=np.array(-1, np.int8),
                breast_subtype=np.array(-1, np.int8),
            )
        )
    return made


@pytest.fixture
def networks() -> Networks:
    torch.manual_seed(2)
    made = Networks({Kind.MASS: SecondLooks(SecondLook(Kind.MASS) for _ in range(2))}, MassMaps(2), Characterisation())
    assert made.mass_maps is not None
    for member in made.mass_maps.members:
        torch.nn.init.normal_(member.answer.weight, std=0.5)
    made.named().eval()
    return made


def told(held_out: list[PreparedImage], networks: Networks) -> torch.Tensor:
    """Of all candidates, shape (images * CANDIDATES, answers)."""
    said = judged(Kind.MASS, held_out, networks)
    for one, image in zip(said, held_out, strict=True):
        np.testing.assert_array_equal(one.hits, image.hits)
    return torch.cat([one.answer for one in said])


def test_suspicion_of_both_together_is_even_at_one_false_mark_per_image(networks: Networks) -> None:
    held_out = images(40)
    before = told(held_out, networks)[:, 0]
    calibrate(Kind.MASS, networks, held_out)
    said = judged(Kind.MASS, held_out, networks)
    false = torch.cat([one.answer[~torch.from_numpy(one.hits[:, 0]), 0] for one in said])
    assert int((false > 0.0).sum()) in {39, 40, 41}
    shift = before - told(held_out, networks)[:, 0]
    assert float(shift.std()) < 1e-5
    assert abs(float(shift.mean())) > 1e-3


def test_malignancy_is_a_weighed_sum_of_networks_and_rings(networks: Networks) -> None:
    held_out = images(60)
    without = replace(networks, characterisation=None)
    seen, whole = (told(held_out, one)[:, 1] for one in (without, networks))
    assert calibrate(Kind.MASS, networks, held_out)
    after = told(held_out, networks)[:, 1]
    parts = torch.stack([torch.ones_like(seen), seen, whole - seen], dim=1)
    weights = torch.linalg.lstsq(parts, after[:, None]).solution
    torch.testing.assert_close((parts @ weights)[:, 0], after, rtol=0.0, atol=1e-2 * float(after.std()))
    assert abs(float(weights[1]) - 1.0) > 0.01
    assert float(weights[2]) == pytest.approx(1.0, abs=1e-2)  # they are log odds already


def test_probabilities_are_as_high_as_the_share_of_cancers(networks: Networks) -> None:
    held_out = images(60)
    assert calibrate(Kind.MASS, networks, held_out)
    at_lesions = [one.answer[one.hits[:, 0], 1] for one in judged(Kind.MASS, held_out, networks)]
    assert float(torch.cat(at_lesions).sigmoid().mean()) == pytest.approx(0.5, abs=1e-3)


def test_too_few_lesions_calibrate_neither(networks: Networks) -> None:
    held_out = images(12)
    before = told(held_out, networks)
    assert not calibrate(Kind.MASS, networks, held_out)
    after = told(held_out, networks)
    torch.testing.assert_close(after[:, 1], before[:, 1])
    torch.testing.assert_close(after[:, 0] - after[0, 0], before[:, 0] - before[0, 0], rtol=0.0, atol=1e-3)  # shifted


def test_a_mark_is_where_the_maps_see_the_centre_and_counts_as_it_lies_there(networks: Networks) -> None:
    """One candidate beside the mass comes to lie in it; two in the mass become one, the more suspicious."""

    class Told(MassMaps):
        def forward(self, planes: torch.Tensor) -> torch.Tensor:
            answer = torch.full((len(planes), ANSWERS, planes.shape[2] // STRIDE, planes.shape[3] // STRIDE), -4.0)
            answer[:, 0, 7:9, 10] = 3.0  # at 16.8 and 12.8 mm; the same upside down: there are 16 rows
            return answer

    (image,) = images(1)
    square = (np.array([[15.0, 10.0], [19.0, 10.0], [19.0, 15.0], [15.0, 15.0]])).astype(np.float32)
    places = np.array([[13.0, 12.8], [20.0, 13.0], [60.0, 12.0], [75.0, 12.0], [90.0, 12.0], [45.0, 12.0]], np.float32)
    image = replace(image, corners_mm=square, places_mm=places, hits=np.zeros((CANDIDATES, 1), np.bool_))
    networks = replace(networks, mass_maps=Told(0))
    (said,) = judged(Kind.MASS, [image], networks)
    assert said.hits[:, 0].tolist() == [True, False, False, False, False]
    alone = judged(Kind.MASS, [image], replace(networks, mass_maps=None))[0]
    assert not alone.hits.any()
    assert float(said.answer[0, 0] - alone.answer[:2, 0].max()) == pytest.approx(3.0, abs=1e-4)
