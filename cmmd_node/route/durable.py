"""Durable work: workflows whose steps are stored, and attempts that are repeated with pauses until they are over."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from dbos import DBOS
from sqlalchemy.exc import DBAPIError

from cmmd_node.deliver import retry_after_seconds
from cmmd_node.settings import Settings

logger = logging.getLogger(__name__)

Returned = TypeVar("Returned")

#: Attempts to reach one peer at once, each a thread that mostly sleeps; a dead peer holds up no other.
AT_ONCE = 8
_POLL_SECONDS = 0.25
#: A step that fails for the database's or the disk's sake is tried for about a day before its workflow fails.
_DATABASE_ATTEMPTS = 40
#: Crashes of the worker do not count against a workflow: what crashes runs in children.
_RECOVERIES = 1_000_000


def register(name: str, function: Callable[..., None]) -> None:
    """Name a workflow to DBOS, which cannot name bound methods."""

    def workflow(*arguments: Any) -> None:
        function(*arguments)

    workflow.__qualname__ = name
    DBOS.workflow(name=name, max_recovery_attempts=_RECOVERIES)(workflow)


def listen_to(queue: str, *, at_once: int | None = None, at_once_of_partition: int | None = None) -> None:
    """Take work from a queue, so much of it at once."""
    DBOS.register_queue(
        queue,
        worker_concurrency=at_once,
        partition_worker_concurrency=at_once_of_partition,
        polling_interval_sec=_POLL_SECONDS,
        on_conflict="always_update",
    )


def step(name: str, function: Callable[..., Returned], *arguments: Any) -> Returned:
    """One durable step; while the database is away or the disk is full it is tried again."""
    return DBOS.run_step(
        {
            "name": name,
            "retries_allowed": True,
            "max_attempts": _DATABASE_ATTEMPTS,
            "interval_seconds": 1.0,
            "backoff_rate": 1.5,
            "should_retry": may_pass,
        },
        function,
        *arguments,
    )


def try_until_over(
    name: str, attempt: Callable[..., float | None], *arguments: Any, give_up: Callable[[str], None]
) -> None:
    """Attempts, each a step, until one was the last.

    Parameters
    ----------
    attempt
        Says how many seconds to wait before the next, None when there is none.
    give_up
        Called with the reason when something unexpected ends them.
    """
    try:
        while True:
            wait_seconds = step(name, attempt, *arguments)
            if wait_seconds is None:
                return
            DBOS.sleep(wait_seconds)
    except Exception as error:  # the catch-all around one job: it ends visibly, whatever happened
        logger.exception("%s %s failed", name, arguments)
        step("give up", give_up, f"unexpected {type(error).__name__}")


def pause_seconds(settings: Settings, attempts: int) -> float:
    """How long to wait after so many attempts."""
    return retry_after_seconds(
        attempts,
        first_seconds=settings.deliver.retry_seconds,
        limit_seconds=settings.deliver.retry_limit_seconds,
    )


def may_pass(error: BaseException) -> bool:
    """Whether an operator is likely to mend it while we wait."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or isinstance(error, DBAPIError)
