"""Child processes for work that may crash, hang or eat memory: decoding what strangers sent, and models.

A child that dies or misses its deadline costs the job that it worked on, once repeated, and nothing else. Children
start by spawn and see the end of their parent as the end of their pipe.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")

_ATTEMPTS = 2
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Lost:
    """A job without a result."""

    reason: str
    """What became of it, as half a sentence: "the process crashed"."""


@dataclass(slots=True)
class _Task(Generic[Job]):
    position: int
    job: Job
    attempts: int = 0


class IsolatedPool:
    """A fixed number of child processes; one caller at a time has them all."""

    def __init__(self, processes: int) -> None:
        self._children = [_Child() for _ in range(processes)]
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def map(self, function: Callable[[Job], Result], jobs: Sequence[Job], *, seconds: float) -> list[Result | Lost]:
        """Run `function`, which must be importable, on every job; results in the order of the jobs.

        Parameters
        ----------
        seconds
            Deadline of one job.

        Raises
        ------
        Exception
            Whatever `function` raised for the first job that failed so; it ran to its end and is not repeated.
        """
        with self._lock:
            waiting = deque(_Task(position, job) for position, job in enumerate(jobs))
            results: dict[int, Result | Lost] = {}
            while len(results) < len(jobs):
                if self._closing.is_set():
                    return [Lost("the node stops")] * len(jobs)
                for child in self._children:
                    if waiting and child.task is None:
                        child.begin(function, waiting.popleft(), seconds)
                busy = [child for child in self._children if child.task is not None]
                ready = wait([child.connection for child in busy], timeout=min(child.left() for child in busy))
                for child in busy:
                    if child.connection in ready or child.left() <= 0:
                        task, result = child.end(seconds, replace=not self._closing.is_set())
                        if isinstance(result, Lost) and task.attempts < _ATTEMPTS:
                            waiting.append(task)
                        else:
                            results[task.position] = result
            failures = [one for one in results.values() if isinstance(one, _Raised)]
            if failures:
                raise failures[0].error
            return [results[position] for position in range(len(jobs))]

    def close(self) -> None:
        """End the children at once; jobs that run are lost."""
        self._closing.set()
        for child in self._children:
            child.stop()
        with self._lock:  # whoever waits for a job has seen its end
            for child in self._children:
                child.kill()


@dataclass(frozen=True, slots=True)
class _Raised(Lost):
    error: Exception


class _Child:
    """One process, started when it is first needed, and again after a crash."""

    def __init__(self) -> None:
        self.task: _Task[Any] | None = None
        self._deadline = 0.0
        self._start()

    def _start(self) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, function: Callable[[Any], Any], task: _Task[Any], seconds: float) -> None:
        task.attempts += 1
        self.task = task
        self._deadline = time.monotonic() + seconds
        try:
            self.connection.send((function, task.job))
        except OSError:  # it died while idle; `end` finds the pipe closed
            logger.debug("a child process was gone before its job")

    def left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def end(self, seconds: float, *, replace: bool) -> tuple[_Task[Any], Any]:
        """The task and its result; a child that crashed or hangs is ended, and replaced unless the pool closes."""
        task = self.task
        assert task is not None
        self.task = None
        result: Any
        if not self.connection.poll():
            result = Lost(f"the process did not finish within {seconds:g} s")
        else:
            try:
                return task, self.connection.recv()
            except (EOFError, OSError):
                result = Lost("the process crashed")
        self.kill()
        if replace:
            logger.warning("%s; attempt %d of %d", result.reason, task.attempts, _ATTEMPTS)
            self._start()
        return task, result

    def stop(self) -> None:
        """Let the process die; its pipe stays, so that whoever waits on it learns of the end."""
        self._process.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection) -> None:
    """The life of a child: one job after the other until the parent is gone."""
    os.environ["OMP_NUM_THREADS"] = "1"  # one process a core is all the parallelism there is
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    while True:
        try:
            function, job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = function(job)
        except Exception as error:  # carried to the caller, who raises it
            result = _Raised(f"{type(error).__name__}", error)
        try:
            connection.send(result)
        except OSError:
            return
