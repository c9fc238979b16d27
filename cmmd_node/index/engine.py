"""Opening the index: one engine for our tables and DBOS's, with the durability that a C-STORE success rests on.

What differs between SQLite and PostgreSQL is here, SQLite's log in `wal`, and nowhere else.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from dbos import DBOS, DBOSClient
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cmmd_node.errors import StartRefused
from cmmd_node.index.wal import checkpoint_lock, use_wal
from cmmd_node.settings import Settings

APPLICATION = "cmmd-node"
#: The schema that DBOS keeps its tables in on PostgreSQL; SQLite has none.
DBOS_SCHEMA = "dbos"
_MIGRATION_LOCK = 0x436D6D64  # any number, the same in every process

Result = TypeVar("Result")


def now_ms() -> int:
    """UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Index:
    """The engine and its transactions; queries are functions in this room that take a connection."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = _create_engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # SQLite has one writer, and who waits for it sleeps longer and longer between looks; threads can be woken.
        self._turn = threading.Lock()
        self._waiting: deque[tuple[Callable[[Connection], Any], Future[Any]]] = deque()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to look with."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction."""
        with self._turn if self.is_sqlite else nullcontext(), self._transaction() as connection:
            yield connection

    def write_together(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a transaction that SQLite commits with what other threads wait to write: one sync for all.

        It may be begun more than once, so it does nothing but to the connection. An error costs nobody else's work.
        """
        if not self.is_sqlite:  # PostgreSQL syncs transactions that end together as one by itself
            with self.write() as connection:
                return work(connection)
        done: Future[Result] = Future()
        self._waiting.append((work, done))
        with self._turn:
            if not done.done():
                self._do([self._waiting.popleft() for _ in range(len(self._waiting))])
        return done.result()

    def _do(self, works: list[tuple[Callable[[Connection], Any], Future[Any]]]) -> None:
        """All in one transaction; each in one of its own, where one of them fails."""
        is_working = False
        try:
            with self._transaction() as connection:
                is_working = True
                results = [work(connection) for work, _ in works]
                is_working = False
        except BaseException as error:  # is raised where the work came from
            if is_working and len(works) > 1:
                for one in works:
                    self._do([one])
                return
            for _, done in works:  # a commit that failed is not tried again: the disk may be what failed
                done.set_exception(error)
        else:
            for (_, done), result in zip(works, results, strict=True):
                done.set_result(result)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """On SQLite it takes the write lock first, since a lock taken later fails without waiting."""
        with self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            try:
                connection.commit()
            except BaseException:
                connection.invalidate()  # else the pool, which takes it for ended, hands out what was not committed
                raise

    def client(self) -> DBOSClient:
        """Enqueues durable work from a process that runs none."""
        return DBOSClient(
            system_database_engine=self.engine,
            dbos_system_schema=DBOS_SCHEMA,
            application_name=APPLICATION,
            retry_connection_errors=False,
        )

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def open_index(settings: Settings) -> Index:
    """Open the index and bring its tables to this program's version.

    Raises
    ------
    StartRefused
        The database cannot be reached, is damaged, is newer than this program, or is not durable.
    """
    if not settings.node.database_url:
        settings.node.data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    index = Index(settings.database_url)
    try:
        _check_durability(index)
        with index.write() as connection:
            if not index.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            _migrate(connection)
            if not index.is_sqlite:
                # Its own connections, so only the lock is shared: two processes must not migrate DBOS at once.
                DBOS.migrate(_dbos_url(settings), schema=DBOS_SCHEMA)
        if index.is_sqlite:
            # DBOS migrates on a connection of its own, which checkpoints after it has committed.
            with checkpoint_lock(Path(index.engine.url.database or ""), wait=True):
                DBOS.migrate(_dbos_url(settings), schema=DBOS_SCHEMA)
    except (DBAPIError, sqlite3.Error) as error:
        index.close()
        cause = getattr(error, "orig", error)
        damaged = type(cause) is sqlite3.DatabaseError  # malformed, or no database; not busy, not full
        hint = "; `cmmd-node reindex` rebuilds it from the files" if damaged else ""
        raise StartRefused(f"the index cannot be used: {str(cause).splitlines()[0]}{hint}") from error
    except (SQLAlchemyError, OSError) as error:
        index.close()
        raise StartRefused(f"the index cannot be used: {error}") from error
    except StartRefused:
        index.close()
        raise
    return index


def _dbos_url(settings: Settings) -> str:
    return settings.database_url


def _create_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=20, max_overflow=20, pool_pre_ping=True)
    # The connection used last has the pages that the next one needs, as long as nobody else writes.
    engine = create_engine(url, pool_size=20, max_overflow=20, pool_use_lifo=True)
    use_wal(engine)
    return engine


def _check_durability(index: Index) -> None:
    """Read back what the promise of a C-STORE success rests on."""
    with index.read() as connection:
        if index.is_sqlite:
            synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
            journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            by_itself = connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar_one()
            if synchronous < 2 or journal != "wal" or by_itself != 0:
                found = f"synchronous={synchronous}, journal_mode={journal}, wal_autocheckpoint={by_itself}"
                raise StartRefused(f"SQLite runs with {found}: an acknowledged image could be lost")
        else:
            for name in ("synchronous_commit", "fsync"):
                value = connection.exec_driver_sql(f"SHOW {name}").scalar_one()
                if value == "off":
                    raise StartRefused(f"PostgreSQL runs with {name}=off: an acknowledged image could be lost")


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "cmmd_node:index/migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise StartRefused(f"the index has schema {current}, which this program does not know: it is newer; upgrade it")
    command.upgrade(config, "head")
