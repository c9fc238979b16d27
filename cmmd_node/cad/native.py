"""Bundles with weights for the networks of this program: candidates of the classical detector, judged anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from cmmd_node.cad.breast import Breast, Field
from cmmd_node.cad.bundle import Bundle
from cmmd_node.cad.candidates import Sighted, sighted
from cmmd_node.cad.characterisation import Characterisation
from cmmd_node.cad.classical import ClassicalDetector, cluster_mark, mass_mark
from cmmd_node.cad.mass_map import ANSWERS as MAP_ANSWERS
from cmmd_node.cad.mass_map import MassMaps, added
from cmmd_node.cad.patches import Atlas, Levels
from cmmd_node.cad.second_look import ARCHITECTURE, GRIDS, SecondLook, SecondLooks
from cmmd_node.cad.specks import Groups
from cmmd_node.errors import ModelFault
from cmmd_node.facts import Kind, Mark, Subtype, View

WEIGHTS_FILE: Final = "model.safetensors"
_SURE: Final = 30.0
_ONE_MM: Final = 4.0
"""Nearer to each other than this, two candidates are one mass."""

_MAP: Final = "mass-map"
_CHARACTERISATION: Final = "mass-characterisation"
"""What names of weights of these begin with; those of `SecondLooks` begin with its kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """What judges candidates."""

    second_looks: Mapping[Kind, SecondLooks]
    """Those of each kind that is looked for."""
    mass_maps: MassMaps | None = None
    """None where too few masses were outlined to learn it from."""
    characterisation: Characterisation | None = None
    """None where too few outlined masses had a known result to learn it from."""

    def named(self) -> torch.nn.ModuleDict:
        """All of them, under the names that a bundle's weights begin with."""
        named: dict[str, torch.nn.Module] = {kind.value: network for kind, network in self.second_looks.items()}
        beside = {_MAP: self.mass_maps, _CHARACTERISATION: self.characterisation}
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
        {kind: _second_looks(kind, weights) for kind in bundle.metadata.kinds},
        MassMaps(_members(_MAP, weights)) if _MAP in there_are else None,
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


def _second_looks(kind: Kind, weights: Mapping[str, torch.Tensor]) -> SecondLooks:
    return SecondLooks(SecondLook(kind) for _ in range(_members(kind, weights)))


def _members(part: str, weights: Mapping[str, torch.Tensor]) -> int:
    """How many networks the weights of a part are of; one at least, which is missed where there is none."""
    return len({name.split(".")[2] for name in weights if name.startswith(f"{part}.members.")}) or 1


class NativeFinder:
    """Runs the `SecondLooks` of each kind that there are some for, and what there is beside it for masses."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What networks say of candidates of one kind in one breast; of two that turn out to be one, one is left."""

    candidate: NDArray[np.int64]
    """Which of the candidates, shape (n,)."""
    centers_mm: NDArray[np.float64]
    """Where it is centred, shape (n, 2), (column, row) on the grid of its sheet."""
    answer: torch.Tensor
    """Shape (n, ANSWERS), float64."""


@torch.inference_mode()
def judged(candidates: Sighted, kind: Kind, networks: Networks) -> Judged:
    """What the networks say of the candidates of a kind.

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
    return completed(kind, candidates, networks.second_looks[kind](patches, features, one_image), networks)


class Seen(Protocol):
    """Candidates in one breast, as `Sighted` has them."""

    @property
    def sheets(self) -> Levels: ...
    @property
    def places_mm(self) -> NDArray[np.floating]: ...
    @property
    def features(self) -> NDArray[np.float32]: ...
    @property
    def rings(self) -> NDArray[np.float32]: ...


@torch.inference_mode()
def completed(kind: Kind, seen: Seen, answer: torch.Tensor, networks: Networks) -> Judged:
    """Add to what the second look answers of candidates, shape (n, ANSWERS), what there is beside it for masses.

    A mass is centred where the maps say. Candidates of one and the same mass come to lie beside each other, and the
    most suspicious one stands for them.

    Raises
    ------
    ModelFault
        The answer holds NaN or infinity.
    """
    answer, centers = answer.double(), seen.places_mm.astype(np.float64)
    if kind is Kind.MASS and networks.characterisation is not None:
        answer[:, 1] += networks.characterisation(torch.from_numpy(seen.features), torch.from_numpy(seen.rings))
    if kind is Kind.MASS and networks.mass_maps is not None:
        more, peaks = added(seen.sheets[0], torch.from_numpy(centers).float(), networks.mass_maps)
        answer[:, :MAP_ANSWERS] += more.cpu()
        centers = peaks.cpu().double().numpy()
    if not bool(torch.isfinite(answer).all()):
        raise ModelFault("the output holds NaN or infinity")
    left = _apart(centers, answer[:, 0].numpy()) if kind is Kind.MASS else np.arange(len(centers))
    return Judged(left, centers[left], answer[torch.from_numpy(left)])


def _apart(centers_mm: NDArray[np.float64], log_odds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Those of candidates that are not within `_ONE_MM` of a more suspicious one that is left, in their order."""
    left: list[int] = []
    for one in np.argsort(-log_odds, kind="stable").tolist():
        if (np.linalg.norm(centers_mm[left] - centers_mm[one], axis=1) >= _ONE_MM).all():
            left.append(one)
    return np.sort(np.array(left, np.int64))


def _marks(candidates: Sighted, told: Judged, breast: Breast) -> list[Mark]:
    answer, found = told.answer, candidates.found
    log_odds, malignant = answer[:, 0].clamp(-_SURE, _SURE).tolist(), answer[:, 1].sigmoid().tolist()
    subtypes = [dict(zip(Subtype, shares, strict=True)) for shares in answer[:, 2:].softmax(dim=1).tolist()]
    if isinstance(found, Groups):
        return [
            cluster_mark(members, value, breast, probability_malignant=probability, subtypes=shares)
            for members, value, probability, shares in zip(found.members_mm, log_odds, malignant, subtypes, strict=True)
        ]
    edges = found.rims_from(told.centers_mm, told.candidate)
    return [
        mass_mark(center, rim, value, breast, probability_malignant=probability, subtypes=shares)
        for center, rim, value, probability, shares in zip(
            told.centers_mm, edges, log_odds, malignant, subtypes, strict=True
        )
    ]


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
