"""The bundle that comes with the program: what it is, and that it finds more than the classical detector."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmmd_node.cad import ClassicalDetector, Detector, model_of, open_detector
from cmmd_node.cad.bundle import bundle_named
from cmmd_node.cad.native import open_networks
from cmmd_node.facts import Kind, Mark
from cmmd_node.phantom import PhantomView
from cmmd_node.settings import BUILTIN, CLASSICAL, CadSettings
from cmmd_node.train.ask import ask_detector
from cmmd_node.train.evaluate import evaluate
from cmmd_node.train.manifest import read_manifest, write_manifest
from tests.bench.free_collections import mias_images
from tests.bench.robustness import marks_of, plain
from tests.conftest import SHARED


@pytest.fixture(scope="module")
def detector() -> Detector:
    return open_detector(BUILTIN)


def clusters(marks: list[Mark]) -> list[Mark]:
    return [mark for mark in marks if mark.kind is Kind.CALCIFICATION_CLUSTER]


def test_it_is_what_a_node_uses_unless_told_otherwise() -> None:
    assert CadSettings().bundle == BUILTIN
    assert model_of(BUILTIN).name == "cmmd-node-builtin"


def test_it_names_its_sources_its_licence_and_its_limits() -> None:
    bundle = bundle_named(BUILTIN)
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in (
        "CBIS-DDSM",
        "CDD-CESM",
        "CC BY 3.0",
        "CC BY 4.0",
        "10.7937/K9/TCIA.2016.7O02S9CY",
        "10.7937/29kw-ae92",
    ):
        assert words in bundle.metadata.data_source
        assert words in card
    assert "Research software, not a medical device" in card
    assert "official test split of CBIS-DDSM" in card
    assert "mini-MIAS" not in bundle.metadata.data_source
    assert "Apache License" in (bundle.folder / "LICENSE").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in bundle.folder.rglob("*")) < 20e6


def test_it_characterises_masses_by_their_rings_and_by_both_views() -> None:
    bundle = bundle_named(BUILTIN)
    networks = open_networks(bundle)
    assert networks.mass_maps is not None
    assert networks.characterisation is not None
    assert bundle.metadata.both_views is not None


def test_it_tells_no_subtype_and_leaves_clusters_to_the_classical_detector(
    detector: Detector, marked_view: PhantomView
) -> None:
    found = marks_of(detector, plain(marked_view))
    masses = [mark for mark in found if mark.kind is Kind.MASS]
    assert masses
    assert all(mark.probability_malignant is not None for mark in masses)
    assert all(mark.subtypes is None for mark in found)
    assert clusters(found) == clusters(marks_of(ClassicalDetector(), plain(marked_view))) != []


@pytest.mark.nightly
@pytest.mark.shared
def test_it_finds_more_than_the_classical_detector_on_films_that_neither_saw(tmp_path: Path) -> None:
    """Which is why it is the built-in one."""
    write_manifest(tmp_path / "mias.csv", list(mias_images(SHARED / "data" / "mini-mias")))
    manifest = read_manifest(tmp_path / "mias.csv")
    asked = [ask_detector(which, manifest.images, processes=2) for which in (BUILTIN, CLASSICAL)]
    metrics = evaluate(manifest, asked[0], asked[1:], folds=(), draws=100)
    (masses,) = metrics["detection"]["kinds"]
    built_in, classical = (row["over_images_with_lesions"] for row in masses["models"])
    for rate in ("0.5", "1.0", "2.0"):
        assert built_in[rate]["value"] > classical[rate]["value"]
    assert built_in["2.0"]["value"] >= 0.75
