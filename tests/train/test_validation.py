"""Operating point and calibration, by images that were held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmmd_node.cad.mass_map import MassMap
from cmmd_node.cad.second_look import FEATURES, SecondLook
from cmmd_node.facts import Kind
from cmmd_node.train.prepared import PreparedImage
from cmmd_node.train.validation import calibrate, judged

CANDIDATES = 6


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
def networks() -> tuple[SecondLook, MassMap]:
    torch.manual_seed(2)
    second_look, mass_map = SecondLook(Kind.MASS).eval(), MassMap().eval()
    torch.nn.init.normal_(mass_map.answer.weight, std=0.5)
    return second_look, mass_map


def test_suspicion_of_both_together_is_even_at_one_false_mark_per_image(networks: tuple[SecondLook, MassMap]) -> None:
    held_out = images(40)
    before = torch.cat(judged(Kind.MASS, held_out, *networks))[:, 0]
    calibrate(Kind.MASS, *networks, held_out)
    said = judged(Kind.MASS, held_out, *networks)
    false = torch.cat([a[~torch.from_numpy(i.hits[:, 0]), 0] for a, i in zip(said, held_out, strict=True)])
    assert int((false > 0.0).sum()) in {39, 40, 41}
    shift = before - torch.cat(said)[:, 0]
    assert float(shift.std()) < 1e-5
    assert abs(float(shift.mean())) > 1e-3


def test_malignancy_of_both_is_calibrated_by_one_line(networks: tuple[SecondLook, MassMap]) -> None:
    held_out = images(60)
    before = torch.cat(judged(Kind.MASS, held_out, *networks))[:, 1]
    assert calibrate(Kind.MASS, *networks, held_out)
    after = torch.cat(judged(Kind.MASS, held_out, *networks))[:, 1]
    straight = np.polyfit(before.numpy(), after.numpy(), 1)
    assert np.abs(np.polyval(straight, before.numpy()) - after.numpy()).max() < 1e-2 * float(after.std()) + 1e-4
    assert abs(straight[0] - 1.0) > 0.01


def test_too_few_lesions_calibrate_neither(networks: tuple[SecondLook, MassMap]) -> None:
    held_out = images(12)
    before = judged(Kind.MASS, held_out, *networks)
    assert not calibrate(Kind.MASS, *networks, held_out)
    after = judged(Kind.MASS, held_out, *networks)
    for b, a in zip(before, after, strict=True):
        torch.testing.assert_close(a[:, 1], b[:, 1])
        torch.testing.assert_close(a[:, 0] - a[0, 0], b[:, 0] - b[0, 0], rtol=0.0, atol=1e-3)  # shifted alone
