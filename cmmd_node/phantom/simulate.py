"""Mammograms of a `Case`: anatomy, surroundings, lesions, exposure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cmmd_node.facts import Kind, PointCR, View, ViewPosition
from cmmd_node.phantom.anatomy import COLUMNS, ROWS, Build, make_anatomy
from cmmd_node.phantom.cases import Case
from cmmd_node.phantom.exam import PhantomView, as_view, place_for
from cmmd_node.phantom.exposure import exposed
from cmmd_node.phantom.lesions import Drawn
from cmmd_node.phantom.stream import Stream, doubled
from cmmd_node.phantom.surroundings import draw_benign_calcifications, draw_ducts_and_vessels, draw_shadows


def simulate(case: Case) -> Iterator[PhantomView]:
    """The views of a patient, CC and MLO of each side that there are images of.

    About a second each on one core, against the third of one that `make_exam` takes: this is for training and for
    measuring, not for tests of the node.
    """
    for side in case.sides:
        own = Stream(case.seed, case.number, side, "breast")
        build = replace(case.build, depth=case.build.depth * own.uniform(0.96, 1.04))
        for position in ViewPosition:
            yield _simulated(case, build, View(side, position))


def _simulated(case: Case, build: Build, view: View) -> PhantomView:
    def stream(what: str) -> Stream:
        return Stream(case.seed, case.number, view, what)

    lesions = case.lesions if view.laterality is case.laterality else ()
    anatomy = make_anatomy(build, view.position, stream("anatomy"))
    vessels = draw_ducts_and_vessels(anatomy, stream("ducts and vessels"))
    draw_shadows(anatomy, stream("shadows"))
    places: list[PointCR] = []
    for lesion in lesions:
        places.append(place_for(lesion, anatomy, places, stream(f"place of {lesion.kind}")))
    drawn: dict[int, Drawn] = {}
    for lesion, place in zip(lesions, places, strict=True):
        if lesion.kind is Kind.MASS:
            drawn[lesion.number] = lesion.draw(anatomy.grey, place, view.position)
    tissue = doubled(anatomy.grey)[:ROWS, :COLUMNS]
    for lesion, place in zip(lesions, places, strict=True):
        if lesion.kind is Kind.CALCIFICATION_CLUSTER:
            drawn[lesion.number] = lesion.draw(tissue, place, view.position)
    draw_benign_calcifications(tissue, anatomy, vessels, view.position, stream("benign calcifications"))

    pixels = exposed(tissue, anatomy.skin_mm, stream("exposure"))
    return as_view(view, pixels, anatomy.nipple_mm, [(one.kind, one.number, drawn[one.number]) for one in lesions])
