"""Imaging Data Commons: its list of series, its buckets and its DICOMweb, by servers on loopback."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cmmd_node.cli import app
from cmmd_node.errors import OutOfResources, PeerFailed, SettingsError
from cmmd_node.index import open_index
from cmmd_node.index.holdings import kept_of_series
from cmmd_node.pull import pull
from cmmd_node.retrieve import Problem
from cmmd_node.retrieve.idc import IdcBuckets, listed_series
from cmmd_node.settings import Settings
from tests.conftest import MakeSettings
from tests.http_server import Reply, Request, ScriptedServer
from tests.retrieve.collections import BUCKET, REAL_LIST, Bucket, Series, generated, real, write_list
from tests.retrieve.test_dicomweb import multipart

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture
def three(tmp_path: Path) -> tuple[Bucket, Path]:
    """A bucket of three series of two images, and their list."""
    series = generated(3)
    return Bucket(list(series)), write_list(tmp_path / "series.csv", series)


def pulled(settings: Settings, server: ScriptedServer, path: Path, **more: Any) -> dict[str, Any]:
    found = listed_series(path, collection=more.pop("collection", "phantoms"), **more)
    return pull(settings, IdcBuckets(server.url), found, dry_run=False, tell=lambda _done, _total: None)


def fetched(server: ScriptedServer, path: Path, **more: Any) -> list[Problem | int]:
    """What the buckets tell and hand over, with a taker that keeps nothing."""
    buckets = IdcBuckets(server.url)
    found = listed_series(path, collection="phantoms", **more)
    return [event for one in found for event in buckets.fetch(one, None, lambda pieces: str(len(b"".join(pieces))))]


def numbers(answer: dict[str, Any]) -> tuple[int, int, int]:
    return answer["here_before"], answer["fetched"], answer["failed"]


def reasons(answer: dict[str, Any]) -> list[str]:
    return [problem["reason"] for study in answer["studies"] for problem in study["problems"]]


def command(settings: Settings, tmp_path: Path, *words: str) -> Any:
    """`cmmd-node pull` with that node's configuration, in this process."""
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\ndata_dir = "{settings.node.data_dir}"\ndatabase_url = "{settings.node.database_url}"\n')
    return CliRunner().invoke(app, ["pull", *words, "--config", str(config)], catch_exceptions=False)


def test_a_collection_comes_once_with_its_terms(settings: Settings, three: tuple[Bucket, Path]) -> None:
    bucket, path = three
    bucket.most = 1
    with ScriptedServer(bucket) as server:
        first = pulled(settings, server, path)
        asked = len(server.requests)
        second = pulled(settings, server, path)
        assert len(server.requests) == asked
    assert (numbers(first), numbers(second)) == ((0, 6, 0), (6, 0, 0))
    assert first["terms"] == [{"licence": "CC BY 4.0", "citation": "https://doi.org/10.7937/phantoms"}]
    assert first["size_bytes"] == sum(one.size_bytes for one in bucket.series)
    kept = sorted(file.read_bytes() for file in (settings.node.data_dir / "objects").rglob("*.dcm"))
    assert len(kept) == 6


@pytest.mark.shared
def test_the_real_list_is_read_whole() -> None:
    found = listed_series(REAL_LIST, collection="cmmd")
    assert (len(found), sum(one.images for one in found)) == (1775, 5202)
    assert round(sum(one.size_bytes for one in found) / 1e9, 1) == 22.9
    assert [one.images for one in listed_series(REAL_LIST, collection="cmmd", patient_ids=["D2-0001"])] == [4]
    assert listed_series(REAL_LIST, collection="cmmd", limit=3) == found[:3]
    with pytest.raises(SettingsError, match="does not have 1 of the 2 patients"):
        listed_series(REAL_LIST, collection="cmmd", patient_ids=["D1-0001", "D9-0001"])


@pytest.mark.shared
def test_patients_of_the_real_list_come_by_the_command(settings: Settings, tmp_path: Path) -> None:
    patients = ("D1-0001", "D1-0777", "D2-0749")
    series = real(*patients)
    words = ["idc", "--collection", "cmmd", "--index", str(REAL_LIST), "--json"]
    words += [word for one in patients for word in ("--patient", one)]
    with ScriptedServer(Bucket(series)) as server:
        words += ["--url", server.url]
        dry = command(settings, tmp_path, *words, "--dry-run")
        assert server.requests == []
        first, second = (command(settings, tmp_path, *words) for _ in range(2))
    images = sum(len(one.files) for one in series)
    assert (dry.exit_code, first.exit_code, second.exit_code) == (0, 0, 0)
    assert numbers(json.loads(dry.stdout)) == (0, 0, 0)
    assert json.loads(dry.stdout)["images"] == images
    assert numbers(json.loads(first.stdout)) == (0, images, 0)
    assert numbers(json.loads(second.stdout)) == (images, 0, 0)
    assert "10.7937/tcia.eqde-4b16" in first.stdout
    assert "CC BY 4.0" in first.stdout
    index = open_index(settings)
    with index.read() as connection:
        kept = [kept_of_series(connection, one.study_instance_uid, one.series_instance_uid) for one in series]
    index.close()
    assert [len(one) for one in kept] == [len(one.files) for one in series]


