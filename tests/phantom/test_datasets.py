"""Phantom objects carry the header of CMMD, element for element."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from cmmd_node.phantom import Exam, make_exam, to_datasets

CMMD = Path(__file__).parents[3] / "shared" / "data" / "cmmd"
ARCHIVES_OWN = re.compile(r"\(0013,|\(0002,0000\)|\(0002,0001\)|\(0002,0016\)")
"""CTP's private block and POSDA's name; and the two elements that only exist once written."""
DIFFERS = {
    "PatientAge",
    "InstanceNumber",
    "PatientName",
    "PatientID",
    "ImplementationVersionName",
    "InstanceCreatorUID",
}


@pytest.fixture(scope="module")
def exam() -> Exam:
    return make_exam(3)


def header_lines(text: str) -> list[tuple[str, str, str]]:
    """(nesting and tag, VR, value) of each element of a pydicom dump."""
    found = re.findall(
        r"^( *)\((\w{4}), ?(\w{4})\) .*? (\w\w): (.*)$|^( *)\((\w{4}), ?(\w{4})\).*(\d+) item", text, re.MULTILINE
    )
    return [
        (f"({(e[1] or e[6]).lower()},{(e[2] or e[7]).lower()})", e[3] or "SQ", e[4].rstrip() or e[8] if e[3] else e[8])
        for e in found
    ]


@pytest.mark.shared
@pytest.mark.skipif(not CMMD.is_dir(), reason="no shared data beside the checkout")
def test_the_left_mlo_has_exactly_the_elements_of_a_cmmd_image(exam: Exam) -> None:
    (ours,) = [ds for ds in to_datasets(exam) if ds.ImageLaterality == "L" and ds.PatientOrientation[1] == "FR"]
    wanted = [e for e in header_lines((CMMD / "header_D1-0002_L_MLO.txt").read_text()) if not ARCHIVES_OWN.match(e[0])]
    found = header_lines(str(ours))
    assert len(wanted) > 90
    assert [(tag, vr) for tag, vr, _ in found] == [(tag, vr) for tag, vr, _ in wanted]
    for (tag, vr, value), (_, _, theirs) in zip(found, wanted, strict=True):
        if vr != "UI" and keyword_for_tag(int(tag[1:5] + tag[6:10], 16)) not in DIFFERS:
            assert value == theirs, tag


@pytest.mark.shared
@pytest.mark.skipif(not CMMD.is_dir(), reason="no shared data beside the checkout")
def test_values_that_are_constant_in_cmmd_are_so_here(exam: Exam) -> None:
    import json

    constants = json.loads((CMMD / "constant_header_values.json").read_text())
    del constants["InstanceCreatorUID"]
    for ds in to_datasets(exam):
        assert {keyword: str(ds.get(keyword)) for keyword in constants} == constants


def test_orientation_tells_where_the_chest_wall_is(exam: Exam) -> None:
    for ds in to_datasets(exam):
        rows_run_to = ds.PatientOrientation[0]
        chest_wall = ds.pixel_array[:, 0 if rows_run_to == "A" else -1]
        skin_side = ds.pixel_array[:, -1 if rows_run_to == "A" else 0]
        assert (chest_wall > 0).any()
        assert not skin_side.any()
        assert rows_run_to == {"L": "A", "R": "P"}[ds.ImageLaterality]


def test_objects_survive_being_written(exam: Exam) -> None:
    for view, ds in zip(exam.views, to_datasets(exam), strict=True):
        file = BytesIO()
        ds.save_as(file, enforce_file_format=True)
        file.seek(0)
        again = pydicom.dcmread(file)
        assert again.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert again.file_meta.MediaStorageSOPInstanceUID == again.SOPInstanceUID
        assert np.array_equal(again.pixel_array, view.pixels)


def uids(datasets: tuple[Dataset, ...]) -> set[str]:
    return {ds[k].value for ds in datasets for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}


def test_four_images_are_one_study_and_one_series(exam: Exam) -> None:
    datasets = to_datasets(exam)
    assert len(uids(datasets)) == 4 + 2
    assert all(uid.startswith("2.25.") and len(uid) <= 44 for uid in uids(datasets))


def test_the_same_exam_has_the_same_uids(exam: Exam) -> None:
    assert uids(to_datasets(exam)) == uids(to_datasets(exam))


def test_another_study_shares_pixels_and_patient_but_no_uid(exam: Exam) -> None:
    first, second = to_datasets(exam), to_datasets(exam, study="second visit")
    assert not uids(first) & uids(second)
    assert [ds.PixelData for ds in first] == [ds.PixelData for ds in second]
    assert {ds.PatientID for ds in (*first, *second)} == {"PHANTOM-000003"}
