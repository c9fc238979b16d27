"""Masses and microcalcification clusters: drawn into a view, with the truth about where they are.

Coordinates are mm in a left breast, (column, row) from the corner at the chest wall; `exam` turns them into pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from cmmd_node.facts import Kind, PointCR
from cmmd_node.phantom.anatomy import COLUMNS, GRID_COLUMNS, GRID_MM, GRID_ROWS, PIXEL_MM, ROWS
from cmmd_node.phantom.stream import Field, Stream

CORNERS = 72


@dataclass(frozen=True, slots=True)
class Drawn:
    """One lesion in one view, mm."""

    center_mm: PointCR
    outline_mm: tuple[PointCR, ...]
    calcifications_mm: tuple[PointCR, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One lesion of a breast; both its views show it."""

    kind: Kind
    number: int
    nipple_distance_mm: float
    radius_mm: float
    spiculated: bool
    contrast: float
    """Grey values above the tissue around it."""
    calcifications: int

    @classmethod
    def from_stream(cls, kind: Kind, number: int, depth_mm: float, stream: Stream) -> Lesion:
        mass = kind is Kind.MASS
        return cls(
            kind=kind,
            number=number,
            nipple_distance_mm=depth_mm * stream.uniform(0.3, 0.7),
            radius_mm=stream.uniform(4.0, 11.0) if mass else stream.uniform(2.5, 6.0),
            spiculated=mass and stream.chance(0.5),
            contrast=stream.uniform(36.0, 66.0) if mass else stream.uniform(24.0, 85.0),
            calcifications=0 if mass else 5 + stream.below(14),
        )

    def draw_mass(self, grey: Field, center_mm: PointCR, stream: Stream) -> Drawn:
        """Add the mass to a view on the half-resolution grid, in place."""
        radii = self._radii(stream)
        spread = 2.6 if self.spiculated else 1.3
        window, x, y = window_around(center_mm, spread * self.radius_mm * 1.4, GRID_MM, (GRID_ROWS, GRID_COLUMNS))
        distance = np.sqrt(x * x + y * y)
        turn = np.arctan2(y, x) / (2.0 * math.pi) * CORNERS
        rim = np.interp(turn, np.arange(CORNERS), radii, period=CORNERS)
        ratio = distance / rim
        soft = 0.35 if self.spiculated else 0.16
        body = np.clip((1.0 + soft - ratio) / (2.0 * soft), 0.0, 1.0)
        body = body * body * (3.0 - 2.0 * body) * (0.72 + 0.28 * np.sqrt(np.clip(1.0 - ratio * ratio, 0.0, 1.0)))
        if self.spiculated:
            body = np.maximum(body, self._spicules(x, y, distance, stream))
        grey[window] += (self.contrast * body).astype(np.float32)
        outline = tuple(
            (center_mm[0] + r * math.cos(a), center_mm[1] + r * math.sin(a))
            for r, a in zip(radii, np.arange(CORNERS) * (2.0 * math.pi / CORNERS), strict=True)
        )
        return Drawn(center_mm, outline)

    def draw_cluster(self, image: Field, center_mm: PointCR, stream: Stream) -> Drawn:
        """Add the cluster to a view at full resolution, in place."""
        tilt, squeeze = stream.uniform(0.0, math.pi), stream.uniform(0.5, 1.0)
        places: list[PointCR] = []
        while len(places) < self.calcifications:
            r, a = self.radius_mm * math.sqrt(stream.uniform(0.0, 1.0)), stream.uniform(0.0, 2.0 * math.pi)
            u, v = r * math.cos(a), squeeze * r * math.sin(a)
            place = (
                center_mm[0] + u * math.cos(tilt) - v * math.sin(tilt),
                center_mm[1] + u * math.sin(tilt) + v * math.cos(tilt),
            )
            if all(math.dist(place, other) > 0.7 for other in places) or stream.chance(0.02):
                places.append(place)
        for place in places:
            draw_calcification(image, place, self.contrast * stream.uniform(0.55, 1.15), stream)
        outline = hull_around(np.array(places), margin_mm=1.0)
        middle = (sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places))
        return Drawn(middle, outline, tuple(places))

    def _radii(self, stream: Stream) -> NDArray[np.float64]:
        """Distance of the rim from the centre at CORNERS angles, mm."""
        angles = np.arange(CORNERS) * (2.0 * math.pi / CORNERS)
        radii = np.ones(CORNERS)
        for harmonic in range(2, 7):
            size = stream.uniform(0.0, 0.32 if self.spiculated else 0.24) / (harmonic - 0.6)
            radii += size * np.cos(harmonic * angles + stream.uniform(0.0, 2.0 * math.pi))
        return np.clip(radii, 0.55, 1.4) * self.radius_mm

    def _spicules(
        self, x: NDArray[np.float64], y: NDArray[np.float64], distance: NDArray[np.float64], stream: Stream
    ) -> NDArray[np.float64]:
        strongest = np.zeros_like(x)
        for _ in range(10 + stream.below(10)):
            angle, length = stream.uniform(0.0, 2.0 * math.pi), self.radius_mm * stream.uniform(1.5, 2.5)
            along = x * math.cos(angle) + y * math.sin(angle)
            across = y * math.cos(angle) - x * math.sin(angle) + stream.uniform(-0.02, 0.02) * along * along
            left = np.clip(1.0 - distance / length, 0.0, 1.0)
            width = 0.25 + 0.9 * left
            line = np.clip(1.0 - np.abs(across) / width, 0.0, 1.0) * np.sqrt(left) * (along > 0)
            np.maximum(strongest, stream.uniform(0.25, 0.6) * line, out=strongest)
        return strongest


