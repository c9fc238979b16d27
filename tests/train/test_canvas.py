"""What maps of masses are shown, and what is wanted of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from cmmd_node.cad.breast import GRID_MM
from cmmd_node.cad.mass_map import CELL_MM, STRIDE
from cmmd_node.train.canvas import CANVAS, shown, wanted
from cmmd_node.train.prepared import PreparedImage

SPOT = (slice(300, 310), slice(120, 136))
"""Rows and columns of the mass on the coarse grid."""


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
