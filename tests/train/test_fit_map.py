"""What the map of masses is taught, and by which images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cmmd_node.train.fit_map import MapRecipe, enough, fit_map, map_loss, teaches
from tests.train.test_canvas import prepared, without_masses

ALIKE = torch.ones(1, 2)
"""Both results count alike."""


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
