"""The factory itself: what it makes is valid and the same on every run."""

import shutil
import subprocess

import pytest

from tests.mammograms import VIEWS, exam, make_mammogram, save


@pytest.mark.judges
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("view", VIEWS)
def test_dciodvfy_finds_no_error(view, tmp_path):
    path = save(make_mammogram(view=view), tmp_path / "image")
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
    assert "MammographyImageForPresentation" in told
    assert "Error" not in told


def test_an_exam_is_the_same_on_every_run_and_its_images_differ():
    assert exam() == exam()
    assert len({ds.SOPInstanceUID for ds in exam()}) == 4
    assert len({ds.StudyInstanceUID for ds in exam()}) == 1


def test_seeds_make_other_studies_and_patients():
    one, other_study, other_patient = make_mammogram(), make_mammogram(study="2"), make_mammogram(patient="2")
    assert len({ds.StudyInstanceUID for ds in (one, other_study, other_patient)}) == 3
    assert one.PatientID == other_study.PatientID != other_patient.PatientID


def test_none_takes_an_attribute_away():
    assert "ImageLaterality" not in make_mammogram(ImageLaterality=None)
