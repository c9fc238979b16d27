"""Roles as processes of their own: ``receive`` takes objects in, ``work`` follows the route, ``web`` answers HTTP.

``serve`` starts and watches them: one that dies is started again, with growing pauses; one that refuses to start ends
all. A role process ends when its supervisor does. Locks keep two nodes off one data_dir.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError

from cmmd_node.errors import StartRefused
from cmmd_node.index import Index, open_index
from cmmd_node.index.identity import node_uid
from cmmd_node.index.status import beat
from cmmd_node.receive.commitment import CommitmentRequests
from cmmd_node.receive.filesystem import doubt
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.scp import Receiver
from cmmd_node.retention import keep_purging
from cmmd_node.settings import CLASSICAL, Settings
from cmmd_node.tls import check_certificate

logger = logging.getLogger(__name__)

ROLES = ("receive", "work", "web")
#: Exit status of a process that must not be started again: its configuration or its place is wrong.
EXIT_REFUSED = 2
_BEAT_SECONDS = 5.0
_STOP_SECONDS = 20.0
#: Opening a model: libraries, weights and golden marks.
_OPEN_SECONDS = 120.0
_LONGEST_PAUSE_SECONDS = 30.0
#: M_ARENA_MAX of glibc's mallopt(3), and how many arenas there may be.
_ARENA_MAX, _ARENAS = -8, 2


def run_role(settings: Settings, role: str, *, number: int, supervised: bool) -> None:
    """Be one role until told to stop.

    Parameters
    ----------
    number
        Which of several receivers this is, from 0.
    supervised
        Stop when standard input ends, that is when the supervisor is gone.
    """
    check_certificate(settings)
    if role != "work":
        _share_arenas()
    # The role of a supervisor that was killed may still be about to end.
    held = lock(settings.node.data_dir, f"{role}-{number}", seconds=_STOP_SECONDS if supervised else 0.0)
    stop = _stop_on_signals()
    if supervised:
        threading.Thread(target=_stop_with_supervisor, args=(stop,), daemon=True).start()
    index = open_index(settings)
    {"receive": _receive, "work": _work, "web": _web}[role](settings, index, number, stop)
    logger.info("%s stopped", role)
    logging.shutdown()
    # What is durable is on disk; threads that wait for peers or studies are not waited for.
    os.close(held)
    os._exit(0)


def _share_arenas() -> None:
    """Have threads that come and go with peers allocate from the same memory.

    glibc gives up to eight arenas to each core, and each keeps about the most that it ever held.
    """
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


def supervise(settings: Settings, config: Path | None, roles: tuple[str, ...]) -> None:
    """Run `roles` as processes of their own until told to stop.

    Raises
    ------
    StartRefused
        A role refused to start; its own message is on standard error.
    """
    check_certificate(settings)
    held = lock(settings.node.data_dir, "-".join(("serve", *roles)))
    stop = _stop_on_signals()
    index = open_index(settings)
    if "receive" in roles and settings.receive.processes > 1:
        Inbox(settings, index, index.client()).adopt()
    index.close()
    children = [
        _Child(role, number, config)
        for role in roles
        for number in range(settings.receive.processes if role == "receive" else 1)
    ]
    try:
        while not stop.wait(0.2):
            for child in children:
                child.watch()
    finally:
        for child in children:
            child.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for child in children:
            child.wait(deadline)
        os.close(held)


def _receive(settings: Settings, index: Index, number: int, stop: threading.Event) -> None:
    inbox = Inbox(settings, index, index.client(), name=str(number))
    inbox.sweep()
    if settings.receive.processes == 1:
        inbox.adopt()
    try:
        receiver = Receiver(settings, inbox, CommitmentRequests(settings, index, index.client()))
    except OSError as error:
        where = f"{settings.receive.host}:{settings.receive.port}"
        raise StartRefused(f"cannot listen on {where}: {error.strerror}") from error
    for warning in (settings.openness, doubt(settings.node.data_dir)):
        if warning is not None:
            logger.warning("%s", warning)
    receiver.start()
    _start_beating(index, "receive", stop)
    stop.wait()
    receiver.stop(_STOP_SECONDS / 2)


def _work(settings: Settings, index: Index, _number: int, stop: threading.Event) -> None:
    # Imported here: only this role loads models, and only this one runs durable work.
    from dbos import DBOS  # noqa: PLC0415

    from cmmd_node.index.engine import APPLICATION, DBOS_SCHEMA  # noqa: PLC0415
    from cmmd_node.isolation import IsolatedPool  # noqa: PLC0415
    from cmmd_node.report import new_node_uid  # noqa: PLC0415
    from cmmd_node.route.analysis import load_detector, prove_detector  # noqa: PLC0415
    from cmmd_node.route.commitment import CommitmentRoute  # noqa: PLC0415
    from cmmd_node.route.delivery import DeliveryRoute  # noqa: PLC0415
    from cmmd_node.route.priors import PriorsRoute  # noqa: PLC0415
    from cmmd_node.route.study import StudyRoute  # noqa: PLC0415

    processes = settings.cad.threads or os.cpu_count() or 1
    pool = IsolatedPool(processes)
    bundle = settings.cad.bundle
    if bundle != CLASSICAL:
        try:
            prove_detector(pool, bundle, seconds=_OPEN_SECONDS)
        except StartRefused:
            pool.close()
            raise
    # Imports take seconds; the first study waits for whatever is left of them.
    threading.Thread(
        target=pool.map, args=(load_detector, [bundle] * processes), kwargs={"seconds": _OPEN_SECONDS}
    ).start()
    identity = node_uid(settings.node.data_dir, new_node_uid)
    DBOS(
        config={
            "name": APPLICATION,
            "system_database_engine": index.engine,
            "dbos_system_schema": DBOS_SCHEMA,
            "run_migrations": False,
            # Workflows of an earlier version go on under this one: their steps keep their meaning.
            "application_version": "1",
            "executor_id": "work",
            "log_level": "WARNING",
        }
    )
    study = StudyRoute(settings, index, index.client(), pool, identity)
    routes = (
        study,
        DeliveryRoute(settings, index),
        CommitmentRoute(settings, index),
        PriorsRoute(settings, index, index.client()),
    )
    for route in routes:
        route.register()
    DBOS.launch()
    for route in routes:
        route.listen()
    threading.Thread(target=keep_purging, args=(settings, index, index.client(), stop), daemon=True).start()
    _start_beating(index, "work", stop)
    logger.info("following the route with %s", study.model)
    stop.wait()
    pool.close()


def _web(settings: Settings, index: Index, _number: int, stop: threading.Event) -> None:
    from cmmd_node.web import serve_http  # noqa: PLC0415 - only this role needs the web framework

    serve_http(settings, index, stop, stop_seconds=_STOP_SECONDS / 2)


class _Child:
    """One role process and its restarts."""

    def __init__(self, role: str, number: int, config: Path | None) -> None:
        self._role = role
        self._command = [sys.executable, "-m", "cmmd_node.cli", "serve", "--role", role]
        self._command += ["--number", str(number), "--supervised"]
        if config is not None:
            self._command += ["--config", str(config)]
        self._pause_seconds = 0.5
        self._not_before = 0.0
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
        self._started = time.monotonic()
        self._ended = False

    def watch(self) -> None:
        """Start the process again when it has died.

        Raises
        ------
        StartRefused
            It will not run here.
        """
        status = self._process.poll()
        now = time.monotonic()
        if status is None:
            return
        if not self._ended:
            self._ended = True
            if status == EXIT_REFUSED:
                raise StartRefused(f"{self._role} refused to start")
            lived = now - self._started
            self._pause_seconds = 0.5 if lived > 60 else min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
            self._not_before = now + self._pause_seconds
            logger.error("%s ended with %d; started again in %.1f s", self._role, status, self._pause_seconds)
        if now >= self._not_before:
            self._start()

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop in time and is killed", self._role)
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def lock(data_dir: Path, name: str, *, seconds: float = 0.0, holder: str = "another node") -> int:
    """Hold a lock file for the life of this process; another holder gets `seconds` to end.

    Raises
    ------
    StartRefused
        Another process holds it.
    """
    directory = data_dir / "run"
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = os.open(directory / f"{name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StartRefused(f"data_dir {data_dir} cannot be used: {error.strerror}") from error
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            os.close(file)
            raise StartRefused(f"{holder} runs on data_dir {data_dir}") from None
        return file


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _stop_with_supervisor(stop: threading.Event) -> None:
    # Not through sys.stdin: a thread that holds its lock makes the interpreter abort at its end.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()


def _start_beating(index: Index, role: str, stop: threading.Event) -> None:
    """Say from now on that the role is at work."""
    threading.Thread(target=_beat, args=(index, role, stop), daemon=True).start()


def _beat(index: Index, role: str, stop: threading.Event) -> None:
    while True:
        try:
            with index.write() as connection:
                beat(connection, role)
        except SQLAlchemyError:  # a heartbeat that fails is missed by whoever looks for it
            logger.warning("the index does not take a heartbeat")
        if stop.wait(_BEAT_SECONDS):
            return
