"""How many lesions the classical detector finds, at how many false marks: FROC tables.

``python -m tests.bench.froc [--mini-mias DIR] [--phantoms N] [--processes N]``

A lesion is found when the centre of a mark of its kind lies within it: within the circle in mini-MIAS, within the true
outline in phantoms. All marks in a lesion count as one; a mark in no lesion of its kind is false, also when it lies in
something that is not counted, such as a calcification circle. The first column counts false marks over the images that
hold the lesions, the second over images without any: NORM images of mini-MIAS, phantoms drawn as normal. Both are false
marks per image; the first is the primary one. mini-MIAS only measures: nothing that ships was fitted on it.
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
from cmmd_node.facts import Kind, Laterality, PointCR, Spacing, View, ViewPosition
from cmmd_node.phantom import make_exam

RATES = (0.5, 1.0, 2.0, 4.0)
MINI_MIAS = Path(__file__).parents[3] / "shared" / "data" / "mini-mias"
MINI_MIAS_MASSES = ("CIRC", "SPIC", "MISC")
MINI_MIAS_LESIONS = 58
FIRST_SEED = 500_000
"""Of the phantoms that measure; those that were fitted on have other seeds."""


@dataclass(frozen=True)
class Lesion:
    """What is to be found."""

    kind: Kind
    outline_cr: tuple[PointCR, ...]

    def holds(self, point_cr: PointCR) -> bool:
        """Whether a point is inside (even-odd rule)."""
        x, y = point_cr
        inside = False
        for (x0, y0), (x1, y1) in zip(self.outline_cr, self.outline_cr[1:] + self.outline_cr[:1], strict=True):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                inside = not inside
        return inside


@dataclass(frozen=True)
class Reading:
    """What the detector said of one image."""

    normal: bool
    found: tuple[tuple[Kind, float], ...]
    """Of each lesion: its kind, and the highest suspicion of a mark in it; 0 if there is none."""
    false: tuple[tuple[Kind, float], ...]
    """Of each false mark: its kind and suspicion."""
    seconds: float


def read(pixels: np.ndarray, view: View, spacing: Spacing, lesions: tuple[Lesion, ...], normal: bool) -> Reading:
    detector = ClassicalDetector()
    scaled = pixels.astype(np.float32) / np.float32(255.0)
    start = time.perf_counter()
    marks = detector.marks(scaled, view=view, spacing=spacing, threshold=0.0)
    seconds = time.perf_counter() - start
    inside = [[mark.kind is lesion.kind and lesion.holds(mark.center_cr) for lesion in lesions] for mark in marks]
    return Reading(
        normal=normal,
        found=tuple(
            (lesion.kind, max((m.suspicion for m, hits in zip(marks, inside, strict=True) if hits[i]), default=0.0))
            for i, lesion in enumerate(lesions)
        ),
        false=tuple((m.kind, m.suspicion) for m, hits in zip(marks, inside, strict=True) if not any(hits)),
        seconds=seconds,
    )


def mini_mias_tasks(folder: Path) -> list[tuple[Path, tuple[Lesion, ...], bool]]:
    """Image, circles of masses, and whether it is NORM; only images with such circles and NORM ones."""
    circles: dict[str, list[Lesion]] = {}
    normal = set()
    for line in (folder / "Info.txt").read_text(errors="replace").splitlines():
        words = line.split()
        if len(words) >= 3 and words[0].startswith("mdb") and words[0][3:].isdigit():
            if words[2] == "NORM":
                normal.add(words[0])
            elif words[2] in MINI_MIAS_MASSES and len(words) >= 7 and all(w.isdigit() for w in words[4:7]):
                x, y, radius = (int(word) for word in words[4:7])
                circles.setdefault(words[0], []).append(Lesion(Kind.MASS, _circle(x + 0.5, 1023 - y + 0.5, radius)))
    if sum(map(len, circles.values())) != MINI_MIAS_LESIONS:
        raise SystemExit(f"{folder}: {sum(map(len, circles.values()))} circles, {MINI_MIAS_LESIONS} are wanted")
    return [
        (path, tuple(circles.get(path.stem, ())), path.stem in normal)
        for path in sorted((folder / "images").glob("mdb*.jpg"))
        if path.stem in circles or path.stem in normal
    ]


def _circle(column: float, row: float, radius: float) -> tuple[PointCR, ...]:
    angles = np.linspace(0.0, 2.0 * np.pi, 180, endpoint=False)
    return tuple((column + radius * float(np.cos(a)), row + radius * float(np.sin(a))) for a in angles)


def read_mini_mias(task: tuple[Path, tuple[Lesion, ...], bool]) -> list[Reading]:
    path, lesions, normal = task
    side = Laterality.LEFT if int(path.stem[3:]) % 2 == 0 else Laterality.RIGHT
    pixels = np.asarray(Image.open(path).convert("L"))
    return [read(pixels, View(side, ViewPosition.MLO), Spacing(row_mm=0.2, column_mm=0.2), lesions, normal)]


def read_phantom(task: tuple[int, bool]) -> list[Reading]:
    seed, abnormal = task
    spacing = Spacing(row_mm=0.094090909, column_mm=0.094090909)
    readings = []
    for view in make_exam(seed, abnormal=abnormal).views:
        lesions = tuple(Lesion(truth.kind, truth.outline_cr) for truth in view.truths)
        readings.append(read(view.pixels, view.view, spacing, lesions, not abnormal))
    return readings


def table(title: str, kind: Kind, readings: Iterable[Reading]) -> str:
    """Sensitivity at each rate of false marks, and at the default threshold."""
    readings = list(readings)
    with_lesions = [r for r in readings if any(k is kind for k, _ in r.found)]
    normal = [r for r in readings if r.normal]
    scores = np.array([s for r in with_lesions for k, s in r.found if k is kind])
    lines = [f"{title}: {len(scores)} lesions in {len(with_lesions)} images; {len(normal)} normal images"]
    lines.append("  false marks per image | over images with lesions | over normal images")
    groups = {name: _false_scores(kind, group) for name, group in (("lesions", with_lesions), ("normal", normal))}
    for rate in RATES:
        cells = []
        for name, group in (("lesions", with_lesions), ("normal", normal)):
            allowed = int(rate * len(group))
            false = groups[name]
            least = false[allowed] if allowed < len(false) else 0.0
            cells.append(f"{np.mean(scores > least):.3f} (> {least:.3f})" if len(scores) and group else "-")
        lines.append(f"  {rate:21.1f} | {cells[0]:>24} | {cells[1]:>18}")
    usual = ClassicalDetector.threshold
    rates = [
        f"{(groups[n] >= usual).sum() / max(len(g), 1):.2f}" for n, g in (("lesions", with_lesions), ("normal", normal))
    ]
    share = np.mean(scores >= usual) if len(scores) else float("nan")
    lines.append(f"  default threshold {usual}: {share:.3f} found at {rates[0]} / {rates[1]} false marks per image")
    return "\n".join(lines)


def _false_scores(kind: Kind, readings: Iterable[Reading]) -> np.ndarray:
    return np.sort([s for r in readings for k, s in r.false if k is kind])[::-1]


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
