"""The Cancer Imaging Archive: manifests, and a server that speaks its NBIA API as the archive's source has it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from cmmd_node.errors import PeerFailed, SettingsError
from cmmd_node.pull import pull
from cmmd_node.retrieve.tcia import Nbia, read_manifest
from cmmd_node.settings import Settings
from tests.http_server import Reply, Request, ScriptedServer
from tests.retrieve.collections import Series, generated, real
from tests.retrieve.test_idc import command, numbers, reasons

pytestmark = pytest.mark.usefixtures("waits")

HEAD = """downloadServerUrl=https://nbia.cancerimagingarchive.net/nbia-download/servlet/DownloadServlet
includeAnnotation=true
noOfrRetry=4
databasketId=manifest-1746549740123.tcia
manifestVersion=3.0
ListOfSeriesToDownload=
"""
COLUMNS = [
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("ImageCount", "FileSize", "LicenseName", "LicenseURI"),
]


def manifest(path: Path, uids: Iterable[str], head: str = HEAD) -> Path:
    path.write_text(head + "\n".join(uids) + "\n\n")
    return path


def zipped(one: Series, **differences: bytes) -> bytes:
    """A series as getImageWithMD5Hash sends it; `differences` by name of a file take another's place or come to it."""
    files = {f"{number:08d}.dcm": file for number, file in enumerate(one.files, start=1)}
    table = "\n".join(
        ["Filename,MD5Hash", *(f"{name},{hashlib.md5(file).hexdigest()}" for name, file in files.items())]
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        members = {"LICENSE": b"CC BY 4.0", **files, "md5hashes.csv": table.encode(), **differences}
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Archive:
    """Answers as NBIA does; what is in `replies` comes before that, once for each series or for the metadata."""

    series: Iterable[Series]
    columns: list[str] = field(default_factory=lambda: list(COLUMNS))
    sizes: dict[str, int] = field(default_factory=dict)
    modality: str = "MG"
    replies: dict[str, list[Reply]] = field(default_factory=lambda: defaultdict(list))

    def __call__(self, request: Request) -> Reply:
        (uid,) = request.query.get("SeriesInstanceUID", ["metadata"])
        if self.replies.get(uid):
            return self.replies[uid].pop(0)
        known = {one.series_instance_uid: one for one in self.series}
        if uid == "metadata":
            assert (request.method, request.path) == ("POST", "/v4/getSeriesMetadata")
            (asked,) = parse_qs(request.body.decode())["list"]
            rows = [self._row(known[one]) for one in asked.split(",") if one in known]
            return Reply(200, "\n".join([",".join(self.columns), *rows]).encode(), {"Content-Type": "text/csv"})
        assert (request.method, request.path) == ("GET", "/v4/getImageWithMD5Hash")
        return Reply(200, zipped(known[uid])) if uid in known else Reply(400)

    def _row(self, one: Series) -> str:
        size = self.sizes.get(one.series_instance_uid, one.size_bytes)
        identity = (one.patient_id, one.study_instance_uid, one.series_instance_uid)
        return ",".join([*identity, self.modality, str(len(one.files)), str(size), "CC BY 4.0", "https://cc"])


def pulled(settings: Settings, server: ScriptedServer, uids: Iterable[str], *, dry_run: bool = False) -> dict[str, Any]:
    source = Nbia(f"{server.url}/v4", settings.node.data_dir)
    return pull(settings, source, source.search(list(uids)), dry_run=dry_run, tell=lambda _done, _total: None)


def uids_of(series: Iterable[Series]) -> list[str]:
    return [one.series_instance_uid for one in series]


def asked_for(server: ScriptedServer) -> list[str]:
    """The series whose images were asked for."""
    return [uid for request in server.requests for uid in request.query.get("SeriesInstanceUID", [])]


def test_a_manifest_comes_once_with_its_terms_and_leaves_nothing_behind(settings: Settings) -> None:
    series = generated(3)
    with ScriptedServer(Archive(series)) as server:
        looked = pulled(settings, server, uids_of(series), dry_run=True)
        assert asked_for(server) == []
        first, second = (pulled(settings, server, uids_of(series)) for _ in range(2))
        assert asked_for(server) == uids_of(series)
    assert (looked["images"], looked["fetched"]) == (6, 0)
    assert (numbers(first), numbers(second)) == ((0, 6, 0), (6, 0, 0))
    assert first["terms"] == [{"licence": "CC BY 4.0, https://cc", "citation": ""}]
    assert not [path for path in settings.node.data_dir.rglob("*") if path.is_file() and path.read_bytes()[:2] == b"PK"]


@pytest.mark.shared
def test_patients_of_the_real_list_come_by_the_command(settings: Settings, tmp_path: Path) -> None:
    series = real("D1-0001", "D1-0777", "D2-0749")
    path = manifest(tmp_path / "cmmd.tcia", uids_of(series))
    images = sum(len(one.files) for one in series)
    with ScriptedServer(Archive(series)) as server:
        words = ["tcia", "--manifest", str(path), "--url", f"{server.url}/v4"]
        first, second = command(settings, tmp_path, *words, "--json"), command(settings, tmp_path, *words)
    assert numbers(json.loads(first.stdout)) == (0, images, 0)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert f"{images} images found" in second.stdout
    assert f"{images} of them were here, 0 fetched" in second.stdout
    assert "CC BY 4.0, https://cc" in second.stdout


def test_a_pull_that_breaks_off_is_resumed_by_the_same_command(settings: Settings) -> None:
    series = generated(3)
    broken = series[1].series_instance_uid
    archive = Archive(series, replies={broken: [Reply(200, zipped(series[1]), cut=9000)]})
    with ScriptedServer(archive) as server:
        first = pulled(settings, server, uids_of(series))
        server.requests.clear()
        second = pulled(settings, server, uids_of(series))
        assert asked_for(server) == [broken]
    assert (numbers(first), numbers(second)) == ((0, 4, 2), (4, 2, 0))
    assert reasons(first) == ["tcia broke off in the middle of an answer"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_archive_is_asked_again_when_it_wants_to_be(settings: Settings, waits: list[float], status: int) -> None:
    series = generated(1)
    busy = [Reply(status, headers={"Retry-After": "7"}), Reply(status)]
    archive = Archive(series, replies={"metadata": busy[:], series[0].series_instance_uid: busy[:]})
    with ScriptedServer(archive) as server:
        assert numbers(pulled(settings, server, uids_of(series))) == (0, 2, 0)
    assert waits == [7, 2, 7, 2]
    assert len({request.body for request in server.requests if request.method == "POST"}) == 1


def test_what_is_bad_in_a_zip_file_costs_that_only(settings: Settings, tmp_path: Path) -> None:
    series = generated(3)
    bad, cut, outside = series
    file = bad.files[0]
    archive = Archive(
        series,
        replies={
            bad.series_instance_uid: [Reply(200, zipped(bad, **{"00000001.dcm": file[:-1] + b"\1"}))],
            cut.series_instance_uid: [Reply(200, zipped(cut)[:-40])],
            outside.series_instance_uid: [Reply(200, zipped(outside, **{"../../../x.dcm": file[:100]}))],
        },
    )
    with ScriptedServer(archive) as server:
        answer = pulled(settings, server, uids_of(series))
        assert numbers(answer) == (0, 3, 3)
        told = reasons(answer)
        assert "00000001.dcm': its MD5 is " in told[0]
        assert told[1] == "tcia sent a series that is no whole ZIP file"
        assert told[2].endswith("no DICOM file: shorter than its preamble")
        assert "bytes, not " in told[3]
        assert not list(tmp_path.rglob("x.dcm"))
        assert numbers(pulled(settings, server, uids_of(series))) == (3, 3, 0)


def test_a_series_that_is_unknown_or_kept_back_costs_that_series_only(settings: Settings) -> None:
    series = generated(2)
    archive = Archive(series, replies={series[0].series_instance_uid: [Reply(403)]})
    with ScriptedServer(archive) as server:
        answer = pulled(settings, server, ["1.9.9", *uids_of(series)])
    assert numbers(answer) == (0, 2, 3)
    assert reasons(answer)[0] == "tcia does not know series 1.9.9"
    assert "tcia answered 403" in reasons(answer)[1]


def test_a_series_that_is_larger_than_announced_is_not_taken(settings: Settings) -> None:
    (one,) = series = generated(1)
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("00000009.dcm", bytes(3_000_000))
    replies = {one.series_instance_uid: [Reply(200, stored.getvalue())]}
    with ScriptedServer(Archive(series, replies=replies)) as server:
        answer = pulled(settings, server, uids_of(series))
    assert numbers(answer) == (0, 0, 2)
    assert reasons(answer) == [f"tcia sent more than the {one.size_bytes} bytes that it announced"]


def test_other_names_of_columns_and_other_modalities(settings: Settings) -> None:
    series = generated(1)
    blanks = ["Patient ID", "Study Instance UID", "Series Instance UID", "Modality", "Image Count", "File Size (Bytes)"]
    archive = Archive(series, columns=[*blanks, "License Name", "License URI"])
    with ScriptedServer(archive) as server:
        assert pulled(settings, server, uids_of(series), dry_run=True)["images"] == 2
        archive.modality = "CT"
        assert pulled(settings, server, uids_of(series), dry_run=True)["images"] == 0


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"<html>"), "told of series in a way that is not known"),
        (Reply(200, f"{','.join(COLUMNS)}\nP,1.2,1.2.3,MG,two,5,l,u".encode()), "without its study, number of images"),
    ],
)
def test_metadata_that_are_none_are_one_sentence(tmp_path: Path, reply: Reply, reason: str) -> None:
    with ScriptedServer(lambda _request: reply) as server, pytest.raises(PeerFailed, match=reason):
        list(Nbia(server.url, tmp_path).search(["1.2.3"]))


