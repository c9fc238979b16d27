"""A node and its peers as processes of their own, for tests that drive them from outside.

Every wait is for an event and has a deadline. A `RunningNode` that a test leaves behind is ended, and a node that does
not end in time fails the test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from cmmd_node.deliver import echo
from cmmd_node.index import Index, open_index
from cmmd_node.index import status as index_status
from cmmd_node.settings import CLASSICAL, Settings, load_settings
from tests.conftest import free_ports, need

START_SECONDS = 60.0
#: What P12 allows a node to take for its end.
STOP_SECONDS = 30.0
ROLES = ("receive", "work", "web")
_LOOK_SECONDS = 0.05


def wait_until(predicate: Callable[[], Any], seconds: float, what: str = "") -> Any:
    """Look until `predicate` is true and return what it said.

    Raises
    ------
    AssertionError
        The deadline passed; the message says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or getattr(predicate, '__name__', 'the event')}")
        time.sleep(_LOOK_SECONDS)


class RunningNode:
    """A node of the test's own, configured by a file and started by its command line.

    Parameters
    ----------
    folder
        Where configuration, log and data_dir go.
    database_url
        As in the configuration; empty for SQLite.
    supervised
        False starts each role without the supervisor, so that the test decides when a dead one comes back.
    peer, dicomweb
        Tables of ``[[peer]]`` and ``[[dicomweb]]``.
    sections
        Other sections; what is not given is set for a test: free ports, a settle time of a second, one CAD
        process with the detector that starts at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str = "",
        supervised: bool = True,
        peer: Iterable[dict[str, Any]] = (),
        dicomweb: Iterable[dict[str, Any]] = (),
        **sections: dict[str, Any],
    ) -> None:
        receive_port, web_port, check_port = free_ports(3)
        given = {"node": {}, "receive": {}, "web": {}, "settle": {}, "cad": {}, "deliver": {}, **sections}
        data_dir = folder / "node"
        defaults: dict[str, dict[str, Any]] = {
            "node": {"data_dir": str(data_dir), "database_url": database_url, "check_port": check_port},
            "receive": {"port": receive_port, "accept": "any", "reserve_mb": 16},
            "web": {"port": web_port},
            "settle": {"quiet_seconds": 1, "complete_seconds": 0.3},
            "cad": {"threads": 1, "bundle": CLASSICAL},
            "deliver": {"retry_seconds": 0.2},
        }
        self.folder = folder
        self.config = folder / "cmmd-node.toml"
        self.log = folder / "node.log"
        folder.mkdir(parents=True, exist_ok=True)
        values = {name: {**defaults.get(name, {}), **section} for name, section in given.items()}
        self.config.write_text(_toml(values, peer, dicomweb), encoding="utf-8")
        self.settings: Settings = load_settings(self.config)
        self._supervised = supervised
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._index: Index | None = None

    @property
    def data_dir(self) -> Path:
        return self.settings.node.data_dir

    @property
    def port(self) -> int:
        """Where the receiver listens."""
        return self.settings.receive.port

    @property
    def index(self) -> Index:
        """The node's index, opened by the test once the node has made it."""
        if self._index is None:
            self._index = open_index(self.settings)
        return self._index

    def __enter__(self) -> Self:
        try:
            self.start()
            wait_until(self.is_healthy, START_SECONDS, f"a healthy node; {self._last_words()}")
        except BaseException:
            self._kill_everything()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._processes:
                self.stop()
        finally:
            self._kill_everything()
            if self._index is not None:
                self._index.close()
                self._index = None

    def start(self, *roles: str) -> None:
        """Start the supervisor, or without one the roles that are named, else all."""
        for role in ("all",) if self._supervised else roles or ROLES:
            command = [sys.executable, "-m", "cmmd_node.cli", "serve", "--config", str(self.config), "--role", role]
            with self.log.open("ab") as log:
                self._processes[role] = subprocess.Popen(command, stderr=log, env=_plain_environment())

    def stop(self, *, seconds: float = STOP_SECONDS) -> float:
        """Tell the node to stop (SIGTERM) and see that it does; the seconds that it took."""
        started = time.monotonic()
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        for role, process in self._processes.items():
            try:
                status = process.wait(max(0.1, started + seconds - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{role} did not stop within {seconds:g} s; {self._last_words()}") from None
            assert status == 0, f"{role} ended with {status}; {self._last_words()}"
        self._processes.clear()
        took = time.monotonic() - started
        wait_until(lambda: not any(self.pids(role) for role in ROLES), 5, "the end of all roles")
        return took

    def kill_role(self, role: str) -> int:
        """SIGKILL the process of a role, and see that it is gone; its process id."""
        (pid,) = wait_until(lambda: self.pids(role), START_SECONDS, f"a process of {role}")
        os.kill(pid, signal.SIGKILL)
        if not self._supervised:
            self._processes[role].wait()
        wait_until(lambda: pid not in self.pids(role), 10, f"the end of {role}")
        return pid

    def has_ended(self, role: str) -> bool:
        """Whether the process of a role that was started without supervisor is over, by whose hand ever."""
        return self._processes[role].poll() is not None

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor alone."""
        self._processes["all"].kill()
        self._processes.pop("all").wait()

    def pids(self, role: str) -> list[int]:
        """The processes that run a role of this node."""
        wanted = ["--role", role]
        return [
            pid
            for pid, words in _command_lines()
            if str(self.config) in words and any(words[at : at + 2] == wanted for at in range(len(words)))
        ]

    def is_healthy(self) -> bool:
        """Whether the health page says so: the receiver answers a C-ECHO, the worker is alive."""
        for role, process in self._processes.items():
            assert process.poll() is None, f"{role} ended with {process.returncode}; {self._last_words()}"
        try:
            return httpx.get(f"http://127.0.0.1:{self.settings.web.port}/healthz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def answers_echo(self, calling_ae_title: str = "CMMD_NODE_CHECK") -> bool:
        """Whether the receiver answers a C-ECHO."""
        return echo(
            host="127.0.0.1",
            port=self.port,
            called_ae_title=self.settings.node.ae_title,
            calling_ae_title=calling_ae_title,
        )

    def studies(self) -> list[dict[str, Any]]:
        """What ``cmmd-node studies`` tells."""
        with self.index.read() as connection:
            return index_status.studies(connection)

    def study(self, study_instance_uid: str) -> dict[str, Any]:
        """What it tells of one study; empty when it is unknown."""
        with self.index.read() as connection:
            return next(iter(index_status.studies(connection, study_instance_uid)), {})

    def deliveries(self) -> list[dict[str, Any]]:
        """What ``cmmd-node deliveries`` tells."""
        with self.index.read() as connection:
            return index_status.deliveries(connection)

    def cli(self, *words: str) -> Any:
        """What a command of ``cmmd-node`` prints as JSON."""
        command = [sys.executable, "-m", "cmmd_node.cli", *words, "--config", str(self.config), "--json"]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False, env=_plain_environment())
        assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {done.stderr.decode()}"
        return json.loads(done.stdout)

    def wait_until(self, predicate: Callable[[], Any], seconds: float, what: str = "") -> Any:
        """As the function; the complaint ends with what the node said last."""
        try:
            return wait_until(predicate, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self._last_words()}") from None

    def wait_for_round(self, study_instance_uid: str, number: int, *, seconds: float = 60) -> dict[str, Any]:
        """A round of a study, once it is answered, stopped or failed."""

        def ended() -> dict[str, Any]:
            for one in self.study(str(study_instance_uid)).get("rounds", []):
                if one["number"] == number and one["state"] not in {"settling", "analysing"}:
                    return dict(one)
            return {}

        return dict(self.wait_until(ended, seconds, f"the end of round {number} of {study_instance_uid}"))

    def wait_for_deliveries(self, *, seconds: float = 60) -> list[dict[str, Any]]:
        """All deliveries, once there are some and none of them waits."""

        def done() -> bool:
            known = self.deliveries()
            return bool(known) and all(one["state"] != "waiting" for one in known)

        self.wait_until(done, seconds, "the end of all deliveries")
        return self.deliveries()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-30:] if self.log.exists() else []
        return "\n".join(["its log ends with:", *lines])

    def _kill_everything(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._processes.clear()
        for role in ROLES:
            for pid in self.pids(role):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(self.pids(role) for role in ROLES), 10, "the end of all roles")


class Process:
    """A peer that runs until the ``with`` block ends."""

    def __init__(self, command: Sequence[str | Path], log: Path, **environment: str) -> None:
        self._command = [str(word) for word in command]
        self._log = log
        self._environment = {**_plain_environment(), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment
                )
            wait_until(self._answers, START_SECONDS, f"an answer of {self._command[0]}; its log is {self._log}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def is_ready(self) -> bool:
        """Whether it can be talked to."""
        raise NotImplementedError

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self._command[0]} ended: {self._log.read_text(errors='replace')}"
        return self.is_ready()


class Orthanc(Process):
    """A PACS: stores what it is sent, forwards mammograms to `forward_to`, and is asked over its REST API.

    Parameters
    ----------
    forward_to
        AE title and port of the node.
    settings
        Further keys of Orthanc's configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        ae_title: str = "ORTHANC",
        forward_to: tuple[str, int] | None = None,
        **settings: Any,
    ) -> None:
        need("Orthanc")
        folder.mkdir(parents=True, exist_ok=True)
        http_port, free_port = free_ports(2)
        self.port = port or free_port
        self.ae_title = ae_title
        self.http = f"http://127.0.0.1:{http_port}"
        values: dict[str, Any] = {
            "Name": "PACS",
            "StorageDirectory": str(folder / "store"),
            "IndexDirectory": str(folder / "store"),
            "DicomAet": ae_title,
            "DicomPort": self.port,
            "DicomAlwaysAllowStore": True,
            "HttpPort": http_port,
            "RemoteAccessAllowed": True,
            "AuthenticationEnabled": False,
            "SslEnabled": False,
            "Plugins": [],
            "LuaScripts": [],
            "DicomModalities": {},
        }
        if forward_to is not None:
            script = folder / "forward.lua"
            script.write_text(_FORWARD, encoding="utf-8")
            values["LuaScripts"] = [str(script)]
            values["DicomModalities"] = {"node": [forward_to[0], "127.0.0.1", forward_to[1]]}
        config = folder / "orthanc.json"
        config.write_text(json.dumps({**values, **settings}, indent=1), encoding="utf-8")
        super().__init__(["Orthanc", config], folder / "orthanc.log", TCP_NODELAY="1")
        self._login = next(iter({**values, **settings}.get("RegisteredUsers", {}).items()), None)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.http}/system", timeout=5, auth=self._login).status_code == 200 and echo(
                host="127.0.0.1", port=self.port, called_ae_title=self.ae_title, calling_ae_title="TEST"
            )
        except httpx.TransportError:
            return False

    def find(self, study_instance_uid: str, **wanted: str) -> list[str]:
        """Orthanc's names of the instances of a study, with other attributes that they must have."""
        query = {"StudyInstanceUID": str(study_instance_uid), **wanted}
        words = {"Level": "Instance", "Query": query}
        answer = httpx.post(f"{self.http}/tools/find", json=words, timeout=10, auth=self._login)
        answer.raise_for_status()
        return list(answer.json())

    def study_of(self, instance: str) -> str:
        """Orthanc's name of the study that an instance is in."""
        answer = httpx.get(f"{self.http}/instances/{instance}/study", timeout=10)
        answer.raise_for_status()
        return str(answer.json()["ID"])

    def save(self, instance: str, folder: Path) -> Path:
        """The file of one instance."""
        answer = httpx.get(f"{self.http}/instances/{instance}/file", timeout=30)
        answer.raise_for_status()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{instance}.dcm"
        path.write_bytes(answer.content)
        return path

    def clear(self) -> None:
        """Forget everything."""
        for patient in httpx.get(f"{self.http}/patients", timeout=30).json():
            httpx.delete(f"{self.http}/patients/{patient}", timeout=120).raise_for_status()


