"""Bundles with weights for the networks of this program: candidates of the classical detector, judged anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cmmd_node.cad.breast import Breast, Field
from cmmd_node.cad.bundle import Bundle
from cmmd_node.cad.candidates import Sighted, sighted
from cmmd_node.cad.characterisation import Characterisation
from cmmd_node.cad.classical import ClassicalDetector, cluster_mark, mass_mark
from cmmd_node.cad.mass_map import ANSWERS as MAP_ANSWERS
from cmmd_node.cad.mass_map import MassMap, added
from cmmd_node.cad.patches import Atlas
from cmmd_node.cad.second_look import ARCHITECTURE, GRIDS, SecondLook
from cmmd_node.cad.specks import Groups
from cmmd_node.errors import ModelFault
from cmmd_node.facts import Kind, Mark, Subtype, View

WEIGHTS_FILE: Final = "model.safetensors"
_SURE: Final = 30.0

_MAP: Final = "mass-map"
_CHARACTERISATION: Final = "mass-characterisation"
"""What names of weights of these begin with; those of a `SecondLook` begin with its kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """What judges candidates."""

    second_looks: Mapping[Kind, SecondLook]
    """One for each kind that is looked for."""
    mass_map: MassMap | None = None
    """None where too few masses were outlined to learn it from."""
    characterisation: Characterisation | None = None
    """None where too few outlined masses had a known result to learn it from."""

    def named(self) -> torch.nn.ModuleDict:
        """All of them, under the names that a bundle's weights begin with."""
        named: dict[str, torch.nn.Module] = {kind.value: network for kind, network in self.second_looks.items()}
        beside = {_MAP: self.mass_map, _CHARACTERISATION: self.characterisation}
        return torch.nn.ModuleDict(named | {name: network for name, network in beside.items() if network is not None})


def open_networks(bundle: Bundle) -> Networks:
    """The networks with the weights of a bundle; it may do without those of masses beside the second look.

    Raises
    ------
    BundleRefused
        The weights are not those of these networks.
    """
    if bundle.metadata.architecture != ARCHITECTURE:
        found = bundle.metadata.architecture
        raise bundle.refused(f"architecture is {found!r}; this program knows {ARCHITECTURE!r}")
    try:
        weights = load_file(bundle.folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise bundle.refused(f"{WEIGHTS_FILE} cannot be read: {error}") from error
    there_are = {name.partition(".")[0] for name in weights}
    networks = Networks(
        {kind: SecondLook(kind) for kind in bundle.metadata.kinds},
        MassMap() if _MAP in there_are else None,
        Characterisation() if _CHARACTERISATION in there_are else None,
    )
    together = networks.named()
    wanted = together.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        here, there = wanted.get(name), weights.get(name)
        if here is None or there is None or here.shape != there.shape:
            raise bundle.refused(f"{WEIGHTS_FILE}: {name} is {_shape(there)}; the network takes {_shape(here)}")
        if not bool(torch.isfinite(there).all()):
            raise bundle.refused(f"{WEIGHTS_FILE}: {name} holds NaN or infinity")
    together.load_state_dict(weights)
    return networks


class NativeFinder:
    """Runs the `SecondLook` of each kind that there is one for, and what there is beside it for masses."""

    def __init__(self, networks: Networks) -> None:
        networks.named().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._networks = networks
        self._classical = ClassicalDetector()

    def __call__(self, pixels: Field, breast: Breast, view: View) -> list[Mark]:
        marks: list[Mark] = []
        for kind in self._networks.second_looks:
            candidates = sighted(kind, pixels, breast, self._classical)
            if len(candidates.features):
                marks += _marks(candidates, judged(candidates, kind, self._networks), breast)
        return marks


@torch.inference_mode()
def judged(candidates: Sighted, kind: Kind, networks: Networks) -> torch.Tensor:
    """What the networks say of the candidates of a kind, shape (n, ANSWERS), float64.

    Raises
    ------
    ModelFault
        The answer holds NaN or infinity.
    """
    atlas = Atlas(candidates.sheets, GRIDS[kind])
    places = torch.from_numpy(candidates.places_mm).float()
    patches = atlas.patches(torch.from_numpy(candidates.sheet), places)
    one_image = torch.zeros(len(places), dtype=torch.int64)
    features = torch.from_numpy(candidates.features).float()
    answer: torch.Tensor = networks.second_looks[kind](patches, features, one_image).double()
    if kind is Kind.MASS and networks.mass_map is not None:
        answer[:, :MAP_ANSWERS] += added(candidates.sheets[0], places, networks.mass_map)
    if kind is Kind.MASS and networks.characterisation is not None:
        answer[:, 1] += networks.characterisation(features, torch.from_numpy(candidates.rings))
    if not bool(torch.isfinite(answer).all()):
        raise ModelFault("the output holds NaN or infinity")
    return answer


def _marks(candidates: Sighted, answer: torch.Tensor, breast: Breast) -> list[Mark]:
    log_odds, malignant = answer[:, 0].clamp(-_SURE, _SURE).tolist(), answer[:, 1].sigmoid().tolist()
    subtypes = [dict(zip(Subtype, shares, strict=True)) for shares in answer[:, 2:].softmax(dim=1).tolist()]
    found = candidates.found
    if isinstance(found, Groups):
        return [
            cluster_mark(members, value, breast, probability_malignant=probability, subtypes=shares)
            for members, value, probability, shares in zip(found.members_mm, log_odds, malignant, subtypes, strict=True)
        ]
    return [
        mass_mark(center, rim, value, breast, probability_malignant=probability, subtypes=shares)
        for center, rim, value, probability, shares in zip(
            found.centers_mm, found.rims_mm, log_odds, malignant, subtypes, strict=True
        )
    ]


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
