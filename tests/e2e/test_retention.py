"""A node that keeps nothing for long: an exam is answered, goes, and is answered again when it comes again."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import MammographyCADSRStorage

from tests.e2e.exams import small_exam
from tests.mammograms import save
from tests.nodes import Orthanc, RunningNode, dcmsend

pytestmark = pytest.mark.e2e


def cad_srs(pacs: Orthanc, study: str, folder: Path) -> list[Path]:
    return [pacs.save(one, folder) for one in pacs.find(study, SOPClassUID=MammographyCADSRStorage)]


def test_an_exam_goes_once_it_is_delivered_and_is_answered_when_it_comes_again(
    tmp_path: Path, database_url: str
) -> None:
    exam = small_exam("kept for a second")
    study = str(exam[0].StudyInstanceUID)
    images = [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(exam)]
    with Orthanc(tmp_path / "pacs") as pacs:
        peer = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.port, "results": ["cad-sr"]}
        node = RunningNode(tmp_path, database_url=database_url, peer=[peer], node={"keep_days": 1e-6})

        def is_purged() -> bool:
            states = [one["state"] for one in node.study(study).get("rounds", [])]
            files = [path for folder in ("objects", "results") for path in node.data_dir.glob(f"{folder}/*/*")]
            return states == ["purged"] * len(states) and not files

        for number in (1, 2):
            with node:  # what is old is looked for at the start, and then each hour
                node.wait_until(is_purged, 60, "the end of what is old")
                assert len(node.study(study).get("rounds", [])) == number - 1
                assert dcmsend(images, port=node.port, called="CMMD_NODE").returncode == 0
                assert node.wait_for_round(study, number)["outcome"] == "findings"
                assert [one["state"] for one in node.wait_for_deliveries()] == ["delivered"] * number
        written = [dcmread(path) for path in cad_srs(pacs, study, tmp_path / "srs")]
    first, second = sorted(written, key=lambda ds: "PredecessorDocumentsSequence" in ds)
    assert "PredecessorDocumentsSequence" not in first
    (series,) = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence] == [first.SOPInstanceUID]
