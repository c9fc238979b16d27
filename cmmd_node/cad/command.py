"""Models behind a command: one view as files in a folder in, marks as JSON out.

The command runs in the bundle's folder, with an environment of its own and the folder of the view as its last argument.
There it finds ``image.png`` and ``view.json`` (`golden.write_view`) and leaves ``marks.json``: a list of objects with
``kind``, ``outline`` ([[column, row], ...] in image coordinates of `facts`), ``suspicion``, and maybe ``center``,
``calcifications`` (of clusters) and ``probability_malignant``. So a model may use any framework and licence.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from cmmd_node.cad.breast import Breast, Field
from cmmd_node.cad.bundle import Bundle
from cmmd_node.cad.golden import write_view
from cmmd_node.errors import ModelFault
from cmmd_node.facts import Kind, Mark, PointCR, View

MARKS_FILE: Final = "marks.json"
_LARGEST_ANSWER: Final = 1 << 24
_MOST_MARKS: Final = 1000
_NEEDED, _MAYBE = {"kind", "outline", "suspicion"}, {"center", "calcifications", "probability_malignant"}
_SEARCH_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class CommandFinder:
    """Runs a command for every view."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def __call__(self, pixels: Field, breast: Breast, view: View) -> list[Mark]:
        with tempfile.TemporaryDirectory(prefix="cmmd-node-") as name:
            folder = Path(name)
            write_view(folder, pixels, view, breast.placement.spacing, image="image.png", facts="view.json")
            self._run(folder)
            answer = self._answer(folder / MARKS_FILE)
        place = breast.placement
        return [self._mark(one, number, (place.columns, place.rows)) for number, one in enumerate(answer, start=1)]

    def _run(self, folder: Path) -> None:
        """No setting and no secret of the node is in its environment."""
        metadata = self._bundle.metadata
        try:
            process = subprocess.Popen(
                [*metadata.command, str(folder)],
                cwd=self._bundle.folder.absolute(),
                env={"PATH": _SEARCH_PATH, "HOME": str(folder), "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise ModelFault(f"{metadata.command[0]} cannot be started: {error.strerror}") from error
        try:
            status = process.wait(metadata.seconds)
        except subprocess.TimeoutExpired as error:
            raise ModelFault(f"the command did not finish within {metadata.seconds:g} s") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status:
            raise ModelFault(f"the command ended with status {status}")

    def _answer(self, path: Path) -> list[Any]:
        try:
            if path.is_symlink() or path.stat().st_size > _LARGEST_ANSWER:
                raise ModelFault(f"{MARKS_FILE} is a link or larger than {_LARGEST_ANSWER} bytes")
            answer = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ModelFault(f"the command left no {MARKS_FILE}") from error
        except ValueError as error:
            raise ModelFault(f"{MARKS_FILE} is not JSON: {error}") from error
        if not isinstance(answer, list) or len(answer) > _MOST_MARKS:
            raise ModelFault(f"{MARKS_FILE} is no list of at most {_MOST_MARKS} marks")
        return answer

    def _mark(self, one: Any, number: int, size: tuple[int, int]) -> Mark:
        """One mark of the answer; whatever is wrong with it names its number."""
        try:
            if not isinstance(one, dict) or not _NEEDED <= set(one) <= _NEEDED | _MAYBE:
                raise ValueError(f"an object with {', '.join(sorted(_NEEDED))} is wanted")
            kind = Kind(one["kind"])
            if kind not in self._bundle.metadata.kinds:
                raise ValueError(f"{kind} is none of the bundle's kinds")
            outline = _points(one["outline"], size)
            middle = [sum(axis) / len(outline) for axis in zip(*outline, strict=True)]
            (center,) = _points([one.get("center", middle)], size)
            malignant = one.get("probability_malignant")
            return Mark(
                kind=kind,
                center_cr=center,
                outline_cr=outline,
                suspicion=_number(one["suspicion"]),
                probability_malignant=None if malignant is None else _number(malignant),
                calcifications_cr=_points(one.get("calcifications", []), size),
            )
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise ModelFault(f"mark {number} of {MARKS_FILE}: {error}") from error


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _points(values: Any, size: tuple[int, int]) -> tuple[PointCR, ...]:
    points = tuple((_number(column), _number(row)) for column, row in values)
    for point in points:
        if not all(0.0 <= value <= limit for value, limit in zip(point, size, strict=True)):
            raise ValueError(f"{point} lies outside of the image of {size[0]} columns and {size[1]} rows")
    return points
