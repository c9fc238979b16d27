"""The network that takes a second look at candidates of the classical detector: one for masses, one for clusters.

Both are the same network, on grids of their own: a mass is judged by what is around it, a cluster by the shape of its
calcifications, at full resolution. Each candidate is judged beside the others of its image: what stands out in one
breast is common in another.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import torch
from torch import nn

from cmmd_node.cad.outlines import RIM_FEATURES
from cmmd_node.cad.patches import CLUSTER_GRIDS, MASS_GRIDS, Grids
from cmmd_node.cad.places import PLACE_FEATURES
from cmmd_node.cad.specks import SPECK_FEATURES
from cmmd_node.facts import Kind, Subtype

MASS_FEATURES: Final = (*PLACE_FEATURES, *RIM_FEATURES)
FEATURES: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.MASS: MASS_FEATURES,
    Kind.CALCIFICATION_CLUSTER: SPECK_FEATURES,
}
"""What is told of a candidate beside its patches.

The log odds of the classical detector are not among those of a mass: it was fitted on some of the images that networks
learn from, so they look better there than on others.
"""
GRIDS: Final[dict[Kind, Grids]] = {Kind.MASS: MASS_GRIDS, Kind.CALCIFICATION_CLUSTER: CLUSTER_GRIDS}
ARCHITECTURE: Final = "second-look/6"
"""Of metadata.json: this network, fed with these candidates, features and patches, and `mass_map` beside it."""
ANSWERS: Final = 2 + len(Subtype)
"""That the candidate is what it is taken for; that, being so, it is malignant; and each subtype of a cancer."""
WIDTHS: Final = (16, 32, 64)
_SEEN: Final = 32
_THOUGHT: Final = 64
_JUDGED: Final = 128


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
    """Patches of candidates on several grids, and their features, to log odds.

    One trunk reads all grids; its weights are shared, since a mass on a coarse grid looks like a small one on a fine
    grid. What it sees on each is told apart again by the layers that join them. Whether a candidate is a lesion depends
    on the others: twice, what is thought of it is put beside the mean and the maximum of that over all candidates of
    its image. Whether it is malignant is to be seen in itself.

    Out of training it looks four times, at patches turned by a quarter each time, and answers the mean: no side of a
    lesion is up.
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
        self.see = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * WIDTHS[-1] * grids, _SEEN), nn.ReLU())
        self.alone = nn.Sequential(nn.Linear(_SEEN + features, _THOUGHT), nn.ReLU(), nn.Dropout(0.3))
        self.beside = nn.ModuleList(
            nn.Sequential(nn.Linear(3 * _THOUGHT, _THOUGHT), nn.ReLU(), nn.Dropout(0.3)) for _ in range(2)
        )
        self.lesion = nn.Linear(_THOUGHT, 1)
        self.judge = nn.Sequential(nn.Linear(2 * WIDTHS[-1] * grids + features, _JUDGED), nn.ReLU(), nn.Dropout(0.3))
        self.malignant = nn.Linear(_JUDGED, 1)
        self.subtype = nn.Linear(_JUDGED, len(Subtype))

    def forward(self, patches: torch.Tensor, features: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Log odds of each candidate.

        Parameters
        ----------
        patches : torch.Tensor, float32, shape (n, scales, size, size)
        features : torch.Tensor, float32, shape (n, features)
            `FEATURES` of its kind.
        image : torch.Tensor, int64, shape (n,)
            Which image each is in, counted from 0. All candidates of an image have to be there.

        Returns
        -------
        torch.Tensor, float32, shape (n, ANSWERS)
            Log odds that it is what it is taken for; that, being so, it is malignant; then, for a softmax, of each
            `Subtype` that it has, being malignant.
        """
        if self.training:
            return self._look(patches, features, image)
        looks = [self._look(patches.rot90(quarters, (2, 3)), features, image) for quarters in range(4)]
        return torch.stack(looks).mean(dim=0)

    def _look(self, patches: torch.Tensor, features: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        count, scales = patches.shape[:2]
        seen = self.trunk(patches.reshape(count * scales, 1, *patches.shape[2:]))
        pooled = torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)
        pooled = pooled.reshape(count, scales * 2 * WIDTHS[-1])
        known = ((features - self.center) / self.spread).clamp(-4.0, 4.0)
        thought = self.alone(torch.cat([self.see(pooled), known], dim=1))
        of_image = image.bincount()[:, None]
        nothing = thought.new_zeros(len(of_image), _THOUGHT)
        for beside in self.beside:
            mean = nothing.index_add(0, image, thought) / of_image.clamp(min=1)
            most = nothing.scatter_reduce(0, image[:, None].expand_as(thought), thought, "amax")  # none is below 0
            thought = thought + beside(torch.cat([thought, mean[image], most[image]], dim=1))
        judged = self.judge(torch.cat([pooled, known], dim=1))
        return torch.cat([self.lesion(thought), self.malignant(judged), self.subtype(judged)], dim=1)


class SecondLooks(nn.Module):
    """Second looks at one kind that learnt the same from different beginnings; together they answer the mean."""

    def __init__(self, members: Iterable[SecondLook]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, patches: torch.Tensor, features: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """As `SecondLook.forward`."""
        return torch.stack([member(patches, features, image) for member in self.members]).mean(dim=0)
