"""What is kept no longer goes as a whole, and nothing else goes, whatever happens meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from cmmd_node import retention
from cmmd_node.facts import Codes, Form, Model, Outcome, StudyResult, ViewResult, ViewStatus
from cmmd_node.index import Index, commitments, deliveries, now_ms, priors, rounds
from cmmd_node.index.catalogue import Description, catalogue, uncatalogued
from cmmd_node.index.holdings import kept_of_series
from cmmd_node.index.status import studies
from cmmd_node.index.tables import DeliveryState
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.part10 import take_in
from cmmd_node.repair import verify
from cmmd_node.settings import PRIOR_SOURCE, Settings
from tests.mammograms import make_mammogram
from tests.receive.conftest import part10_bytes

MODEL = Model(name="test", version="1", digest="ab")
CREATED = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - DICOM times are local

#: A process that purges everything and is killed once so many files are gone.
KILLED = """
import os, signal, sys
from pathlib import Path
from cmmd_node import retention
from cmmd_node.index import now_ms, open_index
from cmmd_node.settings import Settings

data_dir, database_url, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
index, gone, unlink = open_index(Settings(node={"data_dir": data_dir, "database_url": database_url})), [], Path.unlink

def die(*_arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def unlink_or_die(path, **options):
    if len(gone) == left:
        die()
    gone.append(unlink(path, **options))

Path.unlink, retention.forget_files = unlink_or_die, die
retention.purge(data_dir, index, index.client(), before_ms=now_ms() + 1000)
"""


def received(
    settings: Settings, index: Index, name: str = "study", *, view: str = "L MLO", source: str = "SENDER"
) -> str:
    """One image more; its study."""
    ds = make_mammogram(study=name, view=view)
    take_in(Inbox(settings, index, index.client()), [part10_bytes(ds)], source=source)
    return str(ds.StudyInstanceUID)


def answered(
    settings: Settings, index: Index, study: str, *, number: int = 1, delivery: DeliveryState = DeliveryState.DELIVERED
) -> None:
    """The round has its answer, as the route leaves it: a result on disk, on its way to a peer."""
    path = settings.node.data_dir / "results" / f"{number:02x}" / f"{study[-12:]}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"result")
    with index.read() as connection:
        seen = rounds.arrivals(connection, study, number)
    with index.write() as connection:
        rounds.close_round(connection, study, number, last_received_ms=seen.last_received_ms, created=CREATED)
        views = tuple(
            ViewResult(
                sop_instance_uid=one.sop_instance_uid,
                sop_class_uid=one.sop_class_uid,
                view=None,
                status=ViewStatus.ANALYSED,
                reason=None,
            )
            for one in rounds.study_images(connection, study, number)
        )
        rounds.record_analysis(connection, number, StudyResult(study_instance_uid=study, model=MODEL, views=views))
        written = rounds.WrittenResult(
            sop_instance_uid=f"2.25.{number}{study[-12:]}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.50",
            series_instance_uid=f"2.25.{number}",
            form=Form.CAD_SR,
            codes=Codes.SCT,
            path=str(path.relative_to(settings.node.data_dir)),
            size_bytes=6,
            digest="d",
        )
        rounds.record_answer(connection, study, number, Outcome.NO_FINDINGS, [written])
        deliveries.create_delivery(connection, index.client(), study, number, "pacs", give_up_ms=now_ms())
        one = connection.exec_driver_sql("SELECT max(id) FROM delivery").scalar_one()
        deliveries.record_attempt(connection, one, delivery, None)


def purge(settings: Settings, index: Index, *, before_ms: int | None = None) -> int:
    """All that has ended by now, or by then."""
    moment = now_ms() + 1000 if before_ms is None else before_ms
    return retention.purge(settings.node.data_dir, index, index.client(), before_ms=moment)


def rows(index: Index, table: str) -> int:
    with index.read() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def work(index: Index) -> set[str]:
    """Workflows that DBOS knows."""
    table = "workflow_status" if index.is_sqlite else "dbos.workflow_status"
    with index.read() as connection:
        return set(connection.exec_driver_sql(f"SELECT workflow_uuid FROM {table}").scalars())


def files(settings: Settings) -> list[Path]:
    """Images and results."""
    return sorted(path for folder in ("objects", "results") for path in (settings.node.data_dir / folder).glob("*/*"))


def states(index: Index) -> list[str]:
    """Of all rounds."""
    with index.read() as connection:
        return [one["state"] for study in studies(connection) for one in study["rounds"]]


def test_a_study_goes_with_its_files_its_work_and_the_name_of_its_patient(settings: Settings, index: Index) -> None:
    study = received(settings, index)
    answered(settings, index, study)
    with index.write() as connection:
        catalogue(connection, [(one, "1.2", Description()) for one in uncatalogued(connection, 100)])
    assert (len(files(settings)), len(work(index)), rows(index, "catalogue_instance")) == (2, 2, 2)
    other = received(settings, index, "other")
    assert [purge(settings, index), purge(settings, index)] == [1, 0]
    assert [path.parts[-3] for path in files(settings)] == ["objects"]
    for table, left in {"instance": 1, "view_result": 0, "purged_file": 0}.items():
        assert rows(index, table) == left, table
    assert [rows(index, f"catalogue_{level}") for level in ("study", "series", "instance")] == [0, 0, 0]
    assert work(index) == {f"study:{other}:1"}
    with index.read() as connection:
        patients = dict(connection.exec_driver_sql("SELECT study_instance_uid, patient_name FROM study").all())
        gone, there = studies(connection)
        assert {one.study_instance_uid for one in uncatalogued(connection, 100)} == {other}
    assert (patients[study], bool(patients[other])) == ("", True)
    (round_,) = gone["rounds"]
    assert (gone["images"], round_["state"], round_["outcome"]) == (0, "purged", "no-findings")
    assert (round_["results"][0]["path"], round_["deliveries"][0]["state"]) == (None, "delivered")
    assert (there["images"], there["rounds"][0]["state"]) == (1, "settling")
    assert verify(settings, tell=lambda _words: None) == {"objects": 1, "damaged": []}


@pytest.mark.fault("E82")
@pytest.mark.parametrize("state", ["settling", "analysing", "stopped", "failed"])
def test_a_study_without_an_answer_stays_however_old(settings: Settings, index: Index, state: str) -> None:
    received(settings, index)
    with index.write() as connection:
        connection.exec_driver_sql(f"UPDATE round SET state = '{state}'")
    assert purge(settings, index) == 0
    assert len(files(settings)) == 1


@pytest.mark.fault("E82")
@pytest.mark.parametrize("delivery", [DeliveryState.WAITING, DeliveryState.DEAD])
def test_a_study_that_a_peer_has_not_got_stays_however_old(
    settings: Settings, index: Index, delivery: DeliveryState
) -> None:
    answered(settings, index, received(settings, index), delivery=delivery)
    assert purge(settings, index) == 0
    assert len(files(settings)) == 2


def test_a_study_stays_while_something_happens_to_it(settings: Settings, index: Index) -> None:
    study = received(settings, index)
    answered(settings, index, study)
    assert purge(settings, index, before_ms=now_ms() - 60_000) == 0  # too young
    with index.write() as connection:
        priors.create_search(connection, index.client(), study, give_up_ms=0)
    assert purge(settings, index) == 0
    with index.write() as connection:
        connection.exec_driver_sql("UPDATE prior_search SET state = 'fetched'")
    received(settings, index, view="L CC")
    assert purge(settings, index) == 0
    answered(settings, index, study, number=2)
    assert len(files(settings)) == 4
    assert purge(settings, index) == 1
    assert files(settings) == []
    assert work(index) == set()


@pytest.mark.fault("E82")
@pytest.mark.parametrize("removed", [0, 1, 3, 4])
def test_a_purge_that_is_killed_is_finished_and_brings_nothing_back(
    settings: Settings, index: Index, removed: int
) -> None:
    for name in ("study", "other"):
        answered(settings, index, received(settings, index, name))
    arguments = [settings.node.data_dir, settings.node.database_url, str(removed)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(files(settings)) == 4 - removed
    Inbox(settings, index, index.client()).adopt()  # a receiver starts, and finds files without a row
    assert states(index) == ["purged", "purged"]
    assert rows(index, "instance") == 0
    retention.remove_files(settings.node.data_dir, index)
    assert files(settings) == []
    assert rows(index, "purged_file") == 0


def test_what_is_catalogued_while_its_study_goes_is_not_found(settings: Settings, index: Index) -> None:
    answered(settings, index, received(settings, index))
    with index.read() as connection:
        read = [(one, "1.2", Description()) for one in uncatalogued(connection, 100)]
    assert len(read) == 2
    purge(settings, index)
    with index.write() as connection:
        catalogue(connection, read)
    assert [rows(index, f"catalogue_{level}") for level in ("study", "series", "instance")] == [0, 0, 0]


def test_a_study_that_comes_again_is_an_exam_with_the_next_round(settings: Settings, index: Index) -> None:
    study = received(settings, index)
    answered(settings, index, study)
    purge(settings, index)
    assert received(settings, index) == study
    assert states(index) == ["purged", "settling"]
    assert work(index) == {f"study:{study}:2"}
    answered(settings, index, study, number=2)
    with index.read() as connection:
        assert len(rounds.study_images(connection, study, 2)) == 1
        replaced = rounds.round_facts(connection, study, 2, "2.25.1").predecessors
        (known,) = studies(connection)
        (patient,) = connection.exec_driver_sql("SELECT patient_name FROM study").scalars()
    assert [one.sop_instance_uid for one in replaced] == [f"2.25.1{study[-12:]}"]  # the peer has it still
    assert (patient, known["identity_conflict"]) == (make_mammogram().PatientName, None)
    assert purge(settings, index) == 1
    assert states(index) == ["purged", "purged"]


def test_priors_go_too_and_an_exam_that_went_comes_back_as_a_prior(settings: Settings, index: Index) -> None:
    study = received(settings, index, source=PRIOR_SOURCE)
    assert purge(settings, index) == 1
    assert files(settings) == []
    for view in ("L MLO", "L CC"):
        received(settings, index, view=view, source=PRIOR_SOURCE)
    assert (states(index), work(index)) == (["purged", "prior"], set())
    received(settings, index)  # it is sent after all
    assert states(index) == ["purged", "prior", "settling"]
    answered(settings, index, study, number=3)
    assert purge(settings, index) == 1
    received(settings, index, source=PRIOR_SOURCE)
    assert states(index) == ["purged", "purged", "purged", "prior"]
    with index.read() as connection:
        series = str(make_mammogram().SeriesInstanceUID)
        assert len(kept_of_series(connection, study, series)) == 1


def test_storage_commitments_that_ended_go(settings: Settings, index: Index) -> None:
    with index.write() as connection:
        for name, state in (("1.1", "reported"), ("1.2", "waiting"), ("1.3", "dead")):
            commitments.record_commitment(
                connection, index.client(), transaction_uid=name, peer="pacs", references=(), give_up_ms=0
            )
            connection.exec_driver_sql(f"UPDATE commitment SET state = '{state}' WHERE transaction_uid = '{name}'")
    purge(settings, index)
    with index.read() as connection:
        left = connection.exec_driver_sql("SELECT id, transaction_uid FROM commitment").all()
    assert [name for _, name in left] == ["1.2"]
    assert work(index) == {f"commitment:{left[0][0]}"}
