"""Health and metrics over HTTP, from the server that the web role runs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from cmmd_node.errors import StartRefused
from cmmd_node.index import Index
from cmmd_node.index.status import beat
from cmmd_node.receive.commitment import CommitmentRequests
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.scp import Receiver
from cmmd_node.settings import Settings
from cmmd_node.web import serve_http
from cmmd_node.web.app import listen
from tests.conftest import free_ports
from tests.receive.test_inbox import keep

Get = Callable[[str], httpx.Response]


@pytest.fixture
def get(settings: Settings, index: Index) -> Iterator[Get]:
    """GET from a running server."""
    stop = threading.Event()
    server = threading.Thread(target=serve_http, args=(settings, index, stop), kwargs={"stop_seconds": 5})
    server.start()
    client = httpx.Client(base_url=f"http://127.0.0.1:{settings.web.port}", timeout=20)

    def get_when_up(path: str) -> httpx.Response:
        deadline = time.monotonic() + 20
        while True:
            try:
                return client.get(path)
            except httpx.ConnectError:
                assert time.monotonic() < deadline, "the server does not come up"
                stop.wait(0.05)

    yield get_when_up
    client.close()
    stop.set()
    server.join()


def test_health_is_ok_when_receiver_and_worker_are_alive(settings: Settings, index: Index, get: Get) -> None:
    client = index.client()
    receiver = Receiver(settings, Inbox(settings, index, client), CommitmentRequests(settings, index, client))
    receiver.start()
    for _ in range(2):
        with index.write() as connection:
            beat(connection, "work")
    answer = get("/healthz")
    receiver.stop(2)
    assert answer.json() == {"status": "ok", "problems": [], "warnings": []}
    assert answer.status_code == 200


def test_health_names_what_is_wrong(settings: Settings, index: Index, get: Get) -> None:
    Inbox(settings, index, index.client())
    answer = get("/healthz")
    assert answer.status_code == 503
    problems = " ".join(answer.json()["problems"])
    assert "C-ECHO" in problems
    assert "worker" in problems


def test_metrics_count_what_the_index_holds(settings: Settings, index: Index, get: Get) -> None:
    keep(Inbox(settings, index, index.client()))
    text = get("/metrics").text
    assert 'cmmd_node_instances{state="settling"} 1.0' in text
    assert 'cmmd_node_rounds{state="settling"} 1.0' in text
    assert "cmmd_node_quarantined 0.0" in text
    assert "cmmd_node_free_bytes" in text


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/studies"])
def test_there_is_nothing_else(get: Get, path: str) -> None:
    assert get(path).status_code == 404


def test_a_port_that_is_taken_refuses_the_start(settings: Settings, index: Index, get: Get) -> None:
    get("/metrics")
    with pytest.raises(StartRefused, match=str(settings.web.port)):
        serve_http(settings, index, threading.Event(), stop_seconds=1)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Whatever the server is told, it is what its connections have that counts."""
    (port,) = free_ports(1)
    with listen("127.0.0.1", port) as listening, socket.create_connection(("127.0.0.1", port)):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
