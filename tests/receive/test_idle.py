"""Peers that send nothing, or slowly: what they cost, what they keep others from, and that patience has its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from cmmd_node.receive.inbox import Inbox, Kept, Spool
from tests.mammograms import make_mammogram
from tests.receive.conftest import Reception, data_set_bytes
from tests.receive.raw import RawPeer, p_data, store_rq

Receive = Callable[..., Reception]
Connect = Callable[[Reception], RawPeer]


def test_idle_associations_cost_next_to_nothing(receive: Receive, connect: Connect) -> None:
    reception = receive(receive={"associations": 50})
    for _ in range(50):
        connect(reception).associate()
    before = time.process_time()
    threading.Event().wait(1)  # this is the time that is measured; pynetdicom's reactors would use all of it
    assert time.process_time() - before < 0.2


@pytest.mark.fault("A1", "A3")
def test_half_open_sockets_and_stalled_peers_take_no_slot_and_no_time_of_others(
    receive: Receive, connect: Connect
) -> None:
    reception = receive(receive={"associations": 11, "association_seconds": 60, "pdu_seconds": 60})
    for _ in range(200):
        connect(reception)
    for _ in range(10):
        stalled = connect(reception).associate()
        stalled.socket.sendall(p_data(3, store_rq(), command=True) + b"\4\0\0")
    ds = make_mammogram()
    started = time.monotonic()
    assert connect(reception).associate().store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) == 0x0000
    assert time.monotonic() - started < 5  # within 1 s where the machine does nothing else: tests/bench/idle.py


@pytest.mark.fault("A19")
def test_a_slow_object_takes_longer_than_an_association_may_be_idle(receive: Receive, connect: Connect) -> None:
    reception = receive(receive={"idle_seconds": 1})
    ds = make_mammogram()
    data = data_set_bytes(ds)
    peer = connect(reception).associate()
    peer.socket.sendall(p_data(3, store_rq(sop_instance=ds.SOPInstanceUID), command=True))
    ends = range(0, len(data), len(data) // 12 + 1)
    for start in ends:
        piece = data[start : start + ends.step]
        peer.socket.sendall(p_data(3, piece, command=False, last=start == ends[-1]))
        threading.Event().wait(0.25)  # the pace of the sender
    assert peer.status() == 0x0000
    assert peer.store(data, sop_instance=ds.SOPInstanceUID) == 0x0000


@pytest.mark.fault("B32", "E73")
def test_a_disk_slower_than_an_association_may_be_idle_is_waited_for(
    receive: Receive, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    reception = receive(receive={"idle_seconds": 1})
    keep = Inbox.keep

    def keep_slowly(inbox: Inbox, spool: Spool) -> Kept:
        threading.Event().wait(2.5)  # the pace of the disk
        return keep(inbox, spool)

    monkeypatch.setattr(Inbox, "keep", keep_slowly)
    ds = make_mammogram()
    peer = connect(reception).associate()
    assert peer.store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) == 0x0000
    monkeypatch.undo()
    assert peer.store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) == 0x0000


def test_an_association_that_is_silent_for_too_long_is_aborted(receive: Receive, connect: Connect) -> None:
    reception = receive(receive={"idle_seconds": 1})
    peer = connect(reception).associate()
    kind, _ = peer.receive()
    assert kind == 0x07


def test_release_and_abort_end_an_idle_association_at_once(reception: Reception, connect: Connect) -> None:
    """Both reactors wait for seconds; they are told when there is something to do."""
    for end in (b"\5\0\0\0\0\4\0\0\0\0", b"\7\0\0\0\0\4\0\0\0\0"):
        peer = connect(reception).associate()
        with closing(peer.socket):
            started = time.monotonic()
            peer.socket.sendall(end)
            assert peer.is_closed(5)
            _wait_until(lambda: not reception.receiver._server.active_associations)
            assert time.monotonic() - started < 0.9


def _wait_until(predicate: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not predicate():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
