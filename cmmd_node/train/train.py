"""From labelled images to a bundle: prepare, fit, calibrate on what was held out, pack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits

from cmmd_node import __version__
from cmmd_node.cad.bundle import LICENCE, METADATA, MODEL_CARD, SCHEMA, Bundle, Way
from cmmd_node.cad.golden import GoldenView
from cmmd_node.cad.native import WEIGHTS_FILE
from cmmd_node.cad.sealing import seal
from cmmd_node.cad.second_look import ARCHITECTURE, SecondLook
from cmmd_node.errors import NodeError
from cmmd_node.facts import Kind
from cmmd_node.train.fit import RATES, Recipe, answers, fit, sensitivities
from cmmd_node.train.manifest import LabelledImage, read_manifest
from cmmd_node.train.prepared import PreparedImage, Unprepared, prepared_images

_VALIDATION_SHARE = 6
"""One group in so many validates where the manifest has no folds."""
_USUAL_FALSE_MARKS = 1.0
"""False marks per validation image at suspicion 0.5."""
_ENOUGH_MASSES = 50
"""Benign and as many malignant ones that validate: fewer calibrate no probability."""
_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the bundle says of itself."""

    name: str
    version: str
    licence: str
    """Name of the licence."""
    licence_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far the preparation is."""

    done: int
    of: int


def train_bundle(
    manifest: Path,
    out: Path,
    about: About,
    recipe: Recipe,
    golden: GoldenView,
    *,
    work: Path,
    held_out: int | None = None,
    device: str = "cpu",
    tell: Callable[[Step | str], None],
) -> Bundle:
    """Train on a collection and pack the result as a bundle.

    Parameters
    ----------
    manifest : Path
        The collection, as `manifest` describes it. Only images on which somebody outlined lesions are used.
    out : Path
        The bundle; must not exist.
    work : Path
        Folder of prepared images, the checkpoint and the log; with it an interrupted training goes on.
    held_out : int, optional
        Fold that validates; default: every sixth group.
    tell
        Called with how far the preparation is, and with a line for each epoch and each image that is not used.

    Raises
    ------
    NodeError
        The manifest cannot be read, or one of the parts holds no mass.
    """
    if out.exists():
        raise NodeError(f"{out} is there already")
    collection = read_manifest(manifest)
    for problem in collection.problems:
        tell(f"{manifest}: {problem}")
    used = [image for image in collection.images if image.excluded is None]
    parts = ([i for i in used if not _validates(i, held_out)], [i for i in used if _validates(i, held_out)])
    work.mkdir(parents=True, exist_ok=True)
    training, validation = (_prepared(part, work / "prepared", tell) for part in parts)
    if not any(len(image.malignant) for image in validation):
        raise NodeError(f"{manifest}: no image that validates has an outlined mass")

    def after_epoch(epoch: int, network: SecondLook) -> None:
        figures = {"epoch": epoch, **measure(validation, answers(validation, network, device=device))}
        with (work / "log.jsonl").open("a") as log:
            log.write(json.dumps(figures) + "\n")
        tell("held out: " + ", ".join(f"{name} {value}" for name, value in figures.items()))

    checkpoint = work / "checkpoint.pt"
    network = fit(
        training,
        recipe,
        checkpoint,
        device=device,
        tell=lambda progress: tell(str(progress)),
        after_epoch=after_epoch,
    ).cpu()
    calibrated = _calibrate(network, validation)
    _halve(network)
    said = answers(validation, network)
    metrics = {
        "validation": {
            **measure(validation, said),
            "classical": _froc(validation, [image.log_odds for image in validation]),
            "images": len(validation),
            "masses": sum(len(image.malignant) for image in validation),
            "hit": "the centre of the mark lies in the outline",
        }
    }
    made = _Made(
        about=about,
        recipe=recipe,
        manifest_sha256=collection.sha256,
        sources=tuple(sorted({image.source for image in used if image.source})),
        metrics=metrics,
        calibrated=calibrated,
    )
    _fill(out, network, made)
    return seal(out, golden)


def measure(images: Sequence[PreparedImage], said: Sequence[torch.Tensor]) -> dict[str, Any]:
    """FROC of the masses, and the AUC of malignant against benign ones that have a mark in them."""
    figures = _froc(images, [answer[:, 0].numpy() for answer in said])
    log_odds, malignant = _of_masses(images, said)
    positive, negative = log_odds[malignant == 1], log_odds[malignant == 0]
    if len(positive) and len(negative):
        above = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
        figures["auc_malignant"] = round(float(above), 4)
        figures["masses_with_result"] = len(malignant)
    return figures


def _froc(images: Sequence[PreparedImage], log_odds: Sequence[npt.NDArray[np.float32]]) -> dict[str, Any]:
    found = sensitivities(images, log_odds)
    return {f"sensitivity_at_{rate:g}": round(value, 4) for rate, value in zip(RATES, found, strict=True)}


def _of_masses(
    images: Sequence[PreparedImage], said: Sequence[torch.Tensor]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Log odds of malignancy at the most suspicious mark in each mass with a known result, and that result."""
    log_odds, malignant = [], []
    for image, answer in zip(images, said, strict=True):
        for mass, label in enumerate(image.malignant):
            inside = np.flatnonzero(image.hits[:, mass])
            if label >= 0 and len(inside):
                log_odds.append(float(answer[inside[answer[inside, 0].argmax()], 1]))
                malignant.append(label)
    return np.array(log_odds, np.float32), np.array(malignant, np.int8)


