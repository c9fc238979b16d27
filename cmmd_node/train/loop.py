"""What trainings have in common: epochs with a checkpoint after each, and the average of the weights that is kept.

Everything random in an epoch follows from seed and epoch, so that a run that was interrupted goes on as if it had not
been.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from cmmd_node.errors import NodeError

Network = TypeVar("Network", bound=nn.Module)


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


def run_epochs(
    network: Network,
    optimizer: torch.optim.Optimizer,
    one_epoch: Callable[[Network, int], float],
    *,
    epochs: int,
    images: int,
    recipe: Mapping[str, Any],
    checkpoint: Path,
    device: str,
    tell: Callable[[Progress], None],
    after_epoch: Callable[[int, Network], None] = lambda _epoch, _network: None,
) -> Network:
    """Train, or go on with what the checkpoint holds.

    Parameters
    ----------
    one_epoch
        Takes the average of the weights so far, which it keeps up to date, and the number of finished epochs; gives
        the mean loss.
    images : int
        How many an epoch shows.
    recipe
        What decides the weights besides the images.
    checkpoint : Path
        Written after each epoch; an older one is continued when it has the same recipe.
    after_epoch
        Told the number of finished epochs and the averaged network, in evaluation mode.

    Returns
    -------
    torch.nn.Module
        The averaged network, in evaluation mode.

    Raises
    ------
    NodeError
        The checkpoint comes from another recipe.
    """
    averaged: Network = copy.deepcopy(network).eval()
    first = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["recipe"] != recipe:
            raise NodeError(f"{checkpoint} was made with another recipe; move it away to begin anew")
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epochs"]
    for epoch in range(first, epochs):
        started = time.monotonic()
        loss = one_epoch(averaged, epoch)
        state = {
            "recipe": recipe,
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
                epochs=epochs,
                loss=loss,
                seconds=seconds,
                images_per_second=images / seconds,
                left_seconds=seconds * (epochs - epoch - 1),
            )
        )
        after_epoch(epoch + 1, averaged)
    return averaged


def pace(done: float, rise: float) -> float:
    """Share of the learning rate: up within the first part of the training, then down along a cosine."""
    return done / rise if done < rise else 0.5 + 0.5 * math.cos(math.pi * (done - rise) / (1.0 - rise))


@torch.no_grad()
def step_average(averaged: nn.Module, network: nn.Module, *, keep: float, step: int) -> None:
    """Move the average towards the weights after so many steps; the first steps count for more."""
    keep = min(keep, step / (step + 9))
    for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1.0 - keep)
        else:
            mean.copy_(now)
