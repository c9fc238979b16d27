"""Fetching over DICOMweb: each trap of searching and streaming by a scripted archive, and Orthanc as the real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, MammographyCADSRStorage

from cmmd_node.errors import PeerFailed, PeerRefused, UnsupportedSOPClass
from cmmd_node.retrieve import FoundSeries, Problem, Wanted
from cmmd_node.retrieve.dicomweb import DicomwebArchive
from cmmd_node.settings import DicomwebSettings
from tests.e2e.exams import small_exam
from tests.http_server import Reply, Request, ScriptedServer
from tests.mammograms import exam, make_mammogram, save
from tests.nodes import Orthanc, RunningNode, dcmsend
from tests.receive.conftest import part10_bytes

pytestmark = pytest.mark.usefixtures("waits")

JSON = {"Content-Type": "application/dicom+json"}
SERIES = FoundSeries(
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.4",
    sop_instance_uids=frozenset({"1.2.3.4.5", "1.2.3.4.6"}),
    images=2,
)


def archive(server: ScriptedServer, **settings: Any) -> DicomwebArchive:
    return DicomwebArchive(DicomwebSettings(name="archive", url=f"{server.url}/dicom-web", **settings))


def matches(tag: str, uids: Iterable[str], **more: str) -> Reply:
    found = [{tag: {"vr": "UI", "Value": [uid]}} for uid in uids]
    for one in found:
        one |= {name[1:]: {"vr": "CS", "Value": [content]} for name, content in more.items()}
    return Reply(200, json.dumps(found).encode(), JSON)


def paged(uids: list[str], request: Request, tag: str, *, most: int, heed_offset: bool = True) -> Reply:
    start = int(request.query.get("offset", ["0"])[0]) if heed_offset else 0
    return matches(tag, uids[start : start + most]) if uids[start:] else Reply(204)


def holding(*, most: int = 2, heed_offset: bool = True, modality: str = "MG") -> Callable[[Request], Reply]:
    """An archive of one study of one series of five images, which gives `most` matches at once."""

    def answer(request: Request) -> Reply:
        kind = request.path.rsplit("/", 1)[1]
        if kind == "studies":
            return paged(["1.2.3"], request, "0020000D", most=most, heed_offset=heed_offset)
        if kind == "series":
            return matches("0020000E", ["1.2.3.4"], _00080060=modality)
        uids = [f"1.2.3.4.{number}" for number in range(5)]
        return paged(uids, request, "00080018", most=most, heed_offset=heed_offset)

    return answer


def multipart(*files: bytes, boundary: str = "b", end: bool = True) -> Reply:
    parts = [b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (boundary.encode(), one) for one in files]
    body = b"".join(parts) + (b"--%s--\r\n" % boundary.encode() if end else b"")
    return Reply(200, body, {"Content-Type": f'multipart/related; type="application/dicom"; boundary="{boundary}"'})


class Taker:
    """Takes files as the inbox would; classes that are none of its own it refuses at the first piece."""

    def __init__(self, refuse: bytes | None = None) -> None:
        self.files: list[bytes] = []
        self.largest = 0
        self._refuse = refuse

    def __call__(self, pieces: Iterable[bytes]) -> str:
        content = bytearray()
        for piece in pieces:
            self.largest = max(self.largest, len(piece))
            content += piece
            if self._refuse is not None and self._refuse in content:
                raise UnsupportedSOPClass("CT Image Storage is not a class that the node takes")
        self.files.append(bytes(content))
        return "1.2"


@pytest.mark.parametrize("most", [1, 2, 5, 500])
def test_all_pages_are_asked_for(most: int) -> None:
    with ScriptedServer(holding(most=most)) as server:
        (found,) = archive(server).search(Wanted(patient_id="P 1"))
    assert found.sop_instance_uids == {f"1.2.3.4.{number}" for number in range(5)}
    assert server.requests[0].query["PatientID"] == ["P 1"]
    assert server.requests[0].query["ModalitiesInStudy"] == ["MG"]


def test_an_archive_that_ignores_offset_is_not_asked_for_ever() -> None:
    with ScriptedServer(holding(most=5, heed_offset=False)) as server:
        (found,) = archive(server).search(Wanted(patient_id="P"))
    assert found.images == 5
    assert len(server.requests) < 10


def test_only_mammography_is_found_even_where_the_archive_ignores_modalities() -> None:
    with ScriptedServer(holding(modality="CT")) as server:
        assert list(archive(server).search(Wanted(patient_id="P"))) == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>", {"Content-Type": "text/html"}),
        Reply(200, b'["x"]', JSON),
        matches("0020000D", ["../1"]),
    ],
    ids=["a page", "no data sets", "no UID"],
)
def test_a_search_answered_with_something_else_is_one_sentence(reply: Reply) -> None:
    with ScriptedServer(lambda _request: reply) as server, pytest.raises(PeerFailed, match="archive answered a search"):
        list(archive(server).search(Wanted(patient_id="P")))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("header", "wait"), [({"Retry-After": "3"}, 3.0), ({}, 1.0)])
def test_a_busy_archive_is_asked_again_when_it_wants_to_be(
    waits: list[float], status: int, header: dict[str, str], wait: float
) -> None:
    busy = iter([Reply(status, headers=header)])
    answer = holding()
    with ScriptedServer(lambda request: next(busy, None) or answer(request)) as server:
        (found,) = archive(server).search(Wanted(patient_id="P"))
    assert found.images == 5
    assert waits == [wait]


def test_an_archive_that_stays_busy_is_given_up(waits: list[float]) -> None:
    with ScriptedServer(lambda _request: Reply(503)) as server, pytest.raises(PeerFailed, match="answered 503"):
        list(archive(server).search(Wanted(patient_id="P")))
    assert waits == [1, 2, 4, 8, 16]


def test_an_archive_that_wants_us_to_wait_for_a_day_is_not_waited_for(waits: list[float]) -> None:
    reply = Reply(429, headers={"Retry-After": "86400"})
    with ScriptedServer(lambda _request: reply) as server, pytest.raises(PeerFailed, match="429") as failure:
        list(archive(server).search(Wanted(patient_id="P")))
    assert (waits, failure.value.retry_after_seconds) == ([], 86400)


def test_a_series_comes_file_by_file_as_it_was_sent() -> None:
    files = [part10_bytes(ds) for ds in exam(study="wado")]
    taker = Taker()
    with ScriptedServer(lambda _request: multipart(*files)) as server:
        told = list(archive(server).fetch(SERIES, None, taker))
    assert told == [1, 1, 1, 1]
    assert taker.files == files
    (request,) = server.requests
    assert request.path == "/dicom-web/studies/1.2.3/series/1.2.3.4"
    assert request.headers["accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'


def test_missing_instances_alone_are_asked_for() -> None:
    with ScriptedServer(lambda _request: multipart(b"x" * 200)) as server:
        list(archive(server).fetch(SERIES, frozenset({"1.2.3.4.6"}), Taker()))
    assert [request.path.rsplit("/", 2)[1:] for request in server.requests] == [["instances", "1.2.3.4.6"]]


def test_a_file_that_is_not_taken_costs_itself_only() -> None:
    ct = make_mammogram(SOPClassUID=CTImageStorage)
    files = [part10_bytes(make_mammogram(view="L CC")), part10_bytes(ct), part10_bytes(make_mammogram(view="R CC"))]
    taker = Taker(refuse=CTImageStorage.encode() + b"\0")
    with ScriptedServer(lambda _request: multipart(*files)) as server:
        told = list(archive(server).fetch(SERIES, None, taker))
    assert told == [1, Problem("", "CT Image Storage is not a class that the node takes"), 1]
    assert taker.files == [files[0], files[2]]


@pytest.mark.parametrize("boundary", ["b", "a=b?c", "x" * 70])
def test_a_single_file_or_any_boundary_is_understood(boundary: str) -> None:
    taker = Taker()
    single = Reply(200, b"DICOM" * 50, {"Content-Type": "application/dicom"})
    replies = iter([multipart(b"one" * 100, boundary=boundary), single])
    with ScriptedServer(lambda _request: next(replies)) as server:
        list(archive(server).fetch(SERIES, None, taker))
        list(archive(server).fetch(SERIES, None, taker))
    assert taker.files == [b"one" * 100, b"DICOM" * 50]


def test_an_answer_that_breaks_off_keeps_what_came_before() -> None:
    files = [part10_bytes(make_mammogram()), b"x" * 2_000_000]
    whole = multipart(*files)
    taker = Taker()
    cut = Reply(200, whole.body, {"Content-Length": str(len(whole.body)), **whole.headers}, cut=1_000_000)
    with ScriptedServer(lambda _request: cut) as server, pytest.raises(PeerFailed, match="broke off"):
        list(archive(server).fetch(SERIES, None, taker))
    assert taker.files == files[:1]


def test_a_body_without_its_last_boundary_is_told() -> None:
    taker = Taker()
    body = multipart(b"x" * 300, end=False)
    with ScriptedServer(lambda _request: body) as server, pytest.raises(PeerFailed, match="broke off"):
        list(archive(server).fetch(SERIES, None, taker))
    assert taker.files == []


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(200, b"<html>", {"Content-Type": "text/html"}), "answered with text/html, not with DICOM files"),
        (Reply(200, b"x", {"Content-Type": "multipart/related"}), "cannot be read"),
        (Reply(200, b"x", {"Content-Encoding": "gzip", "Content-Type": "application/dicom"}), "compressed"),
        (Reply(404), "404"),
        (Reply(302, headers={"Location": "/login"}), "elsewhere"),
        (Reply(406), "406"),
    ],
)
def test_an_answer_without_files_is_one_sentence(reply: Reply, words: str) -> None:
    with ScriptedServer(lambda _request: reply) as server, pytest.raises(PeerFailed, match=words):
        list(archive(server).fetch(SERIES, None, Taker()))


def test_a_large_file_comes_in_small_pieces() -> None:
    taker = Taker()
    large = b"\x07" * 30_000_000
    with ScriptedServer(lambda _request: multipart(large)) as server:
        list(archive(server).fetch(SERIES, None, taker))
    assert taker.files == [large]
    assert taker.largest <= 1 << 19


def test_credentials_that_are_wrong_end_the_search() -> None:
    with ScriptedServer(lambda _request: Reply(401)) as server, pytest.raises(PeerRefused, match="does not let us in"):
        list(archive(server, token="t").search(Wanted(patient_id="P")))
    assert len(server.requests) == 1


@pytest.mark.e2e
def test_orthanc_gives_a_study_and_takes_its_results(tmp_path: Path, database_url: str) -> None:
    """By QIDO-RS and WADO-RS, through the analysis, and by STOW-RS back."""
    plugin = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
    if not Path(plugin).exists():
        pytest.skip("orthanc-dicomweb is not installed")
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"node": "secret"}}
    orthanc = Orthanc(tmp_path / "orthanc", Plugins=[plugin], DicomWeb={"Enable": True}, **users)
    with orthanc:
        files = [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(small_exam("web", patient="WEB"))]
        assert dcmsend(files, port=orthanc.port, called="ORTHANC").returncode == 0
        table = {"name": "archive", "url": f"{orthanc.http}/dicom-web/", "results": ["cad-sr", "seg"]}
        login = {"user": "node", "password": "secret"}
        with RunningNode(tmp_path, database_url=database_url, dicomweb=[table | login]) as node:
            words = ["pull", "--from", "archive", "--patient-id", "WEB"]
            first, second = node.cli(*words), node.cli(*words)
            assert (first["images"], first["fetched"], first["failed"]) == (4, 4, 0)
            assert (second["here_before"], second["fetched"]) == (4, 0)
            (study,) = first["studies"]
            ended = node.wait_for_round(study["StudyInstanceUID"], 1)
            (delivery,) = node.wait_for_deliveries()
            assert (delivery["peer"], delivery["state"]) == ("archive", "delivered"), delivery
            kept = sorted(path.read_bytes()[-12_288:] for path in (node.data_dir / "objects").rglob("*.dcm"))
        assert ended["outcome"] == "findings"
        assert kept == sorted(path.read_bytes()[-12_288:] for path in files)
        assert len(orthanc.find(study["StudyInstanceUID"], SOPClassUID=MammographyCADSRStorage)) == 1
        assert len(orthanc.find(study["StudyInstanceUID"], Modality="SEG")) == 2