def _validates(image: LabelledImage, held_out: int | None) -> bool:
    if held_out is not None:
        return image.fold == held_out
    return int(hashlib.sha256(image.group.encode()).hexdigest(), 16) % _VALIDATION_SHARE == 0


def _prepared(images: Sequence[LabelledImage], cache: Path, tell: Callable[[Step | str], None]) -> list[PreparedImage]:
    ready = []
    for done, image in enumerate(prepared_images(images, cache), start=1):
        if isinstance(image, Unprepared):
            tell(f"{image.path} is not used: {image.reason}")
        else:
            ready.append(image)
        tell(Step(done=done, of=len(images)))
    return ready


@torch.no_grad()
def _calibrate(network: SecondLook, validation: Sequence[PreparedImage]) -> bool:
    """Shift the last layer so that suspicion 0.5 means the usual false marks, and malignancy a probability (Platt).

    Returns
    -------
    bool
        Whether there were masses enough for a probability.
    """
    said = answers(validation, network)
    false = [
        answer[torch.from_numpy(~image.hits.any(axis=1)), 0] for image, answer in zip(validation, said, strict=True)
    ]
    ranked = torch.cat(false).sort(descending=True).values
    network.answer.bias[0] -= ranked[min(round(_USUAL_FALSE_MARKS * len(validation)), len(ranked) - 1)]
    log_odds, malignant = _of_masses(validation, said)
    if min((malignant == 1).sum(), (malignant == 0).sum()) < _ENOUGH_MASSES:
        return False
    slope, offset = _platt(torch.from_numpy(log_odds), torch.from_numpy(malignant).float())
    network.answer.weight[1] *= slope
    network.answer.bias[1] = network.answer.bias[1] * slope + offset
    return True


@torch.no_grad()
def _halve(network: SecondLook) -> None:
    """Round the parameters to what the file will hold, so that what is measured is what is packed."""
    for parameter in network.parameters():
        parameter.copy_(parameter.half().float())


@torch.enable_grad()
def _platt(log_odds: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    line = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = binary_cross_entropy_with_logits(line[0] * log_odds + line[1], truth)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return float(line[0].detach()), float(line[1].detach())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What a bundle tells of its making."""

    about: About
    recipe: Recipe
    manifest_sha256: str
    sources: tuple[str, ...]
    """Whom to cite, as the manifest tells."""
    metrics: dict[str, Any]
    calibrated: bool


def _fill(folder: Path, network: SecondLook, made: _Made) -> None:
    """All files of a bundle but golden marks and digests; parameters in half precision."""
    about = made.about
    folder.mkdir(parents=True)
    halves = {name for name, _ in network.named_parameters()}
    weights = {name: v.half() if name in halves else v for name, v in network.state_dict().items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS_FILE)
    metadata = {
        "schema": SCHEMA,
        "name": about.name,
        "version": about.version,
        "kind": Way.NATIVE,
        "task": "detection of masses in mammograms, CC and MLO",
        "description": "Judges the candidates of the classical detector by what is around them on three grids.",
        "intended_use": "research; not a medical device",
        "contraindications": "no screening or diagnosis; implants, magnified views and tomosynthesis were never seen",
        "authors": f"trained with cmmd-node {__version__}",
        "licence": about.licence,
        "data_source": "; ".join(made.sources),
        "changelog": {about.version: f"recipe {asdict(made.recipe)}, manifest sha256 {made.manifest_sha256}"},
        "pytorch_version": [".".join(torch.__version__.split(".")[:2])],
        "architecture": ARCHITECTURE,
        "kinds": [Kind.MASS],
        "threshold": _THRESHOLD,
        "probability_malignant": made.calibrated,
        "eval_metrics": made.metrics,
    }
    (folder / METADATA).write_text(json.dumps(metadata, indent=2) + "\n")
    (folder / LICENCE).write_text(about.licence_text)
    (folder / MODEL_CARD).write_text(_card(made))


def _card(made: _Made) -> str:
    about, figures = made.about, made.metrics["validation"]
    sources = "\n".join(f"- {source}" for source in made.sources) or "A collection whose manifest names no source."
    measured = "\n".join(f"- {name}: {value}" for name, value in figures.items() if not isinstance(value, dict))
    classical = ", ".join(f"{name} {value}" for name, value in figures["classical"].items())
    malignancy = (
        "Its probability of malignancy of a mass was calibrated (Platt) on the masses that validate, the same on which "
        "`auc_malignant` was measured."
        if made.calibrated
        else "It gives no probability of malignancy: too few masses with a known result validated it."
    )
    return f"""# {about.name} {about.version}

Research software, not a medical device. Finds masses in CC and MLO mammograms; calcification clusters are left to the
classical detector of cmmd-node. {malignancy}

## Made from

{sources}

Manifest sha256 {made.manifest_sha256}; recipe {asdict(made.recipe)}; cmmd-node {__version__}.

## Measured on the images that were held out for validation

They chose the operating point (about one false mark per image at suspicion 0.5), so these figures flatter it a little.

{measured}
- classical detector on the same images: {classical}

## Limits

Nothing is known of how it does on images of other makers, film or digital, than those above; of implants, of women
without symptoms, and of lesions that the classical detector does not even take for candidates, which it never sees.
"""
