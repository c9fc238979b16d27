"""Round trips that prove things by traffic: the demo with a node of its own, the check of a node that runs."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydicom.uid import MammographyCADSRStorage

from cmmd_node.deliver import Outgoing, Verdict, echo, send, verdict_of
from cmmd_node.errors import NodeError
from cmmd_node.phantom import make_exam, to_datasets
from cmmd_node.phantom.pacs import PacsStandIn
from cmmd_node.settings import CHECK_AE_TITLE, Settings
from cmmd_node.tls import Client, to_ourselves

_DEMO_SEED = 7
_DEMO_AE_TITLE = "DEMO_PACS"
_START_SECONDS = 120.0
_ANSWER_SECONDS = 120.0

_DEMO_CONFIG = """\
# Written by `cmmd-node demo`.
[node]
data_dir = "{data_dir}"
check_port = {check_port}

[receive]
port = {receive_port}
reserve_mb = 64

[web]
port = {web_port}

[[peer]]
name = "pacs"
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {pacs_port}
results = ["cad-sr", "seg"]
"""


def run_demo(data_dir: Path, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Start a node and a PACS stand-in on loopback, send one phantom exam, wait for its results.

    Returns
    -------
    dict
        What came back where; plain values, ready for JSON.

    Raises
    ------
    NodeError
        The node did not start, or no answer came in time.
    """
    data_dir = data_dir.absolute()
    data_dir.mkdir(parents=True, exist_ok=True)
    pacs = PacsStandIn(data_dir / "pacs", ae_title=_DEMO_AE_TITLE)
    receive_port, web_port, check_port = _free_ports(3)
    config = data_dir / "config.toml"
    config.write_text(
        _DEMO_CONFIG.format(
            data_dir=data_dir / "node",
            check_port=check_port,
            receive_port=receive_port,
            web_port=web_port,
            ae_title=_DEMO_AE_TITLE,
            pacs_port=pacs.port,
        ),
        encoding="utf-8",
    )
    log = data_dir / "node.log"
    with log.open("wb") as log_file:
        node = subprocess.Popen(
            [sys.executable, "-m", "cmmd_node.cli", "serve", "--config", str(config)], stderr=log_file
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not echo(
            host="127.0.0.1", port=receive_port, called_ae_title="CMMD_NODE", calling_ae_title=_DEMO_AE_TITLE
        ):
            if node.poll() is not None or time.monotonic() > deadline:
                raise NodeError(f"the node did not start; its log is {log}")
            time.sleep(0.1)
        return _round_trip(
            pacs,
            host="127.0.0.1",
            port=receive_port,
            called="CMMD_NODE",
            calling=_DEMO_AE_TITLE,
            tls=None,
            tell=tell,
            hint=f"the node's log is {log}",
        )
    finally:
        node.terminate()
        node.wait()
        pacs.stop()


def run_check(settings: Settings, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Prove a running node's health: a C-ECHO, a phantom exam, its CAD SR back to a stand-in on the check port.

    Raises
    ------
    NodeError
        What did not work.
    """
    host = settings.own_host
    if not echo(
        host=host,
        port=settings.receive.port,
        called_ae_title=settings.node.ae_title,
        calling_ae_title=CHECK_AE_TITLE,
        tls=to_ourselves(settings),
    ):
        raise NodeError(f"no answer to a C-ECHO at {host}:{settings.receive.port}")
    with TemporaryDirectory(prefix="cmmd-node-check-") as folder:
        try:
            pacs = PacsStandIn(Path(folder), ae_title=CHECK_AE_TITLE, port=settings.node.check_port)
        except OSError as error:
            raise NodeError(f"the check port {settings.node.check_port} is taken: {error.strerror}") from error
        try:
            return _round_trip(
                pacs,
                host=host,
                port=settings.receive.port,
                called=settings.node.ae_title,
                calling=CHECK_AE_TITLE,
                tls=to_ourselves(settings),
                tell=tell,
                hint="see `cmmd-node studies` and the node's log",
            )
        finally:
            pacs.stop()


def _round_trip(
    pacs: PacsStandIn,
    *,
    host: str,
    port: int,
    called: str,
    calling: str,
    tls: Client | None,
    tell: Callable[[str], None],
    hint: str,
) -> dict[str, Any]:
    """One phantom exam under a new study in, its CAD SR, which is sent last, back."""
    tell("drawing a phantom exam")
    study = secrets.token_hex(8)
    datasets = to_datasets(make_exam(_DEMO_SEED), study=study)
    with TemporaryDirectory(prefix="cmmd-node-phantom-") as folder:
        files = []
        for number, ds in enumerate(datasets):
            path = Path(folder) / f"{number}.dcm"
            ds.save_as(path, enforce_file_format=True)
            files.append(Outgoing.from_file(path))
        tell("sending four images")
        for answer in send(files, host=host, port=port, called_ae_title=called, calling_ae_title=calling, tls=tls):
            if answer.status is None or verdict_of(answer.status) is not Verdict.STORED:
                raise NodeError(f"the node refused an image: {answer.problem}")
    sent = time.monotonic()
    tell("waiting for the results")
    study_instance_uid = str(datasets[0].StudyInstanceUID)
    if not pacs.wait_for(MammographyCADSRStorage, study_instance_uid, seconds=_ANSWER_SECONDS):
        raise NodeError(f"no CAD SR came back within {_ANSWER_SECONDS:.0f} s; {hint}")
    return {
        "StudyInstanceUID": study_instance_uid,
        "seconds": round(time.monotonic() - sent, 1),
        "objects": [
            {
                "kind": one.path.stem.rsplit("-", 1)[0],
                "SOPClassUID": one.sop_class_uid,
                "SOPInstanceUID": one.sop_instance_uid,
                "path": str(one.path),
            }
            for one in pacs.received
            if one.study_instance_uid == study_instance_uid
        ],
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
