"""The configuration: the commented file says what the classes say, and what is wrong is told in one sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from cmmd_node.errors import SettingsError
from cmmd_node.settings import Settings, load_settings

FILE = Path(__file__).resolve().parents[1] / "config" / "cmmd-node.toml"

#: A setting that is shown but not set.
_SHOWN = re.compile(r"^#(?=\[\[\w+\]\]$|\w+ = )", re.M)

PASSWORD = "n0t-for-logs"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests does not count."""
    for name in os.environ:
        if name.startswith("CMMD_NODE_"):
            monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def section_classes() -> dict[str, type[BaseModel]]:
    """The class behind each section of the file."""
    found = {}
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        inner = [annotation, *get_args(annotation)]
        found[name] = next(one for one in inner if isinstance(one, type) and issubclass(one, BaseModel))
    return found


def documented() -> dict[str, dict[str, tuple[Any, bool]]]:
    """Section, key, then value and whether it is set, of every key in the commented file."""
    found: dict[str, dict[str, tuple[Any, bool]]] = {}
    section = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        heading = re.match(r"#?\[+(\w+)\]+$", line)
        setting = re.match(r"(#?)(\w+) = (.*)$", line)
        if heading:
            section = heading[1]
            found[section] = {}
        elif setting:
            found[section][setting[2]] = (tomllib.loads(f"value = {setting[3]}")["value"], not setting[1])
    return found


def test_file_to_copy_is_the_defaults() -> None:
    assert load_settings(FILE) == load_settings()


def test_file_shows_every_key_of_the_classes_and_no_other() -> None:
    assert {section: list(keys) for section, keys in documented().items()} == {
        section: list(model.model_fields) for section, model in section_classes().items()
    }


def test_file_says_the_default_of_every_key() -> None:
    defaults = load_settings().model_dump(mode="json")
    for section, keys in documented().items():
        if isinstance(defaults[section], list):
            continue
        for key, (value, is_set) in keys.items():
            if is_set:
                assert value == defaults[section][key] or Path(str(value)) == Path(str(defaults[section][key])), key
            else:
                assert defaults[section][key] is None, f"{section}.{key} has a default; show it"


def test_every_key_of_the_file_is_explained() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#?\w+ = ", line) and not line.startswith(("port =", "CMMD")):
            assert lines[number - 1].startswith("# "), f"line {number + 1}: {line}"


def test_shown_settings_can_be_used(tmp_path: Path) -> None:
    loaded = load_settings(written(tmp_path, _SHOWN.sub("", FILE.read_text(encoding="utf-8"))))
    assert [peer.name for peer in loaded.peer] == ["pacs"]
    assert [archive.name for archive in loaded.dicomweb] == ["archive"]
    assert loaded.cad.threshold == 0.5


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "[receive]\nport = 4000\naccept = 'any'\n")
    monkeypatch.setenv("CMMD_NODE_RECEIVE__PORT", "4001")
    loaded = load_settings(path)
    assert (loaded.receive.port, loaded.receive.accept) == (4001, "any")


def test_file_is_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMMD_NODE_CONFIG", str(written(tmp_path, "[receive]\nport = 4000\n")))
    assert load_settings().receive.port == 4000


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings().receive.port = 1  # type: ignore[misc]


def test_password_is_masked(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://node:{PASSWORD}@db.example/cmmd_node"
    shown = json.dumps(load_settings(written(tmp_path, f"[node]\ndatabase_url = '{url}'\n")).masked())
    assert PASSWORD not in shown
    assert "node:***@db.example/cmmd_node" in shown


def test_secrets_of_dicomweb_are_masked(tmp_path: Path) -> None:
    loaded = load_settings(written(tmp_path, f"[web]\ntoken = '{PASSWORD}'\nuser = 'u'\npassword = '{PASSWORD}'\n"))
    assert PASSWORD not in json.dumps(loaded.masked()) + repr(loaded)
    assert loaded.web.token.get_secret_value() == PASSWORD


@pytest.mark.fault("J140")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "node.example"])
def test_other_machines_reach_dicomweb_with_credentials_only(tmp_path: Path, host: str) -> None:
    text = f"[web]\nhost = '{host}'\n"
    with pytest.raises(SettingsError, match="other machines reach"):
        load_settings(written(tmp_path, text))
    assert load_settings(written(tmp_path, text + "token = 'a'")).web.host == host
    assert load_settings(written(tmp_path, text + "user = 'a'\npassword = 'b'")).web.host == host


