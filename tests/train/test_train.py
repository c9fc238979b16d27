"""Training end to end on a handful of small pictures: one seed, one bundle, interrupted or not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cmmd_node.cad import open_detector
from cmmd_node.cad.bundle import read_bundle
from cmmd_node.errors import NodeError
from cmmd_node.facts import BreastLabel, Classification, Kind, Laterality, View, ViewPosition
from cmmd_node.train import fit_characterisation
from cmmd_node.train.fit import RATES, Recipe, of_units
from cmmd_node.train.fit_map import MapRecipe
from cmmd_node.train.manifest import LabelledImage, Lesion, read_manifest, write_manifest
from cmmd_node.train.packing import About
from cmmd_node.train.train import train_bundle
from tests.cad.bundles import SPACING, golden_view, small_breast

ABOUT = About(name="tiny", version="2.0", licence="test", licence_text="For tests.\n")
RECIPE = Recipe(epochs=2, batch=8)
MAP_RECIPE = MapRecipe(epochs=2, batch=4, least_masses=3)


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
    arguments: dict[str, Any] = {
        "recipe": RECIPE,
        "map_recipe": MAP_RECIPE,
        "members": 2,
        "work": folder / f"{name}-work",
        "held_out": 0,
        "processes": 1,
        "tell": told.append,
        **changes,
    }
    train_bundle(manifest, out, ABOUT, golden_view(), **arguments)
    return out


def epochs_in(told: list[Any], what: str = "mass 1 of 2") -> list[int]:
    start = f"{what}, epoch "
    return [int(line.removeprefix(start).split()[0]) for line in map(str, told) if line.startswith(start)]


def parts(bundle: Path) -> set[str]:
    """Of what there are weights in it."""
    return {name.partition(".")[0] for name in load_file(bundle / "model.safetensors")}


def test_training_ends_in_a_bundle_that_finds_the_same_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_characterisation, "LEAST", 2)
    monkeypatch.setattr(fit_characterisation, "_PARTS", 2)
    manifest, told = collection(tmp_path), []
    first = train(tmp_path, manifest, "first", told)
    for number in (1, 2):
        assert epochs_in(told, f"map of masses {number} of 2, first turn") == [1, 2]
        assert epochs_in(told, f"map of masses {number} of 2, second turn") == [1]
        assert epochs_in(told, f"mass {number} of 2") == [1, 2]
    reason = "nobody outlined lesions on it, and no label says which its breast holds"
    assert f"{tmp_path / '2.png'} is not used: {reason}" in told

    modes = [(first / name).stat().st_mode for name in ("model.safetensors", "metadata.json")]
    assert modes[0] == modes[1]  # who may read the one may read the other
    bundle = read_bundle(first)
    assert bundle.metadata.data_source == "Nobody et al. 2026, CC0"
    assert bundle.metadata.eval_metrics["validation"]["mass"]["lesions"] == 1
    assert bundle.metadata.architecture == "second-look/6"
    figures = bundle.metadata.eval_metrics["validation"]["mass"]
    for without in ("without_maps", "without_characterisation"):
        assert set(figures[without]) == {f"sensitivity_at_{rate:g}" for rate in RATES}
    assert bundle.metadata.kinds == (Kind.MASS,)  # nobody outlined a cluster
    assert not bundle.metadata.subtypes  # and nobody told one
    assert not bundle.metadata.probability_malignant  # one mass calibrates nothing
    assert bundle.metadata.both_views is None
    assert "Nobody et al. 2026" in (first / "MODEL_CARD.md").read_text()
    marks = open_detector(str(first)).marks(
        small_breast(), view=View(Laterality.LEFT, ViewPosition.CC), spacing=SPACING, threshold=0.0
    )
    assert any(mark.kind is Kind.MASS for mark in marks)

    class Interrupted(Exception):
        pass

    for last in ("map of masses 2 of 2, first turn, epoch 1 ", "mass 2 of 2, epoch 1 "):

        def interrupt(what: Any, last: str = last) -> None:
            if str(what).startswith(last):
                raise Interrupted

        with pytest.raises(Interrupted):
            train(tmp_path, manifest, "second", [], tell=interrupt)
    told = []
    second = train(tmp_path, manifest, "second", told)
    assert not [line for line in map(str, told) if line.startswith("map of masses")]
    assert epochs_in(told, "mass 1 of 2") == []
    assert epochs_in(told, "mass 2 of 2") == [2]
    assert parts(first) == {"mass", "mass-map", "mass-characterisation"}
    for number in range(2):  # packed as they were trained: being measured teaches them nothing
        averaged = torch.load(tmp_path / "first-work" / f"checkpoint-map-{number}-again.pt", weights_only=True)[
            "averaged"
        ]
        mean = load_file(first / "model.safetensors")[f"mass-map.members.{number}.stages.0.norm.running_mean"]
        torch.testing.assert_close(mean, averaged["stages.0.norm.running_mean"])
    digests = {hashlib.sha256((one / "model.safetensors").read_bytes()).hexdigest() for one in (first, second)}
    assert len(digests) == 1


def test_labels_of_breasts_are_enough_to_train(tmp_path: Path) -> None:
    """As CMMD has them: which kinds of lesions, and what biopsy says; one breast is outlined besides."""
    manifest, told = collection(tmp_path), []
    images = [
        replace(
            image,
            lesions=image.lesions if number == 1 else None,
            label=BreastLabel(
                classification=Classification.MALIGNANT if number % 2 else Classification.BENIGN,
                kinds=frozenset({Kind.CALCIFICATION_CLUSTER} if number == 2 else {Kind.MASS}),
            ),
        )
        for number, image in enumerate(read_manifest(manifest).images)
    ]
    write_manifest(manifest, images)
    weak = train(tmp_path, manifest, "weak", told)
    bundle = read_bundle(weak)
    assert epochs_in(told) == [1, 2]
    assert "no map of masses: fewer than 3 are outlined on the images to train on" in told
    assert "no characterisation by rings: fewer than 50 outlined masses are known to be benign, or malignant" in told
    assert parts(weak) == {"mass"}
    assert "no map of masses" in (weak / "MODEL_CARD.md").read_text()
    assert not [line for line in map(str, told) if "not used" in line]
    metrics = bundle.metadata.eval_metrics["validation"]["mass"]
    assert (metrics["lesions"], metrics["images_with_a_lesion_nobody_outlined"]) == (0, 1)
    assert metrics["classical"] == {}  # no outline to hit
    assert bundle.metadata.kinds == (Kind.MASS,)  # no breast that validates has a cluster


def test_cohorts_that_know_one_result_each_teach_nothing_of_malignancy(tmp_path: Path) -> None:
    manifest = collection(tmp_path)
    images = read_manifest(manifest).images
    by_result = [replace(one, cohort=one.lesions[0].classification) if one.lesions else one for one in images]
    untold = [
        replace(one, lesions=None if one.lesions is None else (replace(one.lesions[0], classification=None),))
        for one in images
    ]
    weights = []
    for name, changed in (("by-result", by_result), ("untold", untold)):
        write_manifest(manifest, changed)
        weights.append(load_file(train(tmp_path, manifest, name, []) / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_bag_is_a_lesion_when_one_of_it_is_and_says_what_the_likeliest_says() -> None:
    said = torch.tensor([[2.0, 1.0, 0.0], [0.5, -1.0, 2.0], [3.0, 4.0, 0.0], [-1.0, -4.0, 1.0]])
    alone, bag = of_units(said, torch.tensor([0, 1, 2, 2]))[[0, 1]], of_units(said, torch.tensor([0, 1, 2, 2]))[2]
    assert torch.allclose(alone, said[:2], atol=1e-5)
    none = torch.sigmoid(torch.tensor([-3.0, 1.0])).prod()
    assert torch.sigmoid(bag[0]) == pytest.approx(1.0 - none.item(), abs=1e-6)
    weights = torch.tensor([3.0, -1.0]).softmax(0)
    assert torch.allclose(bag[1:], weights @ said[2:, 1:])


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
        train(tmp_path, manifest, "other", [], recipe=replace(RECIPE, seed=5), work=tmp_path / "first-work")
    with pytest.raises(NodeError, match="another recipe"):
        train(tmp_path, manifest, "other", [], map_recipe=replace(MAP_RECIPE, seed=5), work=tmp_path / "first-work")
