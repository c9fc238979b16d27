"""DCMTK's command line at the receiver, and its archive as a peer, as a stranger would type it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmmd_node.pull import pull
from cmmd_node.retrieve import Wanted
from cmmd_node.route.sources import source_named
from cmmd_node.settings import PeerSettings
from tests.conftest import need
from tests.mammograms import exam, save
from tests.nodes import DcmtkQrscp, dcmsend
from tests.receive.conftest import Reception


def run(*words: str | Path) -> tuple[int, str]:
    """Exit status and output of a program."""
    need(str(words[0]))
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("program", ["findscu", "movescu", "getscu"])
def test_who_asks_for_a_service_that_is_not_offered_is_told(reception: Reception, program: str) -> None:
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3")
    status, said = run(program, "-v", "-S", "-aec", "CMMD_NODE", *keys, "127.0.0.1", str(reception.port))
    assert status != 0
    assert "Presentation Contexts" in said


@pytest.mark.e2e
def test_dcmtks_archive_is_searched_and_sends_by_get_and_by_move(
    tmp_path: Path, receive: Callable[..., Reception]
) -> None:
    reception = receive()
    with DcmtkQrscp(tmp_path / "archive", node=("CMMD_NODE", reception.port)) as archive:
        studies = {}
        for name in ("GET", "MOVE", "THIRD"):
            images = exam(study=name, patient=name)
            studies[name] = str(images[0].StudyInstanceUID)
            files = [save(ds, tmp_path / f"{name}{number}.dcm") for number, ds in enumerate(images)]
            assert dcmsend(files, port=archive.port, called="QRSCP").returncode == 0

        def pulled(name: str) -> dict[str, Any]:
            peer: dict[str, Any] = {"name": "archive", "ae_title": "QRSCP", "host": "127.0.0.1", "port": archive.port}
            peers = (PeerSettings(**peer, retrieve="get" if name == "GET" else "move"),)
            settings = reception.settings.model_copy(update={"peer": peers})
            source = source_named(settings, "archive")
            return pull(settings, source, source.search(Wanted(patient_id=name)), dry_run=False, tell=lambda *_: None)

        for name in ("GET", "MOVE"):
            answer = pulled(name)
            assert (answer["images"], answer["fetched"], answer["failed"]) == (4, 4, 0)
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={studies['THIRD']}")
        status, said = run(
            "movescu", "-v", "-S", "-aec", "QRSCP", "-aem", "CMMD_NODE", *keys, "127.0.0.1", str(archive.port)
        )
        assert status == 0, said
    kept = reception.rows("SELECT study_instance_uid, count(*) FROM instance GROUP BY study_instance_uid")
    assert dict(map(tuple, kept)) == dict.fromkeys(studies.values(), 4)
