"""Collections of phantoms: CMMD's reader takes them for its own, and the manifest tells what the sheet does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmmd_node.cmmd.images import read_download
from cmmd_node.cmmd.join import join
from cmmd_node.cmmd.known import SHEET_NAME
from cmmd_node.cmmd.labels import read_label_sheet
from cmmd_node.cmmd.split import read_split
from cmmd_node.errors import NodeError
from cmmd_node.train.images import read_picture
from cmmd_node.train.manifest import read_manifest
from cmmd_node.train.phantoms import write_phantoms


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "collection"
    told: list[tuple[int, int]] = []
    written = write_phantoms(folder, patients=2, seed=4, tell=lambda done, all_: told.append((done, all_)))
    assert (written.patients, told) == (2, [(1, 2), (2, 2)])
    return folder


def test_the_reader_of_cmmd_finds_nothing_wrong(collection: Path) -> None:
    download, sheet = read_download(collection), read_label_sheet(collection / SHEET_NAME)
    assert (download.problems, download.copies, sheet.problems) == ((), (), ())
    joined = join(sheet, download.images)
    assert [p for p in joined.problems if "no label of this breast" not in p] == []
    assert len(joined.labelled) == 2


def test_the_manifest_tells_the_truth_of_every_image(collection: Path) -> None:
    manifest = read_manifest(collection / "manifest.csv")
    assert not manifest.problems
    labels = {(b.patient_id, b.laterality): b.label for b in read_label_sheet(collection / SHEET_NAME).breasts}
    for image in manifest.images:
        known = image.breast in labels
        assert image.lesions is not None
        assert bool(image.lesions) is known
        if known:
            assert image.label == labels[image.breast]
            assert {lesion.kind for lesion in image.lesions} == image.label.kinds
    assert {image.fold for image in manifest.images} == {0, 1}
    picture = read_picture(manifest.images[0])
    assert picture.pixels.shape == (2294, 1914)
    assert picture.spacing is not None


def test_no_phantom_bears_the_id_of_a_patient(collection: Path) -> None:
    patients = {image.patient for image in read_manifest(collection / "manifest.csv").images}
    assert not patients & read_split().rows.keys()


def test_refusals(collection: Path, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="is not empty"):
        write_phantoms(collection, patients=1, seed=0)
    with pytest.raises(NodeError, match="has room for 7999"):
        write_phantoms(tmp_path / "new", patients=8000, seed=0)
