"""Sending: what each answer, and each kind of silence, of a peer leads to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, evt

from cmmd_node import association
from cmmd_node.deliver import Answer, Outgoing, Verdict, echo, retry_after_seconds, scu, send, verdict_of
from cmmd_node.errors import PeerFailed, PeerRefused
from cmmd_node.phantom.pacs import PacsStandIn
from tests.mammograms import exam, make_mammogram, save

StartPeer = Callable[..., int]


@pytest.fixture
def peer() -> Iterator[StartPeer]:
    """A peer that answers by script; returns its port."""
    servers: list[Any] = []

    def start(answer: Callable[[Any], Any], *, syntaxes: Any = None, known: Any = (), busy: bool = False) -> int:
        ae = AE("PEER")
        ae.add_supported_context(
            DigitalMammographyXRayImageStorageForPresentation,
            syntaxes or [ExplicitVRLittleEndian, ImplicitVRLittleEndian],
        )
        ae.require_calling_aet = list(known)
        handlers: list[Any] = [(evt.EVT_C_STORE, answer)]
        if busy:
            handlers.append((evt.EVT_REQUESTED, _reject_for_now))
        servers.append(ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers))
        return int(servers[-1].server_address[1])

    yield start
    for server in servers:
        server.shutdown()


def _reject_for_now(event: Any) -> None:
    sent = threading.Event()
    event.assoc.bind(evt.EVT_PDU_SENT, lambda _event: sent.set())
    event.assoc.acse.send_reject(2, 3, 2)
    event.assoc.is_rejected = True
    assert sent.wait(10)  # it is another thread that sends, and killing ends it
    event.assoc.kill()


def to(port: int, *paths: Path) -> Iterator[Answer]:
    return send(
        [Outgoing.from_file(path) for path in paths],
        host="127.0.0.1",
        port=port,
        called_ae_title="PEER",
        calling_ae_title="CMMD_NODE",
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save(make_mammogram(), tmp_path / "image.dcm")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0x0000, Verdict.STORED),
        (0xB000, Verdict.STORED),
        (0xB006, Verdict.STORED),
        (0xB007, Verdict.STORED),
        (0xA700, Verdict.TRY_AGAIN),
        (0xA7FF, Verdict.TRY_AGAIN),
        (0x0110, Verdict.TRY_AGAIN),
        (0x0213, Verdict.TRY_AGAIN),
        (0x0117, Verdict.REFUSED),
        (0x0122, Verdict.REFUSED),
        (0x0124, Verdict.REFUSED),
        (0xA900, Verdict.REFUSED),
        (0xC000, Verdict.REFUSED),
        (0x1234, Verdict.REFUSED),
    ],
)
def test_each_status_has_one_meaning(peer: StartPeer, image: Path, status: int, verdict: Verdict) -> None:
    (answer,) = to(peer(lambda _event: status), image)
    assert answer.status == status
    assert verdict_of(status) is verdict


def test_files_go_over_one_association_in_order(tmp_path: Path) -> None:
    pacs = PacsStandIn(tmp_path / "pacs", ae_title="PEER")
    files = [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(exam())]
    answers = list(to(pacs.port, *files))
    pacs.stop()
    assert [answer.status for answer in answers] == [0x0000] * 4
    assert [one.sop_instance_uid for one in pacs.received] == [answer.outgoing.sop_instance_uid for answer in answers]


def test_a_peer_that_takes_implicit_vr_only_gets_it(peer: StartPeer, image: Path) -> None:
    syntaxes = []

    def store(event: Any) -> int:
        syntaxes.append(event.context.transfer_syntax)
        assert event.dataset.PatientID == "patient"
        return 0x0000

    (answer,) = to(peer(store, syntaxes=[ImplicitVRLittleEndian]), image)
    assert answer.status == 0x0000
    assert syntaxes == [ImplicitVRLittleEndian]


def test_a_class_without_context_is_explained_and_the_rest_is_sent(
    peer: StartPeer, image: Path, tmp_path: Path
) -> None:
    other = save(make_mammogram(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", view="R CC"), tmp_path / "other.dcm")
    first, second = to(peer(lambda _event: 0x0000), other, image)
    assert first.status is None
    assert "Secondary Capture" in str(first.problem)
    assert second.status == 0x0000


def test_nobody_listens(image: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(PeerFailed, match="cannot be reached"):
        list(to(port, image))


def test_a_peer_that_does_not_know_us_refuses_for_good(peer: StartPeer, image: Path) -> None:
    with pytest.raises(PeerRefused, match="rejected"):
        list(to(peer(lambda _event: 0x0000, known=["SOMEBODY"]), image))


def test_a_busy_peer_is_tried_again(peer: StartPeer, image: Path) -> None:
    with pytest.raises(PeerFailed, match="rejected") as failure:
        list(to(peer(lambda _event: 0x0000, busy=True), image))
    assert not isinstance(failure.value, PeerRefused)


def test_an_abort_in_the_middle_keeps_the_answers_before_it(peer: StartPeer, tmp_path: Path) -> None:
    answered: list[str] = []

    def store(event: Any) -> int:
        answered.append(event.request.AffectedSOPInstanceUID)
        if len(answered) > 1:
            event.assoc.abort()
        return 0x0000

    files = [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(exam())]
    answers = []
    with pytest.raises(PeerFailed):  # noqa: PT012 - the answers before it matter
        for answer in to(peer(store), *files):
            answers.append(answer)
    assert [answer.status for answer in answers] == [0x0000]


def test_a_peer_that_freezes_before_it_answers_costs_a_deadline(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "ASSOCIATE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(PeerFailed, match="no answer"):
            list(to(server.getsockname()[1], image))
        assert not echo(
            host="127.0.0.1", port=server.getsockname()[1], called_ae_title="PEER", calling_ae_title="CMMD_NODE"
        )


def test_a_peer_that_never_answers_a_c_store_costs_a_deadline(
    peer: StartPeer, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association, "PROGRESS_SECONDS", 0.5)
    monkeypatch.setattr(scu, "PROGRESS_SECONDS", 0.5)
    release = threading.Event()

    def store(_event: Any) -> int:
        release.wait(30)
        return 0x0000

    port = peer(store)
    with pytest.raises(PeerFailed, match="no answer"):
        list(to(port, image))
    release.set()


def test_a_file_that_is_no_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no DICOM")
    with pytest.raises(PeerRefused, match="no DICOM file"):
        Outgoing.from_file(tmp_path / "text")


def test_pauses_grow_to_the_limit_and_differ() -> None:
    pauses = [retry_after_seconds(attempt, first_seconds=2, limit_seconds=900) for attempt in range(40)]
    assert 1 <= pauses[0] <= 2
    assert all(450 <= pause <= 900 for pause in pauses[12:])
    assert len(set(pauses)) == 40
