"""The training loop: prepared images in, weights of a second look at one kind of lesion out.

Each step sees all candidates of some images. A lesion weighs as much as a candidate elsewhere, however many candidates
are in it; drawing hard ones more often instead would teach that hard ones are less likely than they are. Where only a
label says that the breast holds a lesion, a few of them form a bag that is judged as one: at least one is a lesion, and
it is as malignant as they are, each weighted by how likely it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from cmmd_node.cad.patches import Atlas
from cmmd_node.cad.second_look import GRIDS, SecondLook, SecondLooks
from cmmd_node.errors import NodeError
from cmmd_node.facts import Kind
from cmmd_node.train.loop import Progress, pace, run_epochs, step_average
from cmmd_node.train.prepared import PreparedImage

_NEAR = 1.2
"""What is outside a lesion, but not this far off its middle, is called neither."""
_RISE = 0.1
RATES = (0.5, 1.0, 2.0, 4.0)
"""False marks per image at which sensitivity is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the weights, besides the images."""

    seed: int = 0
    epochs: int = 30
    batch: int = 10
    """Images."""
    learning_rate: float = 3e-3
    weight_decay: float = 3e-2
    malignancy: float = 0.3
    """Weight of the second question, whether a lesion is malignant."""
    subtype: float = 0.2
    """Weight of the third, of which subtype it is."""
    bag: int = 8
    """Candidates of a bag."""
    hardness: float = 0.3
    """How much more often the classical detector's log odds put a candidate into a bag."""
    average: float = 0.998
    """Of the weights of one step in the average that is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """What should be answered about an image, and how much that matters; of units, shape (units,) each.

    A unit is what is judged as one: a candidate by itself, or a bag of several.
    """

    unit: npt.NDArray[np.int64]
    """Of each candidate: the number of its unit, from 0, shape (candidates,)."""
    lesion: npt.NDArray[np.float32]
    """1 in a lesion or a bag, 0 elsewhere."""
    weight: npt.NDArray[np.float32]
    malignant: npt.NDArray[np.float32]
    """1 malignant, 0 benign, nan unknown."""
    subtype: npt.NDArray[np.int64]
    """-1 unknown."""


def fit(
    kind: Kind,
    images: Sequence[PreparedImage],
    balance: npt.NDArray[np.float32],
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
    balance : numpy.ndarray, shape (images, 2)
        How much their results count, as `balance_of` tells.
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
    network: SecondLook = SecondLook(kind).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    _standardise(network, images)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    atlas = _atlas(kind, images, device)

    def one_epoch(averaged: SecondLook, epoch: int) -> float:
        return _epoch(network, averaged, optimizer, _Feed(images, balance, atlas, recipe, epoch=epoch, device=device))

    return run_epochs(
        network,
        optimizer,
        one_epoch,
        epochs=recipe.epochs,
        images=len(images),
        recipe=asdict(recipe),
        checkpoint=checkpoint,
        device=device,
        tell=tell,
        after_epoch=after_epoch,
    )


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
    """All candidates of some images, on the device."""

    patches: torch.Tensor
    features: torch.Tensor
    image: torch.Tensor
    """Which of the images each is in."""
    unit: torch.Tensor
    """Which candidates are judged as one; this and what follows as `_Wanted` has it."""
    lesion: torch.Tensor
    weight: torch.Tensor
    malignant: torch.Tensor
    balance: torch.Tensor
    """How much more or less than `weight` its result counts."""
    subtype: torch.Tensor
    done: float
    """Share of the whole training that is behind it."""


class _Feed:
    """The batches of one epoch."""

    def __init__(
        self,
        images: Sequence[PreparedImage],
        balance: npt.NDArray[np.float32],
        atlas: Atlas,
        recipe: Recipe,
        *,
        epoch: int,
        device: str,
    ) -> None:
        self.recipe = recipe
        self._images, self._balance, self._atlas, self._epoch, self._device = images, balance, atlas, epoch, device
        self._rng = np.random.default_rng((recipe.seed, epoch))
        torch.manual_seed(int(self._rng.integers(1 << 31)))
        self._first_sheets = _first_sheets(images)
        useful = [n for n, image in enumerate(images) if len(image.features) and (image.clean or image.weak)]
        order = self._rng.permutation(useful)
        self._parts = [order[first : first + recipe.batch] for first in range(0, len(order), recipe.batch)]
        self.first_step = epoch * len(self._parts)

    def __iter__(self) -> Iterator[_Batch]:
        for number, part in enumerate(self._parts):
            images = [self._images[one] for one in part]
            wanted = [_wanted(image, self.recipe, self._rng) for image in images]
            balance = [
                row[(one.malignant == 1).astype(int)] for row, one in zip(self._balance[part], wanted, strict=True)
            ]
            first_units = np.cumsum([0, *(len(one.lesion) for one in wanted)])[:-1]
            image = np.repeat(np.arange(len(part)), [len(one.features) for one in images])
            places = np.concatenate([one.places_mm for one in images])
            places += self._rng.normal(0.0, 1.0, places.shape).astype(np.float32)
            sheets = np.concatenate([one.sheet + self._first_sheets[n] for n, one in zip(part, images, strict=True)])
            patches = self._atlas.patches(
                self._sent(sheets), self._sent(places), self._sent(_turns(len(places), self._rng))
            )
            yield _Batch(
                patches=_other_looks(patches, image, self._rng),
                features=self._sent(np.concatenate([one.features for one in images])),
                image=self._sent(image),
                unit=self._sent(np.concatenate([one.unit + n for n, one in zip(first_units, wanted, strict=True)])),
                lesion=self._sent(np.concatenate([one.lesion for one in wanted])),
                weight=self._sent(np.concatenate([one.weight for one in wanted])),
                malignant=self._sent(np.concatenate([one.malignant for one in wanted])),
                balance=self._sent(np.concatenate(balance)),
                subtype=self._sent(np.concatenate([one.subtype for one in wanted])),
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
            group["lr"] = recipe.learning_rate * pace(batch.done, _RISE)
        answer = of_units(network(batch.patches, batch.features, batch.image), batch.unit)
        lesion = binary_cross_entropy_with_logits(answer[:, 0], batch.lesion, reduction="none")
        malignant = binary_cross_entropy_with_logits(answer[:, 1], batch.malignant.nan_to_num(), reduction="none")
        subtype = cross_entropy(answer[:, 2:], batch.subtype.clamp(min=0), reduction="none")
        loss = (
            _mean(lesion, batch.weight)
            + recipe.malignancy * _mean(malignant, batch.weight * batch.balance * ~batch.malignant.isnan())
            + recipe.subtype * _mean(subtype, batch.weight * (batch.subtype >= 0))
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step_average(averaged, network, keep=recipe.average, step=feed.first_step + step)
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


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """0 where nothing weighs anything."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def _wanted(image: PreparedImage, recipe: Recipe, rng: np.random.Generator) -> _Wanted:
    return _bagged(image, recipe, rng) if image.weak else _outlined(image)


