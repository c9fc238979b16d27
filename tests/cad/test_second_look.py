"""The networks of this program: what goes in, what comes out."""

from __future__ import annotations

import pytest
import torch

from cmmd_node.cad.second_look import ANSWERS, FEATURES, GRIDS, SecondLook
from cmmd_node.facts import Kind


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("kind", list(Kind))
def test_any_number_of_candidates_is_answered(kind: Kind, count: int) -> None:
    grids = GRIDS[kind]
    patches = torch.zeros(count, len(grids.pixel_mm), grids.size, grids.size)
    with torch.inference_mode():
        answer = SecondLook(kind).eval()(patches, torch.zeros(count, len(FEATURES[kind])))
    assert answer.shape == (count, ANSWERS)


@pytest.mark.parametrize("kind", list(Kind))
def test_it_begins_with_the_log_odds_that_it_is_told(kind: Kind) -> None:
    grids, network = GRIDS[kind], SecondLook(kind).eval()
    patches = torch.zeros(2, len(grids.pixel_mm), grids.size, grids.size)
    features = torch.zeros(2, len(FEATURES[kind]))
    features[1, -1] = 5.0
    network.center[-1], network.spread[-1] = 0.0, 1e6  # not among what it has learnt to read
    with torch.inference_mode():
        low, high = network(patches, features)[:, 0].tolist()
    assert high - low == pytest.approx(5.0, abs=1e-3)
