"""Priors from a real PACS: they come beside the exam, start nothing of their own, and never hold it up."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import FileDataset

from tests.e2e.exams import small_exam
from tests.mammograms import make_mammogram, save
from tests.nodes import Orthanc, RunningNode, dcmsend
from tests.receive.conftest import part10_bytes

pytestmark = pytest.mark.e2e

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
PATIENT = "HAS-BEEN-HERE"


def earlier(day: str) -> list[FileDataset]:
    return [make_mammogram(view=view, study=day, patient=PATIENT, StudyDate=day) for view in ("L CC", "R CC")]


def send(node: RunningNode, folder: Path, images: list[FileDataset]) -> str:
    """C-STORE of an exam; its study."""
    folder.mkdir()
    done = dcmsend(
        [save(ds, folder / f"{number}.dcm") for number, ds in enumerate(images)], port=node.port, called="CMMD_NODE"
    )
    assert done.returncode == 0, done.stdout
    return str(images[0].StudyInstanceUID)


def test_earlier_mammograms_are_fetched_and_start_nothing(tmp_path: Path, database_url: str) -> None:
    exam = small_exam("now", patient=PATIENT)  # of 2010
    last_year, before, too_old = (earlier(day) for day in ("20090718", "20080718", "20010718"))
    plugin: dict[str, Any] = {"Plugins": [PLUGIN], "DicomWeb": {"Enable": True}}
    with Orthanc(tmp_path / "orthanc", DicomAlwaysAllowFind=True, DicomAlwaysAllowGet=True, **plugin) as orthanc:
        for ds in (*last_year, *before, *too_old, *exam):
            httpx.post(f"{orthanc.http}/instances", content=part10_bytes(ds), timeout=30).raise_for_status()
        peer = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.port, "retrieve": "get"}
        archive = {"name": "archive", "url": f"{orthanc.http}/dicom-web"}
        for source in ("pacs", "archive"):
            node = RunningNode(
                tmp_path / source,
                database_url=database_url if source == "pacs" else "",
                peer=[peer],
                dicomweb=[archive],
                priors={"source": source},
            )
            with node:
                study = send(node, tmp_path / source / "sent", exam)
                assert node.wait_for_round(study, 1)["outcome"] == "findings"
                told = node.wait_until(lambda: ended(node, study), 60, "the end of the search")  # noqa: B023
                assert told == {"state": "fetched", "studies": 2, "images": 4, "problem": None}
                known = {one["StudyInstanceUID"]: one for one in node.studies()}
                priors = {str(images[0].StudyInstanceUID) for images in (last_year, before)}
                assert set(known) == {study, *priors}
                for one in priors:
                    (only,) = known[one]["rounds"]
                    assert (only["state"], only["results"], known[one]["images"]) == ("prior", [], 2)
                url = f"http://127.0.0.1:{node.settings.web.port}/dicom-web/studies?PatientID={PATIENT}"
                assert {one["0020000D"]["Value"][0] for one in httpx.get(url, timeout=30).json()} == {study, *priors}

                # One of them is sent after all: an exam, once, with all its images, and with a search of its own.
                again = send(node, tmp_path / source / "sent again", last_year)
                assert node.wait_for_round(again, 2)["outcome"] in {"findings", "no-findings"}
                told = node.wait_until(lambda: ended(node, again), 60, "the end of the search")  # noqa: B023
                assert (told["state"], told["studies"]) == ("fetched", 1)
                first, second = node.study(again)["rounds"]
                assert (first["state"], len(second["images"]), len(node.study(again)["rounds"])) == ("prior", 2, 2)


def ended(node: RunningNode, study: str) -> dict[str, Any]:
    """The search for the priors of an exam, once it does not wait."""
    search: dict[str, Any] = node.study(study)["priors"] or {}
    return search if search.get("state") in {"fetched", "dead"} else {}


def test_an_exam_is_answered_while_the_archive_of_priors_hangs(tmp_path: Path, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        port = silent.getsockname()[1]
        peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, "retrieve": "get"}
        node = RunningNode(tmp_path, database_url=database_url, peer=[peer], priors={"source": "pacs"})
        with node:
            study = send(node, tmp_path / "sent", small_exam("now", patient=PATIENT))
            assert node.wait_for_round(study, 1)["outcome"] == "findings"
            assert node.study(study)["priors"]["state"] == "waiting"
