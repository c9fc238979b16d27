"""Tiny bundles of each kind, made where a test needs them."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from scipy import ndimage

from cmmd_node.cad.characterisation import Characterisation
from cmmd_node.cad.golden import GoldenView
from cmmd_node.cad.mass_map import MassMaps
from cmmd_node.cad.native import Networks
from cmmd_node.cad.second_look import SecondLook, SecondLooks
from cmmd_node.facts import Kind, Laterality, Spacing, View, ViewPosition

SPACING = Spacing(row_mm=0.25, column_mm=0.25)
VIEW = View(Laterality.LEFT, ViewPosition.CC)
TORCH = ".".join(torch.__version__.split(".")[:2])

#: Marks the same place of whatever it is given.
SCRIPT = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
assert (folder / "image.png").read_bytes().startswith(b"\\x89PNG")
told = json.loads((folder / "view.json").read_text())
assert told["view"] in ("CC", "MLO") and told["row_mm"] > 0
marks = [{"kind": "mass", "outline": [[10, 10], [30, 10], [30, 40]], "suspicion": 0.75}]
(folder / "marks.json").write_text(json.dumps(marks))
"""

#: The same, as malignant as the view says: CC 0.9, MLO 0.3.
CHARACTERISING = SCRIPT.replace(
    '"suspicion": 0.75', '"suspicion": 0.75, "probability_malignant": {"CC": 0.9, "MLO": 0.3}[told["view"]]'
)


@functools.cache
def small_breast() -> np.ndarray:
    """Half an ellipse with some texture and a mass: small, so that tests of it are quick."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:400, 0:250].astype(np.float32)
    inside = (y - 200) ** 2 / 190**2 + x**2 / 220**2 < 1
    texture = ndimage.gaussian_filter(rng.normal(0.0, 1.0, y.shape), 6) + rng.normal(0.0, 0.02, y.shape)
    pixels = 0.35 + 0.3 * texture + 0.25 * np.exp(-((((y - 180) ** 2 + (x - 90) ** 2) / 20**2) ** 2))
    return np.where(inside, np.clip(pixels, 0.05, 1.0), 0.0).astype(np.float32)


def golden_view() -> GoldenView:
    return GoldenView(small_breast(), VIEW, SPACING)


def metadata(**changes: Any) -> dict[str, Any]:
    """What all kinds say."""
    return {
        "name": "tiny",
        "version": "1.0",
        "task": "detection",
        "description": "a test",
        "intended_use": "tests",
        "contraindications": "everything else",
        "authors": "the tests",
        "licence": "Apache-2.0",
        "data_source": "none",
        "kinds": ["mass"],
        "threshold": 0.5,
        **changes,
    }


def filled(folder: Path, **told: Any) -> Path:
    """A folder before it is sealed."""
    folder.mkdir(exist_ok=True)
    (folder / "MODEL_CARD.md").write_text("Knows nothing.\n")
    (folder / "LICENSE").write_text("Apache-2.0\n")
    (folder / "metadata.json").write_text(json.dumps(metadata(**told)))
    return folder


def native(folder: Path, *, whole: bool = True, **changes: Any) -> Path:
    """Of masses; as a whole, with maps and a characterisation beside the second looks."""
    filled(folder, **{"kind": "native", "architecture": "second-look/6", "pytorch_version": [TORCH], **changes})
    torch.manual_seed(1)
    second_looks = SecondLooks(SecondLook(Kind.MASS) for _ in range(2))
    networks = Networks({Kind.MASS: second_looks}, *((MassMaps(2), Characterisation()) if whole else ()))
    save_file(networks.named().state_dict(), folder / "model.safetensors")
    return folder


class Blur(torch.nn.Module):
    """Suspects what is bright: a mean over cells, as an exported network would give a map."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(image, 8).clamp(0.0, 1.0)


def exported(folder: Path, network: torch.nn.Module | None = None, **changes: Any) -> Path:
    form = {"pixel_mm": 0.5, "multiple": 8, "stride": 8}
    filled(folder, **{"kind": "torch.export", "network_data_format": form, "pytorch_version": [TORCH], **changes})
    sizes = {2: torch.export.Dim("rows", min=2, max=512) * 8, 3: torch.export.Dim("columns", min=2, max=512) * 8}
    program = torch.export.export(network or Blur(), (torch.zeros(1, 1, 64, 48),), dynamic_shapes=[sizes])
    torch.export.save(program, folder / "model.pt2")
    return folder


def command(folder: Path, script: str = SCRIPT, **changes: Any) -> Path:
    filled(folder, **{"kind": "command", "command": [sys.executable, "run.py"], **changes})
    (folder / "run.py").write_text(script)
    return folder
