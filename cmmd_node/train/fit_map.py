"""The training of the maps of masses: whole breasts in, weights of a `MassMap` out, one at a time.

An image teaches when all masses on it are outlined, or when the label says that its breast holds none. Where a label
tells of a mass that nobody outlined, every place of the image may be that mass or not: the image is left out, and the
second look alone learns from it.

A map learns in two turns: the rate rises and falls, and then once more, less high and for less long, with masses of
other breasts pasted into each (`pasting`).

The loss is the focal one of keypoint detectors (Zhou et al., Objects as Points, arXiv:1904.07850): a cell is a centre
or it is not, and the nearer it is to one, the less it matters that it is none. Beside it stands whether the mass is
malignant, where that is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from torch.utils.data import DataLoader, Dataset

from cmmd_node.cad.mass_map import MULTIPLE, STRIDE, MassMap
from cmmd_node.train.canvas import shown
from cmmd_node.train.loop import pace, run_epochs, step_average
from cmmd_node.train.prepared import PreparedImage

_SORTED: Final = 8
"""Batches whose images are sorted by width, so that less air is looked at."""
_RISE: Final = 0.15
_CLIP: Final = 5.0
_AGAIN: Final = 0.4
"""Epochs of the second turn, as a share of those of the first."""
_LESS_HIGH: Final = 2.0 / 3.0
"""Its learning rate, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRecipe:
    """What decides the weights of a map, besides the images."""

    seed: int = 0
    epochs: int = 40
    """Of the first turn. With 30 it found 2 % less on held-out images of CBIS-DDSM."""
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 2e-2
    malignancy: float = 0.3
    """Weight of the second question, whether a mass is malignant."""
    average: float = 0.998
    """Of the weights of one step in the average that is kept."""
    least_masses: int = 100
    """Fewer outlined masses teach no map, and the second look alone judges."""

    @property
    def second_turn(self) -> MapRecipe:
        """Its seed is far from those of other networks, which count on by one."""
        return replace(
            self,
            seed=self.seed + 100,
            epochs=math.ceil(self.epochs * _AGAIN),
            learning_rate=self.learning_rate * _LESS_HIGH,
        )


def teaches(image: PreparedImage) -> bool:
    """Whether it is known of every place of an image whether a mass is there."""
    return image.clean


def enough(images: Sequence[PreparedImage], recipe: MapRecipe) -> bool:
    """Whether there are masses enough to learn a map from."""
    return sum(len(image.malignant) for image in images if teaches(image)) >= max(recipe.least_masses, 1)


def fit_map(
    images: Sequence[PreparedImage],
    balance: npt.NDArray[np.float32],
    recipe: MapRecipe,
    checkpoint: Path,
    *,
    drawers: int = 0,
    device: str = "cpu",
    tell: Callable[[str], None],
) -> MassMap:
    """Train one map, or go on with what the checkpoints hold.

    Parameters
    ----------
    images
        Prepared for masses.
    balance : numpy.ndarray, shape (images, 2)
        How much their results count, as `balance_of` tells.
    checkpoint : Path
        Of the first turn, written after each epoch; that of the second is beside it. One that is there is continued
        when it has the same recipe.
    drawers : int
        Processes that draw what is shown next while the network learns from what was drawn before, for a GPU, which
        would wait for a single one; 0 draws and learns by turns. What is shown is the same.
    device : str
        As torch names it: cpu, cuda.
    tell
        Called with a line for each epoch.

    Raises
    ------
    NodeError
        A checkpoint comes from another recipe.
    """
    teach = [number for number, image in enumerate(images) if teaches(image)]
    used = [images[number] for number in teach]
    donors = [image for image in used if len(image.malignant)]
    first = _Turn("first turn", used, balance[teach], [], recipe)
    second = _Turn("second turn", used, balance[teach], donors, recipe.second_turn)
    torch.manual_seed(recipe.seed)
    network: MassMap = MassMap().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for file, turn in ((checkpoint, first), (checkpoint.with_stem(f"{checkpoint.stem}-again"), second)):
        network = _turned(network, turn, file, drawers=drawers, device=device, tell=tell)
    return network


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """What is shown to a map, and how, while the rate rises and falls once."""

    name: str
    images: Sequence[PreparedImage]
    balance: npt.NDArray[np.float32]
    """How much their results count; of a mass that is pasted in, as if it were the image's own."""
    donors: Sequence[PreparedImage]
    """Whose masses are pasted into others."""
    recipe: MapRecipe


def _turned(
    network: MassMap, turn: _Turn, checkpoint: Path, *, drawers: int, device: str, tell: Callable[[str], None]
) -> MassMap:
    """What a map has become after a turn."""
    recipe = turn.recipe
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)

    def one_epoch(averaged: MassMap, epoch: int) -> float:
        return _epoch(network, averaged, optimizer, _Epoch(turn, epoch), drawers)

    return run_epochs(
        network,
        optimizer,
        one_epoch,
        epochs=recipe.epochs,
        images=len(turn.images),
        recipe=asdict(recipe),
        checkpoint=checkpoint,
        device=device,
        tell=lambda progress: tell(f"{turn.name}, {progress}"),
    )


