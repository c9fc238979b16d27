"""Bundles with weights for the network of this program: candidates of the classical detector, judged anew."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cmmd_node.cad.breast import Breast, Field
from cmmd_node.cad.bundle import Bundle
from cmmd_node.cad.classical import ClassicalDetector, mass_mark
from cmmd_node.cad.masses import Candidates
from cmmd_node.cad.patches import Atlas, tissue_levels
from cmmd_node.cad.second_look import ARCHITECTURE, FEATURES, SecondLook
from cmmd_node.errors import ModelFault
from cmmd_node.facts import Mark, View

WEIGHTS_FILE: Final = "model.safetensors"
MOST_CANDIDATES: Final = 45
APART_MM: Final = 6.0
_SURE: Final = 30.0


def candidates_of(breast: Breast, classical: ClassicalDetector) -> tuple[Candidates, Field]:
    """The candidates that the network judges, and their features, shape (n, len(FEATURES)); training uses it too."""
    found = classical.candidates(breast, most=MOST_CANDIDATES, apart_mm=APART_MM)
    known = found.features[:, : len(FEATURES) - 1]
    features: Field = np.concatenate([known, classical.log_odds(found)[:, None]], axis=1)
    return found, features


def open_network(bundle: Bundle) -> SecondLook:
    """The network with the weights of a bundle.

    Raises
    ------
    BundleRefused
        The weights are not those of this network.
    """
    if bundle.metadata.architecture != ARCHITECTURE:
        found = bundle.metadata.architecture
        raise bundle.refused(f"architecture is {found!r}; this program knows {ARCHITECTURE!r}")
    try:
        weights = load_file(bundle.folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise bundle.refused(f"{WEIGHTS_FILE} cannot be read: {error}") from error
    network = SecondLook()
    wanted = network.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        here, there = wanted.get(name), weights.get(name)
        if here is None or there is None or here.shape != there.shape:
            raise bundle.refused(f"{WEIGHTS_FILE}: {name} is {_shape(there)}; the network takes {_shape(here)}")
        if not bool(torch.isfinite(there).all()):
            raise bundle.refused(f"{WEIGHTS_FILE}: {name} holds NaN or infinity")
    network.load_state_dict(weights)
    return network


class NativeFinder:
    """Runs `SecondLook`."""

    def __init__(self, network: SecondLook) -> None:
        self._network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._classical = ClassicalDetector()

    def __call__(self, pixels: Field, breast: Breast, view: View) -> list[Mark]:
        found, features = candidates_of(breast, self._classical)
        if not len(features):
            return []
        with torch.inference_mode():
            patches = Atlas([tissue_levels(breast)]).patches(
                torch.zeros(len(features), dtype=torch.int64), torch.from_numpy(found.centers_mm).float()
            )
            answer = self._network(patches, torch.from_numpy(features).float()).double()
        if not bool(torch.isfinite(answer).all()):
            raise ModelFault("the output holds NaN or infinity")
        log_odds, malignant = answer[:, 0].clamp(-_SURE, _SURE).tolist(), answer[:, 1].sigmoid().tolist()
        return [
            mass_mark(center, rim, mass, breast, probability_malignant=probability)
            for center, rim, mass, probability in zip(found.centers_mm, found.rims_mm, log_odds, malignant, strict=True)
        ]


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
