"""Children that crash, hang or raise cost their own job and nothing else."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmmd_node.isolation import IsolatedPool, Lost


@pytest.fixture
def pool() -> Iterator[IsolatedPool]:
    made = IsolatedPool(2)
    yield made
    made.close()


def double(number: int) -> int:
    return 2 * number


def misbehave(job: str) -> str:
    """What a damaged image may do to a decoder."""
    if job == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "hang":
        threading.Event().wait()
    if job == "raise":
        raise ValueError("a reason")
    return job


def crash_once(marker: str) -> str:
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def test_results_come_in_the_order_of_the_jobs(pool: IsolatedPool) -> None:
    assert pool.map(double, range(7), seconds=30) == [0, 2, 4, 6, 8, 10, 12]


def test_a_crash_costs_its_own_job_only(pool: IsolatedPool) -> None:
    found = pool.map(misbehave, ["a", "crash", "b", "c"], seconds=30)
    assert found == ["a", Lost("the process crashed"), "b", "c"]
    assert pool.map(double, [1], seconds=30) == [2]


def test_a_job_that_hangs_meets_its_deadline(pool: IsolatedPool) -> None:
    assert pool.map(double, [1, 2], seconds=30) == [2, 4]  # both children are up: the deadline is the job's alone
    found = pool.map(misbehave, ["hang", "a"], seconds=2)
    assert isinstance(found[0], Lost)
    assert "2 s" in found[0].reason
    assert found[1] == "a"


def test_a_job_that_crashed_by_accident_is_repeated(pool: IsolatedPool, tmp_path: Path) -> None:
    assert pool.map(crash_once, [str(tmp_path / "marker")], seconds=30) == ["done"]


def test_what_a_job_raises_reaches_the_caller(pool: IsolatedPool) -> None:
    with pytest.raises(ValueError, match="a reason"):
        pool.map(misbehave, ["a", "raise"], seconds=30)
    assert pool.map(double, [3], seconds=30) == [6]


def test_callers_in_several_threads_get_their_own_results(pool: IsolatedPool) -> None:
    results: dict[int, list[int | Lost]] = {}
    threads = [
        threading.Thread(target=lambda start=start: results.update({start: pool.map(double, [start] * 3, seconds=30)}))
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {start: [2 * start] * 3 for start in range(4)}


def test_closing_ends_a_job_that_runs_and_starts_nothing_new() -> None:
    pool = IsolatedPool(1)
    found: list[list[str | Lost]] = []
    waiting = threading.Thread(target=lambda: found.append(pool.map(misbehave, ["hang"], seconds=300)))
    waiting.start()
    while not pool._lock.locked():
        threading.Event().wait(0.01)
    pool.close()
    waiting.join(30)
    assert found == [[Lost("the node stops")]]
    assert not any(child._process.is_alive() for child in pool._children)
