"""Fixtures of all tests: settings of a node of one's own, on either database; tools that a machine may lack."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cmmd_node.index import Index, open_index
from cmmd_node.settings import CLASSICAL, Settings

SHARED = Path(__file__).resolve().parents[2] / "shared"

#: A PostgreSQL server on which tests may create databases; without it they use SQLite.
TEST_DATABASE_VARIABLE = "CMMD_NODE_TEST_DATABASE_URL"

MakeSettings = Callable[..., Settings]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with nodes and real peers come first, so that no worker is left alone with one of them in the end.

    On PostgreSQL only what uses a database: the rest has passed on SQLite and would do the same again.
    """
    long = {item.path for item in items if item.get_closest_marker("e2e")}
    items.sort(key=lambda item: item.path not in long)
    if os.environ.get(TEST_DATABASE_VARIABLE):
        chosen = [item for item in items if "database_url" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `shared` run wherever the shared data are."""
    if item.get_closest_marker("shared") and not (SHARED / "data").is_dir():
        pytest.skip("the shared data are not beside this checkout")


def need(*tools: str) -> None:
    """Skip the test when one of the programs is missing; on CI, where all are installed, fail it."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} is missing; tests/run installs it")
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


#: Below the ports that the kernel gives to clients, a part for each process that runs tests, from a random place on.
_PORTS = range(10_000, 32_000)
_PORTS_OF_WORKER = 2_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_FIRST = _WORKER % (len(_PORTS) // _PORTS_OF_WORKER) * _PORTS_OF_WORKER
_TURN = secrets.randbelow(_PORTS_OF_WORKER)
_NEXT_PORT = itertools.cycle(_PORTS[_FIRST + (_TURN + number) % _PORTS_OF_WORKER] for number in range(_PORTS_OF_WORKER))


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody uses right now, and that no other test is given before it has bound them."""
    ports: list[int] = []
    while len(ports) < count:
        port = next(_NEXT_PORT)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sa.Engine, str] | None]:
    """A connection to the PostgreSQL server, and a database to copy; migrating one for each test takes seconds."""
    server = os.environ.get(TEST_DATABASE_VARIABLE)
    if not server:
        yield None
        return
    name = f"template_{secrets.token_hex(6)}"
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    open_index(Settings(node={"data_dir": tmp_path_factory.mktemp("template"), "database_url": url})).close()
    yield admin, name
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


@pytest.fixture
def database_url(migrated_database: tuple[sa.Engine, str] | None) -> Iterator[str]:
    """The database_url setting of a fresh database: empty for SQLite in data_dir, or one on PostgreSQL."""
    if migrated_database is None:
        yield ""
        return
    admin, template = migrated_database
    name = f"test_{secrets.token_hex(6)}"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield admin.url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def make_settings(tmp_path: Path, database_url: str) -> MakeSettings:
    """Settings of a node in the test's folder; keyword arguments are sections."""

    def make(**sections: Any) -> Settings:
        receive_port, web_port, check_port = free_ports(3)
        node = {"data_dir": tmp_path / "node", "database_url": database_url, "check_port": check_port}
        receive = {"port": receive_port, "reserve_mb": 16}
        return Settings(
            **{
                **sections,
                "node": {**node, **sections.get("node", {})},
                "receive": {**receive, **sections.get("receive", {})},
                "web": {"port": web_port, **sections.get("web", {})},
                "cad": {"bundle": CLASSICAL, **sections.get("cad", {})},
            }
        )

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """Settings of a node that takes images from anybody and sends to nobody."""
    return make_settings(receive={"accept": "any"})


@pytest.fixture
def index(settings: Settings) -> Iterator[Index]:
    """The open index of that node."""
    opened = open_index(settings)
    yield opened
    opened.close()


@pytest.fixture
def index_of() -> Iterator[Callable[[Settings], Index]]:
    """Opens the index of any node, and closes it in the end."""
    opened: list[Index] = []

    def open_(settings: Settings) -> Index:
        opened.append(open_index(settings))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()