PEER = "[[peer]]\nname = 'pacs'\nae_title = 'PACS'\nhost = 'pacs.example'\nport = 104\n"

#: What is wrong, and what the sentence must name.
WRONG = {
    "no TOML": ("[receive", ["settings.toml", "no TOML"]),
    "unknown key": ("[receive]\nprot = 1", ["receive.prot", "receive.port"]),
    "unknown section": ("[reciev]\nport = 1", ["reciev", "did you mean receive"]),
    "unknown key of a peer": ("[[peer]]\nname = 'a'\nae_titel = 'A'", ["peer.0.ae_titel", "peer.0.ae_title"]),
    "section that is no table": ("receive = 3", ["receive"]),
    "peer that is no list": ("[peer]\nname = 'a'", ["[[peer]]"]),
    "AE title too long": ("[node]\nae_title = 'A2345678901234567'", ["node.ae_title", "16"]),
    "AE title empty": ("[node]\nae_title = ' '", ["node.ae_title", "1 to 16"]),
    "AE title with a backslash": ("[node]\nae_title = 'A\\B'", ["node.ae_title", "backslash"]),
    "AE title not ASCII": ("[node]\nae_title = 'KÖLN'", ["node.ae_title", "ASCII"]),
    "other database": (f"[node]\ndatabase_url = 'mysql://u:{PASSWORD}@h/d'", ["node.database_url", "mysql"]),
    "no database": (f"[node]\ndatabase_url = '{PASSWORD}'", ["node.database_url"]),
    "proxy without a port": ("[node]\nproxy = 'http://p'", ["node.proxy", "http://HOST:PORT"]),
    "proxy of another kind": ("[node]\nproxy = 'socks5://p:1080'", ["node.proxy", "http://HOST:PORT"]),
    "proxy with a path": ("[node]\nproxy = 'http://p:3128/proxy.pac'", ["node.proxy", "http://HOST:PORT"]),
    "proxy with a password": (f"[node]\nproxy = 'http://u:{PASSWORD}@p:3128'", ["node.proxy", "user"]),
    "proxy with a port that is none": ("[node]\nproxy = 'http://p:x'", ["node.proxy"]),
    "port 0": ("[receive]\nport = 0", ["receive.port"]),
    "port too high": ("[web]\nport = 65536", ["web.port"]),
    "port that is no number": ("[web]\nport = 'http'", ["web.port", "http"]),
    "address that is none": ("[web]\nurl = 'node.example'", ["web.url", "https://"]),
    "user without password": ("[web]\nuser = 'u'", ["web", "user and password"]),
    "user with a colon": (f"[web]\nuser = 'u:v'\npassword = '{PASSWORD}'", ["web", "colon"]),
    "token that cannot be sent": (f"[web]\ntoken = '{PASSWORD} 1'", ["web", "bearer token"]),
    "token that is no text": ("[web]\ntoken = [4711]", ["web.token"]),
    "equal ports": ("[web]\nport = 11112", ["web.port", "receive.port", "11112"]),
    "word that is none of the choices": ("[receive]\naccept = 'all'", ["receive.accept", "known", "all"]),
    "no processes": ("[receive]\nprocesses = 0", ["receive.processes"]),
    "no associations": ("[receive]\nassociations = 0", ["receive.associations"]),
    "PDU too small": ("[receive]\npdu_bytes = 100", ["receive.pdu_bytes", "4096"]),
    "no time": ("[receive]\nidle_seconds = 0", ["receive.idle_seconds"]),
    "negative time": ("[receive]\npdu_seconds = -1", ["receive.pdu_seconds"]),
    "endless time": ("[settle]\nlimit_seconds = inf", ["settle.limit_seconds"]),
    "time that is no number": ("[cad]\nview_seconds = nan", ["cad.view_seconds"]),
    "no space for objects": ("[receive]\nobject_limit_mb = 0", ["receive.object_limit_mb"]),
    "no reserve": ("[receive]\nreserve_mb = -1", ["receive.reserve_mb"]),
    "waits out of order": ("[settle]\nquiet_seconds = 1000", ["settle", "complete_seconds <= quiet_seconds"]),
    "model that is not there": ("[cad]\nbundle = 'best'", ["cad.bundle", "builtin"]),
    "analysis that is none": ("[cad]\nanalyses = ['detection', 'triage']", ["cad.analyses"]),
    "no detection": ("[cad]\nanalyses = ['characterisation']", ["cad.analyses", "detection"]),
    "suspicion above 1": ("[cad]\nthreshold = 1.5", ["cad.threshold"]),
    "never given up": ("[deliver]\ngive_up_hours = inf", ["deliver.give_up_hours"]),
    "peer without a name": ("[[peer]]\nae_title = 'A'", ["peer.0.name"]),
    "name with a slash": ("[[peer]]\nname = '../a'\nae_title = 'A'", ["peer.0.name", "../a"]),
    "two peers of one name": (PEER + PEER, ["pacs"]),
    "priors from nobody": ("[priors]\nsource = 'pacs'", ["priors.source", "pacs"]),
    "priors by C-MOVE": (PEER + "[priors]\nsource = 'pacs'", ["priors.source", 'retrieve = "get"']),
    "peer with the name of our own priors": (PEER.replace("'PACS'", "'CMMD_NODE_PRIOR'"), ["pacs", "CMMD_NODE_PRIOR"]),
    "peer with our own check's AE title": (PEER.replace("'PACS'", "'CMMD_NODE_CHECK'"), ["pacs", "CMMD_NODE_CHECK"]),
    "form that we do not have": (PEER + "results = ['pdf']", ["peer.0.results", "pdf"]),
    "results to nowhere": ("[[peer]]\nname = 'pacs'\nae_title = 'A'\nresults = ['seg']", ["pacs", "host"]),
    "commitment": (PEER + "commitment = true", ["pacs", "commitment"]),
    "certificate without key": ("[tls]\ncertificate = 'a.pem'", ["tls", "certificate and key"]),
    "certificate of a peer without authorities": (PEER + "certificate = 'pacs.example'", ["pacs", "tls.ca"]),
    "results to ourselves": (
        "[receive]\nhost = '0.0.0.0'\n"
        + PEER.replace("pacs.example", "127.0.0.1").replace("104", "11112")
        + "results = ['seg']",
        ["pacs", "this node itself"],
    ),
    "a login to an archive in clear text": (
        "[[dicomweb]]\nname = 'a'\nurl = 'http://h'\ntoken = 'sesame'",
        ["archive a", "clear text"],
    ),
}


