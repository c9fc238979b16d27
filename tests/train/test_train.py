"""Training end to end on a handful of small pictures: one seed, one bundle, interrupted or not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cmmd_node.cad import open_detector
from cmmd_node.cad.bundle import read_bundle
from cmmd_node.errors import NodeError
from cmmd_node.facts import Classification, Kind, Laterality, View, ViewPosition
from cmmd_node.train.fit import Recipe
from cmmd_node.train.manifest import LabelledImage, Lesion, write_manifest
from cmmd_node.train.train import About, train_bundle
from tests.cad.bundles import SPACING, golden_view, small_breast

ABOUT = About(name="tiny", version="2.0", licence="test", licence_text="For tests.\n")
RECIPE = Recipe(epochs=2, batch=8)


def lesion(label: Classification) -> Lesion:
    return Lesion(kind=Kind.MASS, outline_cr=((70, 160), (110, 160), (110, 200), (70, 200)), classification=label)


def collection(folder: Path) -> Path:
    """Six patients, one of whom validates, and an image that nobody looked at."""
    images = []
    rng = np.random.default_rng(3)
    for number in range(6):
        path = folder / f"{number}.png"
        noisy = small_breast() * (1 + rng.normal(0, 0.02, small_breast().shape))
        Image.fromarray(np.round(np.clip(noisy, 0, 1) * 255).astype(np.uint8)).save(path)
        label = Classification.MALIGNANT if number % 2 else Classification.BENIGN
        images.append(
            LabelledImage(
                path=path,
                patient=f"P{number}",
                group=f"P{number}",
                view=View(Laterality.LEFT, ViewPosition.CC),
                spacing=SPACING,
                lesions=None if number == 2 else (lesion(label),),
                fold=0 if number == 5 else 1,
                source="Nobody et al. 2026, CC0",
            )
        )
    write_manifest(folder / "manifest.csv", images)
    return folder / "manifest.csv"


def train(folder: Path, manifest: Path, name: str, told: list[Any], **changes: Any) -> Path:
    out = folder / name
    arguments: dict[str, Any] = {"work": folder / f"{name}-work", "held_out": 0, "tell": told.append, **changes}
    train_bundle(manifest, out, ABOUT, RECIPE, golden_view(), **arguments)
    return out


def epochs_in(told: list[Any]) -> list[int]:
    return [int(line.split()[2]) for line in map(str, told) if line.startswith("mass, epoch ")]


def test_training_ends_in_a_bundle_that_finds_the_same_after_an_interruption(tmp_path: Path) -> None:
    manifest, told = collection(tmp_path), []
    first = train(tmp_path, manifest, "first", told)
    assert epochs_in(told) == [1, 2]
    assert f"{tmp_path / '2.png'} is not used: nobody outlined lesions on it" in told

    bundle = read_bundle(first)
    assert bundle.metadata.data_source == "Nobody et al. 2026, CC0"
    assert bundle.metadata.eval_metrics["validation"]["mass"]["lesions"] == 1
    assert bundle.metadata.kinds == (Kind.MASS,)  # nobody outlined a cluster
    assert not bundle.metadata.subtypes  # and nobody told one
    assert not bundle.metadata.probability_malignant  # one mass calibrates nothing
    assert "Nobody et al. 2026" in (first / "MODEL_CARD.md").read_text()
    marks = open_detector(str(first)).marks(
        small_breast(), view=View(Laterality.LEFT, ViewPosition.CC), spacing=SPACING, threshold=0.0
    )
    assert any(mark.kind is Kind.MASS for mark in marks)

    class Interrupted(Exception):
        pass

    def interrupt(what: Any) -> None:
        if str(what).startswith("mass, epoch 1 "):
            raise Interrupted

    with pytest.raises(Interrupted):
        train(tmp_path, manifest, "second", [], tell=interrupt)
    told = []
    second = train(tmp_path, manifest, "second", told)
    assert epochs_in(told) == [2]
    digests = {hashlib.sha256((one / "model.safetensors").read_bytes()).hexdigest() for one in (first, second)}
    assert len(digests) == 1


def test_refusals(tmp_path: Path) -> None:
    manifest = collection(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(NodeError, match="there already"):
        train(tmp_path, manifest, "there", [])
    with pytest.raises(NodeError, match="no image that validates"):
        train(tmp_path, manifest, "new", [], held_out=7)


def test_a_checkpoint_of_another_recipe_is_not_continued(tmp_path: Path) -> None:
    manifest = collection(tmp_path)
    train(tmp_path, manifest, "first", [])
    with pytest.raises(NodeError, match="another recipe"):
        train_bundle(
            manifest,
            tmp_path / "other",
            ABOUT,
            Recipe(epochs=2, batch=8, seed=5),
            golden_view(),
            work=tmp_path / "first-work",
            held_out=0,
            tell=lambda _what: None,
        )
