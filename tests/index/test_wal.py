"""The log of the embedded database: who checkpoints it, and that many processes at once leave it whole."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cmmd_node.index import Index, open_index
from cmmd_node.index import wal as wal_module
from cmmd_node.index.tables import heartbeat
from cmmd_node.index.wal import checkpoint, checkpoint_lock
from cmmd_node.settings import Settings


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Index]:
    index = open_index(Settings(node={"data_dir": tmp_path}))
    yield index
    index.close()


def database_of(index: Index) -> Path:
    assert index.engine.url.database
    return Path(index.engine.url.database)


def log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def frames_and_copied(connection: sqlite3.Connection) -> tuple[int, int]:
    """Frames in the log and those that were copied, as a checkpoint that this test may make says."""
    (_, frames, copied) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return frames, copied


def test_no_connection_checkpoints_by_itself(embedded: Index) -> None:
    durable_work = embedded.client()._sys_db.engine
    for engine in (embedded.engine, durable_work):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar_one() == 0
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_a_checkpoint_commits_a_frame_of_its_own_first(embedded: Index) -> None:
    with embedded.engine.connect() as connection:
        raw = connection.connection.driver_connection
        checkpoint(raw, database_of(embedded))
        before = raw.execute("PRAGMA data_version").fetchone()
        statements: list[str] = []
        raw.set_trace_callback(statements.append)
        checkpoint(raw, database_of(embedded))
        raw.set_trace_callback(None)
        assert raw.execute("PRAGMA data_version").fetchone() == before
        assert frames_and_copied(raw) == (1, 1), "everything else had been copied and the log begun anew"
    order = [one for one in statements if "user_version" in one or "wal_checkpoint" in one]
    assert order == ["PRAGMA user_version=1", "PRAGMA wal_checkpoint(RESTART)"]


def test_nobody_checkpoints_while_another_does(embedded: Index) -> None:
    with embedded.engine.connect() as connection:
        raw = connection.connection.driver_connection
        statements: list[str] = []
        raw.set_trace_callback(statements.append)
        with checkpoint_lock(database_of(embedded), wait=False):
            checkpoint(raw, database_of(embedded))
        raw.set_trace_callback(None)
    assert statements == []


def test_many_commits_reuse_the_log(embedded: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_module, "_ROWS", 50)
    sizes = []
    for number in range(300):
        with embedded.write() as connection:
            connection.execute(heartbeat.insert().values(role=f"role {number}", at_ms=number))
        sizes.append(log_of(database_of(embedded)).stat().st_size)
    assert max(sizes[100:]) <= max(sizes[:100])


def test_a_reader_holds_up_no_writer_for_long(embedded: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_module, "_READERS_MS", 50)
    with sqlite3.connect(database_of(embedded)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM heartbeat").fetchall()
        with embedded.write() as connection:
            connection.execute(heartbeat.insert().values(role="while it reads", at_ms=1))
        with embedded.engine.connect() as connection:
            started = time.monotonic()
            checkpoint(connection.connection.driver_connection, database_of(embedded))
            assert time.monotonic() - started < 5
        with embedded.write() as connection:
            connection.execute(heartbeat.insert().values(role="and later", at_ms=2))
        reader.rollback()
        assert len(reader.execute("SELECT * FROM heartbeat").fetchall()) == 2
    reader.close()


def test_an_index_with_a_rollback_journal_opens(tmp_path: Path) -> None:
    settings = Settings(node={"data_dir": tmp_path})
    open_index(settings).close()
    with sqlite3.connect(tmp_path / "index.sqlite") as old:
        assert old.execute("PRAGMA journal_mode=PERSIST").fetchone() == ("persist",)
        old.execute("INSERT INTO heartbeat VALUES ('old', 1)")
    old.close()
    assert (tmp_path / "index.sqlite-journal").stat().st_size > 0
    index = open_index(settings)
    with index.read() as connection:
        assert connection.execute(heartbeat.select()).all() == [("old", 1)]
    index.close()


def _write(name: str, settings: Settings, commits: int, rows: int) -> None:
    """One process of several: commit small rows, and look at all of them."""
    wal_module._ROWS = rows
    index = open_index(settings)
    for number in range(commits):
        with index.write() as connection:
            connection.execute(heartbeat.insert().values(role=f"{name} {number}", at_ms=number))
            connection.execute(sa.update(heartbeat).values(at_ms=number).where(heartbeat.c.role == f"{name} 0"))
        with index.read() as connection:
            connection.execute(sa.select(sa.func.count()).select_from(heartbeat)).scalar_one()
    os._exit(0)  # no last connection that copies and removes the log


def stress(folder: Path, *, processes: int, commits: int, rows: int) -> int:
    """Let processes write and checkpoint as fast as they can; all that they committed is there, and all is whole.

    Returns
    -------
    int
        Size of the log at the end, bytes.
    """
    settings = Settings(node={"data_dir": folder})
    open_index(settings).close()
    context = multiprocessing.get_context("fork")
    names = [f"p{number}" for number in range(processes)]
    writers = [context.Process(target=_write, args=(name, settings, commits, rows)) for name in names]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
        assert one.exitcode == 0
    log_bytes = log_of(folder / "index.sqlite").stat().st_size
    with sqlite3.connect(folder / "index.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = {role for (role,) in connection.execute("SELECT role FROM heartbeat")}
    connection.close()
    assert found == {f"{name} {number}" for name in names for number in range(commits)}
    return log_bytes


def test_processes_that_write_and_checkpoint_at_once_lose_nothing(tmp_path: Path) -> None:
    stress(tmp_path, processes=4, commits=60, rows=5)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_processes_that_write_and_checkpoint_for_long_lose_nothing(tmp_path: Path) -> None:
    log_bytes = stress(tmp_path, processes=8, commits=10_000, rows=2)
    assert log_bytes < 4096 * 8 * 10_000 / 2, "the log was never begun anew"