def draw_calcification(image: Field, center_mm: PointCR, contrast: float, stream: Stream) -> None:
    """Add one calcification of 0.2 to 0.6 mm at full resolution, in place."""
    length, slim = stream.uniform(0.1, 0.3), stream.uniform(0.6, 1.0)
    angle = stream.uniform(0.0, math.pi)
    window, x, y = window_around(center_mm, 2.0 * length + 2 * PIXEL_MM, PIXEL_MM, (ROWS, COLUMNS))
    u = (x * math.cos(angle) + y * math.sin(angle)) / length
    v = (y * math.cos(angle) - x * math.sin(angle)) / (length * slim)
    soft = PIXEL_MM / length
    body = np.clip((1.0 + soft - np.sqrt(u * u + v * v)) / (2.0 * soft), 0.0, 1.0)
    image[window] += (contrast * body).astype(np.float32)


def window_around(
    center_mm: PointCR, reach_mm: float, step_mm: float, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], NDArray[np.float64], NDArray[np.float64]]:
    """The part of a grid around a place, and each pixel's offset from it to the right and down, mm."""
    spans = []
    for middle, size in ((center_mm[1], shape[0]), (center_mm[0], shape[1])):
        spans.append(
            slice(max(0, int((middle - reach_mm) / step_mm)), min(size, int((middle + reach_mm) / step_mm) + 2))
        )
    y = (np.arange(spans[0].start, spans[0].stop) + 0.5) * step_mm - center_mm[1]
    x = (np.arange(spans[1].start, spans[1].stop) + 0.5) * step_mm - center_mm[0]
    grid_x, grid_y = np.meshgrid(x, y)
    return (spans[0], spans[1]), grid_x, grid_y


def hull_around(points: NDArray[np.float64], margin_mm: float) -> tuple[PointCR, ...]:
    """Corners of the convex hull of discs of margin_mm around the points."""
    angles = np.arange(12) * (2.0 * math.pi / 12)
    ring = margin_mm * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    around = (points[:, None, :] + ring[None, :, :]).reshape(-1, 2)
    return tuple((float(x), float(y)) for x, y in around[ConvexHull(around).vertices])
