"""The map of masses: what goes in, what comes out, and where it is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmmd_node.cad.mass_map import ANSWERS, CELL_MM, MULTIPLE, PLANES, STRIDE, MassMap, added, planes_of, read_at


@pytest.fixture(scope="module")
def network() -> MassMap:
    torch.manual_seed(0)
    network = MassMap().eval()
    torch.nn.init.normal_(network.answer.weight, std=3.0)  # an untrained one says nearly the same everywhere
    return network


@pytest.fixture(scope="module")
def sheet() -> np.ndarray:
    levels = np.random.default_rng(1).integers(1, 256, (2 * MULTIPLE, MULTIPLE)).astype(np.uint8)
    levels[:, 50:] = 0
    return levels


def test_a_cell_of_the_map_is_a_few_pixels_of_the_breast(network: MassMap) -> None:
    with torch.inference_mode():
        answer = network(torch.zeros(2, PLANES, 3 * MULTIPLE, MULTIPLE))
    assert answer.shape == (2, ANSWERS, 3 * MULTIPLE // STRIDE, MULTIPLE // STRIDE)


def test_planes_tell_levels_and_where_the_breast_is() -> None:
    planes = planes_of(np.array([[0, 1, 255]], np.uint8))
    torch.testing.assert_close(planes, torch.tensor([[[-1.0, 1 / 127.5 - 1.0, 1.0]], [[0.0, 1.0, 1.0]]]))


@pytest.mark.parametrize("shape", [(70, 41), (64, 64), (130, 5)])
def test_breasts_of_any_size_and_any_number_of_candidates(network: MassMap, shape: tuple[int, int]) -> None:
    sheet = np.full(shape, 128, np.uint8)
    for places in ([], [(0.0, 0.0)], [(0.4 * shape[1], 0.4 * shape[0])] * 3):
        answer = added(sheet, torch.tensor(places).reshape(-1, 2), network)
        assert answer.shape == (len(places), ANSWERS)
        assert bool(torch.isfinite(answer).all())


def test_a_breast_upside_down_is_judged_alike(network: MassMap, sheet: np.ndarray) -> None:
    height_mm = len(sheet) * 0.4
    places = torch.tensor([(3.0, 9.1), (14.2, 30.5), (8.0, 44.0)])
    below = torch.stack([places[:, 0], height_mm - places[:, 1]], dim=1)
    answer = added(sheet, places, network)
    assert answer.std(dim=0).min() > 1e-3
    torch.testing.assert_close(added(sheet[::-1].copy(), below, network), answer, rtol=0.0, atol=1e-4)


def test_each_answer_counts_as_much_as_its_share(network: MassMap, sheet: np.ndarray) -> None:
    places = torch.tensor([(3.0, 9.1), (14.2, 30.5)])
    whole = added(sheet, places, network)
    network.share.copy_(torch.tensor([1.6, -0.5]))
    try:
        torch.testing.assert_close(added(sheet, places, network), whole * torch.tensor([1.6, -0.5]))
    finally:
        network.share.fill_(1.0)


def test_a_place_is_given_the_most_within_a_cell_and_what_is_said_there() -> None:
    lesion, malignant = torch.zeros(6, 5), torch.arange(30.0).reshape(6, 5)
    lesion[2, 3], lesion[5, 0] = 4.0, 7.0

    def read(column: float, row: float) -> list[float]:
        places = torch.tensor([[(column + 0.5) * CELL_MM, (row + 0.5) * CELL_MM]])
        told: list[float] = read_at(torch.stack([lesion, malignant]), places)[0].tolist()
        return told

    assert read(2, 3) == read(3, 2) == read(4, 1) == [4.0, 13.0]
    assert read(3, 4)[0] == read(1, 2)[0] == 0.0  # two cells off
    assert read(0, 5) == read(1, 4) == [7.0, 25.0]
    assert read(-1, 6) == [7.0, 25.0]  # beyond the edge is what is at the edge
    assert read(4, 0)[0] == 0.0  # no row is continued in the next
