"""Instances, rounds, deliveries: what each change leaves in the index."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from cmmd_node.facts import (
    Codes,
    Finding,
    Form,
    Kind,
    Laterality,
    Mark,
    Model,
    Outcome,
    StudyResult,
    View,
    ViewPosition,
    ViewResult,
    ViewStatus,
)
from cmmd_node.index import Index, deliveries, intake, now_ms, rounds, status
from cmmd_node.index.holdings import kept_of_series
from cmmd_node.index.intake import NewInstance, record_instance, take_up_prior
from cmmd_node.index.tables import DeliveryState, RoundState
from cmmd_node.settings import PRIOR_SOURCE

STUDY = "1.2.3"
CREATED = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - DICOM times are local
MODEL = Model(name="test", version="1", digest="ab")


def arrive(index: Index, name: str, **differences: Any) -> int | None:
    """One instance more; the number of the round that it opens."""
    values = {
        "sop_instance_uid": f"{STUDY}.{name}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "study_instance_uid": STUDY,
        "series_instance_uid": f"{STUDY}.0",
        "patient_id": "P",
        "patient_name": "Doe^Jane",
        "patient_birth_date": "",
        "path": f"objects/{name}.dcm",
        "size_bytes": 1,
        "digest": name,
        "source": "TEST",
    }
    with index.write() as connection:
        return record_instance(connection, NewInstance(**{**values, **differences}))


def close(index: Index, number: int) -> bool:
    with index.write() as connection:
        seen = rounds.arrivals(connection, STUDY, number)
        return rounds.close_round(connection, STUDY, number, last_received_ms=seen.last_received_ms, created=CREATED)


def result(number: int) -> rounds.WrittenResult:
    return rounds.WrittenResult(
        sop_instance_uid=f"2.25.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.50",
        series_instance_uid=f"2.25.{number}0",
        form=Form.CAD_SR,
        codes=Codes.SCT,
        path=f"results/{number}.dcm",
        size_bytes=1,
        digest="d",
    )


def test_of_two_first_images_of_a_study_at_once_one_opens_its_round(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twin_is_faster() -> int:
        """Comes in when the other has found no study and is about to make it."""
        monkeypatch.setattr(intake, "now_ms", now_ms)
        assert arrive(index, "first") == 1
        return now_ms()

    if index.is_sqlite:  # one writer at a time: the twin can only be before or after
        twin_is_faster()
    else:
        monkeypatch.setattr(intake, "now_ms", twin_is_faster)
    assert arrive(index, "second") is None
    with index.read() as connection:
        assert len(intake.indexed_objects(connection)) == 2


def test_images_join_the_round_that_settles_and_open_another_once_it_is_closed(index: Index) -> None:
    assert arrive(index, "1") == 1
    assert arrive(index, "2") is None
    assert close(index, 1)
    assert arrive(index, "3") == 2
    assert arrive(index, "4") is None
    with index.read() as connection:
        first = rounds.study_images(connection, STUDY, 1)
        second = rounds.study_images(connection, STUDY, 2)
    assert [image.sop_instance_uid[-1] for image in first] == ["1", "2"]
    assert [image.sop_instance_uid[-1] for image in second] == ["1", "2", "3", "4"]


def test_a_round_is_not_closed_over_an_image_that_came_meanwhile(index: Index) -> None:
    arrive(index, "1")
    with index.read() as connection:
        seen = rounds.arrivals(connection, STUDY, 1)
    while now_ms() == seen.last_received_ms:
        pass
    arrive(index, "2")
    with index.write() as connection:
        closed = rounds.close_round(connection, STUDY, 1, last_received_ms=seen.last_received_ms, created=CREATED)
    assert not closed


def test_the_same_instance_twice_is_refused_by_the_index(index: Index) -> None:
    arrive(index, "1")
    with pytest.raises(IntegrityError):
        arrive(index, "1", path="objects/other.dcm")


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ({"patient_id": "Q"}, "Patient IDs"),
        ({"patient_name": "Roe^Jane"}, "Names"),
        ({"patient_birth_date": "19700101"}, None),
        ({"patient_name": ""}, None),
    ],
)
def test_a_study_of_two_patients_is_stopped(index: Index, differences: dict[str, str], said: str | None) -> None:
    arrive(index, "1")
    arrive(index, "2", **differences)
    close(index, 1)
    with index.read() as connection:
        state = rounds.arrivals(connection, STUDY, 1).state
        (study,) = status.studies(connection)
    assert state is (RoundState.ANALYSING if said is None else RoundState.STOPPED)
    assert (study["identity_conflict"] is None) if said is None else (said in study["identity_conflict"])


def test_two_birth_dates_stop_a_study(index: Index) -> None:
    arrive(index, "1", patient_birth_date="19700101")
    arrive(index, "2", patient_birth_date="19700102")
    with index.read() as connection:
        assert "Birth" in status.studies(connection)[0]["identity_conflict"]


def test_what_a_round_found_comes_back_as_it_was_stored(index: Index) -> None:
    arrive(index, "1")
    arrive(index, "2")
    close(index, 1)
    mark = Mark(
        kind=Kind.CALCIFICATION_CLUSTER,
        center_cr=(1.5, 2.5),
        outline_cr=((1.0, 1.0), (4.0, 1.0), (4.0, 4.25)),
        suspicion=0.1,
        calcifications_cr=((1.0, 1.0), (2.0, 2.0), (3.0, 3.0)),
    )
    image = f"{STUDY}.1"
    finding = Finding(sop_instance_uid=image, tracking_uid="2.25.7", tracking_id="R CC cluster 1", mark=mark)
    view = View(Laterality.RIGHT, ViewPosition.CC)
    sop_class = "1.2.840.10008.5.1.4.1.1.1.2"
    analysed = StudyResult(
        study_instance_uid=STUDY,
        model=MODEL,
        views=(
            ViewResult(
                sop_instance_uid=image,
                sop_class_uid=sop_class,
                view=view,
                status=ViewStatus.ANALYSED,
                reason=None,
                remark="the pixels show the other side",
                findings=(finding,),
            ),
            ViewResult(
                sop_instance_uid=f"{STUDY}.2",
                sop_class_uid=sop_class,
                view=None,
                status=ViewStatus.NOT_ANALYSED,
                reason="spot compression",
            ),
        ),
    )
    for _ in range(2):  # a step may run twice
        with index.write() as connection:
            rounds.record_analysis(connection, 1, analysed)
    with index.read() as connection:
        assert rounds.recorded_analysis(connection, STUDY, 1) == analysed
        assert status.counts(connection).instances == {"analysed": 1, "not-analysed": 1}


def test_results_of_a_round_name_the_last_answered_round_before(index: Index) -> None:
    for number in (1, 2, 3):
        arrive(index, str(number))
        close(index, number)
        if number != 2:
            with index.write() as connection:
                rounds.record_answer(connection, STUDY, number, Outcome.NO_FINDINGS, [result(number)])
        else:
            with index.write() as connection:
                rounds.record_failure(connection, STUDY, number, "no luck")
    with index.read() as connection:
        first = rounds.round_facts(connection, STUDY, 1, "2.25.1")
        third = rounds.round_facts(connection, STUDY, 3, "2.25.1")
    assert first.predecessors == ()
    assert [one.sop_instance_uid for one in third.predecessors] == ["2.25.1"]
    assert third.created == CREATED


def test_every_accepted_instance_is_counted_once(index: Index) -> None:
    for name in ("1", "2", "3"):
        arrive(index, name)
    close(index, 1)
    arrive(index, "4")
    with index.read() as connection:
        now = status.counts(connection)
    assert sum(now.instances.values()) == 4
    assert now.rounds == {"analysing": 1, "settling": 1}


def answered(index: Index) -> None:
    arrive(index, "1")
    close(index, 1)
    with index.write() as connection:
        rounds.record_answer(connection, STUDY, 1, Outcome.FINDINGS, [result(1)])


def test_a_delivery_is_made_once_and_sent_again_when_dead(index: Index) -> None:
    answered(index)
    client = index.client()
    for _ in range(2):
        with index.write() as connection:
            deliveries.create_delivery(connection, client, STUDY, 1, "pacs", give_up_ms=now_ms() + 1000)
    with index.read() as connection:
        (known,) = status.deliveries(connection)
        delivery = deliveries.find_delivery(connection, known["id"])
        assert delivery is not None
        assert [
            parcel.path for parcel in deliveries.unanswered_parcels(connection, delivery, list(Form), Codes.SCT)
        ] == ["results/1.dcm"]
    with index.write() as connection:
        assert not deliveries.retry_delivery(connection, client, delivery.id, give_up_ms=0)
        deliveries.record_parcel(connection, delivery.id, "2.25.1", stored=False)
        deliveries.record_attempt(connection, delivery.id, DeliveryState.DEAD, "refused")
    with index.read() as connection:
        assert deliveries.unanswered_parcels(connection, delivery, list(Form), Codes.SCT) == ()
        assert deliveries.dead_deliveries(connection) == (delivery.id,)
        assert deliveries.refused_parcels(connection, delivery.id) == 1
    with index.write() as connection:
        assert deliveries.retry_delivery(connection, client, delivery.id, give_up_ms=now_ms())
    with index.read() as connection:
        again = deliveries.find_delivery(connection, delivery.id)
        assert again is not None
        assert (again.state, again.turn) == (DeliveryState.WAITING, 2)
        assert len(deliveries.unanswered_parcels(connection, again, list(Form), Codes.SCT)) == 1
        assert deliveries.unanswered_parcels(connection, again, [Form.SEG], Codes.SCT) == ()


def test_the_cad_sr_is_sent_last(index: Index) -> None:
    arrive(index, "1")
    close(index, 1)
    written = [replace(result(number), form=form) for number, form in enumerate(Form, start=1)]
    with index.write() as connection:
        rounds.record_answer(connection, STUDY, 1, Outcome.FINDINGS, written)
        deliveries.create_delivery(connection, index.client(), STUDY, 1, "pacs", give_up_ms=now_ms() + 1000)
    with index.read() as connection:
        (known,) = status.deliveries(connection)
        delivery = deliveries.find_delivery(connection, known["id"])
        assert delivery is not None
        parcels = deliveries.unanswered_parcels(connection, delivery, list(Form), Codes.SCT)
    assert len(parcels) == len(Form)
    assert parcels[-1].path == written[0].path


@pytest.mark.parametrize(
    ("written", "wanted", "sent"),
    [
        ((Codes.SCT, Codes.SRT, None), Codes.SRT, ["results/2.dcm", "results/3.dcm"]),
        ((Codes.SCT, Codes.SRT, None), Codes.SCT, ["results/1.dcm", "results/3.dcm"]),
        ((Codes.SCT, Codes.SCT, None), Codes.SRT, ["results/1.dcm", "results/2.dcm", "results/3.dcm"]),
        ((None, None, None), Codes.SRT, ["results/1.dcm", "results/2.dcm", "results/3.dcm"]),
    ],
    ids=["older codes", "today's codes", "settings changed since", "no codes"],
)
def test_a_peer_gets_the_codes_that_it_knows(
    index: Index, written: tuple[Codes | None, ...], wanted: Codes, sent: list[str]
) -> None:
    arrive(index, "1")
    close(index, 1)
    results = [replace(result(number), codes=codes) for number, codes in enumerate(written, start=1)]
    with index.write() as connection:
        rounds.record_answer(connection, STUDY, 1, Outcome.FINDINGS, results)
        deliveries.create_delivery(connection, index.client(), STUDY, 1, "pacs", give_up_ms=now_ms() + 1000)
    with index.read() as connection:
        (known,) = status.deliveries(connection)
        delivery = deliveries.find_delivery(connection, known["id"])
        assert delivery is not None
        parcels = deliveries.unanswered_parcels(connection, delivery, list(Form), wanted)
    assert sorted(parcel.path for parcel in parcels) == sent


def test_priors_open_no_work_and_an_exam_takes_them_up_once(index: Index) -> None:
    assert arrive(index, "1", source=PRIOR_SOURCE) is None
    assert arrive(index, "2", source=PRIOR_SOURCE) is None
    with index.read() as connection:
        (study,) = status.studies(connection)
        for with_priors in (True, False):
            kept = kept_of_series(connection, STUDY, f"{STUDY}.0", with_priors=with_priors)
            assert len(kept) == (2 if with_priors else 0)  # so a pull makes an exam of it
    assert [(one["number"], one["state"]) for one in study["rounds"]] == [(1, "prior")]
    with index.write() as connection:
        assert take_up_prior(connection, f"{STUDY}.1", "SENDER") == (STUDY, 2)
        assert take_up_prior(connection, f"{STUDY}.1", "SENDER") is None
        assert take_up_prior(connection, f"{STUDY}.2", "SENDER") is None
    assert arrive(index, "3") is None
    assert close(index, 2)
    with index.read() as connection:
        assert len(rounds.study_images(connection, STUDY, 2)) == 3
        assert status.counts(connection).instances == {"analysing": 3}


def test_a_prior_that_is_sent_while_its_study_is_analysed_opens_no_further_round(index: Index) -> None:
    arrive(index, "1", source=PRIOR_SOURCE)
    arrive(index, "2", source=PRIOR_SOURCE)
    with index.write() as connection:
        take_up_prior(connection, f"{STUDY}.1", "SENDER")
    assert close(index, 2)
    with index.write() as connection:
        assert take_up_prior(connection, f"{STUDY}.2", "SENDER") is None


def test_a_prior_whose_study_has_become_an_exam_is_an_image_of_it(index: Index) -> None:
    arrive(index, "1")
    assert arrive(index, "2", source=PRIOR_SOURCE) is None
    assert close(index, 1)
    with index.read() as connection:
        assert len(rounds.study_images(connection, STUDY, 1)) == 2
    with index.write() as connection:
        assert take_up_prior(connection, f"{STUDY}.2", "SENDER") is None


def test_a_new_image_makes_an_exam_of_a_prior(index: Index) -> None:
    arrive(index, "1", source=PRIOR_SOURCE)
    assert arrive(index, "2") == 2
    with index.read() as connection:
        assert len(rounds.study_images(connection, STUDY, 2)) == 2
