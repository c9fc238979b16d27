"""The acceptance test of P1 to P5: nothing that was acknowledged is lost or answered twice, whoever is killed when.

Two senders stream small exams and keep their own list of what was acknowledged, as digests of the bytes that they put
on the wire. Meanwhile the receiver and the worker are killed (SIGKILL) at random moments. Senders connect again and
send what has no answer. In the end the senders' lists, the node's files and index, and what reached the PACS must
agree.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.dsutils import encode

from cmmd_node.index.status import counts
from cmmd_node.index.tables import delivered, delivery, instance, result, round_
from cmmd_node.phantom.pacs import PacsStandIn
from tests.e2e.exams import small_exam
from tests.nodes import RunningNode, wait_until

pytestmark = pytest.mark.e2e

_SENDERS = 2
#: How long after the last kill everything must be at its end.
_CALM_SECONDS = 240.0


def bytes_on_the_wire(ds: FileDataset) -> bytes:
    """The data set as pynetdicom sends it in Explicit VR Little Endian."""
    data = encode(ds, False, True)
    assert data is not None
    return data


@dataclass
class Sender:
    """One modality: streams exams until told to stop, then until everything has been acknowledged."""

    name: str
    port: int
    acknowledged: dict[str, str] = field(default_factory=dict)
    """SOP Instance UID and digest of what was answered with success."""
    resent: int = 0
    studies: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    problem: BaseException | None = None

    def run(self, stop: threading.Event, *, pause_seconds: float) -> None:
        try:
            number = 0
            while not stop.is_set():
                self._send_exam(small_exam(f"{self.name}, exam {number}"))
                number += 1
                stop.wait(pause_seconds)
        except BaseException as error:  # told to the test, which runs in another thread
            self.problem = error

    def _send_exam(self, exam: list[FileDataset]) -> None:
        waiting = {str(ds.SOPInstanceUID): ds for ds in exam}
        self.studies.append(str(exam[0].StudyInstanceUID))
        deadline = time.monotonic() + _CALM_SECONDS
        while waiting:
            assert time.monotonic() < deadline, f"{self.name}: {len(waiting)} images find nobody to take them"
            with self._association() as assoc:
                for uid, ds in list(waiting.items()):
                    if assoc is None or not assoc.is_established:
                        break
                    status = assoc.send_c_store(ds)
                    if "Status" not in status:
                        self.resent += 1
                        break
                    if status.Status != 0x0000:
                        self.refusals.append(f"{status.Status:04X} {status.get('ErrorComment', '')}")
                        self.resent += 1
                        continue
                    self.acknowledged[uid] = hashlib.sha256(bytes_on_the_wire(ds)).hexdigest()
                    del waiting[uid]
            if waiting:
                time.sleep(0.05)  # a modality waits too before it tries again; nothing is awaited here

    @contextmanager
    def _association(self) -> Iterator[Any]:
        ae = AE(self.name)
        ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout = 5, 10, 60
        context = build_context(DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian)
        assoc = ae.associate("127.0.0.1", self.port, contexts=[context], ae_title="CMMD_NODE")
        try:
            yield assoc if assoc.is_established else None
        finally:
            if assoc.is_established:
                assoc.release()


@dataclass(frozen=True)
class Figures:
    """How much was at stake."""

    kills: Counter[str]
    studies: int
    acknowledged: int
    resent: int
    rounds: int
    results: int
    arrived: int
    refusals: Counter[str]


def torment(folder: Path, *, database_url: str, kills: int, seed: int) -> Figures:
    """Kill roles while exams come in, let the node finish, and prove that everything agrees."""
    chance = random.Random(seed)
    pacs = PacsStandIn(folder / "pacs", ae_title="PACS")
    peers = [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port, "results": ["cad-sr", "seg"]}]
    try:
        with RunningNode(
            folder / "node", database_url=database_url, supervised=False, peer=peers, settle=_QUICK, deliver=_OFTEN
        ) as node:
            senders = [Sender(f"SENDER_{number}_{seed}", node.port) for number in range(_SENDERS)]
            stop = threading.Event()
            threads = [
                threading.Thread(target=one.run, args=(stop,), kwargs={"pause_seconds": 1.5}, daemon=True)
                for one in senders
            ]
            for thread in threads:
                thread.start()
            killed = Counter(_kill(node, chance, number) for number in range(kills))
            stop.set()
            for thread in threads:
                thread.join(_CALM_SECONDS)
                assert not thread.is_alive()
            assert [one.problem for one in senders if one.problem] == []
            check_instances(node, _acknowledged(senders))
            _wait_for_the_end(node, [study for one in senders for study in one.studies])
            figures = _check(node, senders, pacs, killed)
            node.stop()
            assert files_below(node.data_dir / "spool") == set()
    finally:
        pacs.stop()
    return figures


_QUICK = {"quiet_seconds": 1, "complete_seconds": 0.2}
_OFTEN = {"retry_seconds": 0.2, "retry_limit_seconds": 1}


def _kill(node: RunningNode, chance: random.Random, number: int) -> str:
    """One kill at a random moment of a role's life, and its return."""
    role = ("receive", "work")[number % 2]
    # Not a wait for an event: the moment of the kill is what is drawn.
    time.sleep(chance.uniform(0.0, 2.0))
    node.kill_role(role)
    node.start(role)
    if role == "receive":
        wait_until(node.answers_echo, 60, "a receiver")
    else:
        wait_until(lambda: _following(node) > number // 2, 60, "a worker")
    return role


def _following(node: RunningNode) -> int:
    """How often a worker has begun."""
    return node.log.read_text(errors="replace").count("following the route")


def _wait_for_the_end(node: RunningNode, studies: list[str]) -> None:
    """Every study has an answer to its last round, every delivery is made; no answer is seen without its delivery."""
    on_its_way = sa.exists().where(
        delivery.c.study_instance_uid == round_.c.study_instance_uid, delivery.c.number == round_.c.number
    )
    stranded = sa.select(sa.func.count()).where(round_.c.state == "answered", ~on_its_way)

    def ended() -> bool:
        with node.index.read() as connection:
            assert connection.execute(stranded).scalar_one() == 0
            known = connection.execute(sa.select(sa.func.count(round_.c.study_instance_uid.distinct()))).scalar_one()
            if known != len(studies) or counts(connection).rounds.keys() != {"answered"}:
                return False
            # Looked at last, since a round gets its deliveries with its answer and each look is of another moment.
            return counts(connection).deliveries.keys() == {"delivered"}

    node.wait_until(ended, _CALM_SECONDS, "an answer to every study")


def _check(node: RunningNode, senders: list[Sender], pacs: PacsStandIn, killed: Counter[str]) -> Figures:
    """Senders, files, index and PACS agree."""
    acknowledged = _acknowledged(senders)
    check_instances(node, acknowledged)
    with node.index.read() as connection:
        results = list(connection.execute(sa.select(result)))
        rounds = list(connection.execute(sa.select(round_)))
        answered = list(connection.execute(sa.select(delivered)))
        now = counts(connection)
    assert sum(now.instances.values()) == len(acknowledged)
    assert now.instances.keys() == {"analysed"}
    assert now.quarantined == 0
    assert files_below(node.data_dir / "quarantine") == set()

    _check_results(node, {study for one in senders for study in one.studies})
    assert {row.state for row in rounds} == {"answered"}
    assert all(row.stored for row in answered)
    _check_pacs(node.data_dir, results, pacs)
    return Figures(
        kills=killed,
        studies=len({row.study_instance_uid for row in rounds}),
        acknowledged=len(acknowledged),
        resent=sum(one.resent for one in senders),
        rounds=len(rounds),
        results=len(results),
        arrived=len(pacs.received),
        refusals=Counter(text for one in senders for text in one.refusals),
    )


def _acknowledged(senders: list[Sender]) -> dict[str, str]:
    return {uid: digest for one in senders for uid, digest in one.acknowledged.items()}


def check_instances(node: RunningNode, acknowledged: dict[str, str]) -> None:
    """P1, P3, P4: each acknowledged instance has one row and one file with the bytes that its sender sent."""
    with node.index.read() as connection:
        kept = {row.sop_instance_uid: row for row in connection.execute(sa.select(instance))}
    assert acknowledged.keys() - kept.keys() == set(), "acknowledged and lost"
    assert kept.keys() == acknowledged.keys()
    for uid, digest in acknowledged.items():
        path = node.data_dir / kept[uid].path
        assert path.stat().st_size == kept[uid].size_bytes
        assert hashlib.sha256(_data_set_of(path)).hexdigest() == digest, f"{uid} is not what was sent"
    rows = {str(node.data_dir / row.path) for row in kept.values()}
    assert files_below(node.data_dir / "objects") == rows


def _check_results(node: RunningNode, studies: set[str]) -> None:
    """P2, P5: one CAD SR for each round, one SEG for each marked image, one delivery for each round."""
    known = node.studies()
    assert {one["StudyInstanceUID"] for one in known} == studies
    for study in known:
        for one in study["rounds"]:
            forms = Counter(each["form"] for each in one["results"])
            marked = sum(1 for image in one["images"] if image["findings"])
            assert forms == Counter({"cad-sr": 1, "seg": marked}), study["StudyInstanceUID"]
            assert [each["state"] for each in one["deliveries"]] == ["delivered"]
        last = study["rounds"][-1]
        assert len(last["images"]) == study["images"] == 4
        assert sum(1 for image in last["images"] if image["findings"]) == 2, study["StudyInstanceUID"]


def _check_pacs(data_dir: Path, results: list[Any], pacs: PacsStandIn) -> None:
    """P5: the PACS holds exactly the results, and a repeat was the same object."""
    arrived: dict[str, set[bytes]] = defaultdict(set)
    for one in pacs.received:
        arrived[one.sop_instance_uid].add(_data_set_of(one.path))
    assert arrived.keys() == {row.sop_instance_uid for row in results}
    assert [uid for uid, contents in arrived.items() if len(contents) > 1] == []
    for row in results:
        content = (data_dir / row.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.digest
        assert dcmread(data_dir / row.path).SOPInstanceUID == row.sop_instance_uid


def _data_set_of(path: Path) -> bytes:
    """The bytes after the File Meta Information (PS3.10 7.1)."""
    return path.read_bytes()[144 + read_file_meta_info(path).FileMetaInformationGroupLength :]


def files_below(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.fault("E67")
def test_kills_at_random_lose_and_repeat_nothing(tmp_path: Path, database_url: str) -> None:
    figures = torment(tmp_path, database_url=database_url, kills=8, seed=1)

    assert figures.kills == {"receive": 4, "work": 4}
    assert figures.acknowledged == 4 * figures.studies


@pytest.mark.fault("E67")
@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [2])
def test_many_kills_at_random_lose_and_repeat_nothing(tmp_path: Path, database_url: str, seed: int) -> None:
    figures = torment(tmp_path, database_url=database_url, kills=50, seed=seed)
    print(figures)

    assert figures.kills.total() == 50
    assert figures.acknowledged == 4 * figures.studies


def test_supervisor_brings_a_killed_role_back(tmp_path: Path, database_url: str) -> None:
    with RunningNode(tmp_path, database_url=database_url) as node:
        for role in ("receive", "work", "web"):
            before = node.kill_role(role)
            node.wait_until(lambda role=role, before=before: node.pids(role) not in ([], [before]), 30, role)
        node.wait_until(node.is_healthy, 60, "health")
