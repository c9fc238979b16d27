"""The steps of the route: what becomes of one image, and of a study whose images misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from cmmd_node.cad import both_views_of, model_of
from cmmd_node.cad.sealing import seal
from cmmd_node.errors import InvalidResult
from cmmd_node.facts import (
    Analysis,
    Codes,
    Form,
    Kind,
    Laterality,
    Mark,
    Outcome,
    Round,
    StudyResult,
    View,
    ViewPosition,
    ViewResult,
    ViewStatus,
)
from cmmd_node.isolation import IsolatedPool
from cmmd_node.phantom import make_exam, to_datasets
from cmmd_node.report import with_findings
from cmmd_node.route import analysis
from cmmd_node.route.analysis import (
    ImageFile,
    ImageJob,
    WriteJob,
    analyse_image,
    analyse_study,
    detector,
    write_analysed_study,
    write_study,
)
from cmmd_node.settings import CLASSICAL
from tests.cad.bundles import CHARACTERISING, command, golden_view
from tests.mammograms import exam, make_mammogram, save


@pytest.fixture(scope="module")
def pool() -> Iterator[IsolatedPool]:
    made = IsolatedPool(1)
    yield made
    made.close()


def make_round(study_instance_uid: str) -> Round:
    return Round(
        node_uid="2.25.1",
        study_instance_uid=study_instance_uid,
        number=1,
        created=datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - DICOM times are local
    )


def job_of(path: Path, ds: Any) -> ImageJob:
    return ImageJob(
        path=path,
        sop_instance_uid=ds.SOPInstanceUID,
        sop_class_uid=ds.SOPClassUID,
        threshold=None,
        bundle=CLASSICAL,
    )


def file_of(path: Path, ds: Any) -> ImageFile:
    return ImageFile(
        path=path,
        sop_instance_uid=ds.SOPInstanceUID,
        sop_class_uid=ds.SOPClassUID,
        series_instance_uid=ds.SeriesInstanceUID,
    )


def jobs_of(folder: Path, datasets: list[Any]) -> list[ImageJob]:
    return [job_of(save(ds, folder / f"{number}.dcm"), ds) for number, ds in enumerate(datasets)]


def test_a_standard_view_is_analysed(tmp_path: Path) -> None:
    (job,) = jobs_of(tmp_path, [make_mammogram(view="R CC")])
    found = analyse_image(job).view
    assert found.status is ViewStatus.ANALYSED
    assert str(found.view) == "R CC"
    assert found.remark is None
    assert found.spacing is not None


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ({"PresentationIntentType": "FOR PROCESSING", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2.1"}, "Processing"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, "omosynthesis"),
        ({"ViewCodeSequence": None}, "view"),
        ({"ImageLaterality": None}, "aterality"),
        ({"ImagerPixelSpacing": None}, "pacing"),
        ({"PixelData": None}, "ixel"),
    ],
)
def test_what_the_cad_does_not_take_has_a_reason(tmp_path: Path, differences: dict[str, Any], reason: str) -> None:
    (job,) = jobs_of(tmp_path, [make_mammogram(**differences)])
    found = analyse_image(job).view
    assert found.status is ViewStatus.NOT_ANALYSED
    assert reason in str(found.reason)


def test_a_flipped_image_is_analysed_with_a_remark(tmp_path: Path) -> None:
    picture = make_mammogram(view="L CC").pixel_array[:, ::-1]
    (job,) = jobs_of(tmp_path, [make_mammogram(picture, view="L CC")])
    found = analyse_image(job).view
    assert found.status is ViewStatus.ANALYSED
    assert "chest wall" in str(found.remark)


def test_a_file_that_is_none_is_not_analysed(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"\0" * 500)
    assert analyse_image(job_of(path, make_mammogram())).view.status is ViewStatus.NOT_ANALYSED


def test_a_detector_that_fails_costs_its_image_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_bundle: str) -> Any:
        raise MemoryError

    monkeypatch.setattr(analysis, "detector", fail)
    (job,) = jobs_of(tmp_path, [make_mammogram()])
    found = analyse_image(job).view
    assert found.status is ViewStatus.FAILED
    assert "MemoryError" in str(found.reason)


def test_a_study_is_written_the_same_twice(tmp_path: Path, pool: IsolatedPool) -> None:
    datasets = [*exam(), make_mammogram(view="L CC", SOPInstanceUID="2.25.99", ViewCodeSequence=None)]
    jobs = jobs_of(tmp_path, datasets)
    round_ = make_round(datasets[0].StudyInstanceUID)
    result = analyse_study(pool, detector(CLASSICAL).model, round_, jobs, seconds=60)
    assert [view.status for view in result.views].count(ViewStatus.ANALYSED) == 4
    write = WriteJob(
        result=result,
        files=tuple(file_of(job.path, ds) for job, ds in zip(jobs, datasets, strict=True)),
        round_=round_,
    )
    first, second = (write_analysed_study(pool, write, seconds=60) for _ in range(2))
    assert first == second
    assert first[0].form is Form.CAD_SR
    assert result.outcome in {Outcome.FINDINGS, Outcome.NO_FINDINGS}


def test_one_lesion_of_an_exam_is_tied_together_and_known_again(tmp_path: Path, pool: IsolatedPool) -> None:
    datasets = to_datasets(make_exam(3))
    jobs = jobs_of(tmp_path, datasets)
    round_ = make_round(datasets[0].StudyInstanceUID)
    first = analyse_study(pool, detector(CLASSICAL).model, round_, jobs, seconds=120)
    pairs = [lesion for lesion in first.lesions if len(lesion) == 2]
    assert pairs
    for cc, mlo in pairs:
        views = {view.sop_instance_uid: view.view for view in first.views}
        assert views[cc.sop_instance_uid] != views[mlo.sop_instance_uid]
        assert cc.mark.kind is mlo.mark.kind
    again = analyse_study(
        pool, detector(CLASSICAL).model, replace(round_, number=2), jobs, earlier=first.findings, seconds=120
    )
    assert again.views == first.views


def test_both_views_of_a_breast_are_weighed_if_the_model_wants_that(tmp_path: Path, pool: IsolatedPool) -> None:
    folder = command(
        tmp_path / "b", CHARACTERISING, probability_malignant=True, both_views={"own": 0.75, "other": 0.25}
    )
    seal(folder, golden_view())
    bundle = str(folder)
    jobs = jobs_of(tmp_path, to_datasets(make_exam(3)))

    def told(analyses: tuple[Analysis, ...]) -> dict[str, float | None]:
        asked = [replace(job, bundle=bundle, analyses=analyses, threshold=0.7) for job in jobs]
        result = analyse_study(
            pool, model_of(bundle), make_round("2.25.1"), asked, both_views=both_views_of(bundle), seconds=60
        )
        masses = [one for one in result.findings if one.mark.kind is Kind.MASS]  # clusters are the classical detector's
        assert len(masses) == 4
        views = {view.sop_instance_uid: str(view.view) for view in result.views}
        return {views[one.sop_instance_uid]: one.mark.probability_malignant for one in masses}

    odds = 9.0**0.75 * (3.0 / 7.0) ** 0.25, (3.0 / 7.0) ** 0.75 * 9.0**0.25
    cc, mlo = (one / (1.0 + one) for one in odds)
    assert told((Analysis.DETECTION, Analysis.CHARACTERISATION)) == pytest.approx(
        {"L CC": cc, "L MLO": mlo, "R CC": cc, "R MLO": mlo}
    )
    assert set(told((Analysis.DETECTION,)).values()) == {None}


def test_a_study_of_unreadable_files_still_gets_its_report(tmp_path: Path, pool: IsolatedPool) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"\0" * 500)
    ds = make_mammogram()
    round_ = make_round(ds.StudyInstanceUID)
    result = analyse_study(pool, detector(CLASSICAL).model, round_, [job_of(path, ds)], seconds=60)
    assert result.outcome is Outcome.NOT_ANALYSED
    write = WriteJob(result=result, files=(file_of(path, ds),), round_=round_)
    (written,) = write_analysed_study(pool, write, seconds=60)
    (tmp_path / "report.dcm").write_bytes(written.data)
    assert dcmread(tmp_path / "report.dcm").StudyInstanceUID == ds.StudyInstanceUID


def test_each_coding_is_written_once_with_the_forms_that_are_wanted_of_it(tmp_path: Path) -> None:
    ds = make_mammogram(view="L CC")
    job, view = job_of(tmp_path / "0.dcm", ds), View(Laterality.LEFT, ViewPosition.CC)
    save(ds, job.path)
    mark = Mark(
        kind=Kind.MASS, center_cr=(30.0, 30.0), outline_cr=((20.0, 20.0), (40.0, 20.0), (30.0, 40.0)), suspicion=0.5
    )
    unmarked = ViewResult(
        sop_instance_uid=job.sop_instance_uid,
        sop_class_uid=job.sop_class_uid,
        view=view,
        status=ViewStatus.ANALYSED,
        reason=None,
    )
    round_ = make_round(ds.StudyInstanceUID)
    (marked,) = with_findings(round_, [unmarked], [[mark]])
    written = write_study(
        WriteJob(
            result=StudyResult(
                study_instance_uid=ds.StudyInstanceUID, model=detector(CLASSICAL).model, views=(marked,)
            ),
            files=(file_of(job.path, ds),),
            round_=round_,
            forms={Codes.SCT: frozenset({Form.GSPS}), Codes.SRT: frozenset({Form.GSPS, Form.SEG})},
        )
    )
    assert [(one.form, one.codes) for one in written] == [
        (Form.CAD_SR, Codes.SCT),
        (Form.GSPS, None),
        (Form.CAD_SR, Codes.SRT),
        (Form.SEG, Codes.SRT),
    ]


def test_two_patients_are_never_written_into_one_report(tmp_path: Path, pool: IsolatedPool) -> None:
    datasets = [make_mammogram(view="L CC"), make_mammogram(view="R CC", PatientID="somebody else")]
    jobs = jobs_of(tmp_path, datasets)
    views = tuple(
        ViewResult(
            sop_instance_uid=job.sop_instance_uid,
            sop_class_uid=job.sop_class_uid,
            view=None,
            status=ViewStatus.NOT_ANALYSED,
            reason="test",
        )
        for job in jobs
    )
    study = datasets[0].StudyInstanceUID
    write = WriteJob(
        result=StudyResult(study_instance_uid=study, model=detector(CLASSICAL).model, views=views),
        files=tuple(file_of(job.path, ds) for job, ds in zip(jobs, datasets, strict=True)),
        round_=make_round(study),
    )
    with pytest.raises(InvalidResult, match="patient"):
        write_analysed_study(pool, write, seconds=60)
