"""Masses and calcifications as bodies in the breast, so that CC and MLO show the same one from two sides.

A body has coordinates of its own, mm: x towards the nipple, y to the side, z upwards. CC looks along z, and MLO along
an oblique direction, which is a turn of the body about x. Masses add grey in proportion to the way of the rays through
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmmd_node.facts import Kind, PointCR, ViewPosition
from cmmd_node.phantom.anatomy import COLUMNS, GRID_COLUMNS, GRID_MM, GRID_ROWS, PIXEL_MM, ROWS
from cmmd_node.phantom.lesions import CORNERS, Drawn, hull_around, window_around
from cmmd_node.phantom.stream import Field, Stream

Point3 = NDArray[np.float64]
"""Shape (3,) or (n, 3): x, y, z."""
Field64 = NDArray[np.float64]

_LAYER_COUNT = 36
_OBLIQUE = math.radians(50.0)


class Margin(StrEnum):
    """Of a mass; the first two are benign here, the others malignant."""

    CIRCUMSCRIBED = "circumscribed"
    OBSCURED = "obscured"
    MICROLOBULATED = "microlobulated"
    INDISTINCT = "indistinct"
    SPICULATED = "spiculated"


class Morphology(StrEnum):
    """Of the calcifications of a cluster; the first two are benign here, the others malignant."""

    PUNCTATE = "punctate"
    ROUND = "round"
    PLEOMORPHIC = "fine-pleomorphic"
    LINEAR = "fine-linear"


MALIGNANT_LOOKS = frozenset(
    {Margin.MICROLOBULATED, Margin.INDISTINCT, Margin.SPICULATED, Morphology.PLEOMORPHIC, Morphology.LINEAR}
)


def turned(points: Point3, position: ViewPosition) -> Point3:
    """Coordinates of a body's points for a view: column and row offsets, and the way along the rays, mm."""
    if position is ViewPosition.CC:
        return points
    cos, sin = math.cos(_OBLIQUE), math.sin(_OBLIQUE)
    seen: Point3 = points @ np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
    return seen


