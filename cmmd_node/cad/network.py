"""The fitted part of the classical detector: a small fully connected network, evaluated with numpy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmmd_node.cad.breast import Field


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Features in, one number out: the log odds that they describe a mass."""

    center: Field
    spread: Field
    layers: tuple[tuple[Field, Field], ...]
    """Weights (inputs, outputs) and bias of each layer, with rectified units between them."""

    @classmethod
    def from_file(cls, path: Path, name: str, *, features: tuple[str, ...]) -> Network:
        """Read the coefficients and see that they were fitted for these features, in this order."""
        content = json.loads(path.read_text())[name]
        if tuple(content["features"]) != features:
            raise ValueError(f"{path.name}: {name} fitted for other features than those that are computed")
        return cls(
            center=np.array(content["center"], np.float32),
            spread=np.array(content["spread"], np.float32),
            layers=tuple(
                (np.array(layer["weights"], np.float32), np.array(layer["bias"], np.float32))
                for layer in content["layers"]
            ),
        )

    def __call__(self, features: Field) -> Field:
        """Log odds of each place.

        Parameters
        ----------
        features : numpy.ndarray, float32, shape (n, features)

        Returns
        -------
        numpy.ndarray, float32, shape (n,)
        """
        values = np.clip((features - self.center) / self.spread, -4.0, 4.0)
        for weights, bias in self.layers[:-1]:
            values = np.maximum(values @ weights + bias, 0.0)
        weights, bias = self.layers[-1]
        log_odds: NDArray[np.float32] = (values @ weights + bias)[:, 0]
        return log_odds
