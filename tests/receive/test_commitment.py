"""Storage commitment as SCP: what an N-ACTION is answered, what is vouched for, and what 1000 reports cost."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance, Verification

from cmmd_node.index.commitments import find_commitment
from cmmd_node.receive import transport
from cmmd_node.receive.commitment import judge, result_of
from cmmd_node.receive.scp import STORAGE_CLASSES
from tests.mammograms import exam, make_mammogram
from tests.receive.conftest import Reception
from tests.receive.raw import RawPeer, p_data

PEER = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 11113}


@pytest.fixture
def reception(receive: Callable[..., Reception]) -> Reception:
    """A receiver that knows a peer which it can answer."""
    return receive(peer=(PEER,))


def references(*images: FileDataset, transaction_uid: str | None = None) -> Dataset:
    """Action Information about some images."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid or generate_uid()
    ds.ReferencedSOPSequence = Sequence([_reference(image.SOPClassUID, image.SOPInstanceUID) for image in images])
    return ds


def ask(
    reception: Reception,
    *requests: Dataset | None,
    calling: str = "PACS",
    action: int = 1,
    instance: str = StorageCommitmentPushModelInstance,
) -> list[int]:
    """N-ACTIONs on one association; their statuses."""
    with talk(reception, calling) as assoc:
        return [
            assoc.send_n_action(request, action, StorageCommitmentPushModel, instance)[0].Status for request in requests
        ]


def judged(reception: Reception, number: int = 1) -> tuple[int, Dataset]:
    """Event Type ID and Event Information of a transaction, judged now."""
    with reception.index.read() as connection:
        one = find_commitment(connection, number)
    assert one is not None
    return result_of(one, judge(one, reception.index, reception.root, STORAGE_CLASSES))


def failures(result: Dataset) -> dict[str, int]:
    return {item.ReferencedSOPInstanceUID: item.FailureReason for item in result.get("FailedSOPSequence", ())}


def test_a_request_is_durable_with_its_work_when_it_is_answered(reception: Reception) -> None:
    images = exam()
    reception.store(*images)
    request = references(*images)
    assert ask(reception, request) == [0x0000]
    assert reception.rows("SELECT transaction_uid, peer, state FROM commitment") == [
        (request.TransactionUID, "pacs", "waiting")
    ]
    table = "workflow_status" if reception.index.is_sqlite else "dbos.workflow_status"
    assert reception.rows(f"SELECT workflow_uuid FROM {table} WHERE name = 'commitment'") == [("commitment:1",)]


def test_kept_images_are_vouched_for(reception: Reception) -> None:
    images = exam()
    reception.store(*images)
    request = references(*images)
    ask(reception, request)
    event, result = judged(reception)
    assert event == 1
    assert result.TransactionUID == request.TransactionUID
    assert [item.ReferencedSOPInstanceUID for item in result.ReferencedSOPSequence] == [
        image.SOPInstanceUID for image in images
    ]
    assert "FailedSOPSequence" not in result


