"""Mammograms with known masses that may shape what ships: CBIS-DDSM, CDD-CESM and phantoms."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from cmmd_node.cad.breast import Breast, find_breast
from cmmd_node.cad.places import describe, flattened
from cmmd_node.facts import Kind, Spacing, ViewPosition
from cmmd_node.phantom import make_exam

FILM_MM = 0.045
"""Between the 0.042 and 0.050 mm of the scanners of DDSM; which of them is not told."""
USUAL_NATIVE = (4900, 2900)
"""Rows and columns of CBIS-DDSM images that native_sizes.csv does not hold."""
CESM_MM = 0.47
"""GE Senographe, 240 mm high, letterboxed to 512 pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image and the boxes of its masses."""

    source: str
    file: str
    group: str
    """The patient: what must not be split between fitting and measuring."""
    pixels: np.ndarray
    spacing: Spacing
    position: ViewPosition
    boxes_cr: tuple[tuple[float, float, float, float], ...]
    """Left, top, right, bottom."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A case as the detector sees it."""

    source: str
    group: str
    breast: Breast
    features: np.ndarray
    """As `describe` gives them, float16."""
    boxes_mm: tuple[tuple[float, float, float, float], ...]
    """Left, top, right, bottom on the coarse grid."""


def prepared(case: Case) -> Prepared | None:
    """None where no breast is found."""
    breast = find_breast(case.pixels, position=case.position, spacing=case.spacing)
    if breast is None:
        return None
    place, boxes = breast.placement, []
    for left, top, right, bottom in case.boxes_cr:
        sides = (place.columns - right, place.columns - left) if place.mirrored else (left, right)
        x0, x1 = (side * case.spacing.column_mm - place.first_column_mm for side in sides)
        boxes.append((x0, top * case.spacing.row_mm, x1, bottom * case.spacing.row_mm))
    features = describe(breast, flattened(breast)).astype(np.float16)
    return Prepared(case.source, case.group, breast, features, tuple(boxes))


def cbis(folder: Path, split: str) -> Iterator[Case]:
    """CBIS-DDSM masses; images are stretched to 800 x 800, so the spacing is not square."""
    sizes = {
        (row["split"], row["file"]): (int(row["estimated_native_height"]), int(row["estimated_native_width"]))
        for row in csv.DictReader((folder / "native_sizes.csv").open())
    }
    boxes: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in csv.DictReader((folder / "boxes.csv").open()):
        if row["split"] == split:
            x, y, w, h = (float(row[name]) for name in "xywh")
            boxes.setdefault(row["file"], []).append((x, y, x + w, y + h))
    for file in sorted(boxes):
        pixels = _read(folder / split / file)
        height, width = sizes.get((split, file), USUAL_NATIVE)
        yield Case(
            source=f"cbis-{split}",
            file=file,
            group=f"cbis-{file.split('_')[0]}",
            pixels=pixels,
            spacing=Spacing(row_mm=height * FILM_MM / pixels.shape[0], column_mm=width * FILM_MM / pixels.shape[1]),
            position=ViewPosition.MLO if "MLO" in file else ViewPosition.CC,
            boxes_cr=tuple(boxes[file]),
        )


def cesm(folder: Path) -> Iterator[Case]:
    """CDD-CESM low-energy images; the boxes of the connected parts of their lesion masks."""
    for path in sorted((folder / "images").glob("*.jpg")):
        parts, _ = ndimage.label(_read(folder / "masks" / path.name) > 0.5)
        boxes = [
            (float(s[1].start), float(s[0].start), float(s[1].stop), float(s[0].stop))
            for s in ndimage.find_objects(parts)
            if min(s[0].stop - s[0].start, s[1].stop - s[1].start) >= 5
        ]
        yield Case(
            source="cesm",
            file=path.name,
            group=f"cesm-{path.name.split('_')[0]}",
            pixels=_read(path),
            spacing=Spacing(row_mm=CESM_MM, column_mm=CESM_MM),
            position=ViewPosition.MLO if "MLO" in path.name else ViewPosition.CC,
            boxes_cr=tuple(boxes),
        )


def phantoms(seeds: range) -> Iterator[Case]:
    """Phantom exams, all four views; only their masses."""
    for seed in seeds:
        for view in make_exam(seed).views:
            outlines = [np.array(t.outline_cr) for t in view.truths if t.kind is Kind.MASS]
            yield Case(
                source="phantom",
                file=f"{seed} {view.view}",
                group=f"phantom-{seed}",
                pixels=view.pixels.astype(np.float32) / np.float32(255.0),
                spacing=Spacing(row_mm=0.094090909, column_mm=0.094090909),
                position=view.view.position,
                boxes_cr=tuple((*map(float, o.min(axis=0)), *map(float, o.max(axis=0))) for o in outlines),
            )


def _read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"), np.float32) / np.float32(255.0)
