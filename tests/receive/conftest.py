"""A receiver of one's own, in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import FileDataset
from pynetdicom import AE, build_context

from cmmd_node.index import Index, open_index
from cmmd_node.receive.commitment import CommitmentRequests
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.scp import Receiver
from cmmd_node.settings import Settings
from tests.conftest import MakeSettings
from tests.receive.naive import NaiveReceiver
from tests.receive.raw import RawPeer

#: "naive": the tests run on a receiver that is not ours.
RECEIVER_VARIABLE = "CMMD_NODE_TEST_RECEIVER"


@dataclass
class Reception:
    """A running receiver and what it keeps."""

    settings: Settings
    index: Index
    inbox: Inbox
    receiver: Receiver | NaiveReceiver

    @property
    def port(self) -> int:
        return self.settings.receive.port

    @property
    def root(self) -> Path:
        return self.settings.node.data_dir

    def rows(self, statement: str) -> list[Any]:
        with self.index.read() as connection:
            return list(connection.exec_driver_sql(statement).all())

    def objects(self) -> list[Path]:
        return sorted((self.root / "objects").glob("*/*"))

    def spooled(self) -> list[Path]:
        return [path for path in (self.root / "spool").rglob("*") if path.is_file()]

    def store(self, *datasets: FileDataset, calling: str = "SENDER") -> list[int]:
        """C-STORE over one association; the statuses."""
        ae = AE(calling)
        kinds = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in datasets}
        assoc = ae.associate(
            "127.0.0.1", self.port, contexts=[build_context(*kind) for kind in kinds], ae_title="CMMD_NODE"
        )
        assert assoc.is_established
        statuses = [assoc.send_c_store(dcmread(BytesIO(part10_bytes(ds)))).Status for ds in datasets]
        assoc.release()
        return statuses


def part10_bytes(ds: FileDataset) -> bytes:
    """The file as its transfer syntax encodes it."""
    buffer = BytesIO()
    syntax = ds.file_meta.TransferSyntaxUID
    dcmwrite(
        buffer, ds, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, enforce_file_format=True
    )
    return buffer.getvalue()


def data_set_bytes(ds: FileDataset) -> bytes:
    """The data set alone, without preamble and File Meta Information."""
    content = part10_bytes(ds)
    return content[144 + int.from_bytes(content[140:144], "little") :]


@pytest.fixture
def receive(make_settings: MakeSettings) -> Iterator[Callable[..., Reception]]:
    """Start a receiver; keyword arguments are sections of its settings."""
    running: list[Reception] = []

    def start(**sections: Any) -> Reception:
        settings = make_settings(**{**sections, "receive": {"accept": "any", **sections.get("receive", {})}})
        index = open_index(settings)
        client = index.client()
        inbox = Inbox(settings, index, client)
        kind = NaiveReceiver if os.environ.get(RECEIVER_VARIABLE) == "naive" else Receiver
        receiver = kind(settings, inbox, CommitmentRequests(settings, index, client))
        receiver.start()
        running.append(Reception(settings, index, inbox, receiver))
        return running[-1]

    yield start
    for one in running:
        if one.receiver._thread.is_alive():
            one.receiver.stop(2)
        one.index.close()


@pytest.fixture
def reception(receive: Callable[..., Reception]) -> Reception:
    """A receiver that takes images from anybody."""
    return receive()


@pytest.fixture
def connect() -> Iterator[Callable[[Reception], RawPeer]]:
    """Raw peers that are closed in the end."""
    peers: list[RawPeer] = []

    def to(reception: Reception) -> RawPeer:
        peers.append(RawPeer(reception.port))
        return peers[-1]

    yield to
    for peer in peers:
        peer.socket.close()
