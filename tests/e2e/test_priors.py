"""Priors from a real PACS: they come beside the exam, start nothing of their own, and never hold it up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import FileDataset

from cmmd_node.index import Index, now_ms
from cmmd_node.index.priors import create_search
from cmmd_node.index.status import studies
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.part10 import take_in
from cmmd_node.route.priors import PriorsRoute
from cmmd_node.settings import Settings
from tests.conftest import MakeSettings
from tests.e2e.exams import small_exam
from tests.mammograms import make_mammogram, save
from tests.nodes import Orthanc, RunningNode, dcmsend
from tests.proxy import Fault, Proxy
from tests.receive.conftest import part10_bytes

pytestmark = pytest.mark.e2e

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
PATIENT = "HAS-BEEN-HERE"


def earlier(day: str) -> list[FileDataset]:
    return [make_mammogram(view=view, study=day, patient=PATIENT, StudyDate=day) for view in ("L CC", "R CC")]


#: Of earlier exams, and the studies of those that are priors of the present one by the default bounds.
DAYS = ("20090718", "20080718", "20010718")
PRIORS = tuple(str(earlier(day)[0].StudyInstanceUID) for day in DAYS[:2])


def send(node: RunningNode, folder: Path, images: list[FileDataset]) -> str:
    """C-STORE of an exam; its study."""
    folder.mkdir()
    done = dcmsend(
        [save(ds, folder / f"{number}.dcm") for number, ds in enumerate(images)], port=node.port, called="CMMD_NODE"
    )
    assert done.returncode == 0, done.stdout
    return str(images[0].StudyInstanceUID)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A PACS with the exam of 2010, two years before it, and one that is too old."""
    plugin: dict[str, Any] = {"Plugins": [PLUGIN], "DicomWeb": {"Enable": True}}
    folder = tmp_path_factory.mktemp("pacs")
    with Orthanc(folder, DicomAlwaysAllowFind=True, DicomAlwaysAllowGet=True, **plugin) as orthanc:
        for ds in (*small_exam("now", patient=PATIENT), *(ds for day in DAYS for ds in earlier(day))):
            httpx.post(f"{orthanc.http}/instances", content=part10_bytes(ds), timeout=30).raise_for_status()
        yield orthanc


def test_earlier_mammograms_are_fetched_and_hold_nothing_up(tmp_path: Path, database_url: str, pacs: Orthanc) -> None:
    line = Proxy(pacs.port, out=Fault(delay_seconds=3600))
    peer = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": line.port, "retrieve": "get"}
    node = RunningNode(tmp_path, database_url=database_url, peer=[peer], priors={"source": "pacs"})
    with line, node:
        study = send(node, tmp_path / "sent", small_exam("now", patient=PATIENT))
        assert node.wait_for_round(study, 1)["outcome"] == "findings"
        assert node.study(study)["priors"]["state"] == "waiting"
        line.thaw()
        told = node.wait_until(lambda: ended(node, study), 60, "the end of the search")
        assert told == {"state": "fetched", "studies": 2, "images": 4, "problem": None}
        known = {one["StudyInstanceUID"]: one for one in node.studies()}
        assert set(known) == {study, *PRIORS}
        for one in PRIORS:
            (only,) = known[one]["rounds"]
            assert (only["state"], only["results"], known[one]["images"]) == ("prior", [], 2)
        url = f"http://127.0.0.1:{node.settings.web.port}/dicom-web/studies?PatientID={PATIENT}"
        assert {one["0020000D"]["Value"][0] for one in httpx.get(url, timeout=30).json()} == {study, *PRIORS}

        # One of them is sent after all: an exam, once, with all its images, and with a search of its own.
        again = send(node, tmp_path / "sent again", earlier(DAYS[0]))
        node.wait_for_round(again, 2)
        told = node.wait_until(lambda: ended(node, again), 60, "the end of the search")
        assert (told["state"], told["studies"]) == ("fetched", 1)
        first, second = node.study(again)["rounds"]
        assert (first["state"], second["state"], len(second["images"])) == ("prior", "answered", 2)


def test_a_worker_that_dies_while_it_fetches_fetches_the_rest_when_it_is_back(
    tmp_path: Path, database_url: str, pacs: Orthanc
) -> None:
    """The line goes dead behind the first image of the first prior, and the worker is killed as it waits."""
    size = len(part10_bytes(earlier(DAYS[0])[0]))
    line = Proxy(pacs.port, back=Fault(freeze_after=size + size // 2))
    peer = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": line.port, "retrieve": "get"}
    node = RunningNode(tmp_path, database_url=database_url, peer=[peer], priors={"source": "pacs"})
    with line, node:
        study = send(node, tmp_path / "sent", small_exam("now", patient=PATIENT))
        node.wait_until(lambda: images_of_priors(node) == 1, 60, "the first image of a prior")
        line.back = Fault()
        node.kill_role("work")
        told = node.wait_until(lambda: ended(node, study), 120, "the end of the search")
        assert told == {"state": "fetched", "studies": 2, "images": 4, "problem": None}
        known = {one["StudyInstanceUID"]: one for one in node.studies()}
        assert [(known[one]["images"], len(known[one]["rounds"])) for one in PRIORS] == [(2, 1), (2, 1)]
        assert node.wait_for_round(study, 1)["outcome"] == "findings"
        assert not list((node.data_dir / "spool" / "priors").iterdir())


def test_a_dicomweb_archive_gives_priors_as_well(
    make_settings: MakeSettings, index_of: Callable[[Settings], Index], pacs: Orthanc
) -> None:
    archive = {"name": "archive", "url": f"{pacs.http}/dicom-web"}
    settings = make_settings(dicomweb=[archive], priors={"source": "archive"})
    index = index_of(settings)
    image = small_exam("now", patient=PATIENT)[0]
    take_in(Inbox(settings, index, index.client()), [part10_bytes(image)], source="SENDER")
    with index.write() as connection:
        create_search(connection, index.client(), image.StudyInstanceUID, give_up_ms=now_ms() + 60_000)
    assert PriorsRoute(settings, index, index.client())._attempt(image.StudyInstanceUID) is None
    with index.read() as connection:
        known = {one["StudyInstanceUID"]: one for one in studies(connection)}
    assert known[image.StudyInstanceUID]["priors"] == {"state": "fetched", "studies": 2, "images": 4, "problem": None}
    assert all([one["state"] for one in known[study]["rounds"]] == ["prior"] for study in PRIORS)


def ended(node: RunningNode, study: str) -> dict[str, Any]:
    """The search for the priors of an exam, once it does not wait."""
    search: dict[str, Any] = node.study(study)["priors"] or {}
    return search if search.get("state") in {"fetched", "dead"} else {}


def images_of_priors(node: RunningNode) -> int:
    return sum(one["images"] for one in node.studies() if one["StudyInstanceUID"] in PRIORS)
