"""Whole synthetic exams: four views of two breasts, with the truth about every lesion in them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cmmd_node.facts import Kind, Laterality, PointCR, View, ViewPosition
from cmmd_node.phantom.anatomy import COLUMNS, GRID_MM, PIXEL_MM, ROWS, Anatomy, Build, make_anatomy
from cmmd_node.phantom.lesions import Drawn, Lesion, draw_calcification
from cmmd_node.phantom.stream import Field, Stream, doubled


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One lesion in one view; coordinates as in `cmmd_node.facts`."""

    kind: Kind
    lesion: int
    """The same number in CC and MLO of the breast, unique in the exam."""
    center_cr: PointCR
    outline_cr: tuple[PointCR, ...]
    calcifications_cr: tuple[PointCR, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhantomView:
    """One synthetic mammogram."""

    view: View
    pixels: NDArray[np.uint8]
    """Shape (rows, columns): 0 is air, 255 the densest; the chest wall is at column 0 of a left breast and at the last
    column of a right one."""
    nipple_cr: PointCR
    truths: tuple[Truth, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exam:
    """One synthetic exam: R CC, L CC, R MLO, L MLO."""

    seed: int
    views: tuple[PhantomView, ...]


def make_exam(seed: int, *, abnormal: bool = True) -> Exam:
    """Draw a synthetic exam; the same seed gives the same pixels and truth everywhere.

    Parameters
    ----------
    seed : int
    abnormal : bool
        One mass and one microcalcification cluster, and now and then a third lesion, in breasts drawn by chance; or
        none at all.

    Returns
    -------
    Exam
        Views of 2294 x 1914 pixels of 0.0941 mm, 8 bit, background exactly 0, as in CMMD.
    """
    patient = Build.from_stream(Stream(seed, "patient"))
    lesions: dict[Laterality, list[Lesion]] = {side: [] for side in Laterality}
    if abnormal:
        plan = Stream(seed, "lesions")
        kinds = [Kind.MASS, Kind.CALCIFICATION_CLUSTER]
        if plan.chance(0.4):
            kinds.append(kinds[plan.below(2)])
        for number, kind in enumerate(kinds, start=1):
            side = tuple(Laterality)[plan.below(2)]
            lesions[side].append(Lesion.from_stream(kind, number, patient.depth, plan))
    views = []
    for position in ViewPosition:
        for side in (Laterality.RIGHT, Laterality.LEFT):
            own = Stream(seed, side, "breast")
            build = replace(
                patient, depth=patient.depth * own.uniform(0.96, 1.04), fat=patient.fat * own.uniform(0.95, 1.05)
            )
            views.append(_draw(seed, View(side, position), build, lesions[side]))
    return Exam(seed=seed, views=tuple(views))


def _draw(seed: int, view: View, build: Build, lesions: list[Lesion]) -> PhantomView:
    anatomy = make_anatomy(build, view.position, Stream(seed, view, "anatomy"))
    places: dict[int, PointCR] = {}
    for lesion in lesions:
        where = Stream(seed, view, lesion.number, "place")
        places[lesion.number] = place_for(lesion, anatomy, list(places.values()), where)

    drawn: dict[int, Drawn] = {}
    grey = anatomy.grey
    for lesion in lesions:
        if lesion.kind is Kind.MASS:
            look = Stream(seed, view, lesion.number, "look")
            drawn[lesion.number] = lesion.draw_mass(grey, places[lesion.number], look)
    image = doubled(grey)[:ROWS, :COLUMNS]
    image += np.float32(2.4) * Stream(seed, view, "quantum noise").noise(ROWS, COLUMNS)
    for lesion in lesions:
        if lesion.kind is Kind.CALCIFICATION_CLUSTER:
            look = Stream(seed, view, lesion.number, "look")
            drawn[lesion.number] = lesion.draw_cluster(image, places[lesion.number], look)
    _scatter_calcifications(image, anatomy, Stream(seed, view, "lone calcifications"))

    pixels = _quantised(image, anatomy.skin_mm)
    return as_view(view, pixels, anatomy.nipple_mm, [(one.kind, one.number, drawn[one.number]) for one in lesions])


def as_view(
    view: View, pixels: NDArray[np.uint8], nipple_mm: PointCR, drawn: Iterable[tuple[Kind, int, Drawn]]
) -> PhantomView:
    """What was drawn with its chest wall at column 0, as an image of its side.

    Parameters
    ----------
    drawn
        Kind and number of each lesion, and where it came to lie.
    """
    mirrored = view.laterality is Laterality.RIGHT
    return PhantomView(
        view=view,
        pixels=np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels,
        nipple_cr=in_pixels(nipple_mm, mirrored),
        truths=tuple(
            Truth(
                kind=kind,
                lesion=number,
                center_cr=in_pixels(one.center_mm, mirrored),
                outline_cr=tuple(in_pixels(corner, mirrored) for corner in one.outline_mm),
                calcifications_cr=tuple(in_pixels(spot, mirrored) for spot in one.calcifications_mm),
            )
            for kind, number, one in drawn
        ),
    )


class Sized(Protocol):
    """What is needed of a lesion to find a place for it."""

    @property
    def nipple_distance_mm(self) -> float: ...

    @property
    def radius_mm(self) -> float: ...


def place_for(lesion: Sized, anatomy: Anatomy, taken: list[PointCR], stream: Stream) -> PointCR:
    """A place at the lesion's distance from the nipple, within the breast and apart from muscle and other lesions.

    (column, row), mm, in a left breast. Height and width of a place in the breast are free where its depth is given, so
    this is how CC and MLO show one lesion.
    """
    best, best_room = anatomy.nipple_mm, -math.inf
    for _ in range(200):
        distance = lesion.nipple_distance_mm + stream.uniform(-3.0, 3.0)
        angle = math.pi + stream.uniform(-1.1, 1.1)
        column, row = (
            anatomy.nipple_mm[0] + distance * math.cos(angle),
            anatomy.nipple_mm[1] + distance * math.sin(angle),
        )
        room = room_at(anatomy, column, row, 1.5 * lesion.radius_mm)
        room = min([room, *(math.dist((column, row), other) - 22.0 for other in taken)])
        if room > best_room:
            best, best_room = (column, row), room
        if room > 0.0:
            break
    return best


def room_at(anatomy: Anatomy, column_mm: float, row_mm: float, reach_mm: float) -> float:
    """How much further than reach_mm skin, muscle and chest wall are, mm; negative where there is not enough room."""
    r, c = int(row_mm / GRID_MM), int(column_mm / GRID_MM)
    if column_mm < 0.0 or not 0 <= r < anatomy.grey.shape[0]:
        return -math.inf
    muscle_mm = float((anatomy.pectoral[r] > 0.05).sum()) * GRID_MM
    return min(float(anatomy.to_skin_mm[r, c]), column_mm - muscle_mm) - reach_mm - 2.0


def _scatter_calcifications(image: Field, anatomy: Anatomy, stream: Stream) -> None:
    """A few lone ones, as most breasts have them; far from each other, so that they are no cluster."""
    for part in range(stream.below(3)):
        row = anatomy.nipple_mm[1] + (40.0 * part - 30.0) + stream.uniform(-8.0, 8.0)
        column = anatomy.nipple_mm[0] * stream.uniform(0.35, 0.7)
        if room_at(anatomy, column, row, 4.0) > 0.0:
            draw_calcification(image, (column, row), stream.uniform(40.0, 90.0), stream)


def _quantised(image: Field, skin_mm: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Grey values 1 to 255 in the breast, 0 outside."""
    inside = (np.arange(COLUMNS) + 0.5)[None, :] * PIXEL_MM < skin_mm[:, None]
    return (np.clip(image, 1.0, 255.0) + np.float32(0.5)).astype(np.uint8) * inside


def in_pixels(point_mm: PointCR, mirrored: bool) -> PointCR:
    """Image coordinates of a place in a left breast; `mirrored` for a right one."""
    column, row = point_mm[0] / PIXEL_MM, point_mm[1] / PIXEL_MM
    return (COLUMNS - column if mirrored else column, row)
