"""The TID 1500 report as another reader sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from cmmd_node.facts import Form, StudyResult
from cmmd_node.report import ResultObject, write_results
from cmmd_node.report.check import check_object
from tests import judges
from tests.report.exams import COLUMNS, OUTCOMES, VIEWS, make_exam, make_header, make_round, sop_instance_uid


def report_of(result: StudyResult, *, exam: list[Dataset] | None = None) -> ResultObject:
    [written] = reports(result, exam=exam)
    return written


def reports(result: StudyResult, *, exam: list[Dataset] | None = None) -> list[ResultObject]:
    written = write_results(result, exam or make_exam(), make_round(), forms={Form.TID1500})
    return [found for found in written if found.form is Form.TID1500]


def items(ds: Dataset, code: str) -> Iterator[Dataset]:
    for child in ds.get("ContentSequence", []):
        name = child.get("ConceptNameCodeSequence")
        if name and name[0].CodeValue == code:
            yield child
        yield from items(child, code)


def test_highdicom_reads_back_the_findings() -> None:
    written = report_of(OUTCOMES["findings"])
    assert written.sop_class_uid == Comprehensive3DSRStorage
    groups = highdicom.sr.srread(BytesIO(written.data)).content.get_planar_roi_measurement_groups()
    for group, finding in zip(groups, OUTCOMES["findings"].findings, strict=True):
        assert (group.tracking_identifier, group.tracking_uid) == (finding.tracking_id, finding.tracking_uid)
        assert np.allclose(group.roi.value[:-1], finding.mark.outline_cr)
        [site] = group.finding_sites
        assert site.laterality.meaning == {"L": "Left", "R": "Right"}[finding.tracking_id[0]]
        numbers = {measured.name.meaning: measured.value for measured in group.get_measurements()}
        assert numbers["Certainty of Finding"] == pytest.approx(100 * finding.mark.suspicion, abs=0.01)
        probability = finding.mark.probability_malignant
        assert numbers.get("Probability of cancer") == (None if probability is None else 100 * probability)
        assert numbers.get("Number of calcifications", 0) == len(finding.mark.calcifications_cr)


def test_all_forms_share_the_tracking() -> None:
    coded = [form for form in Form if form is not Form.SC]  # a picture says nothing in codes
    tracking: dict[Form, set[tuple[str, str]]] = {form: set() for form in coded}
    for written in write_results(OUTCOMES["findings"], make_exam(), make_round(), forms=coded):
        ds = dcmread(BytesIO(written.data))
        names = [name.TextValue for name in items(ds, "112039")]
        tracking[written.form] |= set(zip(names, (uid.UID for uid in items(ds, "112040")), strict=True))
        for segment in ds.get("SegmentSequence", []):
            if segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning != "Breast":
                tracking[written.form].add((segment.TrackingID, segment.TrackingUID))
        for annotation in ds.get("GraphicAnnotationSequence", []):
            tracking[written.form] |= {(one.TrackingID, one.TrackingUID) for one in annotation.GraphicObjectSequence}
    wanted = {(finding.tracking_id, finding.tracking_uid) for finding in OUTCOMES["findings"].findings}
    assert tracking == dict.fromkeys(coded, wanted)


@pytest.mark.parametrize(
    ("name", "images"),
    [("findings", list(VIEWS)), ("no-findings", list(VIEWS)), ("mixed", ["L CC", "R MLO"])],
)
def test_the_library_holds_what_was_analysed(name: str, images: list[str]) -> None:
    ds = dcmread(BytesIO(report_of(OUTCOMES[name]).data))
    [group] = items(ds, "126200")
    listed = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in group.ContentSequence}
    assert listed == {sop_instance_uid(image) for image in images}


@pytest.mark.parametrize("name", ["failed", "not-analysed"])
def test_there_is_none_when_nothing_was_analysed(name: str) -> None:
    assert reports(OUTCOMES[name]) == []


def test_the_observer_is_the_contributing_equipment() -> None:
    ds = dcmread(BytesIO(report_of(OUTCOMES["findings"]).data))
    [equipment] = ds.ContributingEquipmentSequence
    [uid], [model] = items(ds, "121012"), items(ds, "121015")
    assert (uid.UID, model.TextValue) == (equipment.DeviceUID, equipment.ManufacturerModelName)
    assert {item.TextValue for item in items(ds, "111003")} == {equipment.SoftwareVersions}


def test_the_same_call_gives_the_same_bytes() -> None:
    assert report_of(OUTCOMES["findings"]) == report_of(OUTCOMES["findings"], exam=make_exam()[::-1])


def first(ds: Dataset, code: str) -> Dataset:
    return next(items(ds, code))


MISTAKES: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "outside": (
        lambda ds: setattr(first(ds, "111030"), "GraphicData", [0, 0, COLUMNS + 1, 0, 5, 5, 0, 0]),
        "outside the image",
    ),
    "open": (lambda ds: setattr(first(ds, "111030"), "GraphicData", [0, 0, 5, 0, 5, 5, 0, 1]), "not closed"),
    "another code": (
        lambda ds: setattr(first(ds, "121071").ConceptCodeSequence[0], "CodeValue", "52988006"),
        "TID 1410 row 3b",
    ),
    "no score": (
        lambda ds: first(ds, "125007").ContentSequence.remove(first(ds, "111012")),
        "TID 1419 row 5a",
    ),
    "too certain": (
        lambda ds: setattr(first(ds, "111012").MeasuredValueSequence[0], "NumericValue", "101"),
        "not within 0 to 100",
    ),
    "the same twice": (
        lambda ds: [setattr(item, "UID", "1.2.3") for item in items(ds, "112040")],
        "the same tracking UID",
    ),
    "no evidence": (
        lambda ds: (
            ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence.pop()
        ),
        "in no evidence sequence",
    ),
    "not in the library": (lambda ds: first(ds, "126200").ContentSequence.pop(0), "not in the Image Library"),
    "no template": (lambda ds: delattr(first(ds, "125007"), "ContentTemplateSequence"), "DCMR 1410"),
    "another root": (lambda ds: setattr(ds.ContentTemplateSequence[0], "TemplateIdentifier", "4000"), "DCMR 1500"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_found(name: str) -> None:
    change, words = MISTAKES[name]
    ds = dcmread(BytesIO(report_of(OUTCOMES["findings"]).data))
    assert check_object(ds, images=make_exam()) == []
    change(ds)
    faults = check_object(ds, images=make_exam())
    assert any(words in str(fault) for fault in faults), list(map(str, faults))


@pytest.mark.judges
@pytest.mark.parametrize("name", ["findings", "no-findings", "mixed"])
def test_reports_are_valid(name: str, tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(report_of(OUTCOMES[name]).data)
    poor = tmp_path / "poor.dcm"
    absent = dict.fromkeys(("PatientID", "StudyDate", "StudyID", "PatientOrientation", "ImageLaterality"))
    poor.write_bytes(report_of(OUTCOMES[name], exam=[make_header(view, **absent) for view in VIEWS]).data)
    assert judges.dciodvfy(path, poor) == []
    assert judges.dsrdump(path, poor) == []


@pytest.mark.judges
def test_a_report_follows_its_template_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(report_of(OUTCOMES["findings"]).data)
    assert judges.pixelmed(path, root_template="TID_1500") == []
