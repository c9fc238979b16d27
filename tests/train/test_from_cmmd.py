"""CMMD as labelled images: labels, folds, and what is left out for which reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmmd_node.cmmd.known import SHEET_NAME, USUALLY_LEFT_OUT, Doubt
from cmmd_node.cmmd.split import read_split
from cmmd_node.facts import BreastLabel, Classification, Kind, Subtype
from cmmd_node.train.from_cmmd import CmmdManifest, cmmd_manifest
from cmmd_node.train.manifest import LabelledImage, read_manifest, write_manifest
from tests.cmmd.collections import write_collection


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("cmmd"))


@pytest.fixture(scope="module")
def manifest(collection: Path) -> CmmdManifest:
    return cmmd_manifest(collection, collection / SHEET_NAME)


def of(manifest: CmmdManifest, patient: str, view: str) -> LabelledImage:
    (image,) = [image for image in manifest.images if image.patient == patient and str(image.view) == view]
    return image


def test_images_carry_labels_and_folds(manifest: CmmdManifest) -> None:
    assert manifest.problems == ()
    assert len(manifest.images) == 18
    image = of(manifest, "D2-0041", "L CC")
    assert image.label == BreastLabel(
        classification=Classification.MALIGNANT, kinds=frozenset({Kind.MASS}), subtype=Subtype.LUMINAL_A
    )
    assert (image.age, image.cohort, image.group) == (55, "D2", "D2-0041")
    assert image.fold == read_split().rows["D2-0041"].fold
    assert image.lesions is None
    assert of(manifest, "D2-0284", "L CC").group == "D1-0202"


def test_unlabelled_breast_stays_unknown(manifest: CmmdManifest) -> None:
    assert of(manifest, "D2-0041", "R CC").label == BreastLabel()


def test_doubtful_images_are_left_out_with_a_reason_and_on_request_kept(
    manifest: CmmdManifest, collection: Path
) -> None:
    left_out = {(image.patient, str(image.view)): image.excluded for image in manifest.images if image.excluded}
    assert {patient for patient, _ in left_out} == {"D1-0202", "D2-0284", "D1-0951", "D2-0041"}
    assert left_out["D1-0951", "R MLO"] == "damaged: the image is said to have black holes"
    assert ("D1-0951", "R CC") not in left_out
    assert str(left_out["D1-0202", "L CC"]).startswith("duplicate: D1-0202 and D2-0284 share 4 images")
    assert str(left_out["D2-0041", "L CC"]).startswith("side: the side tag")
    assert of(manifest, "D1-1343", "L CC").excluded is None  # 16 bits are read like 8
    for doubt, patient in ((Doubt.DUPLICATE, "D1-0202"), (Doubt.DAMAGED, "D1-0951"), (Doubt.SIDE, "D2-0041")):
        kept = cmmd_manifest(collection, collection / SHEET_NAME, keep={doubt})
        assert patient not in {image.patient for image in kept.images if image.excluded}
    everything = cmmd_manifest(collection, collection / SHEET_NAME, keep=USUALLY_LEFT_OUT)
    assert not any(image.excluded for image in everything.images)


def test_manifest_file_says_the_same(manifest: CmmdManifest, tmp_path: Path) -> None:
    write_manifest(tmp_path / "cmmd.csv", manifest.images)
    again = read_manifest(tmp_path / "cmmd.csv")
    assert again.problems == ()
    assert again.images == manifest.images
