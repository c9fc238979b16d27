"""Headers of the collection: the real table, and the traps in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cmmd_node.cmmd.images import CmmdImage, read_download
from cmmd_node.errors import NodeError
from cmmd_node.facts import Laterality, View, ViewPosition
from tests.cmmd.collections import real_headers, real_images
from tests.mammograms import make_mammogram


@pytest.mark.shared
def test_every_real_header_is_read() -> None:
    images = real_images()
    assert len(images) == len({image.sop_instance_uid for image in images}) == 5202
    views = Counter(image.breast for image in images)
    assert len(views) == 2601
    assert set(views.values()) == {2}
    assert len({(image.breast, image.view.position) for image in images}) == 5202  # one CC and one MLO each
    assert Counter(Counter(image.patient_id for image in images).values()) == {2: 949, 4: 826}
    assert all(image.age is not None and 17 <= image.age <= 87 for image in images)


@pytest.mark.shared
def test_instance_number_is_not_the_view() -> None:
    numbers = {(row["PatientID"], row["ViewCode"]): row["InstanceNumber"] for row in real_headers()}
    assert {numbers["D1-1506", "399368009"], numbers["D1-1506", "399162004"]} == {"2", "3"}
    assert [image.view for image in real_images() if image.patient_id == "D1-1506"] == [
        View(Laterality.RIGHT, ViewPosition.MLO),
        View(Laterality.RIGHT, ViewPosition.CC),
    ]


@pytest.mark.shared
def test_two_real_images_have_16_bits() -> None:
    deep = [(image.patient_id, str(image.view)) for image in real_images() if image.bits_stored != 8]
    assert sorted(deep) == [("D1-1343", "L CC"), ("D1-1343", "L MLO")]


def test_empty_manufacturer_and_accession_number_do_no_harm() -> None:
    ds = make_mammogram(
        view="R CC",
        PatientID="D1-0001",
        PatientAge="044Y",
        Manufacturer="",
        AccessionNumber="",
        ViewPosition=None,
        Laterality=None,
        VOILUTFunction="SIGMOID",
    )
    image = CmmdImage.from_dataset(ds, Path("a.dcm"))
    assert (image.patient_id, str(image.view), image.age, image.bits_stored) == ("D1-0001", "R CC", 44, 8)


def test_folder_is_read_with_a_reason_for_every_file(tmp_path: Path) -> None:
    make_mammogram(view="R CC").save_as(tmp_path / "a", enforce_file_format=True)
    make_mammogram(view="R CC").save_as(tmp_path / "copy.dcm", enforce_file_format=True)
    make_mammogram(view="L CC", PatientID=None).save_as(tmp_path / "nobody.dcm", enforce_file_format=True)
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    (tmp_path / "LICENSE").write_text("CC BY 4.0")
    told: list[tuple[int, int]] = []
    download = read_download(tmp_path, tell=lambda done, total: told.append((done, total)))
    assert [image.path.name for image in download.images] == ["a"]
    assert [(one.path.name, one.reason) for one in download.copies] == [
        ("copy.dcm", f"the same SOP Instance as {tmp_path / 'a'}")
    ]
    assert [(one.path.name, one.reason) for one in download.problems] == [
        ("broken.dcm", "The file cannot be read as a DICOM object"),
        ("nobody.dcm", "Patient ID is missing"),
    ]
    assert [path.name for path in download.others] == ["LICENSE"]
    assert told[-1] == (5, 5)


def test_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="no files"):
        read_download(tmp_path)
