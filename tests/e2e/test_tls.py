"""A node whose associations are all over TLS, with DCMTK as modality and PACS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cmmd_node.deliver import echo
from cmmd_node.tls import to_peer
from tests.certificates import Authority, tls_section
from tests.conftest import free_ports, need
from tests.e2e.exams import small_exam
from tests.mammograms import save
from tests.nodes import Process, RunningNode

pytestmark = pytest.mark.e2e


def test_an_exam_goes_in_and_its_results_come_out_over_tls(tmp_path: Path, database_url: str) -> None:
    need("storescu", "storescp")
    authority = Authority(tmp_path / "pki")
    theirs = authority.issue("pacs", "127.0.0.1", common_name="PACS")
    (port,) = free_ports(1)
    files = [save(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate(small_exam("secret"))]
    node = RunningNode(
        tmp_path / "node",
        database_url=database_url,
        receive={"accept": "known"},
        tls=tls_section(authority.issue("node"), authority),
        peer=[
            {
                "name": "pacs",
                "ae_title": "PACS",
                "host": "127.0.0.1",
                "port": port,
                "tls": True,
                "certificate": "127.0.0.1",
                "results": ["cad-sr"],
            }
        ],
    )

    class Storescp(Process):
        def is_ready(self) -> bool:
            (peer,) = node.settings.peer
            client = to_peer(node.settings, peer)
            return echo(host="127.0.0.1", port=port, called_ae_title="PACS", calling_ae_title="CMMD_NODE", tls=client)

    (tmp_path / "pacs").mkdir()
    credentials = ["+tls", theirs.key, theirs.certificate, "+cf", authority.path]
    words = ["storescp", *credentials, "-aet", "PACS", "-od", tmp_path / "pacs", port]
    with Storescp(words, tmp_path / "storescp.log"), node:  # healthy: it answers its own C-ECHO over TLS
        words = ["storescu", *credentials, "-aet", "PACS", "-aec", "CMMD_NODE", "127.0.0.1", node.port, *files]
        subprocess.run([str(word) for word in words], check=True, timeout=120)
        node.wait_for_deliveries()
        health = httpx.get(f"http://127.0.0.1:{node.settings.web.port}/healthz", timeout=10).json()
    assert [path.name[:2] for path in (tmp_path / "pacs").iterdir()] == ["SR"]
    assert health["warnings"] == []


@pytest.mark.parametrize("command", [["config", "check"], ["serve"]])
def test_an_expired_certificate_refuses_the_start_in_one_sentence(tmp_path: Path, command: list[str]) -> None:
    expired = Authority(tmp_path / "pki").issue("node", days=-1)
    node = RunningNode(tmp_path, tls=tls_section(expired))
    done = subprocess.run(
        [sys.executable, "-m", "cmmd_node.cli", *command, "--config", str(node.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("CMMD_NODE_")},
    )
    assert done.returncode == 2
    assert "certificate has expired" in done.stderr
    assert done.stderr.count("\n") == 1
