"""Golden vectors: one view and the marks that the model made on it when its bundle was made.

A model that no longer repeats them, because of another machine, library or program, is refused at start.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cmmd_node.cad.breast import Field, resampled
from cmmd_node.cad.bundle import GOLDEN_IMAGE, GOLDEN_MARKS, GOLDEN_VIEW, Bundle
from cmmd_node.errors import ModelFault, NotAnalysed
from cmmd_node.facts import Laterality, Mark, Spacing, View, ViewPosition

Marks = Callable[..., tuple[Mark, ...]]
"""`marks` of a detector."""

_WHITE = 65535.0
_PIXEL_MM = 0.3
_FARTHEST_MM = 1.0
_SHOWN_MARKS = 20


def write_view(folder: Path, pixels: Field, view: View, spacing: Spacing, *, image: str, facts: str) -> None:
    """One view as files that any program reads: a 16-bit grey PNG, and what is known of it as JSON."""
    Image.fromarray(np.round(pixels * _WHITE).astype(np.uint16)).save(folder / image)
    told = {
        "laterality": view.laterality.value,
        "view": view.position.value,
        "row_mm": spacing.row_mm,
        "column_mm": spacing.column_mm,
        "brightness": "0 is air, 65535 the densest; as stored, the chest wall may be on either side",
    }
    (folder / facts).write_text(json.dumps(told, indent=2) + "\n")


@dataclass(frozen=True, slots=True, eq=False)
class GoldenView:
    """The view to be kept in a bundle; nobody's, so a phantom."""

    pixels: Field
    """Brightness, shape (rows, columns)."""
    view: View
    spacing: Spacing


def write_golden(folder: Path, marks: Marks, golden: GoldenView) -> None:
    """Run a model on one view and keep the marks as golden.

    The view is kept on a coarser grid and in 256 steps, so that it takes little room.
    """
    rows, columns = golden.spacing.row_mm, golden.spacing.column_mm
    coarse = resampled(golden.pixels, row_step=_PIXEL_MM / rows, column_step=_PIXEL_MM / columns)
    pixels: Field = (np.round(coarse * 255.0) / 255.0).astype(np.float32)
    spacing = Spacing(row_mm=_PIXEL_MM, column_mm=_PIXEL_MM)
    view = golden.view
    (folder / "golden").mkdir(exist_ok=True)
    write_view(folder, pixels, view, spacing, image=GOLDEN_IMAGE, facts=GOLDEN_VIEW)
    answer = [
        {"kind": mark.kind.value, "center": list(mark.center_cr), "suspicion": mark.suspicion}
        for mark in marks(_pixels(folder), view=view, spacing=spacing, threshold=0.0)[:_SHOWN_MARKS]
    ]
    (folder / GOLDEN_MARKS).write_text(json.dumps(answer, indent=1) + "\n")


def compare(bundle: Bundle, marks: Marks) -> None:
    """Run the model on its golden view.

    Raises
    ------
    BundleRefused
        It does not answer as it did.
    """
    try:
        view, spacing = _view(json.loads((bundle.folder / GOLDEN_VIEW).read_text()))
        wanted = json.loads((bundle.folder / GOLDEN_MARKS).read_text())
        expected = [(str(one["kind"]), tuple(map(float, one["center"])), float(one["suspicion"])) for one in wanted]
        pixels = _pixels(bundle.folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise bundle.refused(f"its golden vectors cannot be read: {error!r}") from error
    try:
        found = marks(pixels, view=view, spacing=spacing, threshold=0.0)
    except (ModelFault, NotAnalysed) as error:
        raise bundle.refused(f"it fails on its golden view: {error}") from error
    tolerance = bundle.metadata.golden_tolerance
    for kind, (x, y), suspicion in expected:
        if not any(
            mark.kind == kind
            and math.hypot((mark.center_cr[0] - x) * spacing.column_mm, (mark.center_cr[1] - y) * spacing.row_mm)
            <= _FARTHEST_MM
            and abs(mark.suspicion - suspicion) <= tolerance
            for mark in found
        ):
            raise bundle.refused(
                f"no {kind} of suspicion {suspicion:.3f} at ({x:.0f}, {y:.0f}) of its golden view, where one was when "
                "the bundle was made"
            )
    least = expected[-1][2] if len(expected) == _SHOWN_MARKS else 0.0
    surplus = sum(mark.suspicion > least + tolerance for mark in found) - len(expected)
    if surplus > 0:
        raise bundle.refused(f"{surplus} more marks on its golden view than when the bundle was made")


def _view(told: dict[str, Any]) -> tuple[View, Spacing]:
    view = View(Laterality(told["laterality"]), ViewPosition(told["view"]))
    return view, Spacing(row_mm=float(told["row_mm"]), column_mm=float(told["column_mm"]))


def _pixels(folder: Path) -> Field:
    with Image.open(folder / GOLDEN_IMAGE, formats=("PNG",)) as image:
        pixels: Field = (np.asarray(image).astype(np.float64) / _WHITE).astype(np.float32)
    if pixels.ndim != 2:
        raise ValueError(f"{GOLDEN_IMAGE} is no grey picture")
    return pixels
