"""The classical detector: what it finds, and what it must never say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import cmmd_node.cad
from cmmd_node.cad import ClassicalDetector
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import SCREENING_VIEWS, Kind, Laterality, Mark, PointCR, Spacing, View, ViewPosition
from cmmd_node.phantom import PhantomView, make_exam

SPACING = Spacing(row_mm=0.094090909, column_mm=0.094090909)
L_CC = View(Laterality.LEFT, ViewPosition.CC)
VIEWS = sorted(SCREENING_VIEWS, key=str)


@pytest.fixture(scope="module")
def detector() -> ClassicalDetector:
    return ClassicalDetector()


@pytest.fixture(scope="module")
def normal_views() -> dict[View, PhantomView]:
    return {view.view: view for view in make_exam(11, abnormal=False).views}


@pytest.fixture(scope="module")
def all_marks(detector: ClassicalDetector) -> list[tuple[PhantomView, tuple[Mark, ...]]]:
    """Every candidate in an abnormal exam."""
    views = make_exam(12).views
    return [(v, detector.marks(scaled(v.pixels), view=v.view, spacing=SPACING, threshold=0.0)) for v in views]


def scaled(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(255.0)


def place_in(view: PhantomView) -> PointCR:
    """Somewhere in the middle of the breast."""
    to_chest_wall = -1 if view.view.laterality is Laterality.LEFT else 1
    return (view.nipple_cr[0] + to_chest_wall * 350, view.nipple_cr[1] - 50)


def with_mass(pixels: np.ndarray, center_cr: PointCR, radius: float = 75.0) -> np.ndarray:
    r, c = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    distance = np.hypot(c + 0.5 - center_cr[0], r + 0.5 - center_cr[1])
    body = 70.0 * np.clip((radius * 1.1 - distance) / (radius * 0.3), 0.0, 1.0)
    return np.minimum(pixels + body, 255.0) * (pixels > 0)


def with_spots(pixels: np.ndarray, center_cr: PointCR, offsets: list[tuple[float, float]]) -> np.ndarray:
    image = pixels.astype(np.float32)
    for dx, dy in offsets:
        c, r = int(center_cr[0] + dx), int(center_cr[1] + dy)
        image[r : r + 3, c : c + 3] += 80.0
    return np.minimum(image, 255.0)


def of_kind(marks: tuple[Mark, ...], kind: Kind) -> list[Mark]:
    return [mark for mark in marks if mark.kind is kind]


def test_the_room_offers_the_detector() -> None:
    assert cmmd_node.cad.__all__ == ["ClassicalDetector", "Detector", "both_views_of", "model_of", "open_detector"]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_an_obvious_mass_is_the_first_mark_in_every_view(
    detector: ClassicalDetector, normal_views: dict[View, PhantomView], view: View
) -> None:
    center = place_in(normal_views[view])
    pixels = with_mass(normal_views[view].pixels, center)
    mark = of_kind(detector.marks(scaled(pixels), view=view, spacing=SPACING), Kind.MASS)[0]
    assert math.dist(mark.center_cr, center) < 40
    radii = [math.dist(corner, center) for corner in mark.outline_cr]
    assert 50 < np.mean(radii) < 110


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_an_obvious_cluster_is_marked_with_its_calcifications_in_every_view(
    detector: ClassicalDetector, normal_views: dict[View, PhantomView], view: View
) -> None:
    center = place_in(normal_views[view])
    offsets = [(0.0, 0.0), (30.0, 5.0), (-20.0, 25.0), (10.0, -30.0), (-28.0, -12.0)]
    pixels = with_spots(normal_views[view].pixels, center, offsets)
    marks = of_kind(detector.marks(scaled(pixels), view=view, spacing=SPACING), Kind.CALCIFICATION_CLUSTER)
    (mark,) = [mark for mark in marks if math.dist(mark.center_cr, center) < 25]
    for dx, dy in offsets:
        spot = (int(center[0] + dx) + 1.5, int(center[1] + dy) + 1.5)
        assert min(math.dist(spot, found) for found in mark.calcifications_cr) < 1.5


@pytest.mark.parametrize(
    ("offsets", "clusters"),
    [
        ([(0.0, 0.0), (25.0, 0.0)], 0),
        ([(0.0, 0.0), (25.0, 0.0), (10.0, 20.0)], 1),
        ([(0.0, -140.0), (0.0, 0.0), (0.0, 140.0)], 0),
    ],
    ids=["two", "three within 1 cm2", "three far apart"],
)
def test_three_calcifications_within_a_square_centimetre_make_a_cluster(
    detector: ClassicalDetector, offsets: list[tuple[float, float]], clusters: int
) -> None:
    pixels = with_spots(flat_breast(), (300.0, 1000.0), offsets)
    marks = detector.marks(scaled(pixels), view=L_CC, spacing=SPACING, threshold=0.0)
    assert len(of_kind(marks, Kind.CALCIFICATION_CLUSTER)) == clusters


def test_a_bright_line_is_no_cluster(detector: ClassicalDetector) -> None:
    pixels = flat_breast()
    for step in range(400):
        pixels[800 + step, 200 + step // 2 : 203 + step // 2] += 60.0
    marks = detector.marks(scaled(pixels), view=L_CC, spacing=SPACING)
    assert not of_kind(marks, Kind.CALCIFICATION_CLUSTER)


def flat_breast() -> np.ndarray:
    """Half an ellipse of even brightness with a little noise, chest wall on the left."""
    r, c = np.mgrid[:2294, :1914]
    inside = ((r - 1100) / 900) ** 2 + (c / 750) ** 2 < 1.0
    noise = np.random.default_rng(1).normal(0.0, 2.0, r.shape)
    return np.where(inside, 90.0 + noise, 0.0).astype(np.float32)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (64, 48), (600, 500)])
def test_an_image_without_a_breast_gets_no_marks(
    detector: ClassicalDetector, level: float, shape: tuple[int, int]
) -> None:
    for spacing in (SPACING, Spacing(row_mm=0.5, column_mm=0.5)):
        pixels = np.full(shape, level, np.float32)
        assert detector.marks(pixels, view=L_CC, spacing=spacing) == ()


def test_a_mirrored_image_gets_mirrored_marks(
    detector: ClassicalDetector, all_marks: list[tuple[PhantomView, tuple[Mark, ...]]]
) -> None:
    view, marks = all_marks[0]
    other = replace(view.view, laterality=Laterality.LEFT)
    mirrored = detector.marks(scaled(view.pixels[:, ::-1]), view=other, spacing=SPACING, threshold=0.0)
    assert len(marks) == len(mirrored) > 5
    for mark, twin in zip(marks, mirrored, strict=True):
        assert (mark.kind, mark.suspicion) == (twin.kind, twin.suspicion)
        assert twin.center_cr == pytest.approx((1914 - mark.center_cr[0], mark.center_cr[1]))
        assert np.allclose(twin.outline_cr, [(1914 - c, r) for c, r in mark.outline_cr])
        assert np.allclose(np.array(twin.calcifications_cr), [(1914 - c, r) for c, r in mark.calcifications_cr])


def test_the_same_image_gets_the_same_marks(all_marks: list[tuple[PhantomView, tuple[Mark, ...]]]) -> None:
    view, marks = all_marks[2]
    again = ClassicalDetector().marks(scaled(view.pixels), view=view.view, spacing=SPACING, threshold=0.0)
    assert again == marks


def test_a_lower_threshold_only_adds_marks(
    detector: ClassicalDetector, all_marks: list[tuple[PhantomView, tuple[Mark, ...]]]
) -> None:
    view, marks = all_marks[1]
    usual = detector.marks(scaled(view.pixels), view=view.view, spacing=SPACING)
    assert usual == tuple(mark for mark in marks if mark.suspicion >= detector.threshold)
    assert len(usual) < len(marks)


def test_marks_come_with_the_most_suspicious_first(all_marks: list[tuple[PhantomView, tuple[Mark, ...]]]) -> None:
    for _, marks in all_marks:
        suspicions = [mark.suspicion for mark in marks]
        assert suspicions == sorted(suspicions, reverse=True)


def test_no_mark_claims_a_probability_of_malignancy(all_marks: list[tuple[PhantomView, tuple[Mark, ...]]]) -> None:
    assert all(mark.probability_malignant is None for _, marks in all_marks for mark in marks)


def test_outlines_are_simple_polygons_within_the_image(
    all_marks: list[tuple[PhantomView, tuple[Mark, ...]]],
) -> None:
    for view, marks in all_marks:
        rows, columns = view.pixels.shape
        for mark in marks:
            corners = np.array((*mark.outline_cr, mark.center_cr, *mark.calcifications_cr))
            assert np.isfinite(corners).all()
            assert (corners >= 0.0).all()
            assert (corners <= (columns, rows)).all()
            assert len(mark.outline_cr) <= 100
            assert not crosses_itself(mark.outline_cr)


def crosses_itself(outline_cr: tuple[PointCR, ...]) -> bool:
    """Whether two sides of a polygon that are not neighbours cross."""
    a = np.array(outline_cr)
    b = np.roll(a, -1, axis=0)

    def side(p: np.ndarray, q: np.ndarray, points: np.ndarray) -> np.ndarray:
        along = (q - p)[:, None, :]
        to = points[None, :, :] - p[:, None, :]
        return np.sign(along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0])

    apart = side(a, b, a) * side(a, b, b) < 0
    return bool((apart & apart.T).any())


def test_an_image_with_other_pixels_gets_marks_at_the_same_places(
    detector: ClassicalDetector, normal_views: dict[View, PhantomView]
) -> None:
    center = place_in(normal_views[L_CC])
    pixels = scaled(with_mass(normal_views[L_CC].pixels, center))
    flattened = pixels[: 2 * 1147].reshape(1147, 2, 1914).mean(axis=1)
    spacing = Spacing(row_mm=2 * SPACING.row_mm, column_mm=SPACING.column_mm)
    mark = of_kind(detector.marks(flattened, view=L_CC, spacing=spacing), Kind.MASS)[0]
    assert math.dist((mark.center_cr[0], 2 * mark.center_cr[1]), center) < 40


def test_unknown_spacing_is_not_analysed(detector: ClassicalDetector) -> None:
    with pytest.raises(NotAnalysed, match=r"spacing is not known.*\.$"):
        detector.marks(np.zeros((100, 100), np.float32), view=L_CC, spacing=None)


def test_the_model_is_named_by_the_bytes_that_decide() -> None:
    model = ClassicalDetector().model
    assert model.name == "cmmd-node-classical"
    assert len(model.digest) == 64
    assert model == ClassicalDetector().model
