"""How many lesions the classical detector finds, at how many false marks: FROC tables.

``python -m tests.bench.froc [--mini-mias DIR] [--phantoms N] [--processes N]``

The hit rule is that of `cmmd_node/train/froc.py`, whose code this uses; outlines are the circles of mini-MIAS and the
true outlines of phantoms. The first column counts false marks over the images that hold the lesions, the second over
images without any: NORM images of mini-MIAS, phantoms drawn as normal. Both are false marks per image; the first is the
primary one. mini-MIAS only measures: nothing that ships was fitted on it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cmmd_node.cad import ClassicalDetector
from cmmd_node.facts import Kind, Laterality, Spacing, View, ViewPosition
from cmmd_node.phantom import make_exam
from cmmd_node.train.froc import RATES, Froc, MarkedImage, score_marks
from cmmd_node.train.manifest import Lesion, circle_outline

MINI_MIAS = Path(__file__).parents[3] / "shared" / "data" / "mini-mias"
MINI_MIAS_MASSES = ("CIRC", "SPIC", "MISC")
MINI_MIAS_LESIONS = 58
FIRST_SEED = 500_000
"""Of the phantoms that measure; those that were fitted on have other seeds."""


@dataclass(frozen=True)
class Reading:
    """What the detector said of one image."""

    marked: MarkedImage
    seconds: float


def read(pixels: np.ndarray, view: View, spacing: Spacing, lesions: tuple[Lesion, ...]) -> Reading:
    detector = ClassicalDetector()
    scaled = pixels.astype(np.float32) / np.float32(255.0)
    start = time.perf_counter()
    marks = detector.marks(scaled, view=view, spacing=spacing, threshold=0.0)
    return Reading(marked=score_marks(marks, lesions), seconds=time.perf_counter() - start)


def mini_mias_tasks(folder: Path) -> list[tuple[Path, tuple[Lesion, ...]]]:
    """Image and circles of masses; only images with such circles and NORM ones."""
    circles: dict[str, list[Lesion]] = {}
    normal = set()
    for line in (folder / "Info.txt").read_text(errors="replace").splitlines():
        words = line.split()
        if len(words) >= 3 and words[0].startswith("mdb") and words[0][3:].isdigit():
            if words[2] == "NORM":
                normal.add(words[0])
            elif words[2] in MINI_MIAS_MASSES and len(words) >= 7 and all(w.isdigit() for w in words[4:7]):
                x, y, radius = (int(word) for word in words[4:7])
                outline = circle_outline(x + 0.5, 1023 - y + 0.5, radius)
                circles.setdefault(words[0], []).append(Lesion(kind=Kind.MASS, outline_cr=outline))
    if sum(map(len, circles.values())) != MINI_MIAS_LESIONS:
        raise SystemExit(f"{folder}: {sum(map(len, circles.values()))} circles, {MINI_MIAS_LESIONS} are wanted")
    return [
        (path, tuple(circles.get(path.stem, ())))
        for path in sorted((folder / "images").glob("mdb*.jpg"))
        if path.stem in circles or path.stem in normal
    ]


def read_mini_mias(task: tuple[Path, tuple[Lesion, ...]]) -> list[Reading]:
    path, lesions = task
    side = Laterality.LEFT if int(path.stem[3:]) % 2 == 0 else Laterality.RIGHT
    pixels = np.asarray(Image.open(path).convert("L"))
    return [read(pixels, View(side, ViewPosition.MLO), Spacing(row_mm=0.2, column_mm=0.2), lesions)]


def read_phantom(task: tuple[int, bool]) -> list[Reading]:
    seed, abnormal = task
    spacing = Spacing(row_mm=0.094090909, column_mm=0.094090909)
    readings = []
    for view in make_exam(seed, abnormal=abnormal).views:
        lesions = tuple(Lesion(kind=truth.kind, outline_cr=truth.outline_cr) for truth in view.truths)
        if lesions or not abnormal:  # the other breast of an abnormal exam counts neither way
            readings.append(read(view.pixels, view.view, spacing, lesions))
    return readings


def table(title: str, kind: Kind, readings: Iterable[Reading]) -> str:
    """Sensitivity at each rate of false marks, and at the default threshold."""
    images = [reading.marked for reading in readings]
    over_lesions, over_normal = Froc(images, kind), Froc(images, kind, over_normal=True)
    curves = (over_lesions, over_normal)
    counts = f"{over_lesions.lesions} lesions in {over_lesions.images} images"
    lines = [
        f"{title}: {counts}; {over_normal.images_counted} normal images",
        "  false marks per image | over images with lesions | over normal images",
    ]
    for rate in RATES:
        cells = [
            f"{curve.sensitivity(rate):.3f} (> {curve.least_suspicion(rate):.3f})"
            if curve.lesions and curve.images_counted
            else "-"
            for curve in curves
        ]
        lines.append(f"  {rate:21.2f} | {cells[0]:>24} | {cells[1]:>18}")
    usual = ClassicalDetector.threshold
    (share, rate), (_, rate_normal) = (curve.at_suspicion(usual) for curve in curves)
    lines.append(
        f"  default threshold {usual}: {share:.3f} found at {rate:.2f} / {rate_normal:.2f} false marks per image"
    )
    return "\n".join(lines)


def _all_readings(function: object, tasks: list[object], processes: int) -> Iterator[Reading]:
    if processes == 1:
        for task in tasks:
            yield from function(task)  # type: ignore[operator]
        return
    with ProcessPoolExecutor(processes) as pool:
        for readings in pool.map(function, tasks, chunksize=4):  # type: ignore[arg-type]
            yield from readings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mini-mias", type=Path, default=MINI_MIAS, metavar="DIR")
    parser.add_argument(
        "--phantoms", type=int, default=40, metavar="N", help="abnormal exams, and as many normal ones / 2"
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N")
    arguments = parser.parse_args()
    model = ClassicalDetector().model
    print(f"{model.name} {model.version}, sha256 {model.digest}")

    if (arguments.mini_mias / "Info.txt").is_file():
        readings = list(_all_readings(read_mini_mias, mini_mias_tasks(arguments.mini_mias), arguments.processes))
        print(table("mini-MIAS, CIRC SPIC MISC", Kind.MASS, readings))
        print(f"  {np.mean([r.seconds for r in readings]):.2f} s per image of 1024 x 1024")
    else:
        print(f"no mini-MIAS at {arguments.mini_mias}", file=sys.stderr)
    if arguments.phantoms:
        tasks = [(FIRST_SEED + i, True) for i in range(arguments.phantoms)]
        tasks += [(FIRST_SEED + 100_000 + i, False) for i in range((arguments.phantoms + 1) // 2)]
        readings = list(_all_readings(read_phantom, tasks, arguments.processes))
        for kind in Kind:
            print(table(f"phantoms, {kind}", kind, readings))
        print(f"  {np.mean([r.seconds for r in readings]):.2f} s per view of 2294 x 1914")
    return 0


if __name__ == "__main__":
    sys.exit(main())
