"""What is read on the rings around a mass, and what two lines make of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit

from cmmd_node.cad.breast import Breast, Field, find_breast
from cmmd_node.cad.characterisation import Characterisation
from cmmd_node.cad.margins import RING_EDGES_MM, RING_FEATURES, SMOOTHED_MM, ring_features
from cmmd_node.cad.second_look import MASS_FEATURES
from cmmd_node.facts import Spacing, ViewPosition

SPACING = Spacing(row_mm=0.1, column_mm=0.1)
CENTER_MM = (40.0, 60.0)
"""(column, row) of the mass."""
RADIUS_MM = 8.0


def pixels(*, spicules: int = 0, blur_mm: float = 0.3) -> Field:
    """A disc in even tissue, with lines that lead away from it."""
    y, x = (np.mgrid[0:1200, 0:900].astype(np.float32) + 0.5) * 0.1
    across, down = x - CENTER_MM[0], y - CENTER_MM[1]
    distance = np.hypot(across, down)
    image = 0.4 + 0.3 * expit((RADIUS_MM - distance) / blur_mm)
    turn = np.arctan2(down, across)
    for number in range(spicules):
        off = np.angle(np.exp(1j * (turn - 2.0 * np.pi * number / spicules)))
        image += 0.2 * np.exp(-((off * distance / 0.5) ** 2)) * ((distance > RADIUS_MM) & (distance < 2.0 * RADIUS_MM))
    image += np.random.default_rng(0).normal(0.0, 0.01, image.shape)
    inside = (y - 60.0) ** 2 / 55.0**2 + x**2 / 80.0**2 < 1.0
    return np.where(inside, image, 0.0).astype(np.float32)


def breast_of(image: Field, spacing: Spacing = SPACING) -> Breast:
    breast = find_breast(image, position=ViewPosition.CC, spacing=spacing)
    assert breast is not None
    return breast


def rings(image: Field, spacing: Spacing = SPACING) -> dict[str, Field]:
    """Of the mass, each feature at the finest smoothing, shape (rings,)."""
    breast = breast_of(image, spacing)
    center = np.array([[CENTER_MM[0] - breast.placement.first_column_mm, CENTER_MM[1]]])
    (told,) = ring_features(image, breast, center)
    assert told.shape == (len(RING_EDGES_MM) - 1, len(SMOOTHED_MM) * len(RING_FEATURES))
    assert np.isfinite(told).all()
    return dict(zip(RING_FEATURES, told.T, strict=False))


MARGIN = int(np.searchsorted(RING_EDGES_MM, RADIUS_MM)) - 1
BEYOND = int(np.searchsorted(RING_EDGES_MM, 1.5 * RADIUS_MM)) - 1


def test_brightness_falls_at_the_margin_and_falls_faster_where_that_is_sharp() -> None:
    sharp, soft = rings(pixels()), rings(pixels(blur_mm=1.5))
    assert sharp["brightness"][MARGIN - 2] > sharp["brightness"][BEYOND] + 0.5
    assert sharp["slope outwards"].argmin() == MARGIN
    assert sharp["steepness outwards"][MARGIN] > soft["steepness outwards"][MARGIN] + 1.0


def test_lines_that_lead_away_are_told_from_a_margin() -> None:
    smooth, spiculated = rings(pixels()), rings(pixels(spicules=12))
    for name in ("ridges that point outwards", "steepness along the ring", "unevenness around the ring"):
        assert spiculated[name][BEYOND] > smooth[name][BEYOND] + 0.05, name
        assert abs(spiculated[name][MARGIN - 3] - smooth[name][MARGIN - 3]) < 0.1, name
    rise = spiculated["ridges that point outwards"] - smooth["ridges that point outwards"]
    assert rise[BEYOND] > 1.0
    assert rise[BEYOND] > (spiculated["ridges along the ring"] - smooth["ridges along the ring"])[BEYOND] + 0.5


def test_rings_are_the_same_in_a_mirrored_image() -> None:
    image = pixels(spicules=5)
    plain = breast_of(image)
    center = np.array([CENTER_MM])
    np.testing.assert_allclose(
        ring_features(image[:, ::-1], breast_of(image[:, ::-1]), center),
        ring_features(image, plain, center),
        rtol=0.0,
        atol=1e-4,
    )


@pytest.mark.parametrize("corner", [(-50.0, -50.0), (500.0, 500.0)])
def test_places_beyond_the_image_are_answered(corner: tuple[float, float]) -> None:
    image = pixels()
    assert np.isfinite(ring_features(image, breast_of(image), np.array([corner]))).all()
    assert ring_features(image, breast_of(image), np.zeros((0, 2))).shape[0] == 0


def test_the_size_of_a_mass_is_taken_out_of_its_rings() -> None:
    """The rings of a mass that is larger by a whole ring, read by its size, are those of the smaller."""
    network, generator = Characterisation().eval(), torch.Generator().manual_seed(3)
    count, step = len(RING_EDGES_MM) - 1, float(np.log(RING_EDGES_MM[1] / RING_EDGES_MM[0]))
    with torch.no_grad():
        network.log_radius.sum.weight.zero_()
        network.log_radius.sum.weight[0, 0] = step  # a feature of 1 is one ring more
        network.log_radius.sum.bias.fill_(float(np.log(5.0)))
    small = torch.rand(1, count, len(SMOOTHED_MM) * len(RING_FEATURES), generator=generator)
    large = small.roll(1, dims=1)
    features = torch.zeros(2, len(MASS_FEATURES))
    features[1, 0] = 1.0
    with torch.inference_mode():
        described = network.described(features, torch.cat([small, large]))
    read = described[:, 1 + len(MASS_FEATURES) :]
    torch.testing.assert_close(read[0], read[1], rtol=0.0, atol=1e-4)
    assert float(described[1, 0] - described[0, 0]) == pytest.approx(step, abs=1e-5)
