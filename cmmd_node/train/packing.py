"""The files of a bundle that was trained: weights, metadata, model card, licence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from cmmd_node import __version__
from cmmd_node.cad.both_views import BothViews
from cmmd_node.cad.bundle import LICENCE, METADATA, MODEL_CARD, SCHEMA, Way
from cmmd_node.cad.native import WEIGHTS_FILE, Networks
from cmmd_node.cad.second_look import ARCHITECTURE
from cmmd_node.facts import Kind
from cmmd_node.train.fit import Recipe
from cmmd_node.train.fit_map import MapRecipe

_THRESHOLD = 0.5
_BOTH_VIEWS = BothViews(own=0.9, other=0.8)
"""The slopes of a logistic regression over 1,044 masses of CBIS-DDSM's train split with a mark in the other view, each
characterised by lines that were fitted without its patient: 0.90 to 0.91 and 0.79 to 0.84. Since marks are centred by
maps, 1,057 masses say 0.91 and 0.92."""
_PLURAL = {Kind.MASS: "masses", Kind.CALCIFICATION_CLUSTER: "calcification clusters"}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the bundle says of itself."""

    name: str
    version: str
    licence: str
    """Name of the licence."""
    licence_text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taught:
    """What learnt one kind of lesion."""

    kind: Kind
    networks: Networks
    calibrated: bool
    """Its probability of malignancy is one."""
    metrics: dict[str, Any]


@torch.no_grad()
def halve(*networks: torch.nn.Module) -> None:
    """Round the parameters to what the file will hold, so that what is measured is what is packed."""
    for network in networks:
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """What a bundle tells of its making."""

    about: About
    members: int
    """How many of each network."""
    recipe: Recipe
    map_recipe: MapRecipe | None
    """None: there is no map of masses."""
    manifest_sha256: str
    sources: tuple[str, ...]
    """Whom to cite, as the manifest tells."""
    images: int
    """How many validated."""
    taught: Sequence[Taught]
    subtypes: bool

    @property
    def recipes(self) -> str:
        of_map = (
            "no map of masses" if self.map_recipe is None else f"that of the maps of masses {asdict(self.map_recipe)}"
        )
        return f"{self.members} of each network; recipe {asdict(self.recipe)}; {of_map}"

    @property
    def calibrated(self) -> bool:
        return all(one.calibrated for one in self.taught)


def fill(folder: Path, made: Made) -> None:
    """All files of a bundle but golden marks and digests; parameters in half precision."""
    about = made.about
    folder.mkdir(parents=True)
    masses = next(one.networks for one in made.taught if one.kind is Kind.MASS)
    together = replace(masses, second_looks={one.kind: one.networks.second_looks[one.kind] for one in made.taught})
    networks = together.named()
    halves = {name for name, _ in networks.named_parameters()}
    weights = {
        name: (value.half() if name in halves else value).contiguous() for name, value in networks.state_dict().items()
    }
    (folder / WEIGHTS_FILE).write_bytes(save(weights))  # save_file makes a file that only its owner can read
    what = " and ".join(_PLURAL[one.kind] for one in made.taught)
    metadata = {
        "schema": SCHEMA,
        "name": about.name,
        "version": about.version,
        "kind": Way.NATIVE,
        "task": f"detection of {what} in mammograms, CC and MLO",
        "description": _description(masses),
        "intended_use": "research; not a medical device",
        "contraindications": "no screening or diagnosis; implants, magnified views and tomosynthesis were never seen",
        "authors": f"trained with cmmd-node {__version__}",
        "licence": about.licence,
        "data_source": "; ".join(made.sources),
        "changelog": {about.version: f"{made.recipes}; manifest sha256 {made.manifest_sha256}"},
        "pytorch_version": [".".join(torch.__version__.split(".")[:2])],
        "architecture": ARCHITECTURE,
        "kinds": [one.kind for one in made.taught],
        "threshold": _THRESHOLD,
        "probability_malignant": made.calibrated,
        "both_views": _BOTH_VIEWS.model_dump() if made.calibrated else None,
        "subtypes": made.subtypes,
        "eval_metrics": {
            "validation": {
                "images": made.images,
                "hit": "the centre of the mark lies in the outline",
                **{one.kind.value: one.metrics for one in made.taught},
            }
        },
    }
    (folder / METADATA).write_text(json.dumps(metadata, indent=2) + "\n")
    (folder / LICENCE).write_text(about.licence_text)
    (folder / MODEL_CARD).write_text(_card(made))


def _description(masses: Networks) -> str:
    told = "Judges the candidates of the classical detector by what is around them on several grids"
    if masses.mass_maps is not None:
        told += "; where masses are also by maps of the whole breast"
    if masses.characterisation is not None:
        told += "; whether they are malignant also by the rings around them"
    return f"{told}."


def _card(made: Made) -> str:
    about = made.about
    sources = "\n".join(f"- {source}" for source in made.sources) or "A collection whose manifest names no source."
    kinds = [one.kind for one in made.taught]
    what = " and ".join(_PLURAL[kind] for kind in kinds)
    left = "" if Kind.CALCIFICATION_CLUSTER in kinds else " Calcification clusters are left to the classical detector."
    has_rings = any(one.networks.characterisation is not None for one in made.taught)
    rings = "; what rings tell, by the masses that they learn from, each left out with its patient" if has_rings else ""
    malignancy = (
        "Its probability of malignancy of a lesion was calibrated (Platt) on the lesions that validate, the same on "
        f"which `auc_malignant` was measured{rings}. What the other view of the breast shows is weighed with it "
        "afterwards."
        if made.calibrated
        else "It gives no probability of malignancy: too few lesions with a known result validated it."
    )
    subtypes = " Its probabilities of molecular subtypes are exploratory and not calibrated." if made.subtypes else ""
    return f"""# {about.name} {about.version}

Research software, not a medical device. Finds {what} in CC and MLO mammograms.{left} {malignancy}{subtypes}

## Made from

{sources}

Manifest sha256 {made.manifest_sha256}; {made.recipes}; cmmd-node {__version__}.

## Measured on the {made.images} images that were held out for validation

They chose the operating point (about one false mark per image and kind at suspicion 0.5), so these figures flatter it a
little.
{"".join(map(_measured, made.taught))}
## Limits

Nothing is known of how it does on images of other makers, film or digital, than those above; of implants, of women
without symptoms, and of lesions that are no candidates of the classical detector's first network: these it never sees.
"""


def _measured(one: Taught) -> str:
    figures = "\n".join(f"- {name}: {value}" for name, value in one.metrics.items() if not isinstance(value, dict))
    beside = {"classical detector": one.metrics["classical"]}
    if "without_maps" in one.metrics:
        beside["without the maps of masses"] = one.metrics["without_maps"]
    if "without_characterisation" in one.metrics:
        beside["without the characterisation by rings"] = one.metrics["without_characterisation"]
    others = "\n".join(
        f"- {name}, on the same images: "
        + (", ".join(f"{what} {value}" for what, value in told.items()) or "nothing outlined")
        for name, told in beside.items()
    )
    return f"\n{_PLURAL[one.kind]}:\n\n{figures}\n{others}\n"
