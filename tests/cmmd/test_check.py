"""`cmmd check` on small folders of phantoms in the shape of the collection, whole and spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from cmmd_node.cmmd.check import check_download
from cmmd_node.cmmd.known import SHEET_NAME
from cmmd_node.cmmd.split import read_split
from cmmd_node.errors import NodeError
from tests.cmmd.collections import SIDES, phantom, write_collection, write_sheet


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("cmmd"))


@pytest.fixture
def collection(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(whole, tmp_path / "cmmd")
    return tmp_path / "cmmd"


def faults(answer: dict[str, Any]) -> dict[str, list[str]]:
    """All but the patients of whom there is nothing: the folders of these tests are small."""
    left = {kind: [one for one in told if "no image at all" not in one] for kind, told in answer["faults"].items()}
    return {kind: told for kind, told in left.items() if told}


def rewrite(path: Path, **values: Any) -> None:
    ds = dcmread(path)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)


def test_part_of_the_collection_is_incomplete_and_nothing_else(whole: Path) -> None:
    answer = check_download(whole)
    assert faults(answer) == {}
    assert answer["right"] is False
    assert len(answer["faults"]["missing"]) == 1775 - len(SIDES)
    found = {name: number["found"] for name, number in answer["numbers"].items()}
    assert found == {
        "patients": 6,
        "patients of D1": 4,
        "patients of D2": 2,
        "images": 18,
        "breasts": 9,
        "labelled breasts": 7,
        "unlabelled breasts": 2,
        "benign": 2,
        "malignant": 5,
        "mass": 2,
        "both": 2,
        "calcification": 3,
        "luminal-a": 1,
        "luminal-b": 1,
        "her2-enriched": 0,
        "triple-negative": 0,
    }
    assert answer["numbers"]["images"]["known"] == 5202
    assert answer["split_sha256"] == read_split().sha256
    assert "10.7937/tcia.eqde-4b16" in answer["citation"]
    assert "CC BY 4.0" in answer["licence"]
    notes = "\n".join(answer["notes"])
    assert "2 breasts have no label: they are unknown, not benign and not normal" in notes
    assert "D1-0202 and D2-0284 share 4 images, and their labels disagree; found identical here: 4" in notes
    assert "D1-0951 R MLO: the image is said to have black holes" in notes
    assert "D1-1343 L CC L MLO: the image has 16 bits" in notes
    assert "D2-0041: the side tag of some of its images is said to disagree" in notes
    assert "not the edition" in notes
    assert "1 files are no DICOM objects" in notes


def test_whole_collection_is_right(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = check_download(whole)
    of_ours = {patient_id: row for patient_id, row in read_split().rows.items() if patient_id in SIDES}
    monkeypatch.setattr("cmmd_node.cmmd.check.read_split", lambda: type(read_split())(of_ours, "0"))
    monkeypatch.setattr(
        "cmmd_node.cmmd.check.NUMBERS", {name: number["found"] for name, number in answer["numbers"].items()}
    )
    assert check_download(whole)["right"] is True


def test_missing_image_is_named(collection: Path) -> None:
    (collection / "images" / "D1-0001" / "1-1.dcm").unlink()
    assert faults(check_download(collection)) == {
        "missing": ["D1-0001 R CC"],
        "labels": ["label sheet, row 2: D1-0001 R: number is 2, but there are 1 images"],
    }


def test_copy_and_second_image_of_a_view_are_duplicate(collection: Path) -> None:
    first = collection / "images" / "D1-0001" / "1-1.dcm"
    shutil.copy(first, collection / "copy.dcm")
    shutil.copy(first, collection / "second.dcm")
    rewrite(collection / "second.dcm", SOPInstanceUID="1.2.3")
    told = faults(check_download(collection))["duplicate"]
    copies = {str(collection / "copy.dcm"), str(first)}
    assert any("the same SOP Instance as" in one and all(path in one for path in copies) for one in told)
    assert "D1-0001 R CC: 2 images" in told
    assert any(one.startswith("D1-0001 R CC and D1-0001 R CC have the same pixels") for one in told)


def test_same_pixels_under_patients_not_published_twice_are_duplicate(collection: Path) -> None:
    other = dcmread(collection / "images" / "D2-0041" / "1-1.dcm")
    rewrite(collection / "images" / "D1-0001" / "1-1.dcm", PixelData=other.PixelData)
    (told,) = faults(check_download(collection))["duplicate"]
    assert told.startswith("D1-0001 R CC and D2-0041 R CC have the same pixels")


def test_pair_that_is_not_identical_here_is_noted(collection: Path) -> None:
    other = dcmread(collection / "images" / "D2-0041" / "1-1.dcm")
    rewrite(collection / "images" / "D2-0284" / "1-1.dcm", PixelData=bytes(reversed(other.PixelData)))
    assert any("found identical here: 3" in note for note in check_download(collection)["notes"])


def test_damaged_files_are_named(collection: Path) -> None:
    path = collection / "images" / "D1-0001" / "1-1.dcm"
    path.write_bytes(path.read_bytes()[:-1000])
    blank = collection / "images" / "D1-0951" / "1-1.dcm"
    rewrite(blank, PixelData=bytes(len(dcmread(blank).PixelData)))
    (collection / "junk.dcm").write_bytes(b"junk")
    told = faults(check_download(collection))["damaged"]
    assert [str(name) in "\n".join(told) for name in (path, blank, "junk.dcm")] == [True] * 3
    assert len(told) == 3


def test_breast_on_the_wrong_side_is_mislabelled_unless_it_is_known(collection: Path) -> None:
    for patient_id in ("D1-0001", "D2-0041"):
        path = collection / "images" / patient_id / "1-1.dcm"
        ds = dcmread(path)
        pixels = np.frombuffer(ds.PixelData, np.uint8).reshape(ds.Rows, ds.Columns)
        rewrite(path, PixelData=pixels[:, ::-1].tobytes())
    answer = check_download(collection)
    (told,) = faults(answer)["mislabelled"]
    assert told.startswith("D1-0001 R CC: ")
    assert "the pixels show it on the left" in told
    (note,) = [note for note in answer["notes"] if note.startswith("D2-0041")]
    assert "R CC: " in note
    assert "the pixels show it on the left" in note


def test_images_that_the_collection_does_not_have_are_unexpected(collection: Path) -> None:
    for patient_id, differences in {
        "D1-9999": {"PatientID": "D1-9999"},
        "D1-0003": {"PatientID": "D1-0003"},
        "D1-0001": {"PatientID": "D1-0001", "ImageLaterality": "L", "PatientOrientation": ["A", "R"]},
    }.items():
        ds = next(phantom("D1-0500"))
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{int(patient_id[3:])}"
        for keyword, value in differences.items():
            setattr(ds, keyword, value)
        ds.save_as(collection / f"new-{patient_id}.dcm", enforce_file_format=True)
    told = "\n".join(faults(check_download(collection, pixels=False))["unexpected"])
    assert "there is no patient D1-9999 in CMMD" in told
    assert "D1-0003 R CC: CMMD has no image of this breast" in told
    assert "D1-0001 L CC: CMMD has no image of this breast" in told


def test_sixteen_bits_elsewhere_are_unexpected(collection: Path) -> None:
    path = collection / "images" / "D1-0001" / "1-1.dcm"
    deep = np.frombuffer(dcmread(path).PixelData, np.uint8).astype(np.uint16) * 257
    rewrite(path, BitsAllocated=16, BitsStored=16, HighBit=15, PixelData=deep.tobytes())
    assert faults(check_download(collection))["unexpected"] == ["D1-0001 R CC: has 16 bits"]


def test_headers_only_look_at_no_pixels(collection: Path) -> None:
    answer = check_download(collection, pixels=False)
    assert answer["pixels_read"] is False
    assert faults(answer) == {}
    assert not any("found identical" in note for note in answer["notes"])


def test_sheet_is_found_or_wanted(collection: Path, tmp_path: Path) -> None:
    (collection / SHEET_NAME).unlink()
    with pytest.raises(NodeError, match=f"there is no {SHEET_NAME} below .*--sheet"):
        check_download(collection)
    sheet = write_sheet(tmp_path / "elsewhere.xlsx")
    assert faults(check_download(collection, sheet, pixels=False)) == {}
