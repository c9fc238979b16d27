"""From labelled images to a bundle: prepare, fit, calibrate on what was held out, pack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
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
from cmmd_node.facts import Kind, Subtype
from cmmd_node.train.fit import RATES, Recipe, answers, fit, sensitivities
from cmmd_node.train.manifest import LabelledImage, read_manifest
from cmmd_node.train.prepared import PreparedImage, Unprepared, prepared_images
from cmmd_node.train.roc import auc

_VALIDATION_SHARE = 6
"""One group in so many validates where the manifest has no folds."""
_USUAL_FALSE_MARKS = 1.0
"""False marks per validation image at suspicion 0.5."""
_ENOUGH = 20
"""Benign and as many malignant lesions of a kind on images that validate: fewer calibrate no probability."""
_THRESHOLD = 0.5
_PLURAL = {Kind.MASS: "masses", Kind.CALCIFICATION_CLUSTER: "calcification clusters"}


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
    left_out: int | None = None,
    device: str = "cpu",
    tell: Callable[[Step | str], None],
) -> Bundle:
    """Train on a collection and pack the result as a bundle.

    Parameters
    ----------
    manifest : Path
        The collection, as `manifest` describes it. Used are images on which somebody outlined lesions, and those of
        breasts whose label says which kinds of lesions they hold.
    out : Path
        The bundle; must not exist.
    work : Path
        Folder of prepared images, the checkpoint and the log; with it an interrupted training goes on.
    held_out : int, optional
        Fold that validates; default: every sixth group.
    left_out : int, optional
        Fold whose images are not looked at, to measure on afterwards.
    tell
        Called with how far the preparation is, and with a line for each epoch and each image that is not used.

    Raises
    ------
    NodeError
        The manifest cannot be read, one of the parts shows no mass, or one fold is to be held out and left out.
    """
    if out.exists():
        raise NodeError(f"{out} is there already")
    collection = read_manifest(manifest)
    for problem in collection.problems:
        tell(f"{manifest}: {problem}")
    if held_out is not None and held_out == left_out:
        raise NodeError(f"fold {held_out} cannot both validate and be left out")
    used = [image for image in collection.images if image.excluded is None]
    used = [image for image in used if left_out is None or image.fold != left_out]
    parts = ([i for i in used if not _validates(i, held_out)], [i for i in used if _validates(i, held_out)])
    work.mkdir(parents=True, exist_ok=True)
    training, validation = (_prepared(part, work / "prepared", tell) for part in parts)
    if not any(image[Kind.MASS].shows for image in validation):
        raise NodeError(f"{manifest}: no image that validates has an outlined mass, and no label tells of one")
    taught = [
        _teach(
            kind,
            [image[kind] for image in training],
            [image[kind] for image in validation],
            recipe,
            work,
            device=device,
            tell=tell,
        )
        for kind in Kind
        if all(any(image[kind].shows for image in part) for part in (training, validation))
    ]
    made = _Made(
        about=about,
        recipe=recipe,
        manifest_sha256=collection.sha256,
        sources=tuple(sorted({image.source for image in used if image.source})),
        images=len(validation),
        taught=taught,
        subtypes=_seen_subtypes(training),
    )
    _fill(out, made)
    return seal(out, golden)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Taught:
    """A network that learnt one kind of lesion."""

    kind: Kind
    network: SecondLook
    calibrated: bool
    """Its probability of malignancy is one."""
    metrics: dict[str, Any]


def _teach(
    kind: Kind,
    training: Sequence[PreparedImage],
    validation: Sequence[PreparedImage],
    recipe: Recipe,
    work: Path,
    *,
    device: str,
    tell: Callable[[Step | str], None],
) -> _Taught:
    """Fit, calibrate and measure the network of one kind."""

    def after_epoch(epoch: int, network: SecondLook) -> None:
        said = answers(kind, validation, network, device=device)
        figures = {"kind": kind, "epoch": epoch, **measure(validation, said)}
        with (work / "log.jsonl").open("a") as log:
            log.write(json.dumps(figures) + "\n")
        tell("held out: " + ", ".join(f"{name} {value}" for name, value in figures.items()))

    network = fit(
        kind,
        training,
        recipe,
        work / f"checkpoint-{kind}.pt",
        device=device,
        tell=lambda progress: tell(f"{kind}, {progress}"),
        after_epoch=after_epoch,
    ).cpu()
    calibrated = _calibrate(kind, network, validation)
    _halve(network)
    metrics = {
        **measure(validation, answers(kind, validation, network)),
        "lesions": sum(len(image.malignant) for image in validation),
        "images_with_a_lesion_nobody_outlined": sum(image.weak for image in validation),
        "classical": _froc(validation, [image.log_odds for image in validation]),
    }
    return _Taught(kind=kind, network=network, calibrated=calibrated, metrics=metrics)


def measure(images: Sequence[PreparedImage], said: Sequence[torch.Tensor]) -> dict[str, Any]:
    """FROC of the outlined lesions, and the AUC of malignant against benign ones that have a mark in them."""
    figures = _froc(images, [answer[:, 0].numpy() for answer in said])
    log_odds, malignant = _of_lesions(images, said)
    if 0 < malignant.sum() < len(malignant):
        figures["auc_malignant"] = round(auc(log_odds.astype(np.float64), malignant == 1), 4)
        figures["lesions_with_result"] = len(malignant)
    return figures


def _froc(images: Sequence[PreparedImage], log_odds: Sequence[npt.NDArray[np.float32]]) -> dict[str, Any]:
    outlined = [number for number, image in enumerate(images) if image.outlined]
    if not any(len(images[number].malignant) for number in outlined):
        return {}
    found = sensitivities([images[number] for number in outlined], [log_odds[number] for number in outlined])
    return {f"sensitivity_at_{rate:g}": round(value, 4) for rate, value in zip(RATES, found, strict=True)}


def _of_lesions(
    images: Sequence[PreparedImage], said: Sequence[torch.Tensor]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Log odds of malignancy at the most suspicious mark in each lesion with a known result, and that result.

    Of a lesion that nobody outlined: at the most suspicious mark of all.
    """
    log_odds, malignant = [], []
    for image, answer in zip(images, said, strict=True):
        everywhere = np.ones((len(answer), 1), np.bool_)
        lesions, labels = (everywhere, [image.breast_malignant]) if image.weak else (image.hits, image.malignant)
        for lesion, label in zip(lesions.T, labels, strict=True):
            inside = np.flatnonzero(lesion)
            if label >= 0 and len(inside):
                log_odds.append(float(answer[inside[answer[inside, 0].argmax()], 1]))
                malignant.append(label)
    return np.array(log_odds, np.float32), np.array(malignant, np.int8)


