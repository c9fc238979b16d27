"""The write-ahead log of the embedded database: how it is checkpointed, and why no SQLite can corrupt it.

A commit in WAL mode is one sync; a rollback journal takes three or four. But SQLite before 3.51.3 has the WAL-reset bug
(sqlite.org/wal.html): a checkpoint copies the header of the log, then a writer in another process starts the log anew,
which it may do once everything in it has been copied to the database; the checkpoint goes on with its stale header and
marks frames of the new log as copied that never were. They are lost. SQLite's own checkpoints, which follow commits in
all processes, are therefore switched off, and the only one there is, `checkpoint`, keeps two rules:

1. One at a time: whoever checkpoints holds a lock on a file beside the database.
2. It commits something of its own first. The log then ends in a frame that nobody has copied, and since only a
   checkpoint copies frames, no writer can start the log anew until this one has copied that frame and is at its end.

So between the copy of the header and the end of the checkpoint the log is never reset, in whichever mode SQLite runs it
(RESTART falls back to PASSIVE when a writer is at work). What else resets or checkpoints does so alone: recovery after
a crash holds all locks of the log, and the last connection to close has the database exclusively.

A log of about `_ROWS` row changes per process is copied; one that a reader keeps from being reset grows until it ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

logger = logging.getLogger(__name__)

#: A process checkpoints when it has changed so many rows: about 10 MB of log at one image's rows and their indexes.
_ROWS = 1000
#: What the file of the log keeps when it starts anew; its blocks are used again, which makes its syncs cheap.
_KEPT_BYTES = 64 << 20
_BUSY_MS = 30_000
#: How long writers may have to wait for readers of an old part of the log; then the checkpoint copies less.
_READERS_MS = 500


def use_wal(engine: Engine) -> None:
    """Let every connection of the engine log ahead, sync each commit, and checkpoint by the rules above alone."""
    database = Path(engine.url.database or "")
    changed_rows = 0

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA journal_size_limit={_KEPT_BYTES}")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "checkin")
    def count(connection: sqlite3.Connection | None, record: Any) -> None:
        nonlocal changed_rows
        if connection is None:
            return
        changed_rows += connection.total_changes - record.info.get("changes", 0)
        record.info["changes"] = connection.total_changes
        if changed_rows >= _ROWS:
            changed_rows = 0
            checkpoint(connection, database)


def checkpoint(connection: sqlite3.Connection, database: Path) -> None:
    """Copy the log to the database, unless another process does; a failure is not the caller's, and is tried again.

    Parameters
    ----------
    connection
        One that is in no transaction.
    """
    try:
        with checkpoint_lock(database, wait=False):
            connection.execute("PRAGMA user_version=1")  # rule 2: writes a frame though it changes nothing
            connection.execute(f"PRAGMA busy_timeout={_READERS_MS}")
            try:
                connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            finally:
                connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    except BlockingIOError:
        return
    except (sqlite3.Error, OSError) as error:
        logger.warning("the log of the index was not copied to it: %s", error)


@contextmanager
def checkpoint_lock(database: Path, *, wait: bool) -> Iterator[None]:
    """Hold rule 1's lock.

    Raises
    ------
    BlockingIOError
        Somebody else holds it, and was not to be waited for.
    """
    file = os.open(database.with_name(f"{database.name}-checkpoint"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(file)
