"""What the project says of itself: README, licences, the names at the top. Lint and types are `tests/run`'s."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement
from pydicom import dcmread
from pydicom.uid import MammographyCADSRStorage

from cmmd_node.deliver import echo
from cmmd_node.phantom import make_exam, to_datasets
from cmmd_node.settings import load_settings
from tests.conftest import free_ports, need

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

#: Folders and files that the design names, and what tools need.
TOP = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "cmmd_node",
    "config",
    "deploy",
    "pyproject.toml",
    "tests",
}


def tracked() -> list[str]:
    """The files that belong to the project, from its root."""
    need("git")
    command = ["git", "-c", "safe.directory=*", "ls-files"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def test_top_level_is_what_the_design_names() -> None:
    assert {name.split("/")[0] for name in tracked()} == TOP


def test_an_installed_package_has_every_file_of_the_checkout() -> None:
    package = ROOT / "cmmd_node"
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    packed = {path for glob in globs["cmmd_node"] for path in package.glob(glob)} | set(package.rglob("*.py"))
    assert {ROOT / name for name in tracked() if name.startswith("cmmd_node/")} - packed == set()


def test_readme_begins_with_the_two_commands_and_ci_runs_the_second() -> None:
    commands = re.findall(r"^    (\S.*)$", README, re.M)
    assert commands[:2] == ["deploy/install && .venv/bin/cmmd-node demo", "tests/run"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert ci.splitlines()[-1] == 'exec "$(dirname "$0")/../tests/run" "$@"'


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md", "deploy/conformance.md"]
)
def test_document_has_no_dead_links_and_nothing_left_to_do(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"TODO|FIXME|XXX|coming soon", text)
    links = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`((?:cmmd_node|config|deploy|tests)/[\w./-]+)`", text)
    assert [link for link in links if not ((ROOT / name).parent / link).exists() and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", ["tests/run", ".ci/run", "deploy/install", "deploy/debian-packages"])
def test_script_can_be_run(path: str) -> None:
    assert os.access(ROOT / path, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / path], check=True)


def test_compose_file_holds_settings_that_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMMD_NODE_WEB__TOKEN", "what-the-administrator-chose")
    compose = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    block = re.search(r"cmmd-node\.toml:\n {4}content: \|\n((?: {6}.*\n|\n)+)", compose)
    assert block
    path = tmp_path / "cmmd-node.toml"
    path.write_text(re.sub(r"^ {6}", "", block[1], flags=re.M), encoding="utf-8")
    assert [peer.name for peer in load_settings(path).peer] == ["pacs"]


def required() -> Iterator[str]:
    """Every distribution that an installation has for our sake, directly or not."""
    waiting, seen = ["cmmd-node"], set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for other platforms or extras
        yield name
        for text in found.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)


def test_no_dependency_is_under_gpl() -> None:
    names = list(required())
    assert {"torch", "pydicom", "psycopg", "starlette"} <= set(names)
    refused = {}
    for name in names:
        metadata = distribution(name).metadata
        told = [metadata.get("License-Expression") or metadata.get("License", "").split("\n", maxsplit=1)[0]]
        told += [one for one in metadata.get_all("Classifier", []) if one.startswith("License")]
        words = " ".join(told)
        if re.search(r"\bA?GPL|(?<!Lesser )General Public|Affero", words):  # LGPL may be linked to
            refused[name] = words
    assert refused == {}


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


@contextmanager
def running(command: list[str], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program until the end of the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CMMD_NODE_")}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**environment, **variables})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.e2e
def test_readme_shows_how_to_work_beside_orthanc(tmp_path: Path, database_url: str) -> None:
    need("Orthanc", "dcmsend")
    (toml,), (told,), (lua,) = blocks("toml"), blocks("json"), blocks("lua")
    receive_port, pacs_port, http_port, web_port, check_port = free_ports(5)
    ports = {"11112": str(receive_port), "4242": str(pacs_port)}

    def moved(text: str) -> str:
        assert set(re.findall(r"\b\d{4,5}\b", text)) <= set(ports), "the test must move every port of the README"
        return re.sub(r"\b(11112|4242)\b", lambda port: ports[port[1]], text)

    config = tmp_path / "cmmd-node.toml"
    config.write_text(moved(toml).replace("/var/lib/cmmd-node", str(tmp_path / "node")), encoding="utf-8")
    assert tomllib.loads(config.read_text(encoding="utf-8"))["node"]["data_dir"] == str(tmp_path / "node")
    script = tmp_path / "cmmd-node.lua"
    script.write_text(lua, encoding="utf-8")
    settings: dict[str, Any] = json.loads(moved(told).replace("/etc/orthanc/cmmd-node.lua", str(script)))
    settings |= {"StorageDirectory": str(tmp_path / "orthanc"), "HttpPort": http_port}
    (tmp_path / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")

    images = []
    for number, ds in enumerate(to_datasets(make_exam(7), study="readme")):
        images.append(tmp_path / f"{number}.dcm")
        ds.save_as(images[-1], enforce_file_format=True)

    variables = {
        "CMMD_NODE_WEB__PORT": str(web_port),
        "CMMD_NODE_NODE__CHECK_PORT": str(check_port),
        "CMMD_NODE_NODE__DATABASE_URL": database_url,
        "CMMD_NODE_RECEIVE__RESERVE_MB": "16",
    }
    node = [sys.executable, "-m", "cmmd_node.cli", "serve", "--config", str(config)]
    orthanc = [shutil.which("Orthanc") or "", str(tmp_path / "orthanc.json")]
    node_log, orthanc_log = tmp_path / "node.log", tmp_path / "orthanc.log"
    with running(node, node_log, **variables), running(orthanc, orthanc_log):

        def until(event: Any, seconds: float, what: str) -> None:
            deadline = time.monotonic() + seconds
            while not event():
                logs = node_log.read_text(errors="replace")[-2000:] + orthanc_log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline, f"no {what} within {seconds:g} s\n{logs}"
                time.sleep(0.2)

        until(lambda: _answers(receive_port, "CMMD_NODE"), 60, "node")
        until(lambda: _answers(pacs_port, "ORTHANC"), 60, "Orthanc")
        subprocess.run(
            ["dcmsend", "-aec", "ORTHANC", "127.0.0.1", str(pacs_port), *map(str, images)],
            check=True,
            capture_output=True,
            timeout=60,
        )
        found: list[str] = []

        def cad_srs() -> list[str]:
            query = {"Level": "Instance", "Query": {"Modality": "SR"}}
            answer = httpx.post(f"http://127.0.0.1:{http_port}/tools/find", json=query, timeout=10)
            found[:] = answer.json()
            return found

        until(cad_srs, 120, "CAD SR in Orthanc")
        (back,) = found
        (tmp_path / "back.dcm").write_bytes(
            httpx.get(f"http://127.0.0.1:{http_port}/instances/{back}/file", timeout=10).content
        )
        cad_sr = dcmread(tmp_path / "back.dcm")
        assert cad_sr.SOPClassUID == MammographyCADSRStorage
        assert cad_sr.StudyInstanceUID == dcmread(images[0], stop_before_pixels=True).StudyInstanceUID


def _answers(port: int, ae_title: str) -> bool:
    # Under this title the node takes nobody but itself, and Orthanc takes everybody.
    return echo(host="127.0.0.1", port=port, called_ae_title=ae_title, calling_ae_title="CMMD_NODE_CHECK")
