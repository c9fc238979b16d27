"""The objects before independent judges."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import BreastTomosynthesisImageStorage, MammographyCADSRStorage

from cmmd_node.facts import Reference
from cmmd_node.report import write_results
from tests import judges
from tests.report.exams import OUTCOMES, STUDY, VIEWS, make_exam, make_header, make_round

pytestmark = pytest.mark.judges


def written(folder: Path, name: str) -> tuple[list[Path], list[Path]]:
    """Files of the reports and of the segmentations of one outcome."""
    paths = []
    for number, result in enumerate(write_results(OUTCOMES[name], make_exam(), make_round())):
        paths.append(folder / f"{name}-{result.form}-{number}.dcm")
        paths[-1].write_bytes(result.data)
    return paths[:1], paths[1:]


@pytest.mark.parametrize("name", OUTCOMES)
def test_each_outcome_is_a_valid_structured_report(name: str, tmp_path: Path) -> None:
    reports, _ = written(tmp_path, name)
    assert judges.dciodvfy(*reports) == []
    assert judges.dsrdump(*reports) == []


@pytest.mark.parametrize("name", ["findings", "no-findings", "not-analysed", "mixed"])
def test_reports_follow_their_templates_row_by_row(name: str, tmp_path: Path) -> None:
    reports, _ = written(tmp_path, name)
    assert judges.pixelmed(*reports) == []


@pytest.mark.parametrize("name", ["findings", "mixed"])
def test_masks_are_valid_segmentations_of_the_same_patient_and_study(name: str, tmp_path: Path) -> None:
    reports, segmentations = written(tmp_path, name)
    assert segmentations
    assert judges.dciodvfy(*segmentations) == []
    assert judges.dcentvfy(*reports, *segmentations) == []


def test_a_later_round_over_more_than_standard_views_is_valid(tmp_path: Path) -> None:
    replaced = Reference(
        study_instance_uid=STUDY,
        series_instance_uid="1.2.3",
        sop_class_uid=MammographyCADSRStorage,
        sop_instance_uid="1.2.3.4",
    )
    tomosynthesis = make_header(
        "L CC", SOPInstanceUID="1.2.9", SOPClassUID=BreastTomosynthesisImageStorage, SeriesInstanceUID="1.2.8"
    )
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "12.5",
        "LossyImageCompressionMethod": "ISO_15444_1",
    }
    exam = [tomosynthesis, *(make_header(name, PatientName="Wang^XiaoDong=王^小东", **lossy) for name in VIEWS)]
    paths = []
    round_ = make_round(number=2, predecessors=(replaced,))
    for number, result in enumerate(write_results(OUTCOMES["findings"], exam, round_)):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(result.data)
    assert judges.dciodvfy(*paths) == []
    assert judges.dsrdump(paths[0]) == []


def test_a_poor_header_still_gives_valid_objects(tmp_path: Path) -> None:
    absent = dict.fromkeys(
        (
            "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
            "AccessionNumber", "ReferringPhysicianName", "PatientOrientation", "ImagerPixelSpacing",
            "ImageLaterality", "ViewCodeSequence", "ContentDate", "ContentTime", "SpecificCharacterSet",
        )
    )  # fmt: skip
    exam = [make_header(name, **absent) for name in VIEWS]
    paths = []
    for number, result in enumerate(write_results(OUTCOMES["findings"], exam, make_round())):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(result.data)
    assert judges.dciodvfy(*paths) == []
    assert judges.dsrdump(paths[0]) == []


def test_a_missing_tool_skips_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="dicom3tools"):
        judges.dciodvfy(tmp_path / "any.dcm")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="dicom3tools"):
        judges.dciodvfy(tmp_path / "any.dcm")
