"""Messages that do not belong, and what our own side of an association does when something of ours fails."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable

import pytest
from pydicom.uid import generate_uid

from cmmd_node.receive.inbox import Inbox
from tests.mammograms import make_mammogram
from tests.nodes import wait_until
from tests.receive.conftest import Reception, data_set_bytes
from tests.receive.raw import MAMMOGRAPHY, VERIFICATION, RawPeer, command_set, p_data, store_rq

Connect = Callable[[Reception], RawPeer]


def request(field: int, *elements: tuple[int, bytes], data_set: bool = False) -> bytes:
    """The command set of any request (PS3.7 9.3, 10.3)."""
    numbers = [(0x0100, struct.pack("<H", field)), (0x0110, struct.pack("<H", 1))]
    numbers += [(0x0800, struct.pack("<H", 0 if data_set else 0x0101))]
    return command_set(sorted([*numbers, *elements]))


_CLASS = (0x0002, MAMMOGRAPHY.encode() + b"\0" * (len(MAMMOGRAPHY) % 2))
_REQUESTED = (0x0003, _CLASS[1])
_INSTANCE, _REQUESTED_INSTANCE = (0x1000, b"1.2.3\0"), (0x1001, b"1.2.3\0")


@pytest.mark.fault("B29")
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(request(0x0777, _CLASS), id="unknown command field"),
        pytest.param(os.urandom(200), id="noise"),
        pytest.param(b"", id="empty"),
        pytest.param(store_rq()[:-3], id="cut off"),
        pytest.param(request(0x0020, _CLASS, data_set=True), id="C-FIND"),
        pytest.param(request(0x0010, _CLASS, data_set=True), id="C-GET"),
        pytest.param(request(0x0021, _CLASS, data_set=True), id="C-MOVE"),
        pytest.param(request(0x0FFF), id="C-CANCEL"),
        pytest.param(request(0x0120, _REQUESTED, _REQUESTED_INSTANCE, data_set=True), id="N-SET"),
        pytest.param(request(0x0110, _REQUESTED, _REQUESTED_INSTANCE), id="N-GET"),
        pytest.param(request(0x0150, _REQUESTED, _REQUESTED_INSTANCE), id="N-DELETE"),
        pytest.param(request(0x8001, _CLASS, _INSTANCE), id="answer nobody waits for"),
    ],
)
def test_what_is_no_request_of_ours_costs_its_sender_only(
    reception: Reception, connect: Connect, command: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    peer = connect(reception).associate()
    peer.socket.sendall(p_data(3, command, command=True) + p_data(3, b"\0" * 8, command=False))
    peer.socket.settimeout(8)
    # Refused, aborted, or passed over: then what is right is answered on the same association.
    ds = make_mammogram()
    try:
        statuses = [peer.store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID)]
        while statuses[-1] != 0x0000:
            statuses.append(peer.status())
        peer.release()
    except (AssertionError, ConnectionError):
        assert peer.is_closed(5)
    wait_until(lambda: not reception.receiver._server.active_associations, 10, "the end of the association")
    assert reception.store(ds) == [0x0000]
    assert not any(record.exc_info for record in caplog.records if record.name.startswith("cmmd_node"))


def test_a_store_without_a_data_set_is_answered(reception: Reception, connect: Connect) -> None:
    peer = connect(reception).associate()
    peer.socket.sendall(p_data(3, request(0x0001, _CLASS, _INSTANCE, (0x0700, b"\0\0")), command=True))
    assert peer.status() == 0xC100
    ds = make_mammogram()
    assert peer.store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) == 0x0000


@pytest.mark.fault("B28")
@pytest.mark.parametrize(
    "uid", ["..", "/x", "1.2\0.3", "1..2", "1.2.", "01.2", "1.02", "1.٣", "1." + "2" * 63, "1.2;rm", "1.2 .3"]
)
@pytest.mark.filterwarnings("ignore:.* for VR UI")
def test_what_is_no_uid_is_refused_and_names_no_file(reception: Reception, connect: Connect, uid: str) -> None:
    peer = connect(reception).associate()
    assert peer.store(data_set_bytes(make_mammogram()), sop_instance=uid) == 0x0117
    assert [path.name for path in reception.root.rglob("*") if "rm" in path.name or path.name == "x"] == []
    assert reception.objects() == []
    assert reception.spooled() == []


@pytest.mark.fault("B28")
def test_padding_after_a_uid_is_tolerated(reception: Reception, connect: Connect) -> None:
    ds = make_mammogram(SOPInstanceUID="1.2.3.44")
    peer = connect(reception).associate()
    assert peer.store(data_set_bytes(ds), sop_instance="1.2.3.44\0\0") == 0x0000


@pytest.mark.fault("B31")
@pytest.mark.parametrize("error", [RuntimeError, RecursionError, MemoryError, KeyError])
def test_a_handler_that_fails_costs_that_object_only(
    reception: Reception, connect: Connect, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(_inbox: Inbox, _spool: object) -> None:
        raise error

    monkeypatch.setattr(Inbox, "keep", fail)
    ds = make_mammogram()
    peer = connect(reception).associate()
    assert peer.store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) == 0x0110
    monkeypatch.undo()
    assert reception.spooled() == []
    assert peer.store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) == 0x0000


@pytest.mark.fault("B35")
@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "StudyInstanceUID", "PatientID"])
def test_a_kept_uid_elsewhere_is_refused_and_put_aside(reception: Reception, keyword: str) -> None:
    first = make_mammogram()
    other = make_mammogram(**{keyword: generate_uid() if keyword.endswith("UID") else "other"})
    assert reception.store(first, other) == [0x0000, 0xC105]
    (path,) = reception.objects()
    assert path.read_bytes().endswith(data_set_bytes(first))
    assert len(list((reception.root / "quarantine").iterdir())) == 1
    assert reception.rows("SELECT count(*) FROM study") == [(1,)]


@pytest.mark.fault("B37")
def test_events_nobody_asked_for_start_no_threads(reception: Reception, connect: Connect) -> None:
    event = request(0x0100, _CLASS, _INSTANCE, (0x1002, struct.pack("<H", 1)))
    peer = connect(reception).associate()
    before, most = threading.active_count(), 0
    try:
        for _ in range(1000):
            peer.socket.sendall(p_data(3, event, command=True))
            most = max(most, threading.active_count())
    except ConnectionError:
        pass  # it has been aborted
    assert most <= before + 5
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("B38")
def test_a_flood_of_echoes_is_answered(reception: Reception, connect: Connect) -> None:
    echo = request(0x0030, (0x0002, VERIFICATION.encode() + b"\0" * (len(VERIFICATION) % 2)))
    peer = connect(reception).associate()
    flood = threading.Thread(target=peer.socket.sendall, args=(p_data(1, echo, command=True) * 300,), daemon=True)
    flood.start()
    assert [peer.status() for _ in range(300)] == [0x0000] * 300
    assert reception.store(make_mammogram()) == [0x0000]
