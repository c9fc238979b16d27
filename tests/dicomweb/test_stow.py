"""STOW-RS: what is kept, what is refused and with which words, what a broken request costs."""

from __future__ import annotations

import gzip
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSLossless

from cmmd_node.receive import inbox as inbox_module
from tests.dicomweb.conftest import BOUNDARY, FAILED, OTHER, REFERENCED, STOW, WebRole, body, reasons, uids
from tests.mammograms import encoded, exam, make_mammogram
from tests.nodes import wait_until
from tests.receive.conftest import data_set_bytes, part10_bytes

Serve = Callable[..., WebRole]


def test_an_exam_is_kept_as_by_c_store_and_each_instance_has_its_entry(web: WebRole) -> None:
    images = exam()
    answer = web.store(*images)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert uids(answer, REFERENCED) == [one.SOPInstanceUID for one in images]
    study = images[0].StudyInstanceUID
    assert answer.json()["00081190"] == {"vr": "UR", "Value": [f"{web.url}/studies/{study}"]}
    first = answer.json()[REFERENCED]["Value"][0]
    series = images[0].SeriesInstanceUID
    assert first["00081190"]["Value"] == [
        f"{web.url}/studies/{study}/series/{series}/instances/{images[0].SOPInstanceUID}"
    ]
    for image, (path, source) in zip(
        sorted(images, key=lambda one: str(one.SOPInstanceUID)),
        web.rows("SELECT path, source FROM instance ORDER BY sop_instance_uid"),
        strict=True,
    ):
        assert (web.root / path).read_bytes().endswith(data_set_bytes(image))
        assert source == "STOW-RS"
    assert web.rows("SELECT state, source FROM round") == [("settling", "STOW-RS")]
    assert web.rows(
        "SELECT count(*) FROM workflow_status" if web.index.is_sqlite else "SELECT count(*) FROM dbos.workflow_status"
    ) == [(1,)]
    assert web.spooled() == []


