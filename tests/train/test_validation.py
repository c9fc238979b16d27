"""Operating point and calibration, by images that were held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmmd_node.cad.characterisation import Characterisation
from cmmd_node.cad.margins import RING_EDGES_MM, RING_FEATURES, SMOOTHED_MM
from cmmd_node.cad.mass_map import MassMap
from cmmd_node.cad.native import Networks
from cmmd_node.cad.second_look import FEATURES, SecondLook
from cmmd_node.facts import Kind
from cmmd_node.train.prepared import PreparedImage
from cmmd_node.train.validation import calibrate, judged

CANDIDATES = 6
RINGS = len(RING_EDGES_MM) - 1, len(SMOOTHED_MM) * len(RING_FEATURES)


def images(count: int) -> list[PreparedImage]:
    """Noise with candidates, one of which hits a mass; every other mass is malignant."""
    rng = np.random.default_rng(4)
    made = []
    for number in range(count):
        sheet = rng.integers(1, 120, (64, 64)).astype(np.uint8)
        places = np.stack([np.arange(CANDIDATES) * 4.0 + 2.0, np.full(CANDIDATES, 12.0)], axis=1).astype(np.float32)
        hits = np.zeros((CANDIDATES, 1), np.bool_)
        hits[rng.integers(CANDIDATES)] = True
        features = rng.normal(0.0, 1.0, (CANDIDATES, len(FEATURES[Kind.MASS]))).astype(np.float32)
        made.append(
            PreparedImage(
                sheets=sheet[None],
                sheet=np.zeros(CANDIDATES, np.int64),
                places_mm=places,
                features=features,
                rings=rng.normal(0.0, 1.0, (CANDIDATES, *RINGS)).astype(np.float32),
                log_odds=np.zeros(CANDIDATES, np.float32),
                hits=hits,
                off=np.where(hits, 0.0, 3.0).astype(np.float32),
                boxes_mm=np.zeros((1, 2, 2), np.float32),
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
    made = Networks({Kind.MASS: SecondLook(Kind.MASS)}, MassMap(), Characterisation())
    assert made.mass_map is not None
    torch.nn.init.normal_(made.mass_map.answer.weight, std=0.5)
    made.named().eval()
    return made


def test_suspicion_of_both_together_is_even_at_one_false_mark_per_image(networks: Networks) -> None:
    held_out = images(40)
    before = torch.cat(judged(Kind.MASS, held_out, networks))[:, 0]
    calibrate(Kind.MASS, networks, held_out)
    said = judged(Kind.MASS, held_out, networks)
    false = torch.cat([a[~torch.from_numpy(i.hits[:, 0]), 0] for a, i in zip(said, held_out, strict=True)])
    assert int((false > 0.0).sum()) in {39, 40, 41}
    shift = before - torch.cat(said)[:, 0]
    assert float(shift.std()) < 1e-5
    assert abs(float(shift.mean())) > 1e-3


def test_malignancy_is_a_weighed_sum_of_networks_and_rings(networks: Networks) -> None:
    held_out = images(60)
    without = replace(networks, characterisation=None)
    seen, whole = (torch.cat(judged(Kind.MASS, held_out, one))[:, 1] for one in (without, networks))
    assert calibrate(Kind.MASS, networks, held_out)
    after = torch.cat(judged(Kind.MASS, held_out, networks))[:, 1]
    parts = torch.stack([torch.ones_like(seen), seen, whole - seen], dim=1)
    weights = torch.linalg.lstsq(parts, after[:, None]).solution
    torch.testing.assert_close((parts @ weights)[:, 0], after, rtol=0.0, atol=1e-2 * float(after.std()))
    assert (weights[1:] - 1.0).abs().min() > 0.01


def test_probabilities_are_as_high_as_the_share_of_cancers(networks: Networks) -> None:
    held_out = images(60)
    assert calibrate(Kind.MASS, networks, held_out)
    at_lesions = [a[i.hits[:, 0], 1] for a, i in zip(judged(Kind.MASS, held_out, networks), held_out, strict=True)]
    assert float(torch.cat(at_lesions).sigmoid().mean()) == pytest.approx(0.5, abs=1e-3)


def test_too_few_lesions_calibrate_neither(networks: Networks) -> None:
    held_out = images(12)
    before = judged(Kind.MASS, held_out, networks)
    assert not calibrate(Kind.MASS, networks, held_out)
    after = judged(Kind.MASS, held_out, networks)
    for b, a in zip(before, after, strict=True):
        torch.testing.assert_close(a[:, 1], b[:, 1])
        torch.testing.assert_close(a[:, 0] - a[0, 0], b[:, 0] - b[0, 0], rtol=0.0, atol=1e-3)  # shifted alone
