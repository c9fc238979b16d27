"""Faults of the network and of the upper layer: what ends the peer that has them, and nobody else."""

from __future__ import annotations

import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE, build_context

from tests.mammograms import make_mammogram
from tests.nodes import RunningNode, wait_until
from tests.proxy import Fault, Proxy
from tests.receive.conftest import Reception, data_set_bytes
from tests.receive.raw import MAMMOGRAPHY, RawPeer, associate_rq, p_data, pdu, store_rq

Receive = Callable[..., Reception]
Connect = Callable[[Reception], RawPeer]

_RELEASE_RQ, _RELEASE_RP = pdu(0x05, b"\0\0\0\0"), pdu(0x06, b"\0\0\0\0")


def open_associations(reception: Reception) -> int:
    return len(reception.receiver._server.active_associations)


@pytest.mark.fault("A2")
def test_connections_that_are_closed_at_once_are_over_at_once(receive: Receive) -> None:
    reception = receive(receive={"associations": 1, "association_seconds": 60})
    for _ in range(60):
        socket.create_connection(("127.0.0.1", reception.port)).close()
    wait_until(lambda: open_associations(reception) == 0, 10, "the end of all connections")
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("A7")
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(pdu(0x09, b"1234"), id="unknown PDU"),
        pytest.param(associate_rq(), id="second request"),
        pytest.param(pdu(0x04, b""), id="P-DATA-TF without a value"),
        pytest.param(pdu(0x04, struct.pack(">IBB", 1, 3, 3)), id="value shorter than its header"),
        pytest.param(pdu(0x04, struct.pack(">IBB", 0, 3, 3)), id="value of no length"),
        pytest.param(pdu(0x04, struct.pack(">IBB", 100, 3, 3) + b"x"), id="value longer than its PDU"),
        pytest.param(
            p_data(99, store_rq(), command=True) + p_data(99, b"x", command=False), id="context that was not proposed"
        ),
        pytest.param(_RELEASE_RP, id="release nobody asked for"),
        pytest.param(_RELEASE_RQ + _RELEASE_RQ, id="two releases"),
    ],
)
def test_what_the_protocol_forbids_ends_the_association(receive: Receive, connect: Connect, sent: bytes) -> None:
    reception = receive(receive={"associations": 1})
    peer = connect(reception).associate()
    peer.socket.sendall(sent)
    assert peer.is_closed(5)
    wait_until(lambda: open_associations(reception) == 0, 10, "the end of the association")
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("A7")
def test_data_before_an_association_ends_the_connection(reception: Reception, connect: Connect) -> None:
    peer = connect(reception)
    peer.socket.sendall(p_data(3, store_rq(), command=True))
    assert peer.is_closed(5)
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("A7")
@pytest.mark.parametrize("lacking", [pytest.param(0x30, id="abstract"), pytest.param(0x40, id="transfer")])
def test_a_proposal_without_its_syntax_ends_the_connection(receive: Receive, connect: Connect, lacking: int) -> None:
    reception = receive(receive={"associations": 1, "association_seconds": 60})
    peer = connect(reception)
    peer.socket.sendall(associate_rq(without=lacking))
    assert peer.is_closed(5)
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("A13")
def test_a_burst_of_connections_loses_none(receive: Receive, connect: Connect) -> None:
    reception = receive(receive={"associations": 150, "association_seconds": 60})
    peers = [connect(reception) for _ in range(100)]
    for peer in peers:
        peer.socket.settimeout(60)
        peer.socket.sendall(associate_rq())
    for peer in peers:
        kind, _ = peer.receive()
        assert kind == 0x02


@pytest.mark.fault("A14")
@pytest.mark.parametrize("title", [b" " * 16, b"\0" * 16, b"A\r\nB\x1b[31m       ", "ÄÖÜ".encode().ljust(16)])
def test_an_ae_title_that_is_none_is_turned_away_in_one_line(
    receive: Receive, connect: Connect, caplog: pytest.LogCaptureFixture, title: bytes
) -> None:
    reception = receive(receive={"accept": "known"})
    peer = connect(reception)
    request = bytearray(associate_rq())
    request[26:42] = title
    peer.socket.sendall(request)
    kind, body = peer.receive()
    assert kind in {0x03, 0x07}
    assert kind == 0x07 or body[1:4] == b"\1\1\3"
    assert peer.is_closed(5)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("cmmd_node")]
    assert all(text.isprintable() for text in said), said


@pytest.mark.fault("A16")
def test_a_context_with_nothing_that_we_take_leaves_the_others(reception: Reception) -> None:
    ae = AE("SENDER")
    contexts = [
        build_context(MAMMOGRAPHY, [DeflatedExplicitVRLittleEndian, "1.2.3.4.5"]),
        build_context(MAMMOGRAPHY, ExplicitVRLittleEndian),
    ]
    assoc = ae.associate("127.0.0.1", reception.port, contexts=contexts, ae_title="CMMD_NODE")
    assert [context.result for context in assoc.rejected_contexts] == [4]
    assert assoc.send_c_store(make_mammogram()).Status == 0x0000
    assoc.release()


