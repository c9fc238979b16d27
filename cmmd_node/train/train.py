"""From labelled images to a bundle: prepare, fit, calibrate on what was held out, pack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cmmd_node.cad.bundle import Bundle
from cmmd_node.cad.characterisation import Characterisation
from cmmd_node.cad.golden import GoldenView
from cmmd_node.cad.mass_map import MassMaps
from cmmd_node.cad.native import Networks
from cmmd_node.cad.sealing import seal
from cmmd_node.cad.second_look import SecondLook, SecondLooks
from cmmd_node.errors import NodeError
from cmmd_node.facts import Kind, Subtype
from cmmd_node.train.balance import balance_of
from cmmd_node.train.fit import Recipe, fit
from cmmd_node.train.fit_characterisation import LEAST, fit_characterisation
from cmmd_node.train.fit_map import MapRecipe, enough, fit_map
from cmmd_node.train.manifest import LabelledImage, read_manifest
from cmmd_node.train.packing import About, Made, Taught, fill, halve
from cmmd_node.train.prepared import PreparedImage, Unprepared, prepared_images
from cmmd_node.train.validation import MAP_SHARE, Told, calibrate, froc, judged, measure

_VALIDATION_SHARE = 6
"""One group in so many validates where the manifest has no folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far the preparation is."""

    done: int
    of: int


def train_bundle(
    manifest: Path,
    out: Path,
    about: About,
    golden: GoldenView,
    *,
    recipe: Recipe,
    map_recipe: MapRecipe | None,
    members: int,
    work: Path,
    held_out: int | None = None,
    left_out: int | None = None,
    processes: int,
    device: str | None = None,
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
    map_recipe : MapRecipe or None
        None: no maps of masses are trained.
    members : int
        How many of each network are trained, each from a beginning of its own: the first by the recipe's seed, each
        further one by the next. Together they say the mean.
    work : Path
        Folder of prepared images, the checkpoints and the log; with it an interrupted training goes on.
    held_out : int, optional
        Fold that validates; default: every sixth group.
    left_out : int, optional
        Fold whose images are not looked at, to measure on afterwards.
    processes : int
        How many images are prepared at once; while a GPU learns maps, one less than as many draw what is shown to it.
    device : str, optional
        As torch names it: cpu, cuda; default: a GPU where there is one.
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
    training, validation = (_prepared(part, work / "prepared", processes, tell) for part in parts)
    if not any(image[Kind.MASS].shows for image in validation.values()):
        raise NodeError(f"{manifest}: no image that validates has an outlined mass, and no label tells of one")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    tell(f"training on {device}")
    run = _Run(members=members, work=work, processes=processes, device=device, tell=tell)
    mass_maps = _maps(training, map_recipe, run)
    beside = {Kind.MASS: (mass_maps, _characterisation(training, tell))}
    taught = []
    for kind in Kind:
        to_learn, to_measure = (_of_kind(kind, part) for part in (training, validation))
        if all(any(image.shows for image in part) for part in (to_learn, to_measure)):
            second_looks = _second_looks(kind, training, to_measure, recipe, run)
            taught.append(_taught(kind, Networks({kind: second_looks}, *beside.get(kind, ())), to_measure))
    made = Made(
        about=about,
        members=members,
        recipe=recipe,
        map_recipe=None if mass_maps is None else map_recipe,
        manifest_sha256=collection.sha256,
        sources=tuple(sorted({image.source for image in used if image.source})),
        images=len(validation),
        taught=taught,
        subtypes=_seen_subtypes(training.values()),
    )
    fill(out, made)
    return seal(out, golden)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """How networks are trained, besides their recipes."""

    members: int
    work: Path
    processes: int
    device: str
    tell: Callable[[Step | str], None]


_Images = Mapping[LabelledImage, Mapping[Kind, PreparedImage]]


def _of_kind(kind: Kind, images: _Images) -> list[PreparedImage]:
    return [image[kind] for image in images.values()]


def _balance(kind: Kind, images: _Images) -> npt.NDArray[np.float32]:
    return balance_of(_of_kind(kind, images), [image.cohort for image in images])


def _maps(training: _Images, recipe: MapRecipe | None, run: _Run) -> MassMaps | None:
    """The maps of masses; None where there is to be none, or too little to learn it from."""
    if recipe is None:
        return None
    masses, balance = _of_kind(Kind.MASS, training), _balance(Kind.MASS, training)
    if not enough(masses, recipe):
        run.tell(f"no map of masses: fewer than {recipe.least_masses} are outlined on the images to train on")
        return None
    maps = MassMaps(run.members)
    for number, member in enumerate(maps.members):

        def told(what: str, number: int = number) -> None:
            run.tell(f"map of masses {number + 1} of {run.members}, {what}")

        own, checkpoint = replace(recipe, seed=recipe.seed + number), run.work / f"checkpoint-map-{number}.pt"
        drawers = 0 if run.device == "cpu" else run.processes - 1  # cores that learn are slowed by others that draw
        fitted = fit_map(masses, balance, own, checkpoint, drawers=drawers, device=run.device, tell=told)
        member.load_state_dict(fitted.cpu().state_dict())
    maps.share.copy_(MAP_SHARE)
    return maps.eval()


def _characterisation(training: _Images, tell: Callable[[Step | str], None]) -> Characterisation | None:
    """The lines that tell malignant masses from benign ones; None where there is too little to fit them to."""
    masses = _of_kind(Kind.MASS, training)
    fitted = fit_characterisation(masses, [one.cohort for one in training], [one.group for one in training])
    if fitted is None:
        tell(f"no characterisation by rings: fewer than {LEAST} outlined masses are known to be benign, or malignant")
    return fitted


def _second_looks(
    kind: Kind, training: _Images, validation: Sequence[PreparedImage], recipe: Recipe, run: _Run
) -> SecondLooks:
    """The second looks at one kind; after each epoch of one it is told what it is worth by itself."""
    to_learn, balance = _of_kind(kind, training), _balance(kind, training)

    def fitted(number: int) -> SecondLook:
        def after_epoch(epoch: int, network: SecondLook) -> None:
            said = judged(kind, validation, Networks({kind: SecondLooks([network])}), device=run.device)
            figures = {"kind": kind, "number": number + 1, "epoch": epoch, **measure(validation, said)}
            with (run.work / "log.jsonl").open("a") as log:
                log.write(json.dumps(figures) + "\n")
            run.tell("held out: " + ", ".join(f"{name} {value}" for name, value in figures.items()))

        return fit(
            kind,
            to_learn,
            balance,
            replace(recipe, seed=recipe.seed + number),
            run.work / f"checkpoint-{kind}-{number}.pt",
            device=run.device,
            tell=lambda progress: run.tell(f"{kind} {number + 1} of {run.members}, {progress}"),
            after_epoch=after_epoch,
        ).cpu()

    return SecondLooks(fitted(number) for number in range(run.members))


def _taught(kind: Kind, networks: Networks, validation: Sequence[PreparedImage]) -> Taught:
    """Calibrate what was fitted to one kind, and measure it together and in parts."""
    calibrated = calibrate(kind, networks, validation)
    halve(networks.named())
    metrics = {
        **measure(validation, judged(kind, validation, networks)),
        "lesions": sum(len(image.malignant) for image in validation),
        "images_with_a_lesion_nobody_outlined": sum(image.weak for image in validation),
        "classical": froc(validation, [_classical(image) for image in validation]),
    }
    if networks.mass_maps is not None:
        metrics["without_maps"] = measure(validation, judged(kind, validation, replace(networks, mass_maps=None)))
    if networks.characterisation is not None:
        without = replace(networks, characterisation=None)
        metrics["without_characterisation"] = measure(validation, judged(kind, validation, without))
    return Taught(kind=kind, networks=networks, calibrated=calibrated, metrics=metrics)


def _classical(image: PreparedImage) -> Told:
    """What the classical detector tells of the candidates."""
    return Told(torch.from_numpy(image.log_odds)[:, None], image.hits)


def _seen_subtypes(images: Iterable[Mapping[Kind, PreparedImage]]) -> bool:
    """Whether lesions of every subtype were shown: what was never seen is never told."""
    seen = {subtype for image in images for kind in Kind for subtype in image[kind].subtype.tolist()}
    return seen >= set(range(len(Subtype)))


def _validates(image: LabelledImage, held_out: int | None) -> bool:
    if held_out is not None:
        return image.fold == held_out
    return int(hashlib.sha256(image.group.encode()).hexdigest(), 16) % _VALIDATION_SHARE == 0


def _prepared(
    images: Sequence[LabelledImage], cache: Path, processes: int, tell: Callable[[Step | str], None]
) -> dict[LabelledImage, Mapping[Kind, PreparedImage]]:
    ready = {}
    prepared = prepared_images(images, cache, processes=processes)
    for done, (image, made) in enumerate(zip(images, prepared, strict=True), start=1):
        if isinstance(made, Unprepared):
            tell(f"{made.path} is not used: {made.reason}")
        else:
            ready[image] = made
        tell(Step(done=done, of=len(images)))
    return ready
