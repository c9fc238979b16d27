"""The training loop: prepared images in, weights of a second look at one kind of lesion out.

Each epoch draws, of every image, a few candidates in each lesion and a few elsewhere, the more suspicious ones more
often. Where only a label says that the breast holds a lesion, a few candidates form a bag that is judged as one: at
least one of them is a lesion, and it is as malignant as they are, each weighted by how likely it is one.

Everything random follows from seed and epoch, so that a run that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from cmmd_node.cad.patches import Atlas
from cmmd_node.cad.second_look import GRIDS, SecondLook
from cmmd_node.errors import NodeError
from cmmd_node.facts import Kind
from cmmd_node.train.prepared import PreparedImage

RATES = (0.5, 1.0, 2.0, 4.0)
"""False marks per image at which sensitivity is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the weights, besides the images."""

    seed: int = 0
    epochs: int = 20
    batch: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 2e-2
    inside: int = 3
    """Candidates in a lesion, each epoch."""
    outside: int = 10
    """Candidates elsewhere in an image, each epoch."""
    bag: int = 8
    """Candidates of a bag."""
    hardness: float = 0.3
    """How much more often the classical detector's log odds make a candidate be drawn."""
    malignancy: float = 0.5
    """Weight of the second question, whether a lesion is malignant."""
    subtype: float = 0.3
    """Weight of the third, of which subtype it is."""
    average: float = 0.998
    """Of the weights of one step in the average that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One epoch."""

    epoch: int
    epochs: int
    loss: float
    seconds: float
    images_per_second: float
    left_seconds: float

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch} of {self.epochs}: loss {self.loss:.4f}, {self.images_per_second:.0f} images/s, "
            f"{self.left_seconds / 60:.0f} min left"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """Candidates of one epoch, shape (n,) each; those of a bag follow each other."""

    image: npt.NDArray[np.int64]
    candidate: npt.NDArray[np.int64]
    lesion: npt.NDArray[np.float32]
    """1 in a lesion or a bag, 0 elsewhere."""
    malignant: npt.NDArray[np.float32]
    """1 malignant, 0 benign, nan unknown."""
    subtype: npt.NDArray[np.int64]
    """-1 unknown."""
    unit: npt.NDArray[np.int64]
    """The same number for all candidates that are judged as one; ascending."""


def fit(
    kind: Kind,
    images: Sequence[PreparedImage],
    recipe: Recipe,
    checkpoint: Path,
    *,
    device: str = "cpu",
    tell: Callable[[Progress], None],
    after_epoch: Callable[[int, SecondLook], None] = lambda _epoch, _network: None,
) -> SecondLook:
    """Train, or go on with what the checkpoint holds.

    Parameters
    ----------
    checkpoint : Path
        Written after each epoch; an older one is continued when it has the same recipe.
    device : str
        As torch names it: cpu, cuda.
    after_epoch
        Told the number of finished epochs and the averaged network, in evaluation mode.

    Raises
    ------
    NodeError
        No image shows a lesion of the kind, or the checkpoint comes from another recipe.
    """
    if not any(image.shows for image in images):
        raise NodeError(f"no image to train on has an outlined {kind}, and no label tells of one")
    torch.manual_seed(recipe.seed)
    network = SecondLook(kind).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    _standardise(network, images)
    averaged: SecondLook = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    first = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["recipe"] != asdict(recipe):
            raise NodeError(f"{checkpoint} was made with another recipe; move it away to begin anew")
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epochs"]
    atlas = _atlas(kind, images, device)
    for epoch in range(first, recipe.epochs):
        started = time.monotonic()
        loss = _epoch(network, averaged, optimizer, _Feed(images, atlas, recipe, epoch, device))
        state = {
            "recipe": asdict(recipe),
            "network": network.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epochs": epoch + 1,
        }
        draft = checkpoint.with_suffix(".draft")
        torch.save(state, draft)
        draft.replace(checkpoint)
        seconds = time.monotonic() - started
        tell(
            Progress(
                epoch=epoch + 1,
                epochs=recipe.epochs,
                loss=loss,
                seconds=seconds,
                images_per_second=len(images) / seconds,
                left_seconds=seconds * (recipe.epochs - epoch - 1),
            )
        )
        after_epoch(epoch + 1, averaged)
    return averaged


def _atlas(kind: Kind, images: Sequence[PreparedImage], device: str) -> Atlas:
    return Atlas((sheet for image in images for sheet in image.sheets), GRIDS[kind], device)


def _first_sheets(images: Sequence[PreparedImage]) -> npt.NDArray[np.int64]:
    """The number of each image's first sheet in the atlas."""
    counts: npt.NDArray[np.int64] = np.array([0, *(len(image.sheets) for image in images)], np.int64)
    return np.cumsum(counts)[:-1]


