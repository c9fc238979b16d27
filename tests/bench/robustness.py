"""What becomes of findings when the same breast comes in another way: the robustness table.

``python -m tests.bench.robustness [--bundle FOLDER] [--exams N]``

Each view of a few simulated patients is shown to the detector as it is and changed: mirrored, with 20 % more or less
contrast, on pixels of 0.07 and 0.14 mm, stored with 16 bits, stored as MONOCHROME1. Told are, over the marks that are
reported of the unchanged view: the share that is found again (a mark of the kind, of at least the least suspicion
reported, within 5 mm), the largest and the middle change of suspicion at such places, and by how many marks a view has
more. One view missing: the largest change of the breast's score of malignancy, both views weighed as the node does; of
the marks on the view that is there the suspicion must not change at all. `tests/cad/test_robustness.py` holds the
bounds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy import ndimage

from cmmd_node.assemble.pixels import read_pixels
from cmmd_node.cad import Detector, both_views_of, open_detector
from cmmd_node.cad.both_views import BothViews, MarkedView, with_both_views
from cmmd_node.cad.geometry import breast_geometry, from_nipple_mm
from cmmd_node.facts import Laterality, Mark, Spacing, View
from cmmd_node.phantom import PhantomView
from cmmd_node.phantom.anatomy import PIXEL_MM
from cmmd_node.phantom.cases import Case
from cmmd_node.phantom.datasets import to_dataset
from cmmd_node.phantom.simulate import simulate
from cmmd_node.settings import BUILTIN

SEED = 900
NEAR_MM = 5.0


@dataclass(frozen=True, eq=False)
class Shown:
    """One view as a detector is given it, and how to find places of the unchanged view in it."""

    pixels: np.ndarray
    view: View
    spacing: Spacing
    original: Callable[[tuple[float, float]], tuple[float, float]]
    """From its (column, row) to that of the unchanged view."""


@dataclass(frozen=True)
class Change:
    """What became of the marks of one view."""

    reported: int
    again: int
    suspicion: tuple[float, ...]
    """Change at each reported mark, to the most suspicious one near; -suspicion where there is none."""
    more: int
    """Reported marks of the changed view less those of the unchanged one."""


def plain(view: PhantomView) -> Shown:
    """The view as CMMD would store it."""
    spacing = Spacing(row_mm=PIXEL_MM, column_mm=PIXEL_MM)
    return Shown(_stored(view, "as it is"), view.view, spacing, lambda place: place)


def variants(view: PhantomView) -> Iterator[tuple[str, Shown]]:
    """The view shown in other ways."""
    as_it_is = plain(view)
    pixels, width = as_it_is.pixels, as_it_is.pixels.shape[1]
    other = Laterality.LEFT if view.view.laterality is Laterality.RIGHT else Laterality.RIGHT
    yield (
        "mirrored",
        Shown(
            np.ascontiguousarray(pixels[:, ::-1]),
            View(other, view.view.position),
            as_it_is.spacing,
            lambda place: (width - place[0], place[1]),
        ),
    )
    inside = view.pixels > 0
    middle = view.pixels[inside].mean(dtype=np.float64)
    for percent in (-20, 20):
        changed = np.clip(middle + (1.0 + percent / 100.0) * (view.pixels - middle), 1.0, 255.0) * inside
        yield f"contrast {percent:+d} %", plain(replace(view, pixels=changed.round().astype(np.uint8)))
    for step_mm in (0.07, 0.14):
        yield f"on pixels of {step_mm} mm", _resampled(as_it_is, step_mm)
    for name, stored in (("16-bit twin", "deep"), ("MONOCHROME1 twin", "inverted")):
        yield name, replace(as_it_is, pixels=_stored(view, stored))


def _resampled(shown: Shown, step_mm: float) -> Shown:
    factor = PIXEL_MM / step_mm
    smooth = ndimage.gaussian_filter(shown.pixels, 0.35 / factor) if factor < 1.0 else shown.pixels
    pixels = ndimage.zoom(smooth, factor, order=1, grid_mode=True, mode="nearest")
    spacing = Spacing(
        row_mm=PIXEL_MM * shown.pixels.shape[0] / pixels.shape[0],
        column_mm=PIXEL_MM * shown.pixels.shape[1] / pixels.shape[1],
    )
    across, down = spacing.column_mm / PIXEL_MM, spacing.row_mm / PIXEL_MM
    return Shown(pixels, shown.view, spacing, lambda place: (place[0] * across, place[1] * down))


def _stored(view: PhantomView, how: str) -> np.ndarray:
    """The view as DICOM of one kind or another, read as the node reads it."""
    ds = to_dataset(view, study=how, patient_id="ROBUST", age=50, instance_number=1)
    if how == "deep":
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = (view.pixels.astype("<u2") * 257).tobytes()
        ds["PixelData"].VR = "OW"
        ds.WindowCenter, ds.WindowWidth = "32768", "65536"
    elif how == "inverted":
        ds.PhotometricInterpretation, ds.PresentationLUTShape = "MONOCHROME1", "INVERSE"
        ds.PixelData = (255 - view.pixels).tobytes()
        ds["PixelData"].VR = "OB"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "view.dcm"
        ds.save_as(path, enforce_file_format=True)
        return read_pixels(path)


def marks_of(detector: Detector, shown: Shown) -> list[Mark]:
    """All candidates, at places of the unchanged view."""
    found = detector.marks(shown.pixels, view=shown.view, spacing=shown.spacing, threshold=0.0)
    return [replace(mark, center_cr=shown.original(mark.center_cr)) for mark in found]


def compare(before: list[Mark], after: list[Mark], least: float) -> Change:
    """Marks of a view and of the same view shown in another way."""
    reported = [mark for mark in before if mark.suspicion >= least]
    changes = []
    for mark in reported:
        near = [
            other.suspicion
            for other in after
            if other.kind is mark.kind and math.dist(other.center_cr, mark.center_cr) * PIXEL_MM <= NEAR_MM
        ]
        changes.append(max(near, default=0.0) - mark.suspicion)
    again = sum(mark.suspicion + change >= least for mark, change in zip(reported, changes, strict=True))
    more = sum(mark.suspicion >= least for mark in after) - len(reported)
    return Change(len(reported), again, tuple(changes), more)


def table_of(detector: Detector, views: Iterable[PhantomView]) -> dict[str, list[Change]]:
    """For each way to show them, what became of each view."""
    table: dict[str, list[Change]] = {}
    for view in views:
        before = marks_of(detector, plain(view))
        for name, shown in variants(view):
            change = compare(before, marks_of(detector, shown), detector.threshold)
            table.setdefault(name, []).append(change)
    return table


def together(detector: Detector, views: list[PhantomView], both_views: BothViews | None) -> list[tuple[Mark, ...]]:
    """The marks of all views of a breast as the node has them."""
    seen = []
    for shown in map(plain, views):
        marks = detector.marks(shown.pixels, view=shown.view, spacing=shown.spacing, threshold=0.0)
        breast = breast_geometry(shown.pixels, view=shown.view, spacing=shown.spacing)
        assert breast is not None
        seen.append(MarkedView(shown.view, marks, from_nipple_mm(breast, shown.spacing, marks)))
    return [one.marks for one in seen] if both_views is None else with_both_views(seen, both_views)


def breast_score(views: list[tuple[Mark, ...]]) -> float:
    """Of each view the most suspicious and malignant mark, the mean over the views."""
    weights = [[mark.suspicion * (mark.probability_malignant or 0.0) for mark in marks] for marks in views]
    return float(np.mean([max(one, default=0.0) for one in weights]))


def line(name: str, changes: list[Change]) -> str:
    """A row of the table."""
    reported, again = sum(c.reported for c in changes), sum(c.again for c in changes)
    sizes = [abs(size) for change in changes for size in change.suspicion] or [0.0]
    more = sum(change.more for change in changes) / len(changes)
    return (
        f"{name:22} {reported:9d} {again / max(reported, 1):12.3f} {max(sizes):10.3f} {np.median(sizes):10.3f}"
        f" {more:+12.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=BUILTIN)
    parser.add_argument("--exams", type=int, default=8)
    arguments = parser.parse_args()
    detector = open_detector(arguments.bundle)
    cases = [Case.from_seed(SEED, number) for number in range(arguments.exams)]
    breasts = [list(simulate(replace(case, sides=(case.laterality,)))) for case in cases]
    print(f"{detector.model.name} {detector.model.version}, {sum(map(len, breasts))} views")
    print(f"{'shown':22} {'reported':>9} {'found again':>12} {'largest':>10} {'middle':>10} {'marks more':>12}")
    for name, changes in table_of(detector, [view for breast in breasts for view in breast]).items():
        print(line(name, changes))
    both_views, moved = both_views_of(arguments.bundle), []
    for breast in breasts:
        score = breast_score(together(detector, breast, both_views))
        moved += [abs(breast_score(together(detector, [view], both_views)) - score) for view in breast]
    print(
        f"one view missing: score of the breast moves by {max(moved):.3f} at most, {np.median(moved):.3f} in the middle"
    )


if __name__ == "__main__":
    main()