def test_each_image_that_is_not_vouched_for_has_its_reason(reception: Reception) -> None:
    kept, missing, cut, changed, other = (make_mammogram(study=str(number)) for number in range(5))
    unknown = make_mammogram(study="unknown")
    foreign = make_mammogram(study="foreign", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    reception.store(kept, missing, cut, changed, other)
    paths = dict(reception.rows("SELECT sop_instance_uid, path FROM instance"))
    (reception.root / paths[missing.SOPInstanceUID]).unlink()
    with (reception.root / paths[cut.SOPInstanceUID]).open("r+b") as file:
        file.truncate(2000)
    with (reception.root / paths[changed.SOPInstanceUID]).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    request = references(kept, missing, cut, changed, unknown, foreign)
    request.ReferencedSOPSequence.append(_reference("1.2.840.10008.5.1.4.1.1.1.2.1", other.SOPInstanceUID))
    ask(reception, request)
    event, result = judged(reception)
    assert event == 2
    assert [item.ReferencedSOPInstanceUID for item in result.ReferencedSOPSequence] == [kept.SOPInstanceUID]
    assert failures(result) == {
        missing.SOPInstanceUID: 0x0112,
        cut.SOPInstanceUID: 0x0110,
        changed.SOPInstanceUID: 0x0110,
        unknown.SOPInstanceUID: 0x0112,
        foreign.SOPInstanceUID: 0x0122,
        other.SOPInstanceUID: 0x0119,
    }


def test_the_same_request_again_is_no_new_transaction_but_its_uid_for_others_is(reception: Reception) -> None:
    first, second = make_mammogram(study="first"), make_mammogram(study="second")
    reception.store(first, second)
    transaction_uid = generate_uid()
    again = [references(first, transaction_uid=transaction_uid) for _ in range(2)]
    assert ask(reception, *again, references(second, transaction_uid=transaction_uid)) == [0x0000] * 3
    assert len(reception.rows("SELECT id FROM commitment")) == 2
    assert judged(reception, 1)[0] == 1
    assert failures(judged(reception, 2)[1]) == {second.SOPInstanceUID: 0x0131}


def test_what_cannot_be_answered_is_refused_at_once(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    good = references(make_mammogram())
    malformed = references(make_mammogram())
    malformed.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "../../etc/passwd"
    nameless = references(make_mammogram())
    del nameless.TransactionUID
    assert ask(reception, good, calling="STRANGER") == [0x0124]
    assert ask(reception, good, action=2) == [0x0123]
    assert ask(reception, good, instance="1.2.3") == [0x0112]
    assert ask(reception, references(), malformed, nameless) == [0x0115] * 3
    monkeypatch.setattr(transport, "_COLLECTED_BYTES", 10_000)
    assert ask(reception, references(*[make_mammogram()] * 100), good) == [0x0213, 0x0000]
    assert len(reception.rows("SELECT id FROM commitment")) == 1


def test_an_index_that_fails_promises_nothing(reception: Reception) -> None:
    with reception.index.write() as connection:
        connection.exec_driver_sql("ALTER TABLE commitment RENAME TO elsewhere")
    assert ask(reception, references(make_mammogram())) == [0x0213]
    with reception.index.write() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO commitment")


@pytest.mark.fault("B37")
def test_a_thousand_unsolicited_reports_are_answered_without_a_thread_each(
    reception: Reception, connect: Callable[[Reception], RawPeer]
) -> None:
    peer = connect(reception).associate()
    before = threading.active_count()
    sender = threading.Thread(target=lambda: [peer.socket.sendall(_report(number)) for number in range(1000)])
    sender.start()
    most = 0
    for _ in range(1000):
        assert peer.status() == 0x0110
        most = max(most, threading.active_count())
    sender.join()
    assert most <= before + 1, "one thread is ours"
    assert reception.store(make_mammogram()) == [0x0000]


class talk:  # noqa: N801 - reads as a verb
    """An association in both roles of storage commitment."""

    def __init__(self, reception: Reception, calling: str) -> None:
        self._reception = reception
        self._ae = AE(calling)
        self._ae.add_requested_context(StorageCommitmentPushModel)
        self._ae.add_requested_context(Verification)

    def __enter__(self) -> Any:
        role = build_role(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self._assoc = self._ae.associate("127.0.0.1", self._reception.port, ae_title="CMMD_NODE", ext_neg=[role])
        assert self._assoc.is_established
        return self._assoc

    def __exit__(self, *_error: object) -> None:
        self._assoc.release()


def _report(number: int) -> bytes:
    """An N-EVENT-REPORT-RQ without Event Information (PS3.7 9.3.2.1), through the context of Verification."""
    values = {
        0x0002: StorageCommitmentPushModel.encode(),
        0x0100: struct.pack("<H", 0x0100),
        0x0110: struct.pack("<H", number),
        0x0800: struct.pack("<H", 0x0101),
        0x1000: StorageCommitmentPushModelInstance.encode(),
        0x1002: struct.pack("<H", 1),
    }
    even = {element: value + b"\0" * (len(value) % 2) for element, value in values.items()}
    content = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in even.items())
    return p_data(1, struct.pack("<HHII", 0, 0, 4, len(content)) + content, command=True)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Malformed UIDs are meant."""
    before = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    yield
    config.settings.writing_validation_mode = before
