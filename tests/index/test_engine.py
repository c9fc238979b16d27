"""Opening the index: migrations, durability, refusals; on whichever database the suite runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, column, event, insert, select, table
from sqlalchemy.exc import IntegrityError

from cmmd_node.errors import StartRefused
from cmmd_node.index import Index, open_index
from cmmd_node.index.identity import node_uid
from cmmd_node.index.tables import heartbeat, metadata, result
from cmmd_node.settings import Settings
from tests.nodes import wait_until


def test_migrations_make_the_tables_that_the_code_knows(index: Index) -> None:
    with index.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _parents: kind != "table" or name in metadata.tables}
        )
        assert compare_metadata(context, metadata) == []


def test_opening_twice_changes_nothing(settings: Settings, index: Index) -> None:
    again = open_index(settings)
    with again.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "0007"
    again.close()


def test_results_of_the_first_route_are_known_by_their_codes(settings: Settings, index: Index) -> None:
    values = dict.fromkeys(("study_instance_uid", "series_instance_uid", "sop_class_uid", "path", "digest"), "1")
    with index.write() as connection:
        catalogue = (f"catalogue_{level}" for level in ("study", "series", "instance"))
        for name in ("purged_file", "prior_search", "commitment", *catalogue):
            connection.exec_driver_sql(f"DROP TABLE {name}")
        connection.exec_driver_sql("ALTER TABLE study DROP COLUMN purged_ms")
        for name in ("instance", "result"):
            connection.exec_driver_sql(f"DROP INDEX ix_{name}_uncatalogued")
            connection.exec_driver_sql(f"ALTER TABLE {name} DROP COLUMN is_catalogued")
        connection.exec_driver_sql("ALTER TABLE result DROP COLUMN codes")
        connection.exec_driver_sql('ALTER TABLE view_result DROP COLUMN "whole"')
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        for form in ("cad-sr", "gsps"):
            row = values | {"sop_instance_uid": form, "form": form, "number": 1, "size_bytes": 1}
            connection.execute(insert(table("result", *map(column, row))).values(row))
    open_index(settings).close()
    with index.read() as connection:
        known = connection.execute(select(result.c.form, result.c.codes).order_by(result.c.form)).all()
    assert known == [("cad-sr", "sct"), ("gsps", None)]


def test_processes_that_start_together_migrate_once(settings: Settings) -> None:
    opened: list[Index] = []
    threads = [threading.Thread(target=lambda: opened.append(open_index(settings))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for one in opened:
        one.close()


@pytest.mark.fault("E83")
def test_an_index_of_a_newer_program_is_refused(settings: Settings, index: Index) -> None:
    with index.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartRefused, match="newer"):
        open_index(settings)


def test_a_database_that_cannot_be_reached_is_refused_in_one_sentence(tmp_path: Path) -> None:
    settings = Settings(
        node={"data_dir": tmp_path, "database_url": "postgresql+psycopg://nobody:secret-4711@127.0.0.1:1/none"}
    )
    with pytest.raises(StartRefused, match="index") as refusal:
        open_index(settings)
    assert "\n" not in str(refusal.value)
    assert "secret-4711" not in str(refusal.value)


@pytest.mark.fault("E76")
def test_a_damaged_sqlite_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StartRefused, match="not a database"):
        open_index(Settings(node={"data_dir": tmp_path}))


def test_a_failed_transaction_leaves_nothing(index: Index) -> None:
    def fail() -> None:
        with index.write() as connection:
            connection.execute(heartbeat.insert().values(role="x", at_ms=1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with index.read() as connection:
        assert connection.execute(heartbeat.select()).all() == []


def write_all_at_once(index: Index, works: list[Callable[[Connection], object]]) -> list[Exception | None]:
    """What each of the works raised, all of which waited for the writer at the same time."""
    raised: list[Exception | None] = [None] * len(works)

    def write(number: int) -> None:
        try:
            index.write_together(works[number])
        except Exception as error:
            raised[number] = error

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(works))]
    with index.write():
        for thread in threads:
            thread.start()
        wait_until(lambda: len(index._waiting) == len(works), 30, "all that wait")
    for thread in threads:
        thread.join()
    return raised


def insert_heartbeat(role: str) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(heartbeat.insert().values(role=role, at_ms=1))


def roles_of(index: Index) -> list[str]:
    with index.read() as connection:
        return sorted(connection.execute(select(heartbeat.c.role)).scalars())


def test_what_waits_for_sqlite_is_committed_together_and_an_error_costs_its_own_work_only(tmp_path: Path) -> None:
    index = open_index(Settings(node={"data_dir": tmp_path}))
    commits: list[Connection] = []
    event.listen(index.engine, "commit", commits.append)
    roles = [str(number) for number in range(8)]
    assert write_all_at_once(index, [insert_heartbeat(role) for role in roles]) == [None] * 8
    assert len(commits) == 2  # the one that all waited for, and theirs
    with index.write() as connection:
        connection.execute(heartbeat.delete().where(heartbeat.c.role != "3"))
    commits.clear()
    raised = write_all_at_once(index, [insert_heartbeat(role) for role in roles])
    assert [role for role, error in zip(roles, raised, strict=True) if error] == ["3"]
    assert isinstance(raised[3], IntegrityError)
    assert len(commits) == 8  # the one that all waited for, and those of seven
    assert roles_of(index) == roles
    index.close()


def test_a_commit_that_fails_is_told_to_all_whose_work_was_in_it_and_not_tried_again(tmp_path: Path) -> None:
    index = open_index(Settings(node={"data_dir": tmp_path}))
    commits: list[Connection] = []

    def fail_second(connection: Connection) -> None:
        commits.append(connection)
        if len(commits) == 2:
            raise OSError("the disk failed")

    event.listen(index.engine, "commit", fail_second)
    raised = write_all_at_once(index, [insert_heartbeat(str(number)) for number in range(4)])
    assert [str(error) for error in raised] == ["the disk failed"] * 4
    assert len(commits) == 2
    assert roles_of(index) == []
    index.close()


@pytest.mark.fault("E85")
def test_a_commit_on_sqlite_is_synced(tmp_path: Path) -> None:
    index = open_index(Settings(node={"data_dir": tmp_path}))
    with index.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    index.close()


def test_the_identity_is_made_once(tmp_path: Path) -> None:
    numbers = iter(range(100))
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(node_uid(tmp_path, lambda: f"2.25.{next(numbers)}")))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["node.json"]
