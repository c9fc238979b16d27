"""Storing over DICOMweb: what each answer, each fault and each silence of an archive leads to."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cmmd_node import http_client
from cmmd_node.deliver import Answer, Outgoing, Verdict, verdict_of
from cmmd_node.deliver.stow import store
from cmmd_node.errors import PeerFailed, PeerRefused
from cmmd_node.settings import DicomwebSettings
from tests.certificates import Authority
from tests.http_server import Reply, Request, ScriptedServer
from tests.mammograms import make_mammogram, save

JSON = {"Content-Type": "application/dicom+json; charset=utf-8"}
Script = Callable[[Request], Reply]


@pytest.fixture
def image(tmp_path: Path) -> Outgoing:
    """More than a megabyte: bodies of that size are what clients send in pieces."""
    ds = make_mammogram()
    ds.add_new(0x00091010, "OB", b"\x5a" * 1_500_000)
    ds.add_new(0x00090010, "LO", "TEST")
    return Outgoing.from_file(save(ds, tmp_path / "image.dcm"))


def value(vr: str, content: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": [content]}


def told(*, stored: Sequence[str] = (), failed: Sequence[tuple[str, int]] = (), status: int = 200) -> Reply:
    """A Store Instances Response Module."""
    module: dict[str, Any] = {}
    if stored:
        module["00081199"] = {"vr": "SQ", "Value": [{"00081155": value("UI", uid)} for uid in stored]}
    if failed:
        items = [{"00081155": value("UI", uid), "00081197": value("US", reason)} for uid, reason in failed]
        module["00081198"] = {"vr": "SQ", "Value": items}
    return Reply(status, json.dumps(module).encode(), JSON)


def to(server: ScriptedServer, *files: Outgoing, **settings: Any) -> list[Answer]:
    return list(store(files, DicomwebSettings(name="archive", url=f"{server.url}/dicom-web/", **settings)))


def stored_body(request: Request) -> bytes:
    """The file in a request of one part, taken apart without our own reader."""
    boundary = re.fullmatch(
        r'multipart/related; type="application/dicom"; boundary=(\S+)', request.headers["content-type"]
    )
    assert boundary
    mark = b"--" + boundary[1].encode()
    before, _, rest = request.body.partition(mark + b"\r\n")
    head, _, content = rest.partition(b"\r\n\r\n")
    assert (before, head) == (b"", b"Content-Type: application/dicom")
    assert content.endswith(b"\r\n" + mark + b"--\r\n")
    return content[: -len(mark) - 6]


def searching(reply: Script, *, there: Sequence[str] = (), found: Reply | None = None) -> Script:
    """An archive that answers a POST by script and a search by what is there."""

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            return reply(request)
        matches = [{"00080018": value("UI", uid)} for uid in there if uid in request.query["SOPInstanceUID"]]
        return found or (Reply(200, json.dumps(matches).encode(), JSON) if matches else Reply(204))

    return answer


def test_an_instance_that_is_referenced_is_stored_and_came_whole(image: Outgoing) -> None:
    with ScriptedServer(lambda _request: told(stored=[image.sop_instance_uid])) as server:
        (answer,) = to(server, image)
    assert (answer.status, verdict_of(answer.status or 0)) == (0, Verdict.STORED)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/dicom-web/studies")
    assert stored_body(request) == image.path.read_bytes()


@pytest.mark.fault("I130")
def test_after_a_503_the_whole_body_is_sent_again_and_not_before_it_may(image: Outgoing) -> None:
    replies = iter([Reply(503, headers={"Retry-After": "7"}), told(stored=[image.sop_instance_uid])])
    with ScriptedServer(lambda _request: next(replies)) as server:
        with pytest.raises(PeerFailed, match="archive answered 503") as busy:
            to(server, image)
        assert not isinstance(busy.value, PeerRefused)
        assert busy.value.retry_after_seconds == 7
        assert len(server.requests) == 1, "the delivery tries again, nobody else"
        (answer,) = to(server, image)
    assert answer.status == 0
    assert [stored_body(request) == image.path.read_bytes() for request in server.requests] == [True, True]


@pytest.mark.fault("I131")
def test_after_a_connection_that_broke_the_whole_body_is_sent_again(image: Outgoing) -> None:
    cut = Reply(200, b"x" * 100, headers={"Content-Length": "1000", **JSON}, cut=10)
    replies = iter([cut, told(stored=[image.sop_instance_uid])])
    with ScriptedServer(lambda _request: next(replies)) as server:
        with pytest.raises(PeerFailed, match="archive"):
            to(server, image)
        (answer,) = to(server, image)
    assert answer.status == 0
    assert [stored_body(request) == image.path.read_bytes() for request in server.requests] == [True, True]


SAYS_NOTHING = {
    "200 with an empty body": Reply(200),
    "200 with an empty module": Reply(200, b"{}", JSON),
    "200 with a login page": Reply(200, b"<html>log in</html>", {"Content-Type": "text/html"}),
    "200 with JSON that is none": Reply(200, b"{", JSON),
    "200 with a list of nothing": Reply(200, b"[]", JSON),
    "202 with another instance": told(stored=["1.2.3"], status=202),
    "409 without a body": Reply(409),
    "409 in XML": Reply(409, b"<NativeDicomModel/>", {"Content-Type": "application/dicom+xml"}),
}


@pytest.mark.fault("I133")
@pytest.mark.parametrize("reply", SAYS_NOTHING.values(), ids=SAYS_NOTHING)
def test_an_answer_without_the_instance_is_no_success(image: Outgoing, reply: Reply) -> None:
    with (
        ScriptedServer(searching(lambda _request: reply)) as server,
        pytest.raises(PeerFailed, match="without a word about the instance") as failure,
    ):
        to(server, image)
    assert not isinstance(failure.value, PeerRefused)


@pytest.mark.fault("I133")
@pytest.mark.parametrize("reply", SAYS_NOTHING.values(), ids=SAYS_NOTHING)
def test_an_answer_without_the_instance_is_one_where_a_search_finds_it(image: Outgoing, reply: Reply) -> None:
    uids = [image.sop_instance_uid]
    with ScriptedServer(searching(lambda _request: reply, there=uids)) as server:
        (answer,) = to(server, image)
    assert answer.status == 0
    assert server.requests[-1].query == {"SOPInstanceUID": uids}


@pytest.mark.fault("I133")
def test_a_search_that_ignores_its_key_proves_nothing(image: Outgoing) -> None:
    everything = Reply(200, json.dumps([{"00080018": value("UI", "1.2.3")}]).encode(), JSON)
    with (
        ScriptedServer(searching(lambda _request: Reply(200), found=everything)) as server,
        pytest.raises(PeerFailed, match="without a word"),
    ):
        to(server, image)


@pytest.mark.fault("I133")
@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_is_no_success_and_for_a_person(image: Outgoing, status: int) -> None:
    with (
        ScriptedServer(lambda _request: Reply(status, headers={"Location": "/login"})) as server,
        pytest.raises(PeerRefused, match=f"{status}.*sends us elsewhere"),
    ):
        to(server, image)
    assert [request.path for request in server.requests] == ["/dicom-web/studies"]


@pytest.mark.fault("I133")
def test_204_is_no_success(image: Outgoing) -> None:
    with ScriptedServer(lambda _request: Reply(204)) as server, pytest.raises(PeerRefused, match="204"):
        to(server, image)


@pytest.mark.parametrize(
    ("reason", "status", "verdict"),
    [
        (0xA700, 200, Verdict.TRY_AGAIN),
        (0xA900, 202, Verdict.REFUSED),
        (0xC000, 409, Verdict.REFUSED),
        (0x0122, 409, Verdict.REFUSED),
        (0x0110, 409, Verdict.TRY_AGAIN),
    ],
)
def test_an_instance_among_the_failed_is_judged_by_its_reason(
    image: Outgoing, reason: int, status: int, verdict: Verdict
) -> None:
    reply = told(stored=["1.2.3"], failed=[("1.2.4", 0), (image.sop_instance_uid, reason)], status=status)
    with ScriptedServer(searching(lambda _request: reply)) as server:
        (answer,) = to(server, image)
    assert (answer.status, verdict_of(answer.status or 0)) == (reason, verdict)
    assert answer.problem == f"failure reason {reason:04X} (HTTP {status})"


@pytest.mark.parametrize("reason", [0x0110, 0x0111])
def test_a_failure_over_an_instance_that_is_there_already_is_a_success(image: Outgoing, reason: int) -> None:
    reply = told(failed=[(image.sop_instance_uid, reason)], status=409)
    with ScriptedServer(searching(lambda _request: reply, there=[image.sop_instance_uid])) as server:
        (answer,) = to(server, image)
    assert answer.status == 0


@pytest.mark.parametrize("status", [400, 404, 413, 415, 408, 429, 500, 502, 503, 504, 507])
def test_statuses_of_http_are_tried_again_or_not(image: Outgoing, status: int) -> None:
    with (
        ScriptedServer(lambda _request: Reply(status)) as server,
        pytest.raises(PeerFailed, match=str(status)) as failure,
    ):
        to(server, image)
    assert isinstance(failure.value, PeerRefused) is (status in {400, 404, 413, 415})


@pytest.mark.fault("I134")
@pytest.mark.parametrize("status", [401, 403])
def test_wrong_credentials_are_refused_at_once_and_never_shown(
    image: Outgoing, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        ScriptedServer(lambda _request: Reply(status)) as server,
        pytest.raises(PeerRefused, match="does not let us in") as refusal,
    ):
        to(server, image, token="sesame-4711")
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer sesame-4711"]
    assert "sesame" not in str(refusal.value) + caplog.text


def test_basic_authentication_is_sent(image: Outgoing) -> None:
    with ScriptedServer(lambda _request: told(stored=[image.sop_instance_uid])) as server:
        to(server, image, user="node", password="pässword")
    assert server.requests[0].headers["authorization"] == "Basic bm9kZTpww6Rzc3dvcmQ="


@pytest.mark.fault("I134")
def test_an_expired_token_is_renewed_once_and_the_body_is_sent_again(image: Outgoing) -> None:
    tokens = iter(["old", "new", "newer"])
    accepted = {"Bearer new"}

    def answer(request: Request) -> Reply:
        if request.path == "/token":
            assert request.headers["authorization"].startswith("Basic ")
            assert request.body == b"grant_type=client_credentials&scope=dicom"
            return Reply(200, json.dumps({"access_token": next(tokens), "expires_in": 3600}).encode(), JSON)
        if request.headers["authorization"] in accepted:
            return told(stored=[image.sop_instance_uid])
        return Reply(401)

    with ScriptedServer(answer) as server:
        login = {"token_url": f"{server.url}/token", "client_id": "node", "client_secret": "s", "scope": "dicom"}
        (given,) = to(server, image, **login)
        assert given.status == 0
        posts = [request for request in server.requests if request.path != "/token"]
        assert [stored_body(request) == image.path.read_bytes() for request in posts] == [True, True]
        accepted.clear()
        tokens = iter(["a", "b", "c"])
        with pytest.raises(PeerRefused, match="does not let us in"):
            to(server, image, **login)
    assert len([request for request in server.requests if request.path != "/token"]) == 4


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


def server_context(authority: Authority, *identities: str, days: float = 365) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = authority.issue("server", *identities, days=days)
    context.load_cert_chain(files.certificate, files.key)
    return context


def test_a_certificate_of_the_configured_authority_counts(image: Outgoing, authority: Authority) -> None:
    with ScriptedServer(lambda _r: told(stored=[image.sop_instance_uid]), tls=server_context(authority)) as server:
        (answer,) = to(server, image, ca=authority.path)
    assert answer.status == 0


@pytest.mark.fault("I136")
@pytest.mark.parametrize("wrong", ["authority", "name", "expired"])
def test_a_certificate_that_does_not_count_is_refused(
    image: Outgoing, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    known = Authority(tmp_path / "other", "other") if wrong == "authority" else authority
    names = ("elsewhere.example",) if wrong == "name" else ()
    context = server_context(authority, *names, days=-1 if wrong == "expired" else 365)
    with (
        ScriptedServer(lambda _request: told(stored=[image.sop_instance_uid]), tls=context) as server,
        pytest.raises(PeerRefused, match="no certificate that counts"),
    ):
        to(server, image, ca=known.path)
    assert server.requests == []


@pytest.mark.fault("I136")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_nothing_older_than_tls_1_2_is_spoken(image: Outgoing, authority: Authority) -> None:
    context = server_context(authority)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        ScriptedServer(lambda _request: told(stored=[image.sop_instance_uid]), tls=context) as server,
        pytest.raises(PeerFailed, match="no secure connection"),
    ):
        to(server, image, ca=authority.path)
    assert server.requests == []


@pytest.mark.fault("I136")
def test_proxies_and_passwords_of_the_environment_do_not_count(
    image: Outgoing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else")
    for name, content in {
        "http_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NETRC": str(tmp_path / "netrc"),
    }.items():
        monkeypatch.setenv(name, content)
    with ScriptedServer(lambda _request: told(stored=[image.sop_instance_uid])) as server:
        (answer,) = to(server, image)
    assert answer.status == 0
    assert "authorization" not in server.requests[0].headers


@pytest.mark.fault("I137")
def test_the_wait_for_an_answer_grows_with_the_object(image: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    """1.5 MB at 10 MB/s: 0.15 s more than the 0.1 s that an empty request has."""
    monkeypatch.setattr(http_client, "PROGRESS_SECONDS", 0.1)
    release = threading.Event()

    def answer(_request: Request) -> Reply:
        release.wait(20)
        return told(stored=[image.sop_instance_uid])

    with ScriptedServer(answer) as server:
        monkeypatch.setattr(http_client, "SLOWEST_BYTES_PER_SECOND", 10_000_000)
        with pytest.raises(PeerFailed, match="did not answer in time"):
            to(server, image)
        monkeypatch.setattr(http_client, "SLOWEST_BYTES_PER_SECOND", 75_000)
        threading.Timer(0.5, release.set).start()
        (given,) = to(server, image)
    assert given.status == 0


@pytest.mark.fault("I139")
def test_boundaries_cannot_be_foreseen_and_content_like_one_comes_whole(tmp_path: Path) -> None:
    ds = make_mammogram()
    ds.ImageComments = "--0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1\r\n--boundary--\r\n"
    file = Outgoing.from_file(save(ds, tmp_path / "crafted.dcm"))
    with ScriptedServer(lambda _request: told(stored=[file.sop_instance_uid])) as server:
        to(server, file, file)
    boundaries = {request.headers["content-type"].rpartition("boundary=")[2] for request in server.requests}
    assert len(boundaries) == 2
    assert all(len(one) == 32 for one in boundaries)
    assert [stored_body(request) == file.path.read_bytes() for request in server.requests] == [True, True]


def test_nobody_listens(image: Outgoing) -> None:
    with ScriptedServer(lambda _request: Reply()) as server:
        pass
    with pytest.raises(PeerFailed, match="archive cannot be reached"):
        to(server, image)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "ftp://h"}, "no http"),
        ({"url": "https://user:word@h/dicom-web"}, "keys of their own"),
        ({"url": "http://10.0.0.1/dicom-web", "token": "t"}, "clear text"),
        ({"user": "u"}, "together"),
        ({"token_url": "https://h/token"}, "together"),
        ({"token": "t", "user": "u", "password": "p"}, "not several"),
    ],
)
def test_settings_that_would_leak_or_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DicomwebSettings(**{"name": "archive", "url": "https://h/dicom-web", **settings})