def test_a_pull_that_breaks_off_is_resumed_by_the_same_command(settings: Settings, three: tuple[Bucket, Path]) -> None:
    bucket, path = three
    broken = bucket.series[1]
    bucket.replies[f"/{BUCKET}/{broken.keys[1]}"] = [Reply(200, broken.files[1], cut=1000)]
    with ScriptedServer(bucket) as server:
        first = pulled(settings, server, path)
        server.requests.clear()
        second = pulled(settings, server, path)
        assert [one.query["prefix"] for one in server.requests if one.query] == [[f"{broken.uuid}/"]]
    assert (numbers(first), numbers(second)) == ((0, 5, 1), (5, 1, 0))
    assert reasons(first) == ["idc broke off in the middle of an answer"]


def test_a_pull_that_is_stopped_is_resumed_by_the_same_command(settings: Settings, three: tuple[Bucket, Path]) -> None:
    bucket, path = three
    found = listed_series(path, collection="phantoms")

    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with ScriptedServer(bucket) as server:
        with pytest.raises(KeyboardInterrupt):
            pull(settings, IdcBuckets(server.url), found, dry_run=False, tell=stop)
        server.requests.clear()
        assert numbers(pulled(settings, server, path)) == (3, 3, 0)
    assert not any(bucket.series[0].uuid in str(one) for one in server.requests)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("named", ["listing", "object"])
def test_a_busy_bucket_is_asked_again_when_it_wants_to_be(
    three: tuple[Bucket, Path], waits: list[float], status: int, named: str
) -> None:
    bucket, path = three
    place = f"/{BUCKET}" if named == "listing" else f"/{BUCKET}/{bucket.series[0].keys[0]}"
    bucket.replies[place] = [Reply(status, headers={"Retry-After": "7"}), Reply(status)]
    with ScriptedServer(bucket) as server:
        assert fetched(server, path) == [1] * 6
    assert waits == [7, 2]


def test_a_bucket_that_stays_busy_ends_the_pull(settings: Settings, three: tuple[Bucket, Path]) -> None:
    _, path = three
    with (
        ScriptedServer(lambda _request: Reply(429, headers={"Retry-After": "86400"})) as server,
        pytest.raises(PeerFailed, match=r"idc answered 429.*the same command goes on"),
    ):
        pulled(settings, server, path)
    assert len(server.requests) == 3


def test_a_bad_object_costs_that_object_only(settings: Settings, three: tuple[Bucket, Path]) -> None:
    bucket, path = three
    keys = [key for one in bucket.series for key in one.keys]
    file = bucket.series[0].files[0]
    faults = {
        keys[0]: (Reply(200, file[:-1] + b"\1"), "its MD5 is "),
        keys[1]: (Reply(200, file[:-2]), "bytes, not "),
        keys[2]: (Reply(200, file + b"\0\0"), "more than the "),
        keys[3]: (Reply(404), "idc answered 404"),
    }
    bucket.replies.update((f"/{BUCKET}/{key}", [reply]) for key, (reply, _) in faults.items())
    with ScriptedServer(bucket) as server:
        answer = pulled(settings, server, path)
        assert numbers(answer) == (0, 2, 4)
        for told, (key, (_, reason)) in zip(reasons(answer), faults.items(), strict=True):
            assert told.startswith(f"{key}: ")
            assert reason in told
        assert not list((settings.node.data_dir / "spool" / "pull").iterdir())
        assert numbers(pulled(settings, server, path)) == (2, 4, 0)


def test_a_series_with_fewer_objects_than_listed_is_told(settings: Settings, three: tuple[Bucket, Path]) -> None:
    bucket, path = three
    one = bucket.series[0]
    bucket.series[0] = Series(one.patient_id, one.study_instance_uid, one.series_instance_uid, one.uuid, one.files[:1])
    with ScriptedServer(bucket) as server:
        answer = pulled(settings, server, path)
    assert (numbers(answer), reasons(answer)) == ((0, 5, 1), ["1 of the 2 images of a series have not come"])


def test_an_etag_of_an_upload_in_parts_is_no_md5(three: tuple[Bucket, Path]) -> None:
    bucket, path = three
    bucket.etags[bucket.series[0].keys[0]] = f"{'0' * 32}-2"
    with ScriptedServer(bucket) as server:
        assert fetched(server, path) == [1] * 6


