"""Whether a mass is malignant, by its rings: two lines, fitted in one step each.

The first tells from what is known of a candidate how large the mass is. By that the rings of `margins` are shifted, so
that those at the margin of a small mass lie beside those at the margin of a large one; the second weighs them. Some
thousand masses with a biopsy teach a line more than they teach a network.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn

from cmmd_node.cad.margins import RING_EDGES_MM, RING_FEATURES, SMOOTHED_MM
from cmmd_node.cad.second_look import MASS_FEATURES

_AT: Final = (0.3, 0.65, 1.0, 1.35, 1.8, 2.5)
"""Where the rings are read, in radii of the mass."""
_FAR: Final = 3.0
"""What lies farther off the mean than so many standard deviations counts as this far."""
_LOG_RADII: Final = np.log(np.sqrt(np.array(RING_EDGES_MM[:-1]) * np.array(RING_EDGES_MM[1:])))
"""Of the middles of the rings, evenly spaced."""


class Line(nn.Module):
    """A weighted sum of what was seen, each in standard deviations from its mean."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.center = nn.Buffer(torch.zeros(inputs))
        self.spread = nn.Buffer(torch.ones(inputs))
        self.sum = nn.Linear(inputs, 1)

    def standardised(self, seen: torch.Tensor) -> torch.Tensor:
        return ((seen - self.center) / self.spread).clamp(-_FAR, _FAR)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Shape (n, inputs) to shape (n,)."""
        summed: torch.Tensor = self.sum(self.standardised(seen))[:, 0]
        return summed


class Characterisation(nn.Module):
    """Candidates of masses to the log odds that they are malignant, being masses."""

    def __init__(self) -> None:
        super().__init__()
        known, read = len(MASS_FEATURES), len(_AT) * len(SMOOTHED_MM) * len(RING_FEATURES)
        self.log_radius = Line(known)
        self.malignant = Line(1 + known + read)

    def forward(self, features: torch.Tensor, rings: torch.Tensor) -> torch.Tensor:
        """Log odds of each candidate.

        Parameters
        ----------
        features : torch.Tensor, float32, shape (n, len(MASS_FEATURES))
        rings : torch.Tensor, float32, shape (n, rings, features)
            `margins.ring_features`.

        Returns
        -------
        torch.Tensor, float32, shape (n,)
        """
        log_odds: torch.Tensor = self.malignant(self.described(features, rings))
        return log_odds

    def described(self, features: torch.Tensor, rings: torch.Tensor) -> torch.Tensor:
        """What the second line weighs: log radius, what is known, and the rings, the size of the mass taken out."""
        log_radius = self.log_radius(features)
        places = log_radius[:, None] + torch.tensor(_AT, device=features.device).log()
        places = ((places - _LOG_RADII[0]) / (_LOG_RADII[1] - _LOG_RADII[0])).clamp(0.0, len(_LOG_RADII) - 1.001)
        inner = places.long()
        number = torch.arange(len(rings), device=rings.device)[:, None]
        read = torch.lerp(rings[number, inner], rings[number, inner + 1], (places - inner)[:, :, None])
        return torch.cat([log_radius[:, None], features, read.flatten(1)], dim=1)