class DcmtkStorescp(Process):
    """DCMTK's storage SCP, which keeps what it is sent bit by bit in `folder`."""

    def __init__(self, folder: Path, *, port: int | None = None, ae_title: str = "STORESCP", max_pdu: int = 131072):
        need("storescp")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.ae_title = ae_title
        words = ["storescp", "+B", "+xa", "-pm", "-aet", ae_title, "-pdu", str(max_pdu), "-od", folder, str(self.port)]
        super().__init__(words, folder.parent / f"{folder.name}-storescp.log", TCP_NODELAY="1")

    def is_ready(self) -> bool:
        return echo(host="127.0.0.1", port=self.port, called_ae_title=self.ae_title, calling_ae_title="TEST")


class DcmtkQrscp(Process):
    """DCMTK's archive: stores, is searched, and sends to the node by C-GET or C-MOVE."""

    def __init__(self, folder: Path, *, node: tuple[str, int], ae_title: str = "QRSCP") -> None:
        need("dcmqrscp")
        store = folder / "store"
        store.mkdir(parents=True)
        self.port = free_ports(1)[0]
        self.ae_title = ae_title
        config = folder / "dcmqrscp.cfg"
        config.write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
            f"HostTable BEGIN\nnode = ({node[0]}, 127.0.0.1, {node[1]})\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{ae_title} {store} RW (100, 64mb) ANY\nAETable END\n",
            encoding="utf-8",
        )
        super().__init__(["dcmqrscp", "-c", config], folder / "dcmqrscp.log", TCP_NODELAY="1")

    def is_ready(self) -> bool:
        return echo(host="127.0.0.1", port=self.port, called_ae_title=self.ae_title, calling_ae_title="TEST")


