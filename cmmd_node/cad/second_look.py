"""The network that takes a second look at candidates of the classical detector: one for masses, one for clusters.

Both are the same network, on grids of their own: a mass is judged by what is around it, a cluster by the shape of its
calcifications, at full resolution.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import nn

from cmmd_node.cad.outlines import RIM_FEATURES
from cmmd_node.cad.patches import CLUSTER_GRIDS, MASS_GRIDS, Grids
from cmmd_node.cad.places import PLACE_FEATURES
from cmmd_node.cad.specks import SPECK_FEATURES
from cmmd_node.facts import Kind, Subtype

MASS_FEATURES: Final = (*PLACE_FEATURES, *RIM_FEATURES, "log odds of the classical detector")
FEATURES: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.MASS: MASS_FEATURES,
    Kind.CALCIFICATION_CLUSTER: SPECK_FEATURES,
}
"""What is told of a candidate beside its patches; the last are log odds from which the network begins."""
GRIDS: Final[dict[Kind, Grids]] = {Kind.MASS: MASS_GRIDS, Kind.CALCIFICATION_CLUSTER: CLUSTER_GRIDS}
ARCHITECTURE: Final = "second-look/2"
"""Of metadata.json: this network, fed with these candidates, features and patches."""
ANSWERS: Final = 2 + len(Subtype)
"""That the candidate is what it is taken for; that, being so, it is malignant; and each subtype of a cancer."""
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
    """Patches of a candidate on several grids, and its features, to log odds.

    What the classical detector says is where the network begins: it learns what to add to that.

    One trunk reads all grids; its weights are shared, since a mass on a coarse grid looks like a small one on a fine
    grid. What it sees on each is told apart again by the layers that join them.
    """

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, WIDTHS[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
            *(_Block(inputs, outputs) for inputs, outputs in pairwise(WIDTHS)),
        )
        features, grids = len(FEATURES[kind]), len(GRIDS[kind].pixel_mm)
        self.center = nn.Buffer(torch.zeros(features))
        self.spread = nn.Buffer(torch.ones(features))
        self.join = nn.Sequential(nn.Linear(2 * WIDTHS[-1] * grids + features, 128), nn.ReLU(), nn.Dropout(0.3))
        self.answer = nn.Linear(128, ANSWERS)
        self.trust = nn.Parameter(torch.ones(()))

    def forward(self, patches: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Log odds of each candidate.

        Parameters
        ----------
        patches : torch.Tensor, float32, shape (n, scales, size, size)
        features : torch.Tensor, float32, shape (n, features)
            `FEATURES` of its kind.

        Returns
        -------
        torch.Tensor, float32, shape (n, ANSWERS)
            Log odds that it is what it is taken for; that, being so, it is malignant; then, for a softmax, of each
            `Subtype` that it has, being malignant.
        """
        count, scales = patches.shape[:2]
        seen = self.trunk(patches.reshape(count * scales, 1, *patches.shape[2:]))
        pooled = torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)
        pooled = pooled.reshape(count, scales * 2 * WIDTHS[-1])
        known = ((features - self.center) / self.spread).clamp(-4.0, 4.0)
        answer: torch.Tensor = self.answer(self.join(torch.cat([pooled, known], dim=1)))
        return torch.cat([answer[:, :1] + self.trust * features[:, -1:], answer[:, 1:]], dim=1)
