"""Finding breast, skin and pectoral muscle."""

from __future__ import annotations

import numpy as np
import pytest

from cmmd_node.cad.breast import GRID_MM, find_breast, resampled
from cmmd_node.facts import Laterality, Spacing, ViewPosition
from cmmd_node.phantom import make_exam

SPACING = Spacing(row_mm=0.094090909, column_mm=0.094090909)
PIXELS_PER_CELL = GRID_MM / SPACING.row_mm


def test_resampling_keeps_the_mean() -> None:
    image = np.random.default_rng(1).random((130, 91)).astype(np.float32)
    assert resampled(image, row_step=6.5, column_step=4.55).mean() == pytest.approx(image.mean(), rel=1e-5)


def test_resampling_by_a_whole_number_is_the_mean_of_blocks() -> None:
    image = np.random.default_rng(1).random((12, 8)).astype(np.float32)
    blocks = image.reshape(4, 3, 4, 2).mean(axis=(1, 3))
    assert np.allclose(resampled(image, row_step=3.0, column_step=2.0), blocks, atol=1e-6)


@pytest.mark.parametrize("seed", [21, 22])
def test_breast_and_muscle_are_found_in_all_views(seed: int) -> None:
    for view in make_exam(seed).views:
        pixels = view.pixels if view.view.laterality is Laterality.LEFT else view.pixels[:, ::-1]
        breast = find_breast(view.pixels.astype(np.float32) / 255.0, position=view.view.position, spacing=SPACING)
        assert breast is not None
        assert breast.placement.mirrored == (view.view.laterality is Laterality.RIGHT)
        area = breast.mask.sum() * PIXELS_PER_CELL**2
        assert area == pytest.approx((pixels > 0).sum(), rel=0.04)
        at_corner = breast.to_muscle_mm[5, 5]
        assert (at_corner < -10.0) == (view.view.position is ViewPosition.MLO)


def test_a_film_label_and_a_bright_film_edge_are_no_breast() -> None:
    view = next(v for v in make_exam(23).views if v.view.laterality is Laterality.LEFT)
    clean = view.pixels.astype(np.float32) / 255.0
    labelled = clean.copy()
    labelled[100:300, 1500:1800] = 1.0
    labelled[-30:, :] = 1.0
    expected = find_breast(clean, position=ViewPosition.CC, spacing=SPACING)
    found = find_breast(labelled, position=ViewPosition.CC, spacing=SPACING)
    assert expected is not None
    assert found is not None
    assert found.mask.sum() == pytest.approx(expected.mask.sum(), rel=0.03)


def test_places_go_back_to_where_they_were() -> None:
    for view in make_exam(24).views[:2]:
        breast = find_breast(view.pixels.astype(np.float32) / 255.0, position=ViewPosition.CC, spacing=SPACING)
        assert breast is not None
        row = breast.mask.any(axis=1).nonzero()[0].mean()
        width_mm = breast.mask[int(row)].sum() * GRID_MM
        column, _ = breast.placement.to_image(width_mm, row * GRID_MM)
        inside = view.pixels[int(row * PIXELS_PER_CELL)] > 0
        skin = np.flatnonzero(np.diff(inside.astype(np.int8)))[0]
        assert column == pytest.approx(skin, abs=12)
