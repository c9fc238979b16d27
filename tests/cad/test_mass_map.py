"""The map of masses: what goes in, what comes out, and where it is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmmd_node.cad.mass_map import (
    ANSWERS,
    CELL_MM,
    MULTIPLE,
    PLANES,
    REACH_MM,
    STRIDE,
    MassMaps,
    added,
    peak_cells,
    planes_of,
)


@pytest.fixture(scope="module")
def maps() -> MassMaps:
    torch.manual_seed(0)
    maps = MassMaps(2).eval()
    for member in maps.members:
        torch.nn.init.normal_(member.answer.weight, std=3.0)  # an untrained one says nearly the same everywhere
    return maps


@pytest.fixture(scope="module")
def sheet() -> np.ndarray:
    levels = np.random.default_rng(1).integers(1, 256, (2 * MULTIPLE, MULTIPLE)).astype(np.uint8)
    levels[:, 50:] = 0
    return levels


def test_a_cell_of_the_map_is_a_few_pixels_of_the_breast(maps: MassMaps) -> None:
    with torch.inference_mode():
        answer = maps(torch.zeros(2, PLANES, 3 * MULTIPLE, MULTIPLE))
    assert answer.shape == (2, ANSWERS, 3 * MULTIPLE // STRIDE, MULTIPLE // STRIDE)


def test_planes_tell_levels_and_where_the_breast_is() -> None:
    planes = planes_of(np.array([[0, 1, 255]], np.uint8))
    torch.testing.assert_close(planes, torch.tensor([[[-1.0, 1 / 127.5 - 1.0, 1.0]], [[0.0, 1.0, 1.0]]]))


@pytest.mark.parametrize("shape", [(70, 41), (64, 64), (130, 5)])
def test_breasts_of_any_size_and_any_number_of_candidates(maps: MassMaps, shape: tuple[int, int]) -> None:
    sheet = np.full(shape, 128, np.uint8)
    for places in ([], [(0.0, 0.0)], [(0.4 * shape[1], 0.4 * shape[0])] * 3):
        answer, peaks = added(sheet, torch.tensor(places).reshape(-1, 2), maps)
        assert answer.shape == (len(places), ANSWERS)
        assert bool(torch.isfinite(answer).all())
        assert peaks.shape == (len(places), 2)
        assert bool(((peaks >= 0.0) & (peaks <= torch.tensor(shape[::-1]) * 0.4)).all())


def test_a_breast_upside_down_is_judged_alike(maps: MassMaps, sheet: np.ndarray) -> None:
    height_mm = len(sheet) * 0.4
    places = torch.tensor([(3.0, 9.1), (14.2, 30.5), (8.0, 44.0)])
    below = torch.stack([places[:, 0], height_mm - places[:, 1]], dim=1)
    answer, peaks = added(sheet, places, maps)
    assert answer.std(dim=0).min() > 1e-3
    turned, turned_peaks = added(sheet[::-1].copy(), below, maps)
    torch.testing.assert_close(turned, answer, rtol=0.0, atol=1e-4)
    height = torch.tensor([[0.0, height_mm]])
    torch.testing.assert_close(height + turned_peaks * torch.tensor([1.0, -1.0]), peaks, rtol=0.0, atol=1e-3)


def test_together_maps_say_the_mean_of_what_each_says(maps: MassMaps) -> None:
    planes = torch.randn(1, PLANES, MULTIPLE, MULTIPLE)
    with torch.inference_mode():
        first, second = (member(planes) for member in maps.members)
        torch.testing.assert_close(maps(planes), (first + second) / 2.0)
    assert not torch.allclose(first, second)


def test_each_answer_counts_as_much_as_its_share(maps: MassMaps, sheet: np.ndarray) -> None:
    places = torch.tensor([(3.0, 9.1), (14.2, 30.5)])
    whole, peaks = added(sheet, places, maps)
    maps.share.copy_(torch.tensor([1.6, -0.5]))
    try:
        told, same_peaks = added(sheet, places, maps)
    finally:
        maps.share.fill_(1.0)
    torch.testing.assert_close(told, whole * torch.tensor([1.6, -0.5]))
    torch.testing.assert_close(same_peaks, peaks)


def test_a_peak_is_the_greatest_cell_within_reach() -> None:
    log_odds = torch.zeros(12, 11)
    log_odds[5, 6], log_odds[11, 0], log_odds[0, 10] = 4.0, 7.0, 9.0

    def peak(column: float, row: float) -> tuple[int, ...]:
        places = torch.tensor([[(column + 0.5) * CELL_MM, (row + 0.5) * CELL_MM]])
        return tuple(peak_cells(log_odds, places)[0].tolist())

    assert 3 * CELL_MM < REACH_MM < 10**0.5 * CELL_MM
    assert peak(6, 5) == peak(3, 5) == peak(6, 8) == peak(4, 3) == (6, 5)
    assert peak(5, 8) != (6, 5) != peak(2, 5)
    assert peak(2, 10) == peak(-1, 12) == (0, 11)  # beyond the edge as well
    assert peak(-9, 20) == (0, 11)  # however far
    assert peak(1, 1) != (10, 0)  # no row is continued in the next


def test_a_peak_lies_between_cells_where_both_are_high(sheet: np.ndarray) -> None:
    """As a parabola through three cells says."""

    class Told(MassMaps):
        def forward(self, planes: torch.Tensor) -> torch.Tensor:
            answer = torch.zeros(len(planes), ANSWERS, planes.shape[2] // STRIDE, planes.shape[3] // STRIDE)
            answer[:, 0, 15:17, 6] = 4.0  # the same upside down: there are 32 rows
            answer[:, 0, 15:17, 7] = 2.0
            return answer

    (peak,) = added(sheet, torch.tensor([(9.0, 25.0)]), Told(0))[1].tolist()
    assert peak == pytest.approx([(6.5 + 2.0 / 12.0) * CELL_MM, 16.0 * CELL_MM], abs=1e-3)
