"""The network that takes a second look at the candidates of the classical detector."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import nn

from cmmd_node.cad.outlines import RIM_FEATURES
from cmmd_node.cad.patches import PIXEL_MM
from cmmd_node.cad.places import PLACE_FEATURES

FEATURES: Final = (*PLACE_FEATURES, *RIM_FEATURES, "log odds of the classical detector")
"""What is told of a candidate beside its patches."""
ARCHITECTURE: Final = "second-look/1"
"""Of metadata.json: this network, fed with these candidates, features and patches."""
WIDTHS: Final = (16, 32, 64)


class _Block(nn.Module):
    """Halve the grid, then look twice; what is seen is added to what was there."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.look = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.look_norm = nn.BatchNorm2d(outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = torch.relu(self.norm(self.halve(values)))
        seen: torch.Tensor = torch.relu(values + self.look_norm(self.look(values)))
        return seen


class SecondLook(nn.Module):
    """Patches of a candidate on three grids, and its features, to two log odds.

    What the classical detector says is where the network begins: it learns what to add to that.

    One trunk reads all grids; its weights are shared, since a mass on a coarse grid looks like a small one on a fine
    grid. What it sees on each is told apart again by the layers that join them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, WIDTHS[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
            *(_Block(inputs, outputs) for inputs, outputs in pairwise(WIDTHS)),
        )
        features = len(FEATURES)
        self.center = nn.Buffer(torch.zeros(features))
        self.spread = nn.Buffer(torch.ones(features))
        self.join = nn.Sequential(nn.Linear(2 * WIDTHS[-1] * len(PIXEL_MM) + features, 128), nn.ReLU(), nn.Dropout(0.3))
        self.answer = nn.Linear(128, 2)
        self.trust = nn.Parameter(torch.ones(()))

    def forward(self, patches: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Log odds of each candidate.

        Parameters
        ----------
        patches : torch.Tensor, float32, shape (n, scales, size, size)
        features : torch.Tensor, float32, shape (n, features)
            `FEATURES`.

        Returns
        -------
        torch.Tensor, float32, shape (n, 2)
            That it is a mass; that, being one, it is malignant.
        """
        count, scales = patches.shape[:2]
        seen = self.trunk(patches.reshape(count * scales, 1, *patches.shape[2:]))
        pooled = torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1).reshape(count, -1)
        known = ((features - self.center) / self.spread).clamp(-4.0, 4.0)
        mass, malignant = self.answer(self.join(torch.cat([pooled, known], dim=1))).unbind(dim=1)
        return torch.stack([mass + self.trust * features[:, -1], malignant], dim=1)
