"""What the map of masses is taught, and by which images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from cmmd_node.cad.breast import GRID_MM
from cmmd_node.cad.mass_map import CELL_MM, STRIDE
from cmmd_node.train.fit_map import CANVAS, MapRecipe, enough, fit_map, map_loss, shown, teaches, wanted
from cmmd_node.train.prepared import PreparedImage

SPOT = (slice(300, 310), slice(120, 136))
"""Rows and columns of the mass on the coarse grid."""

ALIKE = torch.ones(1, 2)
"""Both results count alike."""


def prepared(**changes: Any) -> PreparedImage:
    """A breast of even tissue with a bright mass, outlined, malignant."""
    sheet = np.zeros((520, 300), np.uint8)
    sheet[20:500, :280] = 100
    sheet[SPOT] = 255
    rows, columns = SPOT
    facts: dict[str, Any] = {
        "sheets": sheet[None],
        "sheet": np.zeros(0, np.int64),
        "places_mm": np.zeros((0, 2), np.float32),
        "features": np.zeros((0, 3), np.float32),
        "rings": np.zeros((0, 0, 0), np.float32),
        "log_odds": np.zeros(0, np.float32),
        "hits": np.zeros((0, 1), np.bool_),
        "off": np.zeros((0, 1), np.float32),
        "boxes_mm": np.array([[[columns.start, rows.start], [columns.stop, rows.stop]]], np.float32)
        * np.float32(GRID_MM),
        "corners_mm": np.zeros((0, 2), np.float32),
        "lesion_of_corner": np.zeros(0, np.int64),
        "malignant": np.array([1], np.int8),
        "subtype": np.array([-1], np.int8),
        "outlined": np.array(True),
        "holds": np.array(-1, np.int8),
        "breast_malignant": np.array(-1, np.int8),
        "breast_subtype": np.array(-1, np.int8),
    }
    return PreparedImage(**facts | changes)


def without_masses(**changes: Any) -> PreparedImage:
    none = prepared()
    return replace(none, boxes_mm=none.boxes_mm[:0], malignant=none.malignant[:0], **changes)


def test_images_teach_where_every_place_is_known() -> None:
    nobody = np.array(False)
    assert teaches(prepared())
    assert teaches(without_masses())
    assert teaches(without_masses(outlined=nobody, holds=np.array(0, np.int8)))  # the label says there is none
    assert not teaches(without_masses(outlined=nobody, holds=np.array(1, np.int8)))  # one, and nobody knows where
    assert not teaches(without_masses(outlined=nobody))  # nobody knows anything


def test_too_few_outlined_masses_teach_no_map() -> None:
    weak = without_masses(outlined=np.array(False), holds=np.array(1, np.int8))
    images = [prepared(), prepared(), without_masses(), weak]
    assert enough(images, MapRecipe(least_masses=2))
    assert not enough(images, MapRecipe(least_masses=3))
    assert not enough([weak, without_masses()], MapRecipe(least_masses=0))


@pytest.mark.parametrize("seed", range(8))
def test_a_mass_is_wanted_where_it_is_shown(seed: int) -> None:
    planes, near, malignant = shown(prepared(), [], np.random.default_rng(seed))
    assert planes.shape == (2, *CANVAS)
    assert near.shape == malignant.shape == (CANVAS[0] // STRIDE, CANVAS[1] // STRIDE)
    assert float(planes[0].min()) == -1.0
    assert float(planes[0].max()) <= 1.0
    smooth = ndimage.gaussian_filter(planes[0].numpy() * planes[1].numpy(), 3.0)
    brightest = np.array(np.unravel_index(smooth.argmax(), smooth.shape)) / STRIDE
    center = np.array(np.unravel_index(int(near.argmax()), tuple(near.shape)))
    assert float(near.max()) == 1.0
    assert np.abs(brightest - center - 0.5).max() < 1.6
    assert float(malignant[tuple(center)]) == 1.0
    assert 4 < int((malignant == 1.0).sum()) < 60


def test_what_is_shown_follows_from_the_seed_and_differs_from_time_to_time() -> None:
    def planes(seed: int) -> torch.Tensor:
        return shown(prepared(), [], np.random.default_rng(seed))[0]

    assert torch.equal(planes(1), planes(1))
    assert (planes(1) - planes(2)).abs().mean() > 0.05


def test_masses_of_other_breasts_are_wanted_as_well() -> None:
    centers = [
        int((shown(without_masses(), donors, np.random.default_rng(seed))[1] == 1.0).sum())
        for donors in ([], [prepared()])
        for seed in range(8)
    ]
    assert centers[:8] == [0] * 8
    assert set(centers[8:]) == {0, 1}


def test_what_is_learnt_is_the_same_whoever_draws_what_is_shown(tmp_path: Path) -> None:
    images, recipe = [prepared() for _ in range(3)], MapRecipe(epochs=2, batch=2, least_masses=3)
    weights = []
    for drawers in (0, 2):
        torch.manual_seed(7 + drawers)  # of whoever called
        balance = np.ones((3, 2), np.float32)
        fitted = fit_map(images, balance, recipe, tmp_path / f"{drawers}.pt", drawers=drawers, tell=lambda _line: None)
        weights.append(fitted.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_cells_near_a_centre_belong_to_the_nearest_mass() -> None:
    centers = np.array([[20.5, 30.5], [26.5, 30.5], [500.0, 10.0]]) * CELL_MM
    sides = np.array([[10.0, 20.0], [10.0, 20.0], [10.0, 10.0]]) * CELL_MM
    near, malignant = wanted(centers, sides, np.array([1, 0, 1], np.int8))
    assert near[30, 20] == near[30, 26] == 1.0
    assert (near == 1.0).sum() == 2  # the third is beyond the canvas
    assert near[30, 18] == pytest.approx(np.exp(-0.5))  # a fifth of the box's width off
    assert near[34, 20] == pytest.approx(np.exp(-0.5))  # a fifth of its height
    assert malignant[30, [20, 22, 24, 26]].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert np.isnan(malignant[30, 17])
    assert np.isnan(wanted(centers, sides, np.array([-1, -1, -1], np.int8))[1]).all()


def test_loss_is_least_for_the_truth_and_silent_about_what_is_not_known() -> None:
    near, malignant = torch.zeros(1, 8, 8), torch.full((1, 8, 8), torch.nan)
    near[0, 3, 4], near[0, 3, 5] = 1.0, 0.9
    malignant[0, 3, 4] = 1.0

    def loss(*cells: tuple[int, int, int, float]) -> float:
        answer = torch.full((1, 2, 8, 8), -4.0)
        for plane, row, column, value in cells:
            answer[0, plane, row, column] = value
        return float(map_loss(answer, near, malignant, ALIKE, malignancy=0.3))

    truth = loss((0, 3, 4, 4.0), (1, 3, 4, 4.0))
    assert truth < loss((0, 3, 4, 4.0)) < loss()  # benign; nothing seen
    assert (
        truth
        < loss((0, 3, 4, 4.0), (1, 3, 4, 4.0), (0, 3, 5, 2.0))
        < loss((0, 3, 4, 4.0), (1, 3, 4, 4.0), (0, 6, 1, 2.0))
    )
    assert loss((1, 6, 1, 9.0)) == loss()
    assert float(map_loss(torch.zeros(1, 2, 8, 8), near * 0.0, malignant * torch.nan, ALIKE, malignancy=0.3)) > 0.0


def test_results_count_as_the_balance_of_their_image_says() -> None:
    near, malignant = torch.zeros(2, 8, 8), torch.full((2, 8, 8), torch.nan)
    near[:, 3, 4] = 1.0
    malignant[0, 3, 4], malignant[1, 3, 4] = 1.0, 0.0
    answer = torch.zeros(2, 2, 8, 8)
    answer[:, 1] = 2.0  # right of the first, wrong of the second

    def of_results(balance: list[list[float]]) -> float:
        none, all_of_it = (
            float(map_loss(answer, near, malignant, torch.tensor(balance), malignancy=weight)) for weight in (0.0, 1.0)
        )
        return all_of_it - none

    right, wrong = (float(torch.nn.functional.softplus(torch.tensor(sign * 2.0))) for sign in (-1.0, 1.0))
    assert of_results([[9.0, 1.0], [1.0, 9.0]]) == pytest.approx((right + wrong) / 2, rel=1e-5)
    assert of_results([[9.0, 3.0], [1.0, 9.0]]) == pytest.approx((3 * right + wrong) / 4, rel=1e-5)
    assert of_results([[9.0, 0.0], [0.0, 9.0]]) == pytest.approx(0.0, abs=1e-6)
