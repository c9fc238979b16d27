"""Model bundles in the route: what they find reaches the CAD SR, and what they get wrong reaches nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from cmmd_node.analyze import analyze_files
from cmmd_node.cad.sealing import seal
from cmmd_node.errors import BundleRefused
from cmmd_node.facts import Analysis, Form, ViewStatus
from cmmd_node.route.analysis import analyse_image
from cmmd_node.settings import CadSettings
from tests.cad.bundles import SCRIPT, SPACING, command, exported, golden_view, native, small_breast
from tests.mammograms import make_mammogram, save
from tests.route.test_analysis import job_of

#: Fails on every image but the one that it was sealed with, whose pixels are 0.3 mm apart.
FAILS_LATER = (
    "import json, sys\nif json.load(open(sys.argv[1] + '/view.json'))['row_mm'] != 0.3: sys.exit(1)\n" + SCRIPT
)


def image(folder: Path, position: str = "CC") -> Path:
    pixels = np.round(small_breast() * 255).astype(np.uint8)
    spacing = [SPACING.row_mm, SPACING.column_mm]
    return save(make_mammogram(pixels, view=f"L {position}", ImagerPixelSpacing=spacing), folder / f"{position}.dcm")


def analyze(folder: Path, bundle: Path, **settings: Any) -> dict[str, Any]:
    cad = CadSettings(bundle=str(bundle), threads=1, **settings)
    (study,) = analyze_files([image(folder)], folder / "out", cad, threshold=0.0, forms=[Form.CAD_SR])["studies"]
    return dict(study)


def meanings(path: str) -> list[str]:
    """Every concept name of an SR."""
    return [
        str(element.value[0].CodeMeaning)
        for element in dcmread(path).iterall()
        if element.keyword == "ConceptNameCodeSequence" and element.value
    ]


@pytest.mark.parametrize("make", [native, exported, command])
def test_findings_of_each_kind_of_bundle_reach_the_cad_sr(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    bundle = make(tmp_path / "bundle")
    seal(bundle, golden_view())
    study = analyze(tmp_path, bundle)
    assert study["outcome"] == "findings"
    assert (study["model"]["name"], study["model"]["version"]) == ("tiny", "1.0")
    (found,) = study["images"]
    assert "mass" in {finding["kind"] for finding in found["findings"]}
    (path,) = study["files"]
    said = {str(element.value) for element in dcmread(path).iterall() if element.keyword == "TextValue"}
    assert {"tiny", "1.0"} <= said
    assert meanings(path).count("Individual Impression/Recommendation") == len(found["findings"])


@pytest.mark.parametrize("asked", [True, False])
def test_a_probability_of_malignancy_is_told_only_when_asked_for(tmp_path: Path, asked: bool) -> None:
    bundle = native(tmp_path / "bundle", probability_malignant=True)
    seal(bundle, golden_view())
    analyses = (Analysis.DETECTION, Analysis.CHARACTERISATION)[: 1 + asked]
    (path,) = analyze(tmp_path, bundle, analyses=analyses)["files"]
    assert ("Probability of cancer" in meanings(path)) is asked


def test_a_fault_of_the_model_costs_the_image_and_names_the_model(tmp_path: Path) -> None:
    bundle = command(tmp_path / "bundle", FAILS_LATER)
    seal(bundle, golden_view())
    study = analyze(tmp_path, bundle)
    assert study["outcome"] == "failed"
    (found,) = study["images"]
    assert found["status"] == "failed"
    assert found["reason"] == "model tiny 1.0: the command ended with status 1"
    (path,) = study["files"]
    assert "Individual Impression/Recommendation" not in meanings(path)


def test_a_refused_bundle_stops_before_the_first_image(tmp_path: Path) -> None:
    bundle = native(tmp_path / "bundle")
    seal(bundle, golden_view())
    (bundle / "LICENSE").write_text("another\n")
    with pytest.raises(BundleRefused, match=r"model bundle tiny 1\.0: LICENSE has sha256"):
        analyze(tmp_path, bundle)
    assert not list((tmp_path / "out").iterdir())


def test_a_bundle_that_changed_under_a_running_node_speaks_for_nobody(tmp_path: Path) -> None:
    bundle = command(tmp_path / "bundle")
    seal(bundle, golden_view())
    path = image(tmp_path)
    job = replace(job_of(path, dcmread(path)), bundle=str(bundle), digest="0" * 64)
    view = analyse_image(job).view
    assert view.status is ViewStatus.FAILED
    assert "its bundle has changed" in str(view.reason)
