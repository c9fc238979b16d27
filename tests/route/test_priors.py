"""Priors: which studies are chosen, and how a search ends that gets no answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileDataset

from cmmd_node.errors import NodeError, RefusedInstance
from cmmd_node.index import Index, now_ms
from cmmd_node.index import priors as searches
from cmmd_node.index.status import studies
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.part10 import take_in
from cmmd_node.retrieve import FoundSeries, Patient, Problem
from cmmd_node.route import priors
from cmmd_node.route.priors import CurrentExam, PriorsRoute, choose_priors
from cmmd_node.settings import PriorsSettings, Settings
from tests.conftest import MakeSettings, free_ports
from tests.mammograms import make_mammogram
from tests.receive.conftest import part10_bytes

PATIENT = Patient(patient_id="P", issuer_of_patient_id="HERE", birth_date="19600101")
EXAM = CurrentExam(study_instance_uid="1.2.9", patient=PATIENT, study_date=date(2024, 2, 29))
BOUNDS = PriorsSettings(source="pacs", studies=2, years=5)


def series(study: str, day: str, **patient: str) -> FoundSeries:
    return FoundSeries(
        study_instance_uid=study, series_instance_uid=f"{study}.1", study_date=day, patient=Patient(**patient)
    )


@pytest.mark.parametrize(
    ("one", "is_prior"),
    [
        (series("1.2.1", "20230105", patient_id="P"), True),
        (series("1.2.1", "20240228"), True),
        (series("1.2.1", "20240229"), False),  # of the same day
        (series("1.2.1", "20240301"), False),
        (series("1.2.1", "20190228"), True),
        (series("1.2.1", "20190227"), False),
        (series("1.2.1", ""), False),
        (series("1.2.9", "20230105"), False),  # the exam itself, under an earlier day
        (series("1.2.1", "20230105", patient_id="Q"), False),
        (series("1.2.1", "20230105", patient_id="P", birth_date="19600102"), False),
        (series("1.2.1", "20230105", patient_id="P", issuer_of_patient_id="THERE"), False),
        (series("1.2.1", "20230105", patient_id="P", issuer_of_patient_id="HERE", birth_date="19600101"), True),
    ],
)
def test_only_earlier_studies_of_the_same_patient_are_priors(one: FoundSeries, is_prior: bool) -> None:
    assert choose_priors(EXAM, [one], BOUNDS) == ([[one]] if is_prior else [])


def test_the_latest_studies_are_chosen_with_all_their_series() -> None:
    found = [series(f"1.2.{year}", f"20{year}0101") for year in (20, 23, 21)]
    more = FoundSeries(study_instance_uid="1.2.23", series_instance_uid="1.2.23.2", study_date="20230101")
    assert choose_priors(EXAM, [*found, more], BOUNDS) == [[found[1], more], [found[2]]]


def test_an_archive_is_asked_for_the_days_before_the_exam() -> None:
    wanted = EXAM.wanted(BOUNDS)
    assert (wanted.patient_id, wanted.study_date, wanted.modality) == ("P", "20190228-20240228", "MG")
    assert wanted.with_issuer


@pytest.mark.parametrize("difference", [{"PatientID": ""}, {"StudyDate": ""}, {"StudyDate": "around 2020"}])
def test_nothing_is_a_prior_of_an_exam_of_nobody_or_of_no_day(difference: dict[str, Any]) -> None:
    ds: Dataset = make_mammogram(**difference)
    with pytest.raises(NodeError, match="the exam has no"):
        CurrentExam.from_dataset(ds)


def searched(settings: Settings, index: Index, *, seconds: float, **differences: str) -> dict[str, Any]:
    """An exam whose priors have been looked for once; what is told of the search, and whether it goes on."""
    ds = make_mammogram(**differences)
    take_in(Inbox(settings, index, index.client()), [part10_bytes(ds)], source="SENDER")
    with index.write() as connection:
        give_up_ms = now_ms() + round(1000 * seconds)
        searches.create_search(connection, index.client(), ds.StudyInstanceUID, give_up_ms=give_up_ms)
    route = PriorsRoute(settings, index, index.client())
    wait_seconds = route._attempt(ds.StudyInstanceUID)
    with index.read() as connection:
        exam, *others = studies(connection)
    return {**exam["priors"], "goes on": wait_seconds is not None, "known": 1 + len(others)}


class Scripted:
    """An archive that has one image, under whatever it says of it."""

    name = "scripted"

    def __init__(self, found: FoundSeries, ds: FileDataset) -> None:
        self._found, self._ds = found, ds

    def search(self, _wanted: Any) -> Iterator[FoundSeries]:
        yield self._found

    def fetch(self, _series: FoundSeries, _missing: Any, take: Any) -> Iterator[Problem | int]:
        try:
            take([part10_bytes(self._ds)])
            yield 1
        except RefusedInstance as error:
            yield Problem(self._ds.SOPInstanceUID, str(error))


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({}, None),
        ({"PatientBirthDate": "19010101"}, "another patient"),
        ({"IssuerOfPatientID": "THERE"}, "another patient"),
        ({"PatientID": ""}, "another patient"),
        ({"PatientID": "somebody else"}, "another patient"),
        ({"StudyInstanceUID": "1.2.3"}, "another study"),
    ],
)
def test_what_comes_is_held_against_the_exam(
    settings: Settings, index: Index, monkeypatch: pytest.MonkeyPatch, difference: dict[str, str], reason: str | None
) -> None:
    known = {"PatientBirthDate": "19600101", "IssuerOfPatientID": "HERE"}
    prior = make_mammogram(study="prior", StudyDate="20090718", **{**known, **difference})
    found = FoundSeries(
        study_instance_uid=make_mammogram(study="prior").StudyInstanceUID,
        series_instance_uid=prior.SeriesInstanceUID,
        study_date="20090718",
        sop_instance_uids=frozenset({prior.SOPInstanceUID}),
        images=1,
    )
    monkeypatch.setattr(priors, "source_named", lambda *_: Scripted(found, prior))
    told = searched(settings, index, seconds=600, **known)
    assert told["state"] == ("fetched" if reason is None else "dead")
    assert told["known"] == (2 if reason is None else 1)
    assert (told["problem"] is None) if reason is None else (reason in told["problem"])


def unreachable(make_settings: MakeSettings) -> Settings:
    peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": free_ports(1)[0], "retrieve": "get"}
    return make_settings(peer=[peer], priors={"source": "pacs"})


def test_an_archive_that_is_away_is_asked_again(make_settings: MakeSettings, index_of: Any) -> None:
    settings = unreachable(make_settings)
    told = searched(settings, index_of(settings), seconds=600)
    assert (told["state"], told["goes on"]) == ("waiting", True)
    assert "cannot be reached" in told["problem"]


def test_a_search_is_given_up_in_time(make_settings: MakeSettings, index_of: Any) -> None:
    settings = unreachable(make_settings)
    told = searched(settings, index_of(settings), seconds=0.1)
    assert (told["state"], told["goes on"], told["studies"]) == ("dead", False, None)
    assert "cannot be reached" in told["problem"]


def test_a_search_whose_source_is_no_longer_configured_ends(settings: Settings, index: Index) -> None:
    told = searched(settings, index, seconds=600)
    assert (told["state"], told["goes on"]) == ("dead", False)
