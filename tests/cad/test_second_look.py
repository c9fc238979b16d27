"""The networks of this program: what goes in, what comes out."""

from __future__ import annotations

import pytest
import torch

from cmmd_node.cad.second_look import ANSWERS, FEATURES, GRIDS, SecondLook, SecondLooks
from cmmd_node.facts import Kind


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("kind", list(Kind))
def test_any_number_of_candidates_is_answered(kind: Kind, count: int) -> None:
    grids = GRIDS[kind]
    patches = torch.zeros(count, len(grids.pixel_mm), grids.size, grids.size)
    with torch.inference_mode():
        answer = SecondLook(kind).eval()(
            patches, torch.zeros(count, len(FEATURES[kind])), torch.zeros(count, dtype=torch.int64)
        )
    assert answer.shape == (count, ANSWERS)


def test_no_side_of_a_patch_is_up() -> None:
    network, patches, features = three_candidates()
    image = torch.zeros(3, dtype=torch.int64)
    with torch.inference_mode():
        answer, turned = network(patches, features, image), network(patches.rot90(1, (2, 3)), features, image)
    torch.testing.assert_close(turned, answer, rtol=0.0, atol=1e-5)


def test_candidates_are_judged_beside_those_of_their_image_only() -> None:
    network, patches, features = three_candidates()
    with torch.inference_mode():
        together = network(patches, features, torch.tensor([0, 0, 1]))
        first = network(patches[:2], features[:2], torch.tensor([0, 0]))
        alone = network(patches[:1], features[:1], torch.tensor([0]))
    torch.testing.assert_close(together[:2], first, rtol=0.0, atol=1e-5)
    assert (together[0] - alone[0]).abs().max() > 1e-3


def test_together_they_answer_the_mean() -> None:
    first, patches, features = three_candidates()
    torch.manual_seed(1)
    second = SecondLook(Kind.MASS).eval()
    seen = patches, features, torch.zeros(3, dtype=torch.int64)
    with torch.inference_mode():
        both = SecondLooks([first, second])(*seen)
        torch.testing.assert_close(both, (first(*seen) + second(*seen)) / 2.0)
        assert (first(*seen) - second(*seen)).abs().max() > 1e-3


def three_candidates() -> tuple[SecondLook, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    grids = GRIDS[Kind.MASS]
    patches = torch.rand(3, len(grids.pixel_mm), grids.size, grids.size)
    return SecondLook(Kind.MASS).eval(), patches, torch.randn(3, len(FEATURES[Kind.MASS]))
