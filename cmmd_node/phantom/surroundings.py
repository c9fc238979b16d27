"""What a breast shows besides fat, parenchyma and lesions, and what detectors take for lesions: ducts that meet at the
nipple, vessels, some of them calcified, single benign calcifications, and tissue that overlaps to a shadow.

As in `anatomy`, everything is drawn as a left breast.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from cmmd_node.facts import PointCR, ViewPosition
from cmmd_node.phantom.anatomy import GRID_COLUMNS, GRID_MM, GRID_ROWS, Anatomy
from cmmd_node.phantom.growths import Rod, draw_rod
from cmmd_node.phantom.lesions import window_around
from cmmd_node.phantom.stream import Field, Stream, power_law

_STEP_MM = 2.0


def draw_ducts_and_vessels(anatomy: Anatomy, stream: Stream) -> list[list[PointCR]]:
    """Add ducts and vessels to a view's tissue, in place.

    Returns
    -------
    list
        The course of each vessel: (column, row), mm.
    """
    nipple = anatomy.nipple_mm
    ducts, vessels = Image.new("L", (GRID_COLUMNS, GRID_ROWS)), Image.new("L", (GRID_COLUMNS, GRID_ROWS))
    for _ in range(7 + stream.below(6)):
        angle = math.pi + stream.uniform(-0.9, 0.9)
        start = (nipple[0] - 3.0 + stream.uniform(-1.0, 1.0), nipple[1] + stream.uniform(-2.0, 2.0))
        course = _course(start, angle, nipple[0] * stream.uniform(0.3, 0.6), 0.10, stream)
        _trace(ducts, course, stream.uniform(1.2, 2.2), 0.4, stream.uniform(100.0, 255.0))
        if len(course) > 8:  # and a branch
            at = 4 + stream.below(len(course) - 7)
            branch = _course(course[at], angle + stream.uniform(-0.9, 0.9), nipple[0] * 0.3, 0.12, stream)
            _trace(ducts, branch, 0.9, 0.3, 130.0)
    courses = []
    for _ in range(3 + stream.below(4)):
        start = (0.0, nipple[1] + stream.uniform(-60.0, 60.0))
        course = _course(start, stream.uniform(-0.7, 0.7), nipple[0] * stream.uniform(0.5, 0.9), 0.16, stream)
        _trace(vessels, course, stream.uniform(1.4, 2.6), 0.9, stream.uniform(110.0, 255.0))
        courses.append(course)
    grey = anatomy.grey
    inside = np.clip(anatomy.to_skin_mm * np.float32(0.2), 0.0, 1.0) * (1.0 - anatomy.pectoral)
    for drawn, step in ((ducts, 12.0), (vessels, 20.0)):
        soft = ndimage.gaussian_filter(np.asarray(drawn, np.float32), 1.2)
        grey += soft * (np.float32(step / 255.0) * inside)
    return courses


def _course(start: PointCR, angle: float, length_mm: float, sway: float, stream: Stream) -> list[PointCR]:
    """A line that sways, in steps of `_STEP_MM`."""
    course, turning = [start], 0.0
    for _ in range(max(2, int(length_mm / _STEP_MM))):
        turning = 0.7 * turning + stream.uniform(-sway, sway)
        angle += turning
        column, row = course[-1]
        course.append((column + _STEP_MM * math.cos(angle), row + _STEP_MM * math.sin(angle)))
    return course


def _trace(drawn: Image.Image, course: list[PointCR], wide_mm: float, narrow_mm: float, value: float) -> None:
    pen = ImageDraw.Draw(drawn)
    for number, (a, b) in enumerate(pairwise(course)):
        width = wide_mm + (narrow_mm - wide_mm) * number / len(course)
        ends = [a[0] / GRID_MM, a[1] / GRID_MM, b[0] / GRID_MM, b[1] / GRID_MM]
        pen.line(ends, fill=round(value), width=max(1, round(width / GRID_MM)))


def draw_shadows(anatomy: Anatomy, stream: Stream) -> None:
    """Add lumps that only this view shows, in place: islands of tissue or tissue behind tissue, with fat between."""
    outline = power_law(stream, 320, 320, octaves=7, fall=0.6)
    clefts = power_law(stream, 320, 320, octaves=5, fall=0.75)
    for _ in range(2 + stream.below(4)):
        radius, strength = stream.uniform(4.0, 13.0), stream.uniform(16.0, 44.0)
        center = (
            anatomy.nipple_mm[0] * stream.uniform(0.15, 0.8),
            anatomy.nipple_mm[1] + stream.uniform(-45.0, 40.0),
        )
        window, x, y = window_around(center, 2.0 * radius, GRID_MM, (GRID_ROWS, GRID_COLUMNS))
        if min(x.shape) < 8:
            continue
        angle, slim = stream.uniform(0.0, math.pi), stream.uniform(0.35, 0.85)
        u = x * math.cos(angle) + y * math.sin(angle)
        v = (y * math.cos(angle) - x * math.sin(angle)) / slim
        rows, columns = x.shape
        body = np.clip(1.15 - np.hypot(u, v) / radius + 0.35 * outline[:rows, :columns], 0.0, 1.0)
        tissue = np.clip(0.55 + 0.5 * clefts[:rows, :columns], 0.0, 1.2)
        inside = np.clip(anatomy.to_skin_mm[window] * 0.15, 0.0, 1.0) * (1.0 - anatomy.pectoral[window])
        anatomy.grey[window] += (strength * body * body * (3.0 - 2.0 * body) * tissue * inside).astype(np.float32)


def draw_benign_calcifications(
    image: Field, anatomy: Anatomy, vessels: list[list[PointCR]], position: ViewPosition, stream: Stream
) -> None:
    """Add single calcifications, now and then a coarse one or a calcified vessel, in place; none is a lesion."""
    column, row = anatomy.nipple_mm
    for _ in range(stream.below(6)):
        place = (column * stream.uniform(0.2, 0.8), row + stream.uniform(-45.0, 40.0))
        ball = Rod(np.zeros(3), np.zeros(3), stream.uniform(0.1, 0.3), 1.0)
        _draw_within(image, anatomy, place, ball, contrast=stream.uniform(30.0, 80.0), position=position)
    if stream.chance(0.2):  # popcorn, as old fibroadenomas have it
        middle = (column * stream.uniform(0.3, 0.7), row + stream.uniform(-30.0, 30.0))
        for _ in range(4 + stream.below(5)):
            place = (middle[0] + stream.uniform(-1.8, 1.8), middle[1] + stream.uniform(-1.8, 1.8))
            piece = Rod(np.zeros(3), np.zeros(3), stream.uniform(0.5, 1.1), 1.0)
            _draw_within(image, anatomy, place, piece, contrast=stream.uniform(40.0, 70.0), position=position)
    if vessels and stream.chance(0.25):
        course = vessels[stream.below(len(vessels))]
        first = stream.below(max(1, len(course) // 2))
        for a, b in list(pairwise(course))[first : first + 10]:
            along = np.array([b[0] - a[0], b[1] - a[1], 0.0]) / 2.0
            across = np.array([-along[1], along[0]]) / _STEP_MM * 2.0
            for side in (-0.8, 0.8):
                if stream.chance(0.7):
                    place = (a[0] + along[0] + side * across[0], a[1] + along[1] + side * across[1])
                    piece = Rod(np.zeros(3), along * stream.uniform(0.3, 0.8), 0.11, stream.uniform(0.4, 1.0))
                    _draw_within(
                        image, anatomy, place, piece, contrast=40.0, position=ViewPosition.CC
                    )  # drawn as it lies in this view


def _draw_within(
    image: Field, anatomy: Anatomy, place: PointCR, piece: Rod, *, contrast: float, position: ViewPosition
) -> None:
    r, c = int(place[1] / GRID_MM), int(place[0] / GRID_MM)
    if 0 <= r < GRID_ROWS and 0 <= c < GRID_COLUMNS and anatomy.to_skin_mm[r, c] > 4.0:
        draw_rod(image, place, piece, contrast, position)
