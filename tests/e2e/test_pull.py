"""Pulling while others push: what was asked for and what was sent all arrive, and each exam has one result."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom.uid import MammographyCADSRStorage

from tests.conftest import free_ports
from tests.e2e.exams import small_exam
from tests.mammograms import save
from tests.nodes import Orthanc, RunningNode, dcmsend

PULLED = 20
PUSHED_BY_EACH = 5


def exams(folder: Path, name: str, count: int) -> dict[str, list[Path]]:
    """Exams as files, by their Study Instance UID."""
    found: dict[str, list[Path]] = {}
    for number in range(count):
        for ds in small_exam(f"{name} {number}", patient=f"{name}-{number}"):
            files = found.setdefault(str(ds.StudyInstanceUID), [])
            path = folder / name / str(number) / f"{len(files)}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            files.append(save(ds, path))
    return found


@pytest.mark.e2e
@pytest.mark.nightly
def test_twenty_exams_are_moved_while_two_modalities_send(tmp_path: Path, database_url: str) -> None:
    in_the_pacs = exams(tmp_path, "PACS", PULLED)
    sent = [exams(tmp_path, name, PUSHED_BY_EACH) for name in ("MODALITY1", "MODALITY2")]
    port = free_ports(1)[0]
    with Orthanc(tmp_path / "orthanc", DicomModalities={"node": ["CMMD_NODE", "127.0.0.1", port]}) as orthanc:
        stored = dcmsend(
            [file for files in in_the_pacs.values() for file in files], port=orthanc.port, called="ORTHANC"
        )
        assert stored.returncode == 0, stored.stdout
        peer = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.port}
        node = RunningNode(
            tmp_path,
            database_url=database_url,
            peer=[peer | {"results": ["cad-sr"]}],
            receive={"port": port},
            settle={"quiet_seconds": 20, "complete_seconds": 1},
        )

        def push(exams_of_one: dict[str, list[Path]]) -> None:
            for files in exams_of_one.values():
                done = dcmsend(files, port=port, called="CMMD_NODE")
                assert done.returncode == 0, done.stdout

        with node, ThreadPoolExecutor(2) as modalities:
            pushing = [modalities.submit(push, one) for one in sent]
            pulled = node.cli("pull", "--from", "pacs", "--study-date", "20100718")
            for one in pushing:
                one.result()
            assert (pulled["images"], pulled["fetched"], pulled["failed"]) == (4 * PULLED, 4 * PULLED, 0)
            studies = [*in_the_pacs, *sent[0], *sent[1]]
            for study in studies:
                assert node.wait_for_round(study, 1, seconds=240)["outcome"] == "findings"
            node.wait_until(lambda: len(node.deliveries()) == len(studies), 60, "a delivery for each exam")
            assert {one["state"] for one in node.wait_for_deliveries(seconds=120)} == {"delivered"}
            known = {one["StudyInstanceUID"]: one for one in node.studies()}
        assert {study: (known[study]["images"], len(known[study]["rounds"])) for study in studies} == dict.fromkeys(
            studies, (4, 1)
        )
        assert set(known) == set(studies)
        for study in studies:
            assert len(orthanc.find(study, SOPClassUID=MammographyCADSRStorage)) == 1