def random_direction(stream: Stream) -> Point3:
    """A direction in space, all equally likely."""
    z, turn = stream.uniform(-1.0, 1.0), stream.uniform(0.0, 2.0 * math.pi)
    flat = math.sqrt(1.0 - z * z)
    return np.array([flat * math.cos(turn), flat * math.sin(turn), z])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mass:
    """One mass; everything else about it follows from `name`, so both views draw the same body."""

    name: tuple[object, ...]
    number: int
    nipple_distance_mm: float
    radius_mm: float
    margin: Margin
    grey_per_mm: float
    """How much brighter than the tissue that it displaces it makes a ray, for each mm of it."""

    kind = Kind.MASS

    def draw(self, grey: Field, center_mm: PointCR, position: ViewPosition) -> Drawn:
        """Add the mass to a view on the half-resolution grid, in place."""
        stream = Stream(*self.name, "body")
        spicules = self.margin is Margin.SPICULATED
        reach = self.radius_mm * (2.8 if spicules else 1.9)
        window, x, y = window_around(center_mm, reach, GRID_MM, (GRID_ROWS, GRID_COLUMNS))
        thickness = self._thickness(x, y, position, stream)
        outline = _silhouette(thickness, x, y, center_mm)
        body = self._with_margin(thickness, x, y, stream)
        if spicules:
            body = np.maximum(body, self._spicules(x, y, position, stream))
        grey[window] += (self.grey_per_mm * body).astype(np.float32)
        return Drawn(center_mm, outline)

    def _thickness(self, x: Field64, y: Field64, position: ViewPosition, stream: Stream) -> Field64:
        """How long each ray runs through the body, mm: its surface is a sphere's, stretched, with waves on it."""
        rough = {Margin.CIRCUMSCRIBED: 0.0, Margin.OBSCURED: 0.0, Margin.MICROLOBULATED: 0.11}.get(self.margin, 0.06)
        waves = [(stream.uniform(1.5, 3.0), stream.uniform(0.02, 0.08)) for _ in range(3)]
        waves += [(stream.uniform(7.0, 13.0), rough * stream.uniform(0.6, 1.2)) for _ in range(4) if rough]
        towards = turned(np.array([random_direction(stream) for _ in waves]), position)
        phases = [stream.uniform(0.0, 2.0 * math.pi) for _ in waves]
        long_axis = turned(random_direction(stream)[None], position)[0]
        stretch = stream.uniform(0.0, 0.35)
        total = np.zeros_like(x)
        limit = 1.5 * self.radius_mm
        step = 2.0 * limit / _LAYER_COUNT
        for layer in range(_LAYER_COUNT):
            z = -limit + (layer + 0.5) * step
            distance = np.sqrt(x * x + y * y + z * z)
            away = np.maximum(distance, 1e-6)
            cosine = (x * long_axis[0] + y * long_axis[1] + z * long_axis[2]) / away
            surface = 1.0 + stretch * (cosine * cosine - 1.0 / 3.0)
            for (tempo, height), direction, phase in zip(waves, towards, phases, strict=True):
                along = (x * direction[0] + y * direction[1] + z * direction[2]) / away
                surface += height * np.cos(tempo * along + phase)
            total += step * np.clip((self.radius_mm * surface - distance) / step + 0.5, 0.0, 1.0)
        return total

    def _with_margin(self, thickness: Field64, x: Field64, y: Field64, stream: Stream) -> Field64:
        blur = {Margin.INDISTINCT: 0.24, Margin.SPICULATED: 0.12, Margin.OBSCURED: 0.3}.get(self.margin)
        if blur is None:
            return thickness
        soft: Field64 = ndimage.gaussian_filter(thickness, max(blur * self.radius_mm, 0.8) / GRID_MM)
        if self.margin is not Margin.OBSCURED:
            return soft
        angle = stream.uniform(0.0, 2.0 * math.pi)
        hidden = np.clip(0.2 + (x * math.cos(angle) + y * math.sin(angle)) / self.radius_mm, 0.0, 1.0)
        mixed: Field64 = thickness + (soft - thickness) * hidden
        return mixed

    def _spicules(self, x: Field64, y: Field64, position: ViewPosition, stream: Stream) -> Field64:
        strongest = np.zeros_like(x)
        distance = np.hypot(x, y)
        for _ in range(14 + stream.below(12)):
            direction = turned(random_direction(stream)[None], position)[0]
            length = self.radius_mm * stream.uniform(1.6, 2.6) * math.hypot(direction[0], direction[1])
            strength, bend = stream.uniform(0.25, 0.6), stream.uniform(-0.02, 0.02)
            angle = math.atan2(direction[1], direction[0])
            along = x * math.cos(angle) + y * math.sin(angle)
            across = y * math.cos(angle) - x * math.sin(angle) + bend * along * along
            left = np.clip(1.0 - distance / max(length, 1.0), 0.0, 1.0)
            line = np.clip(1.0 - np.abs(across) / (0.25 + 0.8 * left), 0.0, 1.0) * np.sqrt(left) * (along > 0)
            np.maximum(strongest, strength * 1.6 * self.radius_mm * line, out=strongest)
        return strongest


