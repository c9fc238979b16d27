"""Who gets a channel to the receiver: TLS as it must be, and every wrong way to come."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

from tests.certificates import Authority, Files, tls_section
from tests.conftest import need
from tests.mammograms import exam, make_mammogram, save
from tests.receive.conftest import Reception, data_set_bytes
from tests.receive.raw import RawPeer, associate_rq, p_data, store_rq

Receive = Callable[..., Reception]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def secured(receive: Receive, authority: Authority) -> Reception:
    """A receiver that wants a certificate of the authority."""
    return receive(tls=tls_section(authority.issue("node"), authority), receive={"association_seconds": 2})


def client(authority: Authority | None, files: Files | None = None) -> ssl.SSLContext:
    """What a well-behaved peer comes with."""
    context = ssl.create_default_context(cafile=authority.path if authority else None)
    if files is not None:
        context.load_cert_chain(*files)
    return context


def storescu(reception: Reception, files: list[Path], *options: Any) -> subprocess.CompletedProcess[str]:
    """DCMTK's storage SCU over TLS; `options` say with which certificate."""
    need("storescu")
    words = ["storescu", "-v", "-aet", "STORESCU", "-aec", "CMMD_NODE", *map(str, options)]
    return subprocess.run(
        [*words, "127.0.0.1", str(reception.port), *map(str, files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def images(tmp_path: Path) -> list[Path]:
    return [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(exam())]


@pytest.mark.e2e
def test_dcmtk_stores_over_mutual_tls(secured: Reception, authority: Authority, tmp_path: Path) -> None:
    theirs = authority.issue("modality")
    done = storescu(secured, images(tmp_path), "+tls", theirs.key, theirs.certificate, "+cf", authority.path)
    assert done.returncode == 0, done.stdout
    assert len(secured.objects()) == 4


@pytest.mark.e2e
def test_dcmtk_stores_without_a_certificate_where_none_is_wanted(
    receive: Receive, authority: Authority, tmp_path: Path
) -> None:
    reception = receive(tls=tls_section(authority.issue("node")))
    done = storescu(reception, images(tmp_path), "+tla", "+cf", authority.path)
    assert done.returncode == 0, done.stdout
    assert len(reception.objects()) == 4


def test_a_large_object_arrives_over_tls_byte_for_byte(secured: Reception, authority: Authority) -> None:
    """40 MB in PDUs of every size, so that they end at, before and behind the ends of TLS records."""
    ds = large(40_000_000)
    data = data_set_bytes(ds)
    with talk(secured, client(authority, authority.issue("modality"))) as peer:
        peer.associate()
        peer.socket.sendall(p_data(3, store_rq(sop_instance=ds.SOPInstanceUID), command=True))
        start, turn = 0, 0
        while start < len(data):
            size = (16378, 131060, 16384 - 12, 1, 70001)[turn % 5]
            peer.socket.sendall(p_data(3, data[start : start + size], command=False, last=start + size >= len(data)))
            start, turn = start + size, turn + 1
        assert peer.status() == 0x0000
    (path,) = secured.objects()
    assert path.read_bytes().endswith(data)
    assert dcmread(path, stop_before_pixels=True).SOPInstanceUID == ds.SOPInstanceUID


def test_several_messages_in_one_tls_record_are_all_answered(secured: Reception, authority: Authority) -> None:
    """What OpenSSL has decrypted already is invisible to select."""
    ds = make_mammogram()
    del ds.PixelData
    data = data_set_bytes(ds)
    pieces = [data[start : start + 100] for start in range(0, len(data), 100)]
    message = p_data(3, store_rq(sop_instance=ds.SOPInstanceUID), command=True)
    for number, piece in enumerate(pieces, start=1):
        message += p_data(3, piece, command=False, last=number == len(pieces))
    with talk(secured, client(authority, authority.issue("modality"))) as peer:
        peer.associate()
        assert len(message) * 2 < 16384, "two messages must fit one record"
        peer.socket.sendall(message + message)
        assert [peer.status(), peer.status()] == [0x0000, 0x0000]


def test_a_peer_that_stalls_inside_an_object_over_tls_is_closed(receive: Receive, authority: Authority) -> None:
    reception = receive(tls=tls_section(authority.issue("node")), receive={"pdu_seconds": 1})
    ds = make_mammogram()
    with talk(reception, client(authority)) as peer:
        peer.associate()
        peer.socket.sendall(p_data(3, store_rq(sop_instance=ds.SOPInstanceUID), command=True))
        peer.socket.sendall(p_data(3, data_set_bytes(ds), command=False)[:2000])
        assert peer.is_closed(8)
    assert reception.objects() == []


@pytest.mark.fault("A9")
@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00"], ids=["silence", "a byte", "half a hello"])
def test_silent_clients_on_the_tls_port_block_nobody(
    receive: Receive, authority: Authority, tmp_path: Path, sent: bytes
) -> None:
    reception = receive(tls=tls_section(authority.issue("node")), receive={"association_seconds": 30})
    silent = [socket.create_connection(("127.0.0.1", reception.port)) for _ in range(60)]
    for one in silent:
        one.sendall(sent)
    started = time.monotonic()
    with talk(reception, client(authority)) as peer:
        peer.associate()
    assert time.monotonic() - started < 5
    for one in silent:
        one.close()


def test_a_silent_client_on_the_tls_port_is_closed(secured: Reception) -> None:
    peer = RawPeer(secured.port)
    peer.socket.sendall(b"\x16\x03")
    assert peer.is_closed(8)
    peer.socket.close()


@pytest.mark.fault("A10")
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("no certificate", "it shows no certificate"),
        ("foreign authority", "its certificate is refused"),
        ("expired", "its certificate is refused: certificate has expired"),
        ("TLS 1.1", "it offers nothing newer than TLS 1.1"),
        ("weak cipher", "it offers no cipher suite that is strong enough"),
    ],
)
def test_what_is_not_secure_is_refused_with_one_line_that_says_why(
    secured: Reception,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    wrong: str,
    reason: str,
) -> None:
    foreign = Authority(secured.root / "foreign", "foreign")
    files = {
        "no certificate": None,
        "foreign authority": foreign.issue("modality"),
        "expired": authority.issue("modality", days=-1),
    }.get(wrong, authority.issue("sound"))
    context = client(authority, files)
    if wrong == "TLS 1.1":
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if wrong == "weak cipher":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-SHA")
    with pytest.raises(OSError), talk(secured, context) as peer:  # noqa: PT011 - alerts and resets are all right
        peer.associate()
    (line,) = wait_for_lines(caplog)
    assert reason in line
    with talk(secured, client(authority, authority.issue("modality"))) as peer:
        peer.associate()


@pytest.mark.fault("A8")
@pytest.mark.parametrize(
    ("sent", "reason"),
    [(associate_rq(), "DICOM without TLS"), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP")],
    ids=["DICOM", "HTTP"],
)
def test_other_protocols_on_the_tls_port_are_closed_with_one_line(
    secured: Reception, caplog: pytest.LogCaptureFixture, sent: bytes, reason: str
) -> None:
    peer = RawPeer(secured.port)
    peer.socket.sendall(sent)
    assert peer.is_closed(8)
    peer.socket.close()
    (line,) = wait_for_lines(caplog)
    assert reason in line


@pytest.mark.fault("A8")
def test_other_protocols_on_the_plain_port_are_closed_with_one_line(
    reception: Reception, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(OSError), talk(reception, client(authority)):  # noqa: PT011
        pass
    peer = RawPeer(reception.port)
    peer.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert peer.is_closed(8)
    peer.socket.close()
    first, second = wait_for_lines(caplog, 2)
    assert "it speaks TLS" in first
    assert "HTTP" in second


@pytest.mark.fault("A2")
def test_a_connection_that_only_looks_leaves_no_line(reception: Reception, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        socket.create_connection(("127.0.0.1", reception.port)).close()
    assert reception.store(make_mammogram()) == [0x0000]
    assert not [record for record in caplog.records if "refused" in record.getMessage()]


@pytest.mark.parametrize(
    ("wanted", "comes_in"),
    [("pacs.example", True), ("The PACS", True), ("other.example", False), ("fingerprint", True), ("ab" * 32, False)],
)
def test_an_ae_title_comes_in_with_its_own_certificate_only(
    receive: Receive, authority: Authority, wanted: str, comes_in: bool
) -> None:
    theirs = authority.issue("pacs", "pacs.example", common_name="The PACS")
    if wanted == "fingerprint":
        binary = ssl.PEM_cert_to_DER_cert(theirs.certificate.read_text().split("\n\n")[0])
        wanted = ":".join(f"{byte:02X}" for byte in hashlib.sha256(binary).digest())
    reception = receive(
        receive={"accept": "known"},
        tls=tls_section(authority.issue("node"), authority),
        peer=({"name": "pacs", "ae_title": "RAW", "host": "127.0.0.1", "certificate": wanted},),
    )
    with talk(reception, client(authority, theirs)) as peer:
        peer.socket.sendall(associate_rq())
        assert peer.receive()[0] == (0x02 if comes_in else 0x03)


def test_stopping_ends_associations_over_tls(secured: Reception, authority: Authority) -> None:
    with talk(secured, client(authority, authority.issue("modality"))) as peer:
        peer.associate()
        stopping = threading.Thread(target=secured.receiver.stop, args=(5,))
        stopping.start()
        assert peer.is_closed(8)
        stopping.join()


class talk:  # noqa: N801 - reads as a verb
    """A raw peer over TLS until the block ends."""

    def __init__(self, reception: Reception, context: ssl.SSLContext) -> None:
        self._port = reception.port
        self._context = context

    def __enter__(self) -> RawPeer:
        self._peer = RawPeer(self._port)
        self._peer.socket = self._context.wrap_socket(self._peer.socket, server_hostname="127.0.0.1")
        return self._peer

    def __exit__(self, *_error: object) -> None:
        self._peer.socket.close()


def large(size_bytes: int) -> FileDataset:
    """An image whose private element has so many bytes, no two neighbouring kilobytes alike."""
    ds = make_mammogram()
    block = bytes(range(251)) * 4
    ds.add_new(0x00090010, "LO", "TEST")
    ds.add_new(0x00091001, "OB", (block * (size_bytes // len(block) + 1))[:size_bytes])
    return ds


def wait_for_lines(caplog: pytest.LogCaptureFixture, count: int = 1) -> list[str]:
    """The warnings about refused connections, once there are so many."""
    deadline = time.monotonic() + 10

    def lines() -> list[str]:
        return [one.getMessage() for one in caplog.records if one.levelname == "WARNING" and "refused" in one.msg]

    while len(lines()) < count:
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.01)
    return lines()


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("INFO"):
        yield