def _seen_subtypes(images: Sequence[Mapping[Kind, PreparedImage]]) -> bool:
    """Whether lesions of every subtype were shown: what was never seen is never told."""
    seen = {subtype for image in images for kind in Kind for subtype in image[kind].subtype.tolist()}
    return seen >= set(range(len(Subtype)))


def _validates(image: LabelledImage, held_out: int | None) -> bool:
    if held_out is not None:
        return image.fold == held_out
    return int(hashlib.sha256(image.group.encode()).hexdigest(), 16) % _VALIDATION_SHARE == 0


def _prepared(
    images: Sequence[LabelledImage], cache: Path, tell: Callable[[Step | str], None]
) -> list[Mapping[Kind, PreparedImage]]:
    ready = []
    for done, image in enumerate(prepared_images(images, cache), start=1):
        if isinstance(image, Unprepared):
            tell(f"{image.path} is not used: {image.reason}")
        else:
            ready.append(image)
        tell(Step(done=done, of=len(images)))
    return ready


@torch.no_grad()
def _calibrate(kind: Kind, network: SecondLook, validation: Sequence[PreparedImage]) -> bool:
    """Shift the last layer so that suspicion 0.5 means the usual false marks, and malignancy a probability (Platt).

    Returns
    -------
    bool
        Whether there were lesions enough for a probability.
    """
    said = answers(kind, validation, network)
    false = [_false(image, answer[:, 0]) for image, answer in zip(validation, said, strict=True)]
    ranked = torch.cat(false).sort(descending=True).values
    if len(ranked):
        network.lesion.bias.sub_(ranked[min(round(_USUAL_FALSE_MARKS * len(validation)), len(ranked) - 1)])
    log_odds, malignant = _of_lesions(validation, said)
    if min((malignant == 1).sum(), (malignant == 0).sum()) < _ENOUGH:
        return False
    slope, offset = _platt(torch.from_numpy(log_odds), torch.from_numpy(malignant).float())
    network.malignant.weight *= slope
    network.malignant.bias.copy_(network.malignant.bias * slope + offset)
    return True


