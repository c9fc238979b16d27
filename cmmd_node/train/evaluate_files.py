"""The command ``evaluate``: a manifest and files of answers in, a report out."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

from cmmd_node.cad import ClassicalDetector
from cmmd_node.train.answers import Answers, read_answers, write_answers
from cmmd_node.train.ask import ask_detector
from cmmd_node.train.evaluate import Selection, evaluate, select
from cmmd_node.train.failures import failures, pictures
from cmmd_node.train.manifest import read_manifest
from cmmd_node.train.report import write_report

ANSWERS_NAME: Final = "classical-answers.json"


def evaluate_files(
    manifest_path: Path,
    out_dir: Path,
    *,
    answers: Path | None,
    beside: Sequence[Path],
    folds: Collection[int],
    draws: int,
    classical: bool,
    processes: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Evaluate and write the report.

    Parameters
    ----------
    answers : Path or None
        Of the model in question; None: the built-in detector is asked about every image, and its answers are kept
        beside the report.
    beside
        Answers of models to compare with.
    classical : bool
        Also ask the classical detector, unless its answers are among those given.
    processes : int
        How many images to ask about at once; 0: one a core.
    tell
        Called with what is being done.

    Returns
    -------
    dict
        The figures, as `evaluate` gives them.
    """
    manifest, folder = read_manifest(manifest_path), manifest_path.parent
    selection = select(manifest, folds)
    entrants = [read_answers(path, folder) for path in ([answers] if answers else []) + list(beside)]
    if (classical or not answers) and ClassicalDetector().model not in [one.model for one in entrants]:
        own = _ask(selection, processes, tell)
        out_dir.mkdir(parents=True, exist_ok=True)
        write_answers(out_dir / ANSWERS_NAME, own, folder)
        entrants.insert(len(entrants) if answers else 0, own)
    tell("drawing patients")
    metrics = evaluate(manifest, entrants[0], entrants[1:], folds=folds, draws=draws)
    tell("drawing pictures")
    write_report(out_dir, metrics, pictures(failures(selection.images, entrants[0]), entrants[0]))
    return metrics


def _ask(selection: Selection, processes: int, tell: Callable[[str], None]) -> Answers:
    return ask_detector(
        selection.used,
        processes=processes or os.cpu_count() or 1,
        tell=lambda done, all_: tell(f"classical detector: {done} of {all_} images"),
    )