def map_loss(
    answer: torch.Tensor, near: torch.Tensor, malignant: torch.Tensor, balance: torch.Tensor, *, malignancy: float
) -> torch.Tensor:
    """How far the maps of some images are from what is known.

    Parameters
    ----------
    answer : torch.Tensor, shape (n, ANSWERS, rows, columns)
        Log odds.
    near : torch.Tensor, shape (n, rows, columns)
        1 in the cell of the centre of a mass, less the farther off.
    malignant : torch.Tensor, shape (n, rows, columns)
        1 in a malignant mass, 0 in a benign one, nan elsewhere and where that is not known.
    balance : torch.Tensor, shape (n, 2)
        How much benign and malignant cells of each count.
    malignancy : float
        Weight of the second answer.
    """
    center, log_odds = near == 1.0, answer[:, 0]
    probability = log_odds.sigmoid()
    there = -((1.0 - probability) ** 2) * logsigmoid(log_odds)
    elsewhere = -((1.0 - near) ** 4) * probability**2 * logsigmoid(-log_odds)
    counts = torch.where(malignant == 1.0, balance[:, 1, None, None], balance[:, 0, None, None]) * ~malignant.isnan()
    of_result = binary_cross_entropy_with_logits(answer[:, 1], malignant.nan_to_num(), reduction="none")
    return torch.where(center, there, elsewhere).sum() / center.sum().clamp(min=1) + malignancy * (
        (of_result * counts).sum() / counts.sum().clamp(min=1e-6)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Some images as they are shown."""

    planes: torch.Tensor
    """In the half precision in which they are learnt from: half as much to hand over."""
    near: torch.Tensor
    malignant: torch.Tensor
    balance: torch.Tensor

    def to(self, device: torch.device) -> _Batch:
        return _Batch(
            planes=self.planes.to(device),
            near=self.near.to(device),
            malignant=self.malignant.to(device),
            balance=self.balance.to(device),
        )


class _Epoch(Dataset[_Batch]):
    """The batches of one epoch, each as wide as its widest breast needs.

    What is shown in a batch follows from the seed, the epoch and its number alone, whichever process draws it.
    """

    def __init__(self, turn: _Turn, number: int) -> None:
        self.turn, self.number = turn, number
        self.seed = turn.recipe.seed, number
        widths = [image.sheets.shape[2] for image in turn.images]
        self._parts = _parts(widths, turn.recipe.batch, np.random.default_rng(self.seed))

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, batch: int) -> _Batch:
        turn, part, rng = self.turn, self._parts[batch], np.random.default_rng((*self.seed, batch))
        drawn = [shown(turn.images[one], turn.donors, rng) for one in part]
        planes, near, malignant = (torch.stack(of_all) for of_all in zip(*drawn, strict=True))
        width = int(planes[:, 1].amax(dim=(0, 1)).nonzero().max()) + 1
        cells = math.ceil(width / MULTIPLE) * MULTIPLE // STRIDE
        return _Batch(
            planes=planes[..., : cells * STRIDE].to(torch.bfloat16, memory_format=torch.channels_last),
            near=near[..., :cells].contiguous(),
            malignant=malignant[..., :cells].contiguous(),
            balance=torch.from_numpy(turn.balance[part]),
        )


def _parts(widths: Sequence[int], batch: int, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """Which images are shown together: any, but of some batches' worth those that are about as wide."""
    order, parts = rng.permutation(len(widths)), []
    for first in range(0, len(order), _SORTED * batch):
        some = order[first : first + _SORTED * batch]
        some = some[np.argsort(np.array(widths)[some], kind="stable")]
        parts += [some[start : start + batch] for start in range(0, len(some), batch)]
    rng.shuffle(parts)
    return parts


def _epoch(network: MassMap, averaged: MassMap, optimizer: torch.optim.Optimizer, epoch: _Epoch, drawers: int) -> float:
    """Mean loss of the epoch."""
    recipe, device, total = epoch.turn.recipe, network.answer.weight.device, 0.0
    batches: DataLoader[_Batch] = DataLoader(epoch, batch_size=None, num_workers=drawers)
    torch.manual_seed(int(np.random.default_rng(epoch.seed).integers(1 << 31)))
    network.train()
    for step, drawn in enumerate(batches, start=epoch.number * len(epoch)):
        batch = drawn.to(device)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * pace(step / (recipe.epochs * len(epoch)), _RISE)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            answer = network(batch.planes)
        loss = map_loss(answer.float(), batch.near, batch.malignant, batch.balance, malignancy=recipe.malignancy)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimizer.step()
        step_average(averaged, network, keep=recipe.average, step=step + 1)
        total += loss.item()
    return total / max(len(epoch), 1)