def _false(image: PreparedImage, log_odds: torch.Tensor) -> torch.Tensor:
    """Of the candidates that are no lesion; the most suspicious one is taken for that which nobody outlined."""
    if image.weak:
        return log_odds.sort().values[:-1]
    return log_odds[torch.from_numpy(~image.hits.any(axis=1))]


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Made:
    """What a bundle tells of its making."""

    about: About
    recipe: Recipe
    manifest_sha256: str
    sources: tuple[str, ...]
    """Whom to cite, as the manifest tells."""
    images: int
    """How many validated."""
    taught: Sequence[_Taught]
    subtypes: bool

    @property
    def calibrated(self) -> bool:
        return all(one.calibrated for one in self.taught)


def _fill(folder: Path, made: _Made) -> None:
    """All files of a bundle but golden marks and digests; parameters in half precision."""
    about = made.about
    folder.mkdir(parents=True)
    weights = {}
    for one in made.taught:
        halves = {name for name, _ in one.network.named_parameters()}
        for name, value in one.network.state_dict().items():
            weights[f"{one.kind}.{name}"] = (value.half() if name in halves else value).contiguous()
    save_file(weights, folder / WEIGHTS_FILE)
    what = " and ".join(_PLURAL[one.kind] for one in made.taught)
    metadata = {
        "schema": SCHEMA,
        "name": about.name,
        "version": about.version,
        "kind": Way.NATIVE,
        "task": f"detection of {what} in mammograms, CC and MLO",
        "description": "Judges the candidates of the classical detector by what is around them on several grids.",
        "intended_use": "research; not a medical device",
        "contraindications": "no screening or diagnosis; implants, magnified views and tomosynthesis were never seen",
        "authors": f"trained with cmmd-node {__version__}",
        "licence": about.licence,
        "data_source": "; ".join(made.sources),
        "changelog": {about.version: f"recipe {asdict(made.recipe)}, manifest sha256 {made.manifest_sha256}"},
        "pytorch_version": [".".join(torch.__version__.split(".")[:2])],
        "architecture": ARCHITECTURE,
        "kinds": [one.kind for one in made.taught],
        "threshold": _THRESHOLD,
        "probability_malignant": made.calibrated,
        "subtypes": made.subtypes,
        "eval_metrics": {
            "validation": {
                "images": made.images,
                "hit": "the centre of the mark lies in the outline",
                **{one.kind.value: one.metrics for one in made.taught},
            }
        },
    }
    (folder / METADATA).write_text(json.dumps(metadata, indent=2) + "\n")
    (folder / LICENCE).write_text(about.licence_text)
    (folder / MODEL_CARD).write_text(_card(made))


def _card(made: _Made) -> str:
    about = made.about
    sources = "\n".join(f"- {source}" for source in made.sources) or "A collection whose manifest names no source."
    kinds = [one.kind for one in made.taught]
    what = " and ".join(_PLURAL[kind] for kind in kinds)
    left = "" if Kind.CALCIFICATION_CLUSTER in kinds else " Calcification clusters are left to the classical detector."
    malignancy = (
        "Its probability of malignancy of a lesion was calibrated (Platt) on the lesions that validate, the same on "
        "which `auc_malignant` was measured."
        if made.calibrated
        else "It gives no probability of malignancy: too few lesions with a known result validated it."
    )
    subtypes = " Its probabilities of molecular subtypes are exploratory and not calibrated." if made.subtypes else ""
    return f"""# {about.name} {about.version}

Research software, not a medical device. Finds {what} in CC and MLO mammograms.{left} {malignancy}{subtypes}

## Made from

{sources}

Manifest sha256 {made.manifest_sha256}; recipe {asdict(made.recipe)}; cmmd-node {__version__}.

## Measured on the {made.images} images that were held out for validation

They chose the operating point (about one false mark per image and kind at suspicion 0.5), so these figures flatter it a
little.
{"".join(map(_measured, made.taught))}
## Limits

Nothing is known of how it does on images of other makers, film or digital, than those above; of implants, of women
without symptoms, and of lesions that the classical detector does not even take for candidates, which it never sees.
"""


def _measured(one: _Taught) -> str:
    figures = "\n".join(f"- {name}: {value}" for name, value in one.metrics.items() if not isinstance(value, dict))
    classical = ", ".join(f"{name} {value}" for name, value in one.metrics["classical"].items()) or "nothing outlined"
    return f"\n{_PLURAL[one.kind]}:\n\n{figures}\n- classical detector on the same images: {classical}\n"
