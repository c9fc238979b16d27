"""Archives that are reached by a proxy: tinyproxy, of Debian."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cmmd_node.cli import app
from cmmd_node.errors import NodeError, PeerFailed, PeerRefused
from cmmd_node.http_client import HttpClient
from cmmd_node.settings import DicomwebSettings
from tests.certificates import Authority
from tests.conftest import free_ports, need
from tests.http_server import Reply, ScriptedServer
from tests.retrieve.collections import generated, write_list

NOBODY = "http://127.0.0.1:9"
"""Where nobody listens."""


@contextmanager
def proxy(folder: Path, *directives: str) -> Iterator[str]:
    """Its address; to whom it connected is told in `folder`."""
    need("tinyproxy")
    (port,) = free_ports(1)
    log, config = folder / "proxy.log", folder / "proxy.conf"
    config.write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", f'LogFile "{log}"', *directives]) + "\n")
    with subprocess.Popen(["tinyproxy", "-d", "-c", config], stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while not (log.exists() and "Accepting connections" in log.read_text()):
                assert process.poll() is None, "the proxy ended"
                assert time.monotonic() < deadline, "no proxy"
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def asked(url: str, **settings: object) -> bytes:
    """The body of an answer of an archive."""
    client = HttpClient("archive", DicomwebSettings(name="archive", url=url, **settings))  # type: ignore[arg-type]
    with client.get(url) as answer:
        return client.whole(answer, 100)


def server_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = authority.issue("server")
    context.load_cert_chain(files.certificate, files.key)
    return context


@pytest.mark.fault("I136")
def test_an_archive_is_reached_by_the_proxy_of_the_configuration(tmp_path: Path) -> None:
    with ScriptedServer(lambda _request: Reply(body=b"here")) as server, proxy(tmp_path) as address:
        assert asked(server.url, proxy=address) == asked(server.url) == b"here"
    assert ["tinyproxy" in request.headers.get("via", "") for request in server.requests] == [True, False]


@pytest.mark.fault("I136")
def test_https_goes_through_a_proxy_and_ends_at_the_archive(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "tls"), Authority(tmp_path / "other", "other")
    with (
        ScriptedServer(lambda _request: Reply(body=b"here"), tls=server_context(authority)) as server,
        proxy(tmp_path) as address,
    ):
        assert asked(server.url, proxy=address, ca=authority.path) == b"here"
        assert f"CONNECT 127.0.0.1:{server.port}" in (tmp_path / "proxy.log").read_text()
        with pytest.raises(PeerRefused, match="no certificate that counts"):
            asked(server.url, proxy=address, ca=other.path)
    assert [request.headers.get("via") for request in server.requests] == [None]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named(scheme: str) -> None:
    with pytest.raises(PeerFailed, match=f"archive cannot be reached by the proxy {NOBODY}, which cannot be reached"):
        asked(f"{scheme}://127.0.0.1:9", proxy=NOBODY)


def test_what_a_proxy_answers_in_place_of_the_archive_is_told(tmp_path: Path) -> None:
    with proxy(tmp_path, "BasicAuth someone secret") as address:
        with pytest.raises(PeerFailed, match=f"the proxy {address}, which answered 407"):
            asked("https://127.0.0.1:9", proxy=address)
        with pytest.raises(PeerRefused, match=f"407.*the proxy {address} wants a user, and we have none"):
            asked("http://127.0.0.1:9", proxy=address)


def to_tcia(folder: Path) -> list[str]:
    (folder / "manifest.tcia").write_text("ListOfSeriesToDownload=\n1.2.3\n")
    return ["tcia", "--manifest", str(folder / "manifest.tcia")]


def to_idc(folder: Path) -> list[str]:
    return ["idc", "--collection", "phantoms", "--index", str(write_list(folder / "series.csv", generated(1)))]


def to_idc_by_dicomweb(folder: Path) -> list[str]:
    return [*to_idc(folder), "--dicomweb"]


@pytest.mark.parametrize("words", [to_tcia, to_idc, to_idc_by_dicomweb])
def test_public_archives_are_reached_by_the_proxy_of_the_node(
    tmp_path: Path, words: Callable[[Path], list[str]]
) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\ndata_dir = "{tmp_path / "data"}"\nproxy = "{NOBODY}"\n')
    done = CliRunner().invoke(app, ["pull", *words(tmp_path), "--config", str(config)])
    assert isinstance(done.exception, NodeError)
    assert f"cannot be reached by the proxy {NOBODY}" in " ".join(f"{done.output} {done.exception}".split())
