"""What networks are asked about, beside what the classical detector reports by itself."""

from __future__ import annotations

import numpy as np
import pytest

from cmmd_node.cad import ClassicalDetector
from cmmd_node.cad.breast import GRID_MM, Breast, find_breast
from cmmd_node.cad.candidates import SEARCH, Sighted, sighted
from cmmd_node.cad.masses import Candidates, Search
from cmmd_node.facts import Kind, Laterality, Spacing, View, ViewPosition
from cmmd_node.phantom import make_exam

SPACING = Spacing(row_mm=0.094090909, column_mm=0.094090909)
VIEW = View(Laterality.LEFT, ViewPosition.MLO)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    (view,) = (view for view in make_exam(12).views if view.view == VIEW)
    return view.pixels.astype(np.float32) / np.float32(255.0)


@pytest.fixture(scope="module")
def breast(pixels: np.ndarray) -> Breast:
    breast = find_breast(pixels, position=VIEW.position, spacing=SPACING)
    assert breast is not None
    return breast


@pytest.fixture(scope="module")
def masses(pixels: np.ndarray, breast: Breast) -> Sighted:
    return sighted(Kind.MASS, pixels, breast, ClassicalDetector())


def at(field: np.ndarray, found: Candidates) -> np.ndarray:
    columns, rows = (found.centers_mm / GRID_MM).astype(int).T
    return field[rows, columns]


def test_networks_are_asked_about_what_lies_under_the_skin_and_in_the_muscle(breast: Breast, masses: Sighted) -> None:
    """The classical detector passes both over, since nobody looks at what it finds there again."""
    alone, wide = ClassicalDetector().candidates(breast), masses.found
    assert isinstance(wide, Candidates)
    assert at(breast.to_skin_mm, alone).min() > Search().least_depth_mm - GRID_MM
    assert at(breast.to_muscle_mm, alone).min() > -Search().deepest_in_muscle_mm - GRID_MM
    assert at(breast.to_skin_mm, wide).min() < Search().least_depth_mm - GRID_MM
    assert at(breast.to_muscle_mm, wide).min() < -Search().deepest_in_muscle_mm - GRID_MM
    assert len(alone.centers_mm) <= Search().most < len(wide.centers_mm) <= SEARCH.most


def test_rims_are_found_from_other_centres_too(masses: Sighted) -> None:
    found = masses.found
    assert isinstance(found, Candidates)
    some = np.array([4, 0, 7])
    np.testing.assert_allclose(found.rims_from(found.centers_mm[some], some), found.rims_mm[some])
    elsewhere = found.rims_from(found.centers_mm[some] + 2.0, some)
    assert np.abs(elsewhere - found.rims_mm[some]).max() > 0.1
