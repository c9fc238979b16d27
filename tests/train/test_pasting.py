"""Masses that are put into other breasts: they lie where it is said, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmmd_node.cad.breast import GRID_MM
from cmmd_node.train.pasting import Scene, scene_of, with_pasted
from tests.train.test_canvas import SPOT, prepared, without_masses

DENSE = 160
"""Level of tissue of the breast that others are put into."""


def breast() -> Scene:
    """A breast without masses, brighter than that of the donor."""
    sheet = np.zeros((520, 300), np.uint8)
    sheet[20:500, :280] = DENSE
    return scene_of(without_masses(sheets=sheet[None]))


def with_mass(seeds: range) -> list[Scene]:
    """Those of the draws in which a mass was pasted."""
    scenes = [with_pasted(breast(), [prepared()], np.random.default_rng(seed)) for seed in seeds]
    return [scene for scene in scenes if len(scene.boxes)]


def test_half_of_the_breasts_get_a_mass() -> None:
    assert 30 < len(with_mass(range(100))) < 70


@pytest.mark.parametrize("scene", with_mass(range(12)))
def test_a_mass_lies_where_it_is_said_and_stands_out_as_it_did(scene: Scene) -> None:
    (box,) = scene.boxes
    assert scene.malignant.tolist() == [1]
    assert sorted(box[1] - box[0]) == pytest.approx([10, 16], abs=1e-3)  # as `SPOT`, perhaps on its side
    column, row = box.mean(axis=0).astype(int)
    assert scene.levels[row, column] == 255.0  # as bright as can be: 155 above the tissue that it came from
    rows, columns = np.nonzero(scene.levels > DENSE + 20)
    assert (np.abs(columns - column) <= (box[1, 0] - box[0, 0]) / 2.0 + 1).all()
    assert (np.abs(rows - row) <= (box[1, 1] - box[0, 1]) / 2.0 + 1).all()
    air = breast().levels == 0
    assert (scene.levels[air] == 0).all()
    assert np.ptp(scene.levels[~air & (scene.levels < DENSE + 20)]) < 30  # no edge beside it


def test_a_mass_that_is_there_stays_as_it_is() -> None:
    there = scene_of(prepared())
    for seed in range(40):
        scene = with_pasted(there, [prepared()], np.random.default_rng(seed))
        np.testing.assert_array_equal(scene.levels[SPOT], there.levels[SPOT])
        np.testing.assert_array_equal(scene.boxes[0], there.boxes[0])


def test_places_without_a_mass_are_pasted_as_well_and_are_none() -> None:
    striped = np.where(np.arange(300) % 2, 100, 140).astype(np.uint8) * (prepared().sheets[0] > 0)
    donor = prepared(sheets=striped[None].astype(np.uint8))
    changed = [
        scene
        for seed in range(40)
        if len((scene := with_pasted(breast(), [donor], np.random.default_rng(seed))).boxes) == 0
        and not np.array_equal(scene.levels, breast().levels)
    ]
    assert changed


def test_what_cannot_be_pasted_is_left_out() -> None:
    large = prepared(boxes_mm=np.array([[[10, 100], [110, 400]]], np.float32) * np.float32(GRID_MM))
    narrow = replace(breast(), levels=breast().levels[:, :12])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for scene, donors in ((breast(), []), (breast(), [large]), (narrow, [prepared()])):
            told = with_pasted(scene, donors, rng)
            np.testing.assert_array_equal(told.levels, scene.levels)
            assert len(told.boxes) == 0