def _outlined(image: PreparedImage) -> _Wanted:
    """Each candidate by itself."""
    hit: npt.NDArray[np.bool_] = np.asarray(image.hits.any(axis=1))
    shares = image.hits / np.maximum(image.hits.sum(axis=0), 1)
    which = np.append(image.hits, ~hit[:, None], axis=1).argmax(axis=1)  # the last where it is in none
    malignant, subtype = np.append(image.malignant, -1)[which], np.append(image.subtype, -1)[which]
    return _Wanted(
        unit=np.arange(len(hit)),
        lesion=hit.astype(np.float32),
        weight=np.where(hit, shares.max(axis=1, initial=0.0), (image.off > _NEAR).all(axis=1)).astype(np.float32),
        malignant=np.where(malignant < 0, np.nan, malignant).astype(np.float32),
        subtype=subtype.astype(np.int64),
    )


def _bagged(image: PreparedImage, recipe: Recipe, rng: np.random.Generator) -> _Wanted:
    """A bag, and a unit without weight that holds the others."""
    luck = recipe.hardness * image.log_odds + rng.gumbel(size=len(image.log_odds))
    unit = np.ones(len(luck), np.int64)
    unit[np.argsort(-luck)[: recipe.bag]] = 0
    units = np.unique(unit)  # a bag may hold all there are
    malignant = np.nan if image.breast_malignant < 0 else float(image.breast_malignant)
    return _Wanted(
        unit=unit,
        lesion=np.ones(len(units), np.float32),
        weight=(units == 0).astype(np.float32),
        malignant=np.full(len(units), malignant, np.float32),
        subtype=np.full(len(units), image.breast_subtype, np.int64),
    )