def test_success_is_answered_after_file_directory_and_row_are_durable(
    web: WebRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, sync_directory, record = inbox_module.Spool.sync, inbox_module.sync_directory, inbox_module.record_instance

    def noted(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            done.append(name)
            return function(*arguments)

        return call

    monkeypatch.setattr(inbox_module.Spool, "sync", noted("sync", sync))
    monkeypatch.setattr(inbox_module, "sync_directory", noted("directory", sync_directory))
    monkeypatch.setattr(inbox_module, "record_instance", noted("row", record))
    web.store(make_mammogram())
    assert done == ["sync", "directory", "row"]
    monkeypatch.setattr(inbox_module, "record_instance", noted("row", lambda *_: 1 / 0))
    answer = web.store(make_mammogram(study="second"))
    assert (answer.status_code, reasons(answer)) == (409, [0x0110])
    assert len(web.kept()) == 1


def test_the_same_again_is_a_success_without_new_work_and_other_bytes_are_refused(web: WebRole) -> None:
    web.store(make_mammogram())
    assert web.store(make_mammogram()).status_code == 200
    other = make_mammogram(PatientComments="other bytes")
    answer = web.store(other)
    assert (answer.status_code, reasons(answer)) == (409, [0xC105])
    assert len(web.kept()) == 1
    assert web.rows("SELECT count(*) FROM quarantine") == [(1,)]


class Case(NamedTuple):
    part: bytes
    reason: int
    tag: str = FAILED


MAMMOGRAM = part10_bytes(make_mammogram())


def with_syntax(uid: str) -> bytes:
    """The mammogram, with another transfer syntax in its File Meta Information."""
    return MAMMOGRAM.replace(b"\x10\0UI\x14\x001.2.840.10008.1.2.1\0", b"\x10\0UI\x16\0" + uid.encode(), 1)


CASES = {
    "SOP Class that the node does not take": Case(part10_bytes(make_mammogram(SOPClassUID=CTImageStorage)), 0x0122),
    "transfer syntax that is not taken": Case(with_syntax("1.2.840.10008.1.2.1.98"), 0xC122),
    "data set that is deflated": Case(with_syntax(DeflatedExplicitVRLittleEndian), 0xC122),
    "no DICOM file": Case(b"GIF89a" + bytes(500), 0xC100, OTHER),
    "nothing": Case(b"", 0xC103, OTHER),
    "preamble and prefix alone": Case(MAMMOGRAM[:132], 0xC101, OTHER),
    "File Meta Information cut short": Case(MAMMOGRAM[:200], 0xC103, OTHER),
    "data set cut short": Case(MAMMOGRAM[:-100], 0xC103),
    "no data set": Case(MAMMOGRAM[: len(MAMMOGRAM) - len(data_set_bytes(make_mammogram()))], 0xC100),
    "no study": Case(part10_bytes(make_mammogram(StudyInstanceUID=None)), 0xC101),
    "SOP Instance UID that is none": Case(
        MAMMOGRAM.replace(str(make_mammogram().SOPInstanceUID).encode()[:6], b"1.b.3.", 1), 0xC000, OTHER
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_wrong_with_a_part_costs_that_part(web: WebRole, case: Case) -> None:
    good = make_mammogram(study="good")
    answer = web.store(case.part, good)
    assert answer.status_code == 202
    assert reasons(answer, case.tag) == [case.reason]
    assert answer.json()[case.tag]["Value"][0]["00000902"]["Value"][0]
    assert uids(answer, REFERENCED) == [good.SOPInstanceUID]
    assert web.kept() == {good.SOPInstanceUID}
    assert web.spooled() == []
    assert web.store(case.part).status_code == 409


def test_meta_and_data_set_must_agree(web: WebRole) -> None:
    ds = make_mammogram()
    other = make_mammogram(view="R CC")
    meta = part10_bytes(other)[: -len(data_set_bytes(other))]
    answer = web.store(meta + data_set_bytes(ds))
    assert (answer.status_code, reasons(answer)) == (409, [0xC102])


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, JPEGLSLossless], ids=lambda syntax: syntax.name)
def test_other_encodings_are_kept_as_they_came(web: WebRole, syntax: Any) -> None:
    ds = encoded(make_mammogram(), syntax)
    assert web.store(ds).status_code == 200
    ((path, kept_syntax),) = web.rows("SELECT path, transfer_syntax_uid FROM instance")
    assert kept_syntax == syntax
    assert dcmread(web.root / path).PixelData == ds.PixelData


def test_a_study_in_the_url_refuses_instances_of_others(web: WebRole) -> None:
    mine, other = make_mammogram(study="mine"), make_mammogram(study="other")
    answer = web.store(other, mine, study=mine.StudyInstanceUID)
    assert answer.status_code == 202
    assert (uids(answer, FAILED), reasons(answer)) == ([other.SOPInstanceUID], [0xC106])
    assert web.kept() == {mine.SOPInstanceUID}
    assert web.store(other, study=mine.StudyInstanceUID).status_code == 409


@pytest.mark.fault("H115")
@pytest.mark.parametrize("missing", [1, 3, 60, 400, 3000])
def test_a_body_that_ends_early_costs_the_part_it_ends_in(web: WebRole, missing: int) -> None:
    good, cut = make_mammogram(study="good"), make_mammogram(study="cut")
    content = body(good, cut).removesuffix(b"--\r\n")[:-missing]
    answer = web.client.post("/studies", content=content, headers={"Content-Type": STOW})
    assert answer.status_code == 202
    assert uids(answer, REFERENCED) == [good.SOPInstanceUID]
    assert (uids(answer, FAILED), reasons(answer)) == ([cut.SOPInstanceUID], [0xC103])
    assert web.kept() == {good.SOPInstanceUID}
    assert web.spooled() == []


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"", STOW, 400, "last boundary"),
        (f"--{BOUNDARY}--\r\n".encode(), STOW, 400, "no parts"),
        (MAMMOGRAM, 'multipart/related; type="application/dicom"', 400, "boundary"),
        (MAMMOGRAM, "application/dicom", 415, "multipart/related"),
        (b"<xml/>", 'multipart/related; type="application/dicom+xml"; boundary=x', 415, "application/dicom"),
        (b"", "", 415, "multipart/related"),
    ],
)
def test_what_cannot_be_stored_at_all_is_told_why(
    web: WebRole, content: bytes, kind: str, status: int, words: str
) -> None:
    answer = web.client.post("/studies", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text


@pytest.mark.fault("H116")
def test_a_compressed_body_is_refused(web: WebRole) -> None:
    answer = web.client.post(
        "/studies", content=gzip.compress(bytes(10_000_000)), headers={"Content-Type": STOW, "Content-Encoding": "gzip"}
    )
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json()["detail"]


@pytest.mark.fault("H118")
def test_metadata_with_bulk_data_elsewhere_is_refused_and_nothing_is_fetched(web: WebRole) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0.5)
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}/secret"
        metadata = f'[{{"7FE00010": {{"vr": "OW", "BulkDataURI": "{uri}"}}}}]'
        content = f"--x\r\nContent-Type: application/dicom+json\r\n\r\n{metadata}\r\n--x--"
        kind = 'multipart/related; type="{}"; boundary=x'
        for told, status in (("application/dicom+json", 415), ("application/dicom", 409)):
            answer = web.client.post("/studies", content=content, headers={"Content-Type": kind.format(told)})
            assert answer.status_code == status
        with pytest.raises(TimeoutError):
            silent.accept()
    assert web.kept() == set()