def _is_one_sentence(text: str) -> bool:
    return "\n" not in text and "Traceback" not in text and len(text) < 300


@pytest.mark.parametrize(("text", "named"), WRONG.values(), ids=WRONG.keys())
def test_wrong_value_is_one_sentence_that_names_the_key(tmp_path: Path, text: str, named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, text))
    sentence = str(caught.value)
    assert _is_one_sentence(sentence), sentence
    assert [word for word in named if word not in sentence] == [], sentence
    assert PASSWORD not in sentence


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("CMMD_NODE_RECEIVE__PORT", "many", ["receive.port", "many"]),
        ("CMMD_NODE_RECEIVE__PROT", "1", ["receive.prot", "receive.port"]),
        ("CMMD_NODE_RECIEVE__PORT", "1", ["CMMD_NODE_RECIEVE__PORT", "CMMD_NODE_RECEIVE__"]),
        ("CMMD_NODE_PEER", PASSWORD, ["peer", "JSON"]),
        ("CMMD_NODE_CONFIG", "/nowhere/settings.toml", ["/nowhere/settings.toml", "cannot be read"]),
    ],
)
def test_wrong_variable_is_one_sentence_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    sentence = str(caught.value)
    assert _is_one_sentence(sentence), sentence
    assert [word for word in named if word not in sentence] == [], sentence
    assert PASSWORD not in sentence


@pytest.mark.parametrize("command", [["config", "check"], ["serve"], ["studies"], ["check"]])
def test_wrong_configuration_ends_a_command_with_status_2_and_creates_nothing(
    tmp_path: Path, command: list[str]
) -> None:
    path = written(tmp_path, "[node]\ndata_dir = 'data'\n[receive]\nport = 'x'\n")
    done = subprocess.run(
        [sys.executable, "-m", "cmmd_node.cli", *command, "--config", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cmmd-node: ")
    assert "receive.port" in done.stderr
    assert _is_one_sentence(done.stderr.rstrip("\n")), done.stderr
    assert list(tmp_path.iterdir()) == [path]