def _standardise(network: SecondLook, images: Sequence[PreparedImage]) -> None:
    features = np.concatenate([image.features for image in images])
    network.center.copy_(torch.from_numpy(features.mean(axis=0)))
    network.spread.copy_(torch.from_numpy(features.std(axis=0) + 1e-3))


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Some candidates of one epoch, on the device."""

    patches: torch.Tensor
    features: torch.Tensor
    unit: torch.Tensor
    """Which candidates are judged as one: from 0, ascending, shape (n,)."""
    lesion: torch.Tensor
    """This and what follows of each unit, shape (units,)."""
    malignant: torch.Tensor
    """nan: unknown."""
    subtype: torch.Tensor
    """-1: unknown."""
    done: float
    """Share of the whole training that is behind it."""


class _Feed:
    """The batches of one epoch."""

    def __init__(self, images: Sequence[PreparedImage], atlas: Atlas, recipe: Recipe, epoch: int, device: str) -> None:
        self.recipe = recipe
        self._images, self._atlas, self._epoch, self._device = images, atlas, epoch, device
        self._rng = np.random.default_rng((recipe.seed, epoch))
        torch.manual_seed(int(self._rng.integers(1 << 31)))
        self._draws = _draw(images, recipe, self._rng)
        self._first_sheets = _first_sheets(images)
        self._parts = _batches(self._draws.unit, recipe.batch, self._rng)
        self.first_step = epoch * len(self._parts)

    def __iter__(self) -> Iterator[_Batch]:
        for number, part in enumerate(self._parts):
            draws = self._draws
            chosen = [(self._images[i], c) for i, c in zip(draws.image[part], draws.candidate[part], strict=True)]
            places = np.stack([image.places_mm[candidate] for image, candidate in chosen])
            places += self._rng.normal(0.0, 1.0, places.shape).astype(np.float32)
            sheets = self._first_sheets[draws.image[part]] + np.array([image.sheet[c] for image, c in chosen])
            patches = self._atlas.patches(
                self._sent(sheets), self._sent(places), self._sent(_turns(len(part), self._rng))
            )
            _, firsts, unit = np.unique(draws.unit[part], return_index=True, return_inverse=True)
            yield _Batch(
                patches=_other_looks(patches, self._rng),
                features=self._sent(np.stack([image.features[candidate] for image, candidate in chosen])),
                unit=self._sent(unit),
                lesion=self._sent(draws.lesion[part][firsts]),
                malignant=self._sent(draws.malignant[part][firsts]),
                subtype=self._sent(draws.subtype[part][firsts]),
                done=(self._epoch + number / len(self._parts)) / self.recipe.epochs,
            )

    def _sent(self, values: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)


def _epoch(network: SecondLook, averaged: SecondLook, optimizer: torch.optim.Optimizer, feed: _Feed) -> float:
    """Mean loss of the epoch."""
    recipe, total, step = feed.recipe, 0.0, 0
    network.train()
    for step, batch in enumerate(feed, start=1):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _pace(batch.done)
        answer = of_units(network(batch.patches, batch.features), batch.unit)
        known, told = ~batch.malignant.isnan(), batch.subtype >= 0
        lesion = binary_cross_entropy_with_logits(answer[:, 0], batch.lesion)
        malignant = binary_cross_entropy_with_logits(answer[:, 1], batch.malignant.nan_to_num(), reduction="none")
        subtype = cross_entropy(answer[:, 2:], batch.subtype.clamp(min=0), reduction="none")
        loss = (
            lesion
            + recipe.malignancy * (malignant * known).sum() / known.sum().clamp(min=1)
            + recipe.subtype * (subtype * told).sum() / told.sum().clamp(min=1)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        done = feed.first_step + step
        _average(averaged, network, min(recipe.average, done / (done + 9)))
        total += loss.item()
    return total / max(step, 1)


def of_units(answer: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """What is said of candidates that are judged as one; of a candidate by itself, what is said of it.

    Parameters
    ----------
    answer : torch.Tensor, float32, shape (n, ANSWERS)
    unit : torch.Tensor, int64, shape (n,)
        The number of each candidate's unit, from 0.

    Returns
    -------
    torch.Tensor, float32, shape (units, ANSWERS)
        Log odds that at least one is a lesion, taking them for independent; the others are means, weighted by the odds
        that each is one, as `train.breasts` weights the marks of a breast.
    """
    inside = unit == torch.arange(int(unit.max()) + 1, device=unit.device)[:, None]
    weights = answer[:, 0].masked_fill(~inside, -torch.inf).softmax(dim=1)
    none = (logsigmoid(-answer[:, 0]) * inside).sum(dim=1)
    some = torch.log(-torch.expm1(none.clamp(max=-1e-6)))
    return torch.cat([(some - none)[:, None], weights @ answer[:, 1:]], dim=1)


def _pace(done: float) -> float:
    """Share of the learning rate: up within the first tenth, then down along a cosine."""
    return done / 0.1 if done < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (done - 0.1) / 0.9)


@torch.no_grad()
def _average(averaged: SecondLook, network: SecondLook, keep: float) -> None:
    for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1.0 - keep)
        else:
            mean.copy_(now)


def _batches(unit: npt.NDArray[np.int64], size: int, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """Numbers of candidates, whole units together in any order, about `size` of them in each batch."""
    firsts = np.flatnonzero(np.diff(unit, prepend=-1))
    members = np.split(np.arange(len(unit)), firsts[1:])
    order = rng.permutation(len(members))
    ends = np.cumsum([len(members[one]) for one in order])
    cuts = np.searchsorted(ends, np.arange(size, ends[-1], size))
    return [np.concatenate([members[one] for one in part]) for part in np.split(order, cuts) if len(part)]


def _draw(images: Sequence[PreparedImage], recipe: Recipe, rng: np.random.Generator) -> _Draws:
    chosen: list[tuple[int, int, float, float, int, int]] = []
    units = itertools.count()
    for number, image in enumerate(images):
        if image.weak:
            luck = recipe.hardness * image.log_odds + rng.gumbel(size=len(image.log_odds))
            label = math.nan if image.breast_malignant < 0 else float(image.breast_malignant)
            subtype, unit = int(image.breast_subtype), next(units)
            chosen += [(number, int(c), 1.0, label, subtype, unit) for c in np.argsort(-luck)[: recipe.bag]]
        if not image.clean:
            continue
        near = (image.off < 1.5).any(axis=1) | image.hits.any(axis=1)
        for lesion, malignant in enumerate(image.malignant):
            core = max(0.5, min(0.9, 3.0 / max(float(image.half_mm[lesion]), 2.0)))
            inside = np.flatnonzero(image.hits[:, lesion] & (image.off[:, lesion] <= core))
            label = math.nan if malignant < 0 else float(malignant)
            subtype = int(image.subtype[lesion])
            chosen += [
                (number, int(c), 1.0, label, subtype, next(units)) for c in rng.permutation(inside)[: recipe.inside]
            ]
        outside = np.flatnonzero(~near)
        luck = recipe.hardness * image.log_odds[outside] + rng.gumbel(size=len(outside))
        hardest = outside[np.argsort(-luck)[: recipe.outside]]
        chosen += [(number, int(c), 0.0, math.nan, -1, next(units)) for c in hardest]
    image_, candidate, lesion_, malignant_, subtype_, unit_ = zip(*chosen, strict=True)
    return _Draws(
        image=np.array(image_, np.int64),
        candidate=np.array(candidate, np.int64),
        lesion=np.array(lesion_, np.float32),
        malignant=np.array(malignant_, np.float32),
        subtype=np.array(subtype_, np.int64),
        unit=np.array(unit_, np.int64),
    )


def _turns(count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Turned by any angle, mirrored half of the time, larger or smaller by some 15 %; shape (count, 2, 2)."""
    angle, mirror = rng.uniform(0.0, 2.0 * np.pi, count), rng.choice([-1.0, 1.0], count)
    scale = np.exp(rng.normal(0.0, 0.15, (count, 1, 1)))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], axis=1)
    turned: npt.NDArray[np.float32] = (turn * scale).astype(np.float32)
    return turned


