"""Asking a PACS: what each answer leads to by a scripted peer, and Orthanc as the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from cmmd_node.errors import NodeError, OutOfResources, PeerFailed, PeerRefused, SettingsError, UnreadableInstance
from cmmd_node.index import Index
from cmmd_node.index.status import studies
from cmmd_node.pull import pull
from cmmd_node.retrieve import FoundSeries, Problem, Wanted
from cmmd_node.retrieve.dimse import GettingPacs, MovingPacs
from cmmd_node.route.sources import source_named
from cmmd_node.settings import Settings
from tests.conftest import MakeSettings, free_ports
from tests.e2e.exams import small_exam
from tests.mammograms import exam, save
from tests.nodes import Orthanc, RunningNode, dcmsend

MODELS = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)
SERIES = FoundSeries(
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.4",
    sop_instance_uids=frozenset({"1.2.3.4.5", "1.2.3.4.6"}),
    images=2,
)

Script = Callable[[Any], Iterator[Any]]
StartPacs = Callable[..., int]


@pytest.fixture
def pacs() -> Iterator[StartPacs]:
    """A PACS that answers by script; returns its port."""
    servers: list[Any] = []

    def start(*, find: Script | None = None, move: Script | None = None, get: Script | None = None) -> int:
        ae = AE("PACS")
        for model, script in zip(MODELS, (find, move, get), strict=True):
            if script:
                ae.add_supported_context(model)
        ae.add_supported_context(DigitalMammographyXRayImageStorageForPresentation, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move), (evt.EVT_C_GET, get)]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[one for one in handlers if one[1]])
        servers.append(server)
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()


def asked(port: int) -> dict[str, Any]:
    return {"name": "pacs", "host": "127.0.0.1", "port": port, "called_ae_title": "PACS", "calling_ae_title": "NODE"}


def moving(port: int) -> MovingPacs:
    return MovingPacs(**asked(port))


def getting(port: int) -> GettingPacs:
    return GettingPacs(
        **asked(port),
        storage_classes=(DigitalMammographyXRayImageStorageForPresentation,),
        transfer_syntaxes=(ExplicitVRLittleEndian,),
    )


def nothing(_pieces: Any) -> str:
    raise AssertionError("nothing should come this way")


def failing(status: int, *uids: str) -> Script:
    """A C-MOVE or C-GET that ends with a status and the UIDs that failed."""

    def script(_event: Any) -> Iterator[Any]:
        yield 1  # pynetdicom answers 0 with success
        ds = Dataset()
        ds.FailedSOPInstanceUIDList = list(uids)
        yield status, ds if uids else None

    return script


def match(**keys: str) -> tuple[int, Dataset]:
    ds = Dataset()
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return 0xFF00, ds


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"patient_id": "*"},
        {"accession_number": "A?"},
        {"patient_id": "a\\b"},
        {"study_date": "2020-01-01"},
        {"study_date": "20201301"},
        {"study_date": "-"},
    ],
)
def test_what_would_match_everything_is_not_asked(keys: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        Wanted(**keys)


@pytest.mark.parametrize("study_date", ["20200131", "20200101-20201231", "20200101-", "-20201231"])
def test_dates_and_ranges_are_taken(study_date: str) -> None:
    assert Wanted(study_date=study_date).study_date == study_date


def by_level(*, modality: str = "MG", instance: str = "1.2.3.4.5") -> Script:
    """A C-FIND that ignores the modality it is asked for, as some archives do."""

    def script(event: Any) -> Iterator[Any]:
        level = event.identifier.QueryRetrieveLevel
        if level == "STUDY":
            yield match(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3", StudyDate="2019.12.31")
        elif level == "SERIES":
            yield match(QueryRetrieveLevel="SERIES", SeriesInstanceUID="1.2.3.4", Modality=modality)
        else:
            yield match(QueryRetrieveLevel="IMAGE", SOPInstanceUID=instance)

    return script


def test_a_series_is_found_with_its_images(pacs: StartPacs) -> None:
    (found,) = moving(pacs(find=by_level())).search(Wanted(patient_id="P"))
    assert found == FoundSeries(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        study_date="20191231",
        sop_instance_uids=frozenset({"1.2.3.4.5"}),
        images=1,
    )


def test_only_mammography_is_found_even_where_the_peer_ignores_modalities(pacs: StartPacs) -> None:
    port = pacs(find=by_level(modality="CT"))
    assert list(moving(port).search(Wanted(patient_id="P"))) == []
    assert len(list(moving(port).search(Wanted(patient_id="P", modality="CT")))) == 1


def test_a_match_without_a_usable_uid_ends_the_search(pacs: StartPacs) -> None:
    with pytest.raises(PeerFailed, match="no usable SOPInstanceUID"):
        list(moving(pacs(find=by_level(instance="../1"))).search(Wanted(patient_id="P")))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA700, "out of resources"),
        (0xA900, "does not understand"),
        (0xC000, "unable to process"),
        (0xFE00, "cancelled"),
    ],
)
def test_a_refused_search_is_one_sentence(pacs: StartPacs, status: int, words: str) -> None:
    def find(_event: Any) -> Iterator[Any]:
        yield status, None

    with pytest.raises(PeerFailed, match=f"PACS refused a C-FIND with status {status:04X}: .*{words}"):
        list(moving(pacs(find=find)).search(Wanted(patient_id="P")))


def test_a_peer_without_the_service_is_told(pacs: StartPacs) -> None:
    port = pacs(find=by_level())
    with pytest.raises(PeerRefused, match=r"PACS accepted no presentation context for .* - MOVE; its administrator"):
        list(moving(port).fetch(SERIES, None, nothing))
    with pytest.raises(PeerRefused, match=r"PACS accepted no presentation context for .* - GET; its administrator"):
        list(getting(port).fetch(SERIES, None, nothing))


def test_an_unknown_move_destination_is_for_the_administrator(pacs: StartPacs) -> None:
    def move(_event: Any) -> Iterator[Any]:
        yield None, None  # pynetdicom's word for a destination that is not known

    with pytest.raises(
        PeerRefused, match=r"does not know the move destination NODE \(status A801\): its administrator"
    ):
        list(moving(pacs(move=move)).fetch(SERIES, None, nothing))


@pytest.mark.parametrize(("status", "words"), [(0xC000, "unable to process"), (0xA900, "does not understand")])
def test_a_refused_get_is_one_sentence(pacs: StartPacs, status: int, words: str) -> None:
    with pytest.raises(PeerFailed, match=f"PACS refused a C-GET with status {status:04X}: .*{words}"):
        list(getting(pacs(get=failing(status))).fetch(SERIES, None, nothing))


def test_a_warning_names_what_failed(pacs: StartPacs) -> None:
    told = list(getting(pacs(get=failing(0xB000, "1.2.3.4.6"))).fetch(SERIES, None, nothing))
    assert [one for one in told if isinstance(one, Problem)] == [
        Problem("1.2.3.4.6", "PACS did not send it (status B000)")
    ]


@pytest.mark.parametrize(
    ("error", "status"), [(OutOfResources("no space"), 0xA700), (UnreadableInstance("no image"), 0xC000)]
)
def test_what_the_inbox_refuses_is_answered_so_and_told_with_the_reason(
    pacs: StartPacs, error: Exception, status: int
) -> None:
    images = exam(study="refused")[:2]
    uids = [str(ds.SOPInstanceUID) for ds in images]
    answers: list[Any] = []

    def get(_event: Any) -> Iterator[Any]:
        yield 2
        for ds in images:
            yield 0xFF00, ds

    def take(pieces: Any) -> str:
        assert b"DICM" in b"".join(pieces)[:132]
        answers.append(status)
        if len(answers) == 2:
            raise error
        return uids[0]

    told = list(getting(pacs(get=get)).fetch(SERIES, None, take))
    assert sum(one for one in told if isinstance(one, int)) == 1
    first = next(one for one in told if isinstance(one, Problem))
    assert first == Problem(uids[1], str(error))


def test_missing_images_alone_are_asked_for(pacs: StartPacs) -> None:
    asked_for: list[Dataset] = []

    def get(event: Any) -> Iterator[Any]:
        asked_for.append(event.identifier)
        yield 0

    port = pacs(get=get)
    for missing in (None, SERIES.sop_instance_uids, frozenset({"1.2.3.4.6"})):
        list(getting(port).fetch(SERIES, missing, nothing))
    assert [one.QueryRetrieveLevel for one in asked_for] == ["SERIES", "SERIES", "IMAGE"]
    assert asked_for[2].SOPInstanceUID == "1.2.3.4.6"


def stored(orthanc: Orthanc, folder: Path, images: list[FileDataset]) -> list[FileDataset]:
    """Images that Orthanc has."""
    folder.mkdir(exist_ok=True)
    files = [save(ds, folder / f"{ds.SOPInstanceUID}.dcm") for ds in images]
    done = dcmsend(files, port=orthanc.port, called=orthanc.ae_title)
    assert done.returncode == 0, done.stdout
    return images


def silent(_done: int, _total: int) -> None:
    """Nobody looks at the progress."""


@pytest.mark.e2e
def test_get_from_orthanc_brings_the_bytes_into_the_inbox_once(
    tmp_path: Path, make_settings: MakeSettings, index_of: Callable[[Settings], Index]
) -> None:
    with Orthanc(tmp_path / "orthanc", DicomModalities={"node": ["CMMD_NODE", "127.0.0.1", 104]}) as orthanc:
        images = stored(orthanc, tmp_path / "sent", small_exam("to get", patient="GET"))
        other = stored(orthanc, tmp_path / "sent", exam(study="of another", patient="OTHER"))
        peer = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.port, "retrieve": "get"}
        settings = make_settings(peer=[peer])
        source = source_named(settings, "pacs")

        def again(*, dry_run: bool = False) -> dict[str, Any]:
            return pull(settings, source, source.search(Wanted(patient_id="GET")), dry_run=dry_run, tell=silent)

        looked = again(dry_run=True)
        assert (looked["images"], looked["here_before"], looked["fetched"]) == (4, 0, 0)
        first, second = again(), again()
    assert (first["images"], first["fetched"], first["failed"]) == (4, 4, 0)
    assert (second["images"], second["here_before"], second["fetched"]) == (4, 4, 0)
    index = index_of(settings)
    with index.read() as connection:
        (study,) = studies(connection)
    assert (study["StudyInstanceUID"], study["images"]) == (images[0].StudyInstanceUID, 4)
    assert study["rounds"][0]["source"] == "pacs"
    assert other[0].StudyInstanceUID != study["StudyInstanceUID"]
    kept = [path.read_bytes() for path in (settings.node.data_dir / "objects").rglob("*.dcm")]
    assert len(kept) == 4
    assert all(any(ds.PixelData in file for file in kept) for ds in images)


@pytest.mark.e2e
def test_move_from_orthanc_comes_in_by_the_front_door_and_is_analysed(tmp_path: Path, database_url: str) -> None:
    port = free_ports(1)[0]
    with Orthanc(tmp_path / "orthanc", DicomModalities={"node": ["CMMD_NODE", "127.0.0.1", port]}) as orthanc:
        (study,) = {ds.StudyInstanceUID for ds in stored(orthanc, tmp_path / "sent", small_exam("move", patient="M"))}
        peer = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.port}
        node = RunningNode(tmp_path, database_url=database_url, peer=[peer], receive={"port": port, "accept": "known"})
        words = ["pull", "--from", "pacs", "--patient-id", "M"]
        done = subprocess.run(
            [sys.executable, "-m", "cmmd_node.cli", *words, "--config", str(node.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert f"no node answers at 127.0.0.1:{port}" in done.stderr
        with node:
            first, second = node.cli(*words), node.cli(*words)
            assert (first["images"], first["fetched"], first["failed"]) == (4, 4, 0), json.dumps(first)
            assert (second["here_before"], second["fetched"]) == (4, 0)
            ended = node.wait_for_round(study, 1)
    assert (ended["outcome"], ended["source"]) == ("findings", "ORTHANC")


@pytest.mark.e2e
def test_orthanc_that_does_not_know_us_is_explained(tmp_path: Path, make_settings: MakeSettings) -> None:
    with Orthanc(tmp_path / "orthanc", DicomAlwaysAllowFind=True, DicomAlwaysAllowMove=True) as orthanc:
        stored(orthanc, tmp_path / "sent", exam(study="unknown", patient="U"))
        peer = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.port}
        source = source_named(make_settings(peer=[peer]), "pacs")
        (series,) = source.search(Wanted(patient_id="U"))
        with pytest.raises(NodeError) as refusal:
            list(source.fetch(series, None, nothing))
    assert "ORTHANC" in str(refusal.value)
    assert "C-MOVE" in str(refusal.value) or "move destination" in str(refusal.value)
