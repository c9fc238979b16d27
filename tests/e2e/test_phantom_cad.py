"""From drawing phantoms to a report of what a trained bundle finds on patients that it never saw.

The recipe is that of README, where its figures stand. On one core it took two hours, the second test 76 minutes.
With 240 patients and 16 epochs a subtype is not learnt, the rest is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from cmmd_node.cad import open_detector
from cmmd_node.cad.bundle import read_bundle
from cmmd_node.facts import Kind
from cmmd_node.phantom.cases import Case
from cmmd_node.phantom.simulate import simulate
from cmmd_node.train.manifest import read_manifest, write_manifest
from tests.bench.robustness import SEED, table_of
from tests.cad.test_robustness import EXACT

PATIENTS, SEED_OF_COLLECTION = 600, 12
UNSEEN = 0
"""The fold that neither trains nor validates."""

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7200)]


def run(*words: object) -> str:
    return subprocess.run(
        [sys.executable, "-m", "cmmd_node.cli", *map(str, words)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "collection"
    run("phantoms", "--out", folder, "--patients", PATIENTS, "--seed", SEED_OF_COLLECTION)
    return folder


def trained(folder: Path, manifest: Path, *words: object) -> Path:
    """A bundle; the licence of its weights is that of nobody's patients."""
    (folder / "LICENSE").write_text("Made of phantoms; CC0.\n")
    bundle = folder / "bundle"
    run("train", manifest, "--out", bundle, "--work", folder / "work", "--licence", folder / "LICENSE", *words)
    return bundle


def auc(told: dict[str, Any]) -> float:
    """Of the bundle, which comes before the baselines."""
    return float(told["models"][0]["auc"]["value"])


def found_at_half_a_false_mark(metrics: dict[str, Any]) -> dict[Kind, float]:
    """Share of the lesions of each kind, by the bundle."""
    kinds = {one["kind"]: one["models"][0] for one in metrics["detection"]["kinds"]}
    return {kind: float(kinds[kind]["over_images_with_lesions"]["0.5"]["value"]) for kind in Kind}


def test_phantoms_are_as_hard_as_they_should_be(phantoms: Path) -> None:
    command = [sys.executable, "-m", "tests.bench.phantom_bars", str(phantoms / "manifest.csv"), "--images", "300"]
    told = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    assert told.returncode == 0, told.stdout


def test_outlined_phantoms_teach_a_bundle_to_find_and_to_judge(phantoms: Path, tmp_path: Path) -> None:
    manifest = phantoms / "manifest.csv"
    folds = "--held-out", 3, "--left-out", UNSEEN
    bundle = trained(tmp_path, manifest, *folds, "--epochs", 24, "--map-epochs", 0)
    run("evaluate", manifest, "--bundle", bundle, "--fold", UNSEEN, "--draws", 200, "--out", tmp_path / "report")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["data"]["patients"] == PATIENTS // 5
    found = found_at_half_a_false_mark(metrics)
    (whole,) = [part for part in metrics["malignancy"]["parts"] if part["name"] == "all"]
    (luminal,) = [one for one in metrics["subtypes"]["questions"] if one["name"] == "luminal"]
    print(f"\n{found=} malignancy {auc(whole)} luminal {luminal['auc']}")
    assert found[Kind.MASS] >= 0.85
    assert found[Kind.CALCIFICATION_CLUSTER] >= 0.85
    assert auc(whole) >= 0.9
    assert luminal["auc"]["value"] >= 0.75
    # of the bundle that README tells of, 14 of 19 marks is the least share that is found again, at 0.14 mm
    views = [view for number in range(3) for view in simulate(Case.from_seed(SEED, number))]
    for way, changes in table_of(open_detector(str(bundle)), views).items():
        again, reported = sum(change.again for change in changes), sum(change.reported for change in changes)
        middle = median(abs(one) for change in changes for one in change.suspicion)
        print(f"{way}: {again} of {reported} again, middle change {middle:.3f}")
        assert again >= (reported if way in EXACT else 0.7 * reported)
        assert middle <= (1e-3 if way in EXACT else 0.05)


def test_a_download_with_labels_only_is_enough(phantoms: Path, tmp_path: Path) -> None:
    """As for CMMD itself: DICOM files and the label sheet, nothing outlined."""
    labels = tmp_path / "labels.csv"
    run("cmmd", "manifest", phantoms, "--out", labels)
    folds = {image.path.resolve(): image.fold for image in read_manifest(phantoms / "manifest.csv").images}
    images = [image for image in read_manifest(labels).images if folds[image.path.resolve()] != UNSEEN]
    assert all(image.lesions is None for image in images)
    write_manifest(labels, images)
    bundle = trained(tmp_path, labels, "--epochs", 16, "--members", 1)
    assert read_bundle(bundle).metadata.kinds == tuple(Kind)
    manifest = phantoms / "manifest.csv"
    run("evaluate", manifest, "--bundle", bundle, "--fold", UNSEEN, "--draws", 200, "--out", tmp_path / "report")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    (whole,) = [part for part in metrics["malignancy"]["parts"] if part["name"] == "all"]
    found = found_at_half_a_false_mark(metrics)
    print(f"\nlabels only: {found=} malignancy {auc(whole)}")
    assert found[Kind.MASS] >= 0.6