def _other_looks(patches: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Brighter or darker, with more or less contrast and noise."""
    shape = (len(patches), 1, 1, 1)
    contrast = torch.from_numpy(np.exp(rng.normal(0.0, 0.15, shape)).astype(np.float32)).to(patches.device)
    shift = torch.from_numpy(rng.normal(0.0, 0.06, shape).astype(np.float32)).to(patches.device)
    noise = torch.from_numpy(np.abs(rng.normal(0.0, 0.02, shape)).astype(np.float32)).to(patches.device)
    return (patches * contrast + shift + noise * torch.randn_like(patches)).clamp(-1.0, 1.0)


@torch.inference_mode()
def answers(
    kind: Kind, images: Sequence[PreparedImage], network: SecondLook, *, device: str = "cpu"
) -> list[torch.Tensor]:
    """What the network says of all candidates of each image, shape (candidates, ANSWERS)."""
    atlas = _atlas(kind, images, device)
    said = []
    for image, first in zip(images, _first_sheets(images).tolist(), strict=True):
        patches = atlas.patches(
            torch.from_numpy(image.sheet + first).to(device), torch.from_numpy(image.places_mm).to(device)
        )
        said.append(network(patches, torch.from_numpy(image.features).to(device)).cpu())
    return said


def sensitivities(images: Sequence[PreparedImage], log_odds: Sequence[npt.NDArray[np.float32]]) -> tuple[float, ...]:
    """Share of the lesions with a mark in them at each of `RATES` false marks per image."""
    best = np.array(
        [
            values[image.hits[:, lesion]].max(initial=-99.0)
            for image, values in zip(images, log_odds, strict=True)
            for lesion in range(image.hits.shape[1])
        ]
    )
    false = [values[~image.hits.any(axis=1)] for image, values in zip(images, log_odds, strict=True)]
    ranked = np.append(np.sort(np.concatenate(false))[::-1], -98.0)
    return tuple(float((best > ranked[min(int(rate * len(images)), len(ranked) - 1)]).mean()) for rate in RATES)
