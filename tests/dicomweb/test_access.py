"""Who gets in, and what it costs to guess."""

from __future__ import annotations

import base64
from collections.abc import Callable

import httpx
import pytest

from cmmd_node.dicomweb.throttle import MOST_HOSTS, SECONDS_PER_TRY, TRIES, Throttle
from tests.dicomweb.conftest import STOW, WebRole, body
from tests.mammograms import make_mammogram

Serve = Callable[..., WebRole]


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def test_credentials_are_wanted_where_they_are_set(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    web = serve(web={"token": "right-token", "user": "pacs", "password": "right: password"})
    wrong = [
        "",
        "Bearer wrong",
        "Bearer",
        "Basic right-token",
        basic("pacs:wrong"),
        basic("pacs"),
        "Basic !",
        "Digest x",
    ]
    answers = {
        web.client.post("/studies", headers={"Content-Type": STOW, **({"Authorization": one} if one else {})}).text
        for one in wrong
    }
    assert len(answers) == 1
    for one in ("Bearer right-token", "bearer right-token", basic("pacs:right: password")):
        headers = {"Content-Type": STOW, "Authorization": one}
        assert web.client.post("/studies", content=body(make_mammogram()), headers=headers).status_code == 200
    answer = web.client.post("/studies")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="cmmd-node", Basic realm="cmmd-node"'
    assert web.client.get(f"http://127.0.0.1:{web.settings.web.port}/metrics").status_code == 200
    assert "right" not in caplog.text
    assert "wrong" not in caplog.text


@pytest.mark.fault("J145")
def test_who_guesses_has_to_wait_and_nobody_else(serve: Serve) -> None:
    web = serve(web={"user": "pacs", "password": "right"})
    right = {"Authorization": basic("pacs:right")}

    def search(headers: dict[str, str], source: str) -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=source)) as client:
            return client.get(f"{web.url}/studies", headers=headers)

    for number in range(TRIES):
        assert search({}, "127.0.0.1").status_code == 401  # as a client asks before it knows that it must say who it is
        assert search({"Authorization": basic(f"pacs:{number}")}, "127.0.0.1").status_code == 401
    for headers in (right, {"Authorization": basic("pacs:wrong")}):  # a guesser must not learn which one it was
        answer = search(headers, "127.0.0.1")
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= SECONDS_PER_TRY
    assert search(right, "127.0.0.2").is_success


def test_wrong_tries_are_forgiven_with_time() -> None:
    now = 1000.0
    throttle = Throttle(lambda: now)
    for _ in range(TRIES):
        assert throttle.wait_seconds("10.0.0.1") == 0
        throttle.count("10.0.0.1")
    assert throttle.wait_seconds("10.0.0.1") == SECONDS_PER_TRY
    assert throttle.wait_seconds("10.0.0.2") == 0
    now += SECONDS_PER_TRY
    assert throttle.wait_seconds("10.0.0.1") == 0
    throttle.count("10.0.0.1")
    assert throttle.wait_seconds("10.0.0.1") == SECONDS_PER_TRY
    now += TRIES * SECONDS_PER_TRY
    for _ in range(TRIES - 1):
        throttle.count("10.0.0.1")
    assert throttle.wait_seconds("10.0.0.1") == 0


def test_addresses_of_one_ipv6_network_are_one_host() -> None:
    throttle = Throttle(lambda: 0.0)
    for number in range(TRIES):
        throttle.count(f"2001:db8::{number:x}")
    assert throttle.wait_seconds("2001:db8::ffff") > 0
    assert throttle.wait_seconds("2001:db8:0:1::1") == 0


def test_memory_of_hosts_is_bounded_and_keeps_those_that_go_on() -> None:
    throttle = Throttle(lambda: 0.0)
    for number in range(3 * MOST_HOSTS):
        throttle.count(f"host {number}")
        if number % 1000 == 0:
            for _ in range(TRIES):
                throttle.count("attacker")
    assert len(throttle._forgiven_at) == MOST_HOSTS
    assert throttle.wait_seconds("attacker") > 0