ENDLESS = b"<R><IsTruncated>true</IsTruncated><NextContinuationToken>1</NextContinuationToken></R>"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html><p>", "no listing"),
        (b"<R><Contents><Key>KEY</Key><Size>large</Size></Contents></R>", "no listing"),
        (ENDLESS, "without an end"),
        (b" " * 5_000_000, "where few were expected"),
    ],
    ids=["a page", "no size", "endless", "huge"],
)
def test_a_listing_that_is_none_is_one_sentence(three: tuple[Bucket, Path], body: bytes, reason: str) -> None:
    _, path = three

    def answer(request: Request) -> Reply:
        return Reply(200, body.replace(b"KEY", f"{request.query['prefix'][0]}1.dcm".encode()))

    with ScriptedServer(answer) as server, pytest.raises(PeerFailed, match=reason):
        fetched(server, path)
    assert len(server.requests) <= 2


def test_keys_outside_the_series_are_not_asked_for(three: tuple[Bucket, Path]) -> None:
    bucket, path = three
    uuid = bucket.series[0].uuid
    keys = ["other/1.dcm", f"{uuid}/../secret.dcm", f"{uuid}/", f"{uuid}/notes.txt"]
    entries = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    with ScriptedServer(lambda _request: Reply(200, f"<R>{entries}</R>".encode())) as server:
        assert fetched(server, path, limit=1) == []
    assert [one.path for one in server.requests] == [f"/{BUCKET}"]


def test_nothing_is_asked_for_that_there_is_no_space_for(
    make_settings: MakeSettings, three: tuple[Bucket, Path]
) -> None:
    bucket, path = three
    settings = make_settings(receive={"reserve_mb": 10**9})
    with ScriptedServer(bucket) as server, pytest.raises(OutOfResources, match=r"less than the reserve.*goes on"):
        pulled(settings, server, path)
    assert server.requests == []


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ({"aws_bucket": "../x"}, "series 1: its aws_bucket is none"),
        ({"crdc_series_uuid": "../../etc"}, "series 1: its crdc_series_uuid is none"),
        ({"SeriesInstanceUID": "1.2.x"}, "series 1: its SeriesInstanceUID is none"),
        ({"StudyInstanceUID": "1..2"}, "series 1: its StudyInstanceUID is none"),
        ({"instanceCount": "-1"}, "series 1: its instanceCount is none"),
        ({"series_size_MB": "nan"}, "series 1: its series_size_MB is none"),
        ({"Modality": "CT"}, "has no mammography series of phantoms"),
        ({"collection_id": "other"}, "has no mammography series of phantoms"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, differences: dict[str, str], reason: str) -> None:
    path = write_list(tmp_path / "series.csv", generated(1), **differences)
    with pytest.raises(SettingsError, match=reason):
        listed_series(path, collection="phantoms")


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("PatientID,aws_bucket\n1,2\n")
    with pytest.raises(SettingsError, match="no column SeriesInstanceUID"):
        listed_series(path, collection="cmmd")


def test_without_the_index_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idc_index_data", None)
    with pytest.raises(SettingsError, match="`deploy/install idc`"):
        listed_series(None, collection="cmmd")


@pytest.mark.shared
def test_the_installed_index_has_the_real_list() -> None:
    found = listed_series(None, collection="cmmd")
    by_list = {one.series_instance_uid: one for one in listed_series(REAL_LIST, collection="cmmd")}
    assert {one.series_instance_uid: (one.place, one.images) for one in found} == {
        uid: (one.place, one.images) for uid, one in by_list.items()
    }
    assert all(one.study_instance_uid and one.licence == "CC BY 4.0" for one in found)


def test_dicomweb_serves_the_same_series_within_its_quota(
    settings: Settings, three: tuple[Bucket, Path], tmp_path: Path, waits: list[float]
) -> None:
    bucket, path = three
    quota = [Reply(429, headers={"Retry-After": "30"})]

    def answer(request: Request) -> Reply:
        if quota:
            return quota.pop()
        one = next(one for one in bucket.series if request.path.endswith(f"/{one.series_instance_uid}"))
        assert request.path == f"/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
        return multipart(*one.files)

    words = ["idc", "--collection", "phantoms", "--index", str(path), "--dicomweb", "--json"]
    with ScriptedServer(answer) as server:
        first, second = (command(settings, tmp_path, *words, "--url", server.url) for _ in range(2))
    assert numbers(json.loads(first.stdout)) == (0, 6, 0)
    assert numbers(json.loads(second.stdout)) == (6, 0, 0)
    assert (len(server.requests), waits) == (4, [30])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--dry-run", "idc", "--collection", "cmmd"], "options belong behind idc"),
        (["idc", "--collection", "phantoms", "--url", "s3://idc-open-data"], "no http or https URL"),
        (["idc", "--collection", "phantoms", "--dicomweb", "--index", "LIST"], "no StudyInstanceUID"),
    ],
)
def test_words_that_would_not_be_heeded_are_refused(
    settings: Settings, tmp_path: Path, words: list[str], reason: str
) -> None:
    path = write_list(tmp_path / "series.csv", generated(1), StudyInstanceUID="")
    done = command(settings, tmp_path, *[word.replace("LIST", str(path)) for word in words])
    assert done.exit_code == 2
    assert reason in done.output