def dcmsend(
    files: Iterable[Path], *, port: int, called: str, calling: str = "DCMSEND", options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Send files over one association by DCMTK; lossy images stay as they are."""
    need("dcmsend")
    words = ["dcmsend", "-v", "-dn", "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port)]
    return subprocess.run(
        [*words, *map(str, files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=180,
        check=False,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


#: Orthanc's Lua: what the modality sent goes to the node; results, which come from the node, do not.
_FORWARD = """\
function OnStoredInstance(instanceId, tags, metadata, origin)
  if tags['Modality'] == 'MG' and origin['RequestOrigin'] == 'DicomProtocol' then
    SendToModality(instanceId, 'node')
  end
end
"""


def _toml(
    sections: dict[str, dict[str, Any]], peers: Iterable[dict[str, Any]], archives: Iterable[dict[str, Any]]
) -> str:
    """A configuration file; JSON's strings, numbers and lists are TOML's too."""
    lines = []
    tables = [(f"[{name}]", values) for name, values in sections.items()]
    tables += [("[[peer]]", values) for values in peers] + [("[[dicomweb]]", values) for values in archives]
    for heading, values in tables:
        lines += [heading, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def _plain_environment() -> dict[str, str]:
    """Nothing but the configuration file configures the node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CMMD_NODE_")}


def _command_lines() -> list[tuple[int, list[str]]]:
    """Every process with the words of its command line; a zombie has none."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found.append((int(folder.name), words))
    return found
