"""From a collection and models' answers to figures that a sceptic can check.

What is compared, on how much of what, by which files: everything that decides a figure is named beside it, with its
sha256. `report` writes it for people.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cmmd_node import __version__
from cmmd_node.cmmd.split import read_split
from cmmd_node.errors import NodeError
from cmmd_node.train.answers import Answers
from cmmd_node.train.bootstrap import DRAWS, SEED
from cmmd_node.train.breasts import breasts_of
from cmmd_node.train.detection import detection
from cmmd_node.train.malignancy import malignancy
from cmmd_node.train.manifest import LabelledImage, Manifest
from cmmd_node.train.subtypes import subtypes

DISCLAIMER: Final = "Research software, not a medical device. These figures are about the images named here only."


@dataclass(frozen=True, slots=True)
class Selection:
    """The images of a manifest that an evaluation is about."""

    images: tuple[LabelledImage, ...]
    """Used or left out, but of the folds that were asked for."""

    @property
    def used(self) -> tuple[LabelledImage, ...]:
        return tuple(image for image in self.images if image.excluded is None)


def select(manifest: Manifest, folds: Collection[int] = ()) -> Selection:
    """The images of some folds; of all when none is named.

    Raises
    ------
    NodeError
        There is nothing to evaluate.
    """
    chosen = Selection(tuple(image for image in manifest.images if not folds or image.fold in folds))
    if not chosen.used:
        which = f" of fold {', '.join(map(str, sorted(folds)))}" if folds else ""
        raise NodeError(
            f"the manifest has no image{which} to evaluate: {len(chosen.images)} are left out, "
            f"{len(manifest.problems)} rows have faults"
        )
    return chosen


def evaluate(
    manifest: Manifest,
    answers: Answers,
    beside: Sequence[Answers] = (),
    *,
    folds: Collection[int] = (),
    draws: int = DRAWS,
) -> dict[str, Any]:
    """All figures of one model, with the baselines beside it.

    Parameters
    ----------
    answers : Answers
        Of the model in question.
    beside
        Of models to compare it with.
    folds
        Which folds to use; default: all. Say the held-out ones of a model that was trained on the others.
    draws : int
        How often patients are drawn for the intervals.

    Returns
    -------
    dict
        Plain values, ready for JSON.

    Raises
    ------
    NodeError
        There is nothing to evaluate, or two models have the same name and version.
    """
    selection = select(manifest, folds)
    entrants = [(f"{one.model.name} {one.model.version}", one) for one in (answers, *beside)]
    twice = [name for name, count in Counter(name for name, _ in entrants).items() if count > 1]
    if twice:
        raise NodeError(f"two sets of answers are of {twice[0]}; models in one table need names of their own")
    breasts = breasts_of(selection.images)
    return {
        "disclaimer": DISCLAIMER,
        "program": f"cmmd-node {__version__}, numpy {np.__version__}",
        "bootstrap": {"draws": draws, "unit": "patient (group)", "interval": "middle 95 % of draws", "seed": SEED},
        "sources": sorted({image.source for image in selection.images if image.source}),
        "data": _data(manifest, selection, folds),
        "models": [_model(name, one) for name, one in entrants],
        "malignancy": malignancy(breasts, entrants, draws=draws),
        "subtypes": subtypes(breasts, answers, draws=draws),
        "detection": detection(selection.images, entrants, draws=draws),
        "latency": [_latency(name, one, selection.used) for name, one in entrants],
    }


def _data(manifest: Manifest, selection: Selection, folds: Collection[int]) -> dict[str, Any]:
    left_out = Counter(image.excluded for image in selection.images if image.excluded is not None)
    return {
        "manifest_sha256": manifest.sha256,
        "images_sha256": sha256_of_images(selection.used),
        "split": _split(manifest.images),
        "folds": sorted(folds),
        "images": len(selection.used),
        "patients": len({image.patient for image in selection.used}),
        "groups": len({image.group for image in selection.used}),
        "left_out": dict(sorted(left_out.items())),
        "faulty_rows": [str(problem) for problem in manifest.problems],
    }


def sha256_of_images(images: Iterable[LabelledImage]) -> str:
    """One digest of all image files: of the sorted lines of their own digests and names."""
    lines = []
    for image in images:
        with image.path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {image.path.name}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _split(images: Iterable[LabelledImage]) -> dict[str, Any] | None:
    """Digest of which group is in which fold, and whether it is CMMD's published split; None without folds."""
    folds = {image.patient: image.fold for image in images}
    pairs = sorted({(image.group, image.fold) for image in images if image.fold is not None})
    if not pairs:
        return None
    published = read_split()
    is_published = all(
        patient in published.rows and published.rows[patient].fold == fold for patient, fold in folds.items()
    )
    lines = "".join(f"{group},{fold}\n" for group, fold in pairs)
    return {
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "folds": len({fold for _, fold in pairs}),
        "cmmd_split_sha256": published.sha256 if is_published else None,
    }


def _model(name: str, answers: Answers) -> dict[str, Any]:
    return {"name": name, "digest": answers.model.digest}


def _latency(name: str, answers: Answers, images: Iterable[LabelledImage]) -> dict[str, Any]:
    """Seconds for one image, as the model's answers tell."""
    told = [answers.images[image.path].seconds for image in images if image.path in answers.images]
    seconds = [one for one in told if one is not None]
    return {
        "model": name,
        "images": len(seconds),
        "median_seconds": round(float(np.median(seconds)), 4) if seconds else None,
        "slowest_5_percent_seconds": round(float(np.percentile(seconds, 95)), 4) if seconds else None,
    }