def _silhouette(thickness: Field64, x: Field64, y: Field64, center_mm: PointCR) -> tuple[PointCR, ...]:
    """Where the rays stop running through the body, seen from its middle."""
    turns = np.arange(CORNERS) * (2.0 * math.pi / CORNERS)
    radii = np.arange(0.5, 30.0, 0.25)
    columns = (np.cos(turns)[:, None] * radii - x[0, 0]) / GRID_MM
    rows = (np.sin(turns)[:, None] * radii - y[0, 0]) / GRID_MM
    inside = ndimage.map_coordinates(thickness, [rows, columns], order=1, mode="constant") > 0.5
    reach = radii[np.where(inside.all(axis=1), len(radii) - 1, np.maximum(inside.argmin(axis=1), 1))]
    return tuple(
        (center_mm[0] + float(r) * math.cos(a), center_mm[1] + float(r) * math.sin(a))
        for r, a in zip(reach, turns, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Rod:
    """A piece of a calcification: a capsule."""

    middle: Point3
    half: Point3
    """From its middle to one end of its axis; zero for a ball."""
    radius_mm: float
    strength: float
    """Of the contrast of its cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calcifications:
    """One cluster; as `Mass`."""

    name: tuple[object, ...]
    number: int
    nipple_distance_mm: float
    radius_mm: float
    morphology: Morphology
    count: int
    contrast: float
    """Grey values of a usual calcification above its surroundings."""

    kind = Kind.CALCIFICATION_CLUSTER

    def draw(self, image: Field, center_mm: PointCR, position: ViewPosition) -> Drawn:
        """Add the cluster to a view at full resolution, in place."""
        spots = []
        for pieces in self._calcifications(Stream(*self.name, "body")):
            for rod in pieces:
                draw_rod(image, center_mm, rod, self.contrast, position)
            middle = turned(np.mean([rod.middle for rod in pieces], axis=0)[None], position)[0]
            spots.append((center_mm[0] + float(middle[0]), center_mm[1] + float(middle[1])))
        middle_mm = (sum(c for c, _ in spots) / len(spots), sum(r for _, r in spots) / len(spots))
        return Drawn(middle_mm, hull_around(np.array(spots), margin_mm=1.0), tuple(spots))

    def _calcifications(self, stream: Stream) -> list[list[Rod]]:
        if self.morphology is Morphology.LINEAR:
            return self._linear(stream)
        squeeze = np.array([1.0, stream.uniform(0.6, 1.0), stream.uniform(0.6, 1.0)])
        made: list[list[Rod]] = []
        while len(made) < self.count:
            place = self.radius_mm * stream.uniform(0.0, 1.0) ** (1.0 / 3.0) * random_direction(stream) * squeeze
            if any(np.linalg.norm((place - pieces[0].middle)[:2]) < 0.7 for pieces in made) and not stream.chance(0.05):
                continue
            if self.morphology is Morphology.PLEOMORPHIC:
                made.append(_irregular(place, stream))
            else:
                usual = 0.13 if self.morphology is Morphology.PUNCTATE else 0.24
                made.append([Rod(place, np.zeros(3), usual * stream.uniform(0.85, 1.15), stream.uniform(0.85, 1.1))])
        return made

    def _linear(self, stream: Stream) -> list[list[Rod]]:
        """Rods along a few ducts that run towards the nipple."""
        made = []
        ducts = [
            (np.array([0.0, stream.uniform(-0.4, 0.4), stream.uniform(-0.4, 0.4)]) * self.radius_mm, stream)
            for _ in range(2 + stream.below(2))
        ]
        axes = [np.array([1.0, stream.uniform(-0.5, 0.5), stream.uniform(-0.5, 0.5)]) for _ in ducts]
        for number in range(self.count):
            start, axis = ducts[number % len(ducts)][0], axes[number % len(ducts)]
            axis = axis / np.linalg.norm(axis)
            place = start + axis * self.radius_mm * stream.uniform(-1.2, 1.2)
            place = place + 0.25 * random_direction(stream)
            lean = axis + 0.25 * random_direction(stream)
            half = lean / np.linalg.norm(lean) * stream.uniform(0.25, 0.8)
            made.append([Rod(place, half, stream.uniform(0.07, 0.12), stream.uniform(0.6, 1.2))])
        return made


def _irregular(place: Point3, stream: Stream) -> list[Rod]:
    """A calcification of two or three pieces of different size and brightness."""
    size = stream.uniform(0.07, 0.2)
    pieces = []
    for _ in range(2 + stream.below(2)):
        offset = random_direction(stream) * size * stream.uniform(0.8, 1.8)
        half = random_direction(stream) * size * stream.uniform(0.4, 1.8)
        pieces.append(Rod(place + offset, half, size * stream.uniform(0.5, 1.0), stream.uniform(0.4, 1.1)))
    return pieces


def draw_rod(image: Field, center_mm: PointCR, rod: Rod, contrast: float, position: ViewPosition) -> None:
    """Add one piece of calcification at full resolution, in place; brighter the longer the rays run in it."""
    middle, half = (turned(one[None], position)[0] for one in (rod.middle, rod.half))
    place = (center_mm[0] + float(middle[0]), center_mm[1] + float(middle[1]))
    reach = rod.radius_mm + float(np.hypot(half[0], half[1])) + 2.0 * PIXEL_MM
    window, x, y = window_around(place, reach, PIXEL_MM, (ROWS, COLUMNS))
    length_2 = float(half[0] ** 2 + half[1] ** 2)
    share = np.clip((x * half[0] + y * half[1]) / length_2, -1.0, 1.0) if length_2 > 1e-9 else np.zeros_like(x)
    distance = np.hypot(x - share * half[0], y - share * half[1])
    soft = 0.5 * PIXEL_MM
    body = np.clip((rod.radius_mm + soft - distance) / (2.0 * soft), 0.0, 1.0)
    image[window] += (contrast * rod.strength * min(1.0, rod.radius_mm / 0.13) * body).astype(np.float32)
