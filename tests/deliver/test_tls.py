"""Sending over TLS: only to whom it was meant for, and never without."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from cmmd_node.deliver import Outgoing, echo, send
from cmmd_node.errors import PeerFailed, PeerRefused
from cmmd_node.settings import Settings
from cmmd_node.tls import to_peer
from tests.certificates import Authority, Files, tls_section
from tests.conftest import MakeSettings, free_ports, need
from tests.mammograms import make_mammogram, save
from tests.nodes import Process

StartPeer = Callable[..., int]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save(make_mammogram(), tmp_path / "image.dcm")


@pytest.fixture
def start_peer() -> Iterator[StartPeer]:
    """A storage SCP over TLS, without it if there is no certificate; returns its port."""
    servers: list[Any] = []

    def start(files: Files | None, ca: Authority | None = None) -> int:
        context = None
        if files is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*files)
            if ca is not None:
                context.load_verify_locations(ca.path)
                context.verify_mode = ssl.CERT_REQUIRED
        ae = AE("PEER")
        ae.add_supported_context(DigitalMammographyXRayImageStorageForPresentation)
        ae.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, lambda _event: 0x0000)]
        servers.append(ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context))
        return int(servers[-1].server_address[1])

    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture
def configured(make_settings: MakeSettings, authority: Authority) -> Callable[..., Settings]:
    """A node that sends over TLS to a peer on that port."""

    def make(port: int, **peer: Any) -> Settings:
        known = {"name": "pacs", "ae_title": "PEER", "host": "127.0.0.1", "port": port, "tls": True, **peer}
        return make_settings(tls=tls_section(authority.issue("node"), authority), peer=(known,))

    return make


def store(settings: Settings, image: Path) -> list[int | None]:
    (peer,) = settings.peer
    answers = send(
        [Outgoing.from_file(image)],
        host=peer.host,
        port=peer.port or 0,
        called_ae_title=peer.ae_title,
        calling_ae_title="CMMD_NODE",
        tls=to_peer(settings, peer),
    )
    return [answer.status for answer in answers]


@pytest.mark.parametrize("certificate", ["", "pacs.example", "The PACS", "fingerprint"])
def test_a_peer_with_its_own_certificate_is_sent_to(
    configured: Callable[..., Settings], start_peer: StartPeer, authority: Authority, image: Path, certificate: str
) -> None:
    theirs = authority.issue("pacs", "127.0.0.1", "pacs.example", common_name="The PACS")
    if certificate == "The PACS":
        # A Common Name counts for who sends to us; for servers the names of the extension do.
        with pytest.raises(PeerRefused, match="certificate"):
            store(configured(start_peer(theirs), certificate=certificate), image)
        return
    if certificate == "fingerprint":
        certificate = fingerprint(theirs)
    assert store(configured(start_peer(theirs, authority), certificate=certificate), image) == [0x0000]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("authority", "self-signed certificate|unable to get local issuer"),
        ("expired", "certificate has expired"),
        ("host", "IP address mismatch"),
        ("name", "Hostname mismatch"),
        ("fingerprint", "another fingerprint"),
    ],
)
def test_a_certificate_that_does_not_count_ends_the_delivery_and_nothing_is_sent(
    configured: Callable[..., Settings],
    start_peer: StartPeer,
    authority: Authority,
    wrong: str,
    reason: str,
) -> None:
    image = save(make_mammogram(), authority.path.with_name("image.dcm"))
    signer = Authority(image.parent / "foreign", "foreign") if wrong == "authority" else authority
    theirs = signer.issue("pacs", *["pacs.example"] * (wrong == "host"), days=-1 if wrong == "expired" else 100)
    certificate = {"name": "other.example", "fingerprint": "ab" * 32}.get(wrong, "")
    with pytest.raises(PeerRefused, match=reason):
        store(configured(start_peer(theirs), certificate=certificate), image)


def test_a_peer_without_tls_is_sent_nothing(
    configured: Callable[..., Settings], start_peer: StartPeer, image: Path
) -> None:
    with pytest.raises(PeerFailed, match="no secure connection"):
        store(configured(start_peer(None)), image)


def test_a_peer_that_refuses_our_certificate_is_tried_again_with_the_reason(
    configured: Callable[..., Settings], start_peer: StartPeer, authority: Authority, image: Path
) -> None:
    port = start_peer(authority.issue("pacs"), Authority(image.parent / "theirs", "theirs"))
    with pytest.raises(PeerFailed, match="unknown ca") as failure:
        store(configured(port), image)
    assert not isinstance(failure.value, PeerRefused)


@pytest.mark.e2e
def test_dcmtk_is_sent_to_over_mutual_tls(
    configured: Callable[..., Settings], authority: Authority, image: Path, tmp_path: Path
) -> None:
    class Storescp(Process):
        def is_ready(self) -> bool:
            (peer,) = settings.peer
            return echo(
                host="127.0.0.1",
                port=peer.port or 0,
                called_ae_title="PEER",
                calling_ae_title="CMMD_NODE",
                tls=to_peer(settings, peer),
            )

    need("storescp")
    (tmp_path / "pacs").mkdir()
    (port,) = free_ports(1)
    settings = configured(port)
    theirs = authority.issue("pacs")
    words = ["storescp", "+tls", theirs.key, theirs.certificate, "+cf", authority.path, "-aet", "PEER"]
    with Storescp([*words, "-od", tmp_path / "pacs", str(port)], tmp_path / "storescp.log"):
        assert store(settings, image) == [0x0000]
    assert len(list((tmp_path / "pacs").iterdir())) == 1


def fingerprint(files: Files) -> str:
    first = files.certificate.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n"
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
