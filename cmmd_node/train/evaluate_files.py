"""The command ``evaluate``: a manifest, and a model or its answers, in; a report out."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from cmmd_node.cad.bundle import Way, bundle_named
from cmmd_node.settings import CLASSICAL
from cmmd_node.train.answers import Answers, read_answers, write_answers
from cmmd_node.train.ask import UNTRAINED, ask_detector
from cmmd_node.train.evaluate import evaluate, select
from cmmd_node.train.failures import failures, pictures
from cmmd_node.train.manifest import read_manifest
from cmmd_node.train.report import write_report


def evaluate_files(
    manifest_path: Path,
    out_dir: Path,
    *,
    bundle: str,
    answers: Path | None,
    beside: Sequence[Path],
    folds: Collection[int],
    draws: int,
    baselines: bool,
    processes: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Evaluate and write the report.

    Parameters
    ----------
    bundle : str
        "builtin", "classical" or the folder of a bundle: the model in question, unless there are answers.
    answers : Path or None
        What the model in question said.
    beside
        Answers of models to compare with.
    baselines : bool
        Also ask the classical detector, and for a network of this program its untrained self.
    processes : int
        How many images to ask about at once; 0: one a core.
    tell
        Called with what is being done.

    Returns
    -------
    dict
        The figures, as `evaluate` gives them. The answers of models that were asked are kept beside the report, as
        answers-model.json, answers-classical.json and answers-untrained.json.
    """
    manifest, folder = read_manifest(manifest_path), manifest_path.parent
    selection = select(manifest, folds)

    def asked(which: str, name: str) -> Answers:
        told = ask_detector(
            which,
            selection.used,
            processes=processes or os.cpu_count() or 1,
            tell=lambda done, all_: tell(f"{name}: {done} of {all_} images"),
        )
        out_dir.mkdir(parents=True, exist_ok=True)
        write_answers(out_dir / f"answers-{name}.json", told, folder)
        return told

    compared = [read_answers(path, folder) for path in beside]
    first = read_answers(answers, folder) if answers else asked(bundle, "model")
    for name in _baselines(bundle, answers) if baselines else ():
        told = asked(name, name)
        if told.model not in [one.model for one in (first, *compared)]:
            compared.append(told)
    tell("drawing patients")
    metrics = evaluate(manifest, first, compared, folds=folds, draws=draws)
    tell("drawing pictures")
    write_report(out_dir, metrics, pictures(failures(selection.images, first), first))
    return metrics


def _baselines(bundle: str, answers: Path | None) -> tuple[str, ...]:
    """Which of our detectors the model in question is to be compared with."""
    if answers is not None:
        return (CLASSICAL,)
    if bundle == CLASSICAL:
        return ()
    is_ours = bundle_named(bundle).metadata.kind is Way.NATIVE
    return (CLASSICAL, UNTRAINED) if is_ours else (CLASSICAL,)
