"""What write_results promises: one answer for each outcome, the same for the same input, and honest."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BreastTomosynthesisImageStorage, MammographyCADSRStorage

from cmmd_node import __version__
from cmmd_node.errors import InvalidResult
from cmmd_node.facts import Form, Mark, Reference, Round, StudyResult
from cmmd_node.report import ResultObject, write_results
from cmmd_node.report.check import check_object
from tests.report.exams import (
    CLUSTER,
    COLUMNS,
    MASS,
    NODE,
    OUTCOMES,
    ROWS,
    SERIES,
    STUDY,
    VIEWS,
    make_exam,
    make_header,
    make_result,
    make_round,
    sop_instance_uid,
)


def report(result: StudyResult, *, exam: list[Dataset] | None = None, round_: Round | None = None) -> Dataset:
    written = write_results(result, exam or make_exam(), round_ or make_round())
    assert [found.form for found in written[:2]].count(Form.CAD_SR) == 1
    return dcmread(BytesIO(written[0].data))


def items(ds: Dataset, code: str) -> list[Dataset]:
    """All content items with a concept name, in document order."""
    found = []
    for child in ds.get("ContentSequence", []):
        name = child.get("ConceptNameCodeSequence")
        found += [child] if name and name[0].CodeValue == code else []
        found += items(child, code)
    return found


def value(ds: Dataset, code: str) -> str:
    [item] = items(ds, code)
    return str(item.ConceptCodeSequence[0].CodeValue)


@pytest.mark.parametrize(
    ("name", "summary", "detections", "analyses", "findings"),
    [
        ("findings", "111242", "111222", "111222", 3),
        ("no-findings", "111241", "111222", "111222", 0),
        ("not-analysed", "111245", "111225", "111225", 0),
        ("failed", "111245", "111224", "111225", 0),
        ("mixed", "111244", "111223", "111225", 1),
    ],
)
def test_every_outcome_has_its_summary(name: str, summary: str, detections: str, analyses: str, findings: int) -> None:
    ds = report(OUTCOMES[name])
    assert ds.SOPClassUID == MammographyCADSRStorage
    assert value(ds, "111017") == summary
    assert value(ds, "111064") == detections
    assert value(ds, "111065") == analyses
    kinds = [item.ConceptCodeSequence[0].CodeValue for item in items(ds, "111059")]
    assert len(kinds) - kinds.count("129770007") == findings


def test_only_attempted_images_are_in_the_lists() -> None:
    ds = report(OUTCOMES["mixed"])
    library = {
        (1, 2, number): image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for number, image in enumerate(ds.ContentSequence[1].ContentSequence, start=1)
    }

    def listed(code: str) -> set[str]:
        [container] = items(ds, code)
        links = [item for detection in container.ContentSequence for item in detection.ContentSequence]
        found = [item.get("ReferencedContentItemIdentifier") for item in links]
        return {library[tuple(position)] for position in found if position}

    assert set(library.values()) == {sop_instance_uid(name) for name in VIEWS}
    assert listed("111063") == {sop_instance_uid("L CC"), sop_instance_uid("R MLO")}
    assert listed("111025") == {sop_instance_uid("R CC")}
    kinds = [item.ConceptCodeSequence[0].CodeValue for item in items(ds, "111063")[0].ContentSequence]
    assert kinds == ["129793001", "129769006", "129770007"]


def test_reasons_are_put_in_words() -> None:
    [text] = items(report(OUTCOMES["mixed"]), "111033")
    assert "Research use only, not a medical device." in text.TextValue
    assert f"Image L MLO ({sop_instance_uid('L MLO')}) not analysed: the view is not said." in text.TextValue
    assert f"R CC ({sop_instance_uid('R CC')}) failed: the pixel data end before the last row." in text.TextValue


def test_a_reason_that_quotes_a_peer_cannot_break_the_text() -> None:
    result = make_result(not_analysed=dict.fromkeys(VIEWS, "the view is '\x1b$B\n\0 Ärger\\x'."))
    [text] = items(report(result), "111033")
    assert "the view is ' $B Ärger\\x'." in text.TextValue


def test_a_score_is_certainty_and_only_a_calibrated_one_is_a_probability() -> None:
    ds = report(make_result(marks={"L CC": (MASS, CLUSTER)}))
    certainties = [item.MeasuredValueSequence[0].NumericValue for item in items(ds, "111012")]
    assert certainties == [87.5, 33.33]
    [probability] = items(ds, "111047")
    assert probability.MeasuredValueSequence[0].NumericValue == 61
    [count] = items(ds, "111038")
    assert count.MeasuredValueSequence[0].NumericValue == 3


def test_sr_and_seg_share_tracking_and_study() -> None:
    written = write_results(OUTCOMES["findings"], make_exam(), make_round())
    sr, *segs = [dcmread(BytesIO(found.data)) for found in written]
    in_sr = {(uid.UID, name.TextValue) for uid, name in zip(items(sr, "112040"), items(sr, "112039"), strict=True)}
    segments = [segment for seg in segs for segment in seg.SegmentSequence if segment.SegmentLabel[2:] != "breast"]
    in_seg = {(segment.TrackingUID, segment.TrackingID) for segment in segments}
    assert in_sr == in_seg
    assert len(in_sr) == 3
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "SpecificCharacterSet"):
        assert {str(ds[keyword].value) for ds in (sr, *segs)} == {str(sr[keyword].value)}
    assert sr.SeriesInstanceUID not in {SERIES, *(seg.SeriesInstanceUID for seg in segs)}


def test_every_object_says_who_made_it_and_what_it_is_not() -> None:
    for written in write_results(OUTCOMES["findings"], make_exam(), make_round()):
        ds = dcmread(BytesIO(written.data))
        assert (ds.Manufacturer, ds.DeviceSerialNumber, ds.SoftwareVersions) == ("cmmd-node", NODE, __version__)
        assert "Research use only, not a medical device" in ds.SeriesDescription
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        dates = [element.value for element in ds if element.keyword in {"SeriesDate", "ContentDate"}]
        assert {*dates, ds.InstanceCreationDate} == {"20261122"}
        assert {ds.ContentTime, ds.SeriesTime, ds.InstanceCreationTime} == {"170003"}
        assert ds.file_meta.ImplementationClassUID.startswith("2.25.")


def test_the_same_call_gives_the_same_bytes_in_any_order() -> None:
    for name, result in OUTCOMES.items():
        exam, views = make_exam(), list(result.views)
        random.Random(name).shuffle(exam)
        random.Random(name).shuffle(views)
        shuffled = replace(result, views=tuple(views))
        assert write_results(shuffled, exam, make_round()) == write_results(result, make_exam(), make_round())


def other_round(**changes: object) -> Callable[[], list[ResultObject]]:
    return lambda: write_results(OUTCOMES["findings"], make_exam(), replace(make_round(), **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        other_round(node_uid="2.25.1"),
        other_round(number=2),
        other_round(created=make_round().created.replace(second=4)),
        lambda: write_results(OUTCOMES["no-findings"], make_exam(), make_round()),
        lambda: write_results(OUTCOMES["mixed"], make_exam(), make_round()),
        lambda: write_results(
            replace(OUTCOMES["findings"], model=replace(OUTCOMES["findings"].model, digest="cd" * 32)),
            make_exam(),
            make_round(),
        ),
        lambda: write_results(
            OUTCOMES["findings"], [make_header(name, PatientName="Corrected^Name") for name in VIEWS], make_round()
        ),
        lambda: write_results(OUTCOMES["findings"], [*make_exam()[1:], make_header("L CC", Rows=65)], make_round()),
    ],
)
def test_other_content_never_has_the_same_uid(other: Callable[[], list[ResultObject]]) -> None:
    ours = {
        found.sop_instance_uid: found.data for found in write_results(OUTCOMES["findings"], make_exam(), make_round())
    }
    theirs = {found.sop_instance_uid: found.data for found in other()}
    assert all(ours[uid] == theirs[uid] for uid in ours.keys() & theirs.keys())
    assert ours != theirs


def test_no_patient_is_named_in_warnings_or_logs(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    write_results(OUTCOMES["findings"], make_exam(), make_round())
    assert "D1-0002" not in caplog.text + "".join(capsys.readouterr())


def test_a_new_round_names_what_it_replaces() -> None:
    [first, *_] = write_results(OUTCOMES["no-findings"], make_exam(), make_round())
    predecessor = Reference(
        study_instance_uid=STUDY,
        series_instance_uid=first.series_instance_uid,
        sop_class_uid=first.sop_class_uid,
        sop_instance_uid=first.sop_instance_uid,
    )
    ds = report(OUTCOMES["findings"], round_=make_round(number=2, predecessors=(predecessor,)))
    [study] = ds.PredecessorDocumentsSequence
    [series] = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == first.series_instance_uid
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.sop_instance_uid
    assert check_object(ds) == []


def test_an_image_that_is_no_standard_view_is_in_library_and_evidence() -> None:
    tomosynthesis = make_header(
        "L CC", SOPInstanceUID="1.2.3.4", SOPClassUID=BreastTomosynthesisImageStorage, SeriesInstanceUID="1.2.3"
    )
    ds = report(OUTCOMES["findings"], exam=[*make_exam(), tomosynthesis])
    named = [
        reference.ReferencedSOPInstanceUID
        for series in ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]
    assert sorted(named) == sorted(["1.2.3.4", *map(sop_instance_uid, VIEWS)])
    assert len(ds.ContentSequence[1].ContentSequence) == 5


@pytest.mark.parametrize(
    "outline_cr",
    [((-0.5, 1.0), (5.0, 1.0), (5.0, 5.0)), ((1.0, 1.0), (COLUMNS + 0.5, 1.0), (5.0, 5.0))],
)
def test_coordinates_outside_the_image_are_refused(outline_cr: tuple[tuple[float, float], ...]) -> None:
    mark = replace(MASS, outline_cr=outline_cr)
    with pytest.raises(InvalidResult, match="outside the image"):
        write_results(make_result(marks={"L CC": (mark,)}), make_exam(), make_round())


def test_a_mark_may_touch_every_border() -> None:
    mark: Mark = replace(MASS, outline_cr=((0.0, 0.0), (COLUMNS, 0.0), (COLUMNS, ROWS), (0.0, ROWS)))
    assert len(write_results(make_result(marks={"L CC": (mark,)}), make_exam(), make_round())) == 2


def test_two_patients_in_one_study_get_no_result() -> None:
    exam = [*make_exam()[1:], make_header("L CC", PatientID="D1-0003")]
    with pytest.raises(InvalidResult, match="2 patients") as refused:
        write_results(OUTCOMES["findings"], exam, make_round())
    assert "D1-000" not in str(refused.value)


def test_images_of_another_study_get_no_result() -> None:
    with pytest.raises(InvalidResult, match="2 studies"):
        write_results(
            OUTCOMES["findings"], [*make_exam()[1:], make_header("L CC", StudyInstanceUID="1.2")], make_round()
        )


def test_a_result_without_its_image_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="1 images without"):
        write_results(OUTCOMES["findings"], make_exam()[1:], make_round())
    with pytest.raises(ValueError, match="0 headers"):
        write_results(replace(OUTCOMES["findings"], views=()), [], make_round())
    with pytest.raises(ValueError, match="in a round of"):
        write_results(OUTCOMES["findings"], make_exam(), replace(make_round(), study_instance_uid="1.2"))