def test_a_long_manifest_is_asked_about_in_parts(tmp_path: Path) -> None:
    with ScriptedServer(Archive(())) as server:
        found = list(Nbia(f"{server.url}/v4", tmp_path).search([f"1.2.{number}" for number in range(450)]))
    assert (len(found), len(server.requests)) == (450, 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.2.3\n", "has no line ListOfSeriesToDownload="),
        (f"{HEAD}1.2.3\n../../etc\n", "no Series Instance UID: '../../etc'"),
        (HEAD.replace("nbia.cancerimagingarchive.net", "hospital.example") + "1.2.3", "server hospital.example; --url"),
        (HEAD.replace("nbia.cancerimagingarchive.net", "x-cancerimagingarchive.net"), "for the server x-cancer"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = manifest(tmp_path / "m.tcia", [], head=text)
    with pytest.raises(SettingsError, match=reason):
        read_manifest(path, any_server=False)


def test_a_manifest_for_another_server_is_taken_with_its_url(tmp_path: Path) -> None:
    head = HEAD.replace("nbia.cancerimagingarchive.net", "hospital.example").replace("\n", "\r\n")
    path = manifest(tmp_path / "m.tcia", ["1.2.3", "1.2.4", "1.2.3"], head=head)
    assert read_manifest(path, any_server=True) == ["1.2.3", "1.2.4"]