@pytest.mark.fault("H119")
def test_no_space_is_told_before_the_body_and_for_each_instance_behind(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = serve(receive={"reserve_mb": 16, "object_limit_mb": 1})
    large = make_mammogram(np.zeros((1100, 1000), np.uint8))
    answer = web.store(large, make_mammogram(study="small"))
    assert (answer.status_code, reasons(answer)) == (202, [0xA700])
    assert web.spooled() == []
    assert web.store(large).status_code == 503
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    answer = web.store(make_mammogram(study="another"))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "MB free" in answer.json()["detail"]


def talk(web: WebRole, request: bytes, *, seconds: float = 10) -> bytes:
    """Say something over a raw connection and read until the other end is silent or closes."""
    with socket.create_connection(("127.0.0.1", web.settings.web.port), timeout=seconds) as connection:
        connection.sendall(request)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
                head, _, rest = answer.partition(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                if length.isdigit() and len(rest) >= int(length):
                    break
        except TimeoutError:
            pass
    return answer


def head(*lines: str) -> bytes:
    return "\r\n".join(
        ["POST /dicom-web/studies HTTP/1.1", "Host: x", f"Content-Type: {STOW}", *lines, "", ""]
    ).encode()


@pytest.mark.fault("H115")
def test_a_content_length_that_lies_costs_that_request(web: WebRole) -> None:
    content = body(make_mammogram())
    assert talk(web, head("Content-Length: -5") + content).startswith(b"HTTP/1.1 400")
    assert talk(web, head("Content-Length: five") + content).startswith(b"HTTP/1.1 400")
    short = talk(web, head(f"Content-Length: {len(content) - 500}") + content)
    assert short.startswith(b"HTTP/1.1 400")
    assert b"49411" in short  # C103, truncated
    assert web.kept() == set()
    assert web.store(make_mammogram()).status_code == 200


@pytest.mark.fault("H115")
def test_a_body_over_the_limit_is_refused_however_it_is_announced(serve: Serve) -> None:
    web = serve(web={"request_limit_mb": 1})
    first = make_mammogram(study="first")
    content = body(first, bytes(2_000_000))
    refused = web.client.post("/studies", content=content, headers={"Content-Type": STOW})
    assert refused.status_code == 413
    assert web.kept() == set()

    def pieces() -> Any:
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    answer = web.client.post("/studies", content=pieces(), headers={"Content-Type": STOW})
    assert answer.status_code == 413
    assert web.kept() == set()
    assert web.spooled() == []


@pytest.mark.fault("H115")
def test_a_sender_that_trickles_or_stops_is_answered_408(serve: Serve) -> None:
    web = serve(web={"request_seconds": 0.5, "idle_seconds": 0.3})
    content = body(make_mammogram())
    announced = head(f"Content-Length: {len(content)}")
    assert talk(web, announced + content[:2000]).startswith(b"HTTP/1.1 408")
    stop = threading.Event()
    with socket.create_connection(("127.0.0.1", web.settings.web.port), timeout=10) as connection:
        connection.sendall(announced)

        def trickle() -> None:
            for at in range(len(content)):
                if stop.wait(0.05):
                    return
                connection.send(content[at : at + 1])

        thread = threading.Thread(target=trickle)
        thread.start()
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")
        stop.set()
        thread.join()
    assert web.spooled() == []
    assert web.kept() == set()


def test_a_connection_that_breaks_off_acknowledges_nothing_and_leaves_nothing(web: WebRole) -> None:
    whole, cut = (make_mammogram(np.zeros((1500, 1000), np.uint8), study=study) for study in ("whole", "cut"))
    content = body(whole, cut)
    with socket.create_connection(("127.0.0.1", web.settings.web.port)) as connection:
        connection.sendall(head(f"Content-Length: {len(content)}") + content[:-700])
        wait_until(lambda: web.kept() and web.spooled(), 10, "a whole part, and one that is cut short")
    wait_until(lambda: not web.spooled(), 10, "the end of its spool file")
    assert web.kept() == {whole.SOPInstanceUID}


def test_headers_that_never_end_lose_their_connection(serve: Serve) -> None:
    web = serve(web={"header_seconds": 0.3})
    for said in (b"", b"GET /dicom-web/studies HTTP/1.1\r\nHost"):
        with socket.create_connection(("127.0.0.1", web.settings.web.port), timeout=10) as connection:
            connection.sendall(said)
            with suppress(ConnectionResetError):
                assert connection.recv(100) == b""


NO_UIDS = ["../../passwd", "%2e%2e%2f%2e%2e", "1.2%00", "1.2;x", "1..2", "x", "01.2", "%C2%B9", "1." + "2" * 70]


@pytest.mark.fault("H121")
def test_what_is_no_uid_does_not_get_past_the_path(web: WebRole) -> None:
    before = sorted(Path(web.root).rglob("*"))
    for path in NO_UIDS:
        request = head("Content-Length: 0").replace(b"/studies ", f"/studies/{path} ".encode())
        assert talk(web, request)[9:12] in (b"400", b"404"), path
    assert sorted(Path(web.root).rglob("*")) == before