def _turns(count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Turned by any angle, mirrored half of the time, larger or smaller by some 15 %; shape (count, 2, 2)."""
    angle, mirror = rng.uniform(0.0, 2.0 * np.pi, count), rng.choice([-1.0, 1.0], count)
    scale = np.exp(rng.normal(0.0, 0.15, (count, 1, 1)))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], axis=1)
    turned: npt.NDArray[np.float32] = (turn * scale).astype(np.float32)
    return turned


def _other_looks(patches: torch.Tensor, image: npt.NDArray[np.int64], rng: np.random.Generator) -> torch.Tensor:
    """Brighter or darker, with more or less contrast and noise, all of an image alike."""

    def drawn(spread: float) -> npt.NDArray[np.float32]:
        of_image = rng.normal(0.0, spread, int(image.max()) + 1)
        return of_image[image, None, None, None].astype(np.float32)

    contrast = torch.from_numpy(np.exp(drawn(0.15))).to(patches.device)
    shift = torch.from_numpy(drawn(0.06)).to(patches.device)
    noise = torch.from_numpy(np.abs(drawn(0.02))).to(patches.device)
    return (patches * contrast + shift + noise * torch.randn_like(patches)).clamp(-1.0, 1.0)


@torch.inference_mode()
def answers(
    kind: Kind, images: Sequence[PreparedImage], networks: SecondLooks, *, device: str = "cpu"
) -> list[torch.Tensor]:
    """What the networks say of all candidates of each image, shape (candidates, ANSWERS)."""
    atlas = _atlas(kind, images, device)
    said = []
    for image, first in zip(images, _first_sheets(images).tolist(), strict=True):
        patches = atlas.patches(
            torch.from_numpy(image.sheet + first).to(device), torch.from_numpy(image.places_mm).to(device)
        )
        features = torch.from_numpy(image.features).to(device)
        one_image = torch.zeros(len(features), dtype=torch.int64, device=device)
        said.append(networks(patches, features, one_image).cpu())
    return said


def sensitivities(
    hits: Sequence[npt.NDArray[np.bool_]], log_odds: Sequence[npt.NDArray[np.floating]]
) -> tuple[float, ...]:
    """Share of the lesions with a mark in them at each of `RATES` false marks per image.

    Parameters
    ----------
    hits
        Of each image which lesions its marks lie in, shape (marks, lesions).
    log_odds
        Of each image those of its marks, shape (marks,).
    """
    best = [
        values[lesion].max(initial=-99.0)
        for of_image, values in zip(hits, log_odds, strict=True)
        for lesion in of_image.T
    ]
    false = [values[~of_image.any(axis=1)] for of_image, values in zip(hits, log_odds, strict=True)]
    ranked = np.append(np.sort(np.concatenate(false))[::-1], -98.0)
    return tuple(float((np.array(best) > ranked[min(int(rate * len(hits)), len(ranked) - 1)]).mean()) for rate in RATES)