@pytest.mark.fault("A4", "A17")
def test_a_connection_that_ends_inside_an_object_leaves_nothing(reception: Reception) -> None:
    ds = make_mammogram()
    data = data_set_bytes(ds)
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(Proxy(reception.port, out=Fault(cut_after=700 + 130 * turn))) for turn in range(100)
        ]
        for proxy in proxies:
            peer = RawPeer(proxy.port)
            with peer.socket:
                try:
                    peer.associate().store(data, sop_instance=ds.SOPInstanceUID)
                except (OSError, AssertionError):
                    continue
                pytest.fail("the proxy cut nothing")
    wait_until(lambda: reception.spooled() == [], 10, "an empty spool")
    assert reception.objects() == []
    assert reception.rows("SELECT path FROM instance") == []
    assert reception.store(ds) == [0x0000]


@pytest.mark.fault("A4")
def test_a_cable_that_is_pulled_inside_an_object_leaves_nothing(receive: Receive) -> None:
    reception = receive(receive={"pdu_seconds": 1})
    ds = make_mammogram()
    with Proxy(reception.port, out=Fault(freeze_after=3000)) as proxy:
        peer = RawPeer(proxy.port).associate()
        with peer.socket:
            peer.send_store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID)
            wait_until(lambda: open_associations(reception) == 0, 10, "the end of the association")
    assert reception.spooled() == []
    assert reception.store(ds) == [0x0000]


@pytest.mark.fault("A19")
def test_a_slow_line_is_waited_for(receive: Receive) -> None:
    reception = receive(receive={"idle_seconds": 1, "pdu_seconds": 2})
    ds = make_mammogram()
    with Proxy(reception.port, out=Fault(delay_seconds=0.02, piece_bytes=150)) as proxy:
        started = time.monotonic()
        peer = RawPeer(proxy.port).associate()
        assert peer.store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID, chunk=4000) == 0x0000
        assert time.monotonic() - started > 1.5
        peer.release()


def test_an_answer_that_is_lost_is_given_again(reception: Reception) -> None:
    ds = make_mammogram()
    peer = RawPeer(reception.port)
    peer.socket.sendall(associate_rq())
    acceptance = 6 + len(peer.receive()[1])
    peer.release()
    with Proxy(reception.port, back=Fault(drop_after=acceptance)) as proxy:
        peer = RawPeer(proxy.port).associate()
        peer.socket.settimeout(1)
        with pytest.raises(TimeoutError), peer.socket:
            peer.store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID)
    assert reception.store(ds) == [0x0000]
    assert len(reception.objects()) == 1


def test_a_byte_that_changes_on_the_way_is_noticed_or_kept_as_it_came(reception: Reception) -> None:
    ds = make_mammogram()
    data = data_set_bytes(ds)
    for at in (3, 80, 700, 900, 5000):
        with Proxy(reception.port, out=Fault(corrupt_at=at)) as proxy:
            peer = RawPeer(proxy.port)
            peer.socket.settimeout(10)
            with peer.socket:
                try:
                    peer.associate().store(data, sop_instance=ds.SOPInstanceUID)
                except (OSError, AssertionError):
                    continue
    assert len(reception.objects()) <= 1
    assert reception.spooled() == []
    assert reception.store(make_mammogram(study="after it")) == [0x0000]


@pytest.mark.fault("A20")
def test_more_than_a_thousand_open_files_disturb_nobody(reception: Reception) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        peer = RawPeer(reception.port)
        assert peer.socket.fileno() > 1023
        ds = make_mammogram()
        assert peer.associate().store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) == 0x0000
        peer.release()
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.fault("A20")
def test_a_receiver_at_its_limit_of_files_says_so_and_recovers(tmp_path: Path) -> None:
    node = RunningNode(tmp_path, supervised=False, receive={"associations": 100, "association_seconds": 60})
    node.start("receive")
    try:
        wait_until(node.answers_echo, 60, "the receiver")
        (pid,) = node.pids("receive")
        in_use = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 6, before[1]))
        peers = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(20)]
        wait_until(lambda: "open files" in node.log.read_text(), 10, "a line about it in the log")
        assert node.log.read_text().count("open files") < 50, "the log fills with it"
        for peer in peers:
            peer.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        wait_until(node.answers_echo, 20, "an answer when files are there again")
        assert "Traceback" not in node.log.read_text()
    finally:
        node.stop()


@pytest.mark.fault("A22")
def test_a_sender_that_waits_for_no_answer_is_held_back(
    reception: Reception, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    keep = reception.inbox.keep
    monkeypatch.setattr(reception.inbox, "keep", lambda spool: (held.wait(30), keep(spool))[1])
    images = [make_mammogram(study=f"pipeline {number}") for number in range(60)]
    peer = connect(reception).associate()
    sender = threading.Thread(
        target=lambda: [peer.send_store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) for ds in images],
        daemon=True,
    )
    sender.start()
    wait_until(reception.spooled, 10, "an object that waits")
    most = max(len(reception.spooled()) for _ in range(200) if not held.wait(0.005))
    assert most <= 2, "the one that is kept, and at most one that arrives"
    held.set()
    assert [peer.status() for _ in images] == [0x0000] * 60
    sender.join(30)
