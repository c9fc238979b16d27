"""A web role of one's own in this process, and what is said to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import FileDataset

from cmmd_node.index import Index, open_index
from cmmd_node.settings import Settings
from cmmd_node.web import serve_http
from tests.conftest import MakeSettings
from tests.nodes import wait_until
from tests.receive.conftest import part10_bytes

BOUNDARY = "a boundary that no test picture holds"
STOW = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'


@dataclass
class WebRole:
    """A running HTTP server, its index, and a client of it."""

    settings: Settings
    index: Index
    client: httpx.Client

    @property
    def root(self) -> Path:
        return self.settings.node.data_dir

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.web.port}/dicom-web"

    def rows(self, statement: str) -> list[Any]:
        with self.index.read() as connection:
            return list(connection.exec_driver_sql(statement).all())

    def kept(self) -> set[str]:
        """SOP Instance UIDs that the index knows."""
        return {row[0] for row in self.rows("SELECT sop_instance_uid FROM instance")}

    def spooled(self) -> list[Path]:
        return [path for path in (self.root / "spool").rglob("*") if path.is_file()]

    def store(self, *instances: FileDataset | bytes, study: str = "") -> httpx.Response:
        """STOW-RS of data sets, or of parts as they are."""
        path = f"/studies/{study}" if study else "/studies"
        return self.client.post(path, content=body(*instances), headers={"Content-Type": STOW})


def body(*instances: FileDataset | bytes, end: bytes = b"--\r\n") -> bytes:
    """A multipart body with a part for each."""
    delimiter = b"--" + BOUNDARY.encode()
    parts = [one if isinstance(one, bytes) else part10_bytes(one) for one in instances]
    return b"".join(delimiter + b"\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in parts) + (
        delimiter + end
    )


def uids(answer: httpx.Response, tag: str) -> list[str]:
    """Referenced SOP Instance UIDs in a sequence of the answer."""
    return [one["00081155"]["Value"][0] for one in answer.json().get(tag, {"Value": []})["Value"]]


def reasons(answer: httpx.Response, tag: str = "00081198") -> list[int]:
    """Failure Reasons in a sequence of the answer."""
    return [one["00081197"]["Value"][0] for one in answer.json().get(tag, {"Value": []})["Value"]]


REFERENCED, FAILED, OTHER = "00081199", "00081198", "0008119A"


@pytest.fixture
def serve(make_settings: MakeSettings) -> Iterator[Callable[..., WebRole]]:
    """Start a web role; keyword arguments are sections of its settings."""
    running: list[tuple[WebRole, threading.Event, threading.Thread]] = []

    def start(**sections: Any) -> WebRole:
        settings = make_settings(**sections)
        index = open_index(settings)
        client = httpx.Client(base_url=f"http://127.0.0.1:{settings.web.port}/dicom-web", timeout=30)
        role, stop = WebRole(settings, index, client), threading.Event()
        thread = threading.Thread(target=serve_http, args=(settings, index, stop), kwargs={"stop_seconds": 5})
        thread.start()
        running.append((role, stop, thread))
        wait_until(lambda: _answers(client), 20, "the web role")
        return role

    yield start
    for role, stop, thread in running:
        role.client.close()
        stop.set()
        thread.join()
        role.index.close()


@pytest.fixture
def web(serve: Callable[..., WebRole]) -> WebRole:
    """A web role with the settings that come with the program."""
    return serve()


def _answers(client: httpx.Client) -> bool:
    try:
        client.get("/")
    except httpx.ConnectError:
        return False
    return True
