"""What the receiver answers and what it keeps, over real associations."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import CTImageStorage, Verification

from cmmd_node.receive.command import success_response
from cmmd_node.settings import PRIOR_SOURCE
from tests.mammograms import encoded, exam, make_mammogram
from tests.receive.conftest import Reception, data_set_bytes
from tests.receive.raw import MAMMOGRAPHY, RawPeer, p_data, store_rq

Receive = Callable[..., Reception]
Connect = Callable[[Reception], RawPeer]


def nested(depth: int) -> FileDataset:
    """An image with sequences inside each other."""
    inner = Dataset()
    inner.CodeValue = "0"
    for _ in range(depth):
        outer = Dataset()
        outer.ConceptCodeSequence = Sequence([inner])
        inner = outer
    return make_mammogram(AcquisitionContextSequence=Sequence([inner]))


def test_an_acknowledged_instance_is_kept_byte_for_byte_with_its_row_and_its_work(reception: Reception) -> None:
    ds = make_mammogram()
    assert reception.store(ds) == [0x0000]
    (path,) = reception.objects()
    assert path.read_bytes().endswith(data_set_bytes(ds))
    assert dcmread(path).SOPInstanceUID == ds.SOPInstanceUID
    assert [str(reception.root / row[0]) for row in reception.rows("SELECT path FROM instance")] == [str(path)]
    assert reception.rows("SELECT study_instance_uid, number, state FROM round") == [
        (ds.StudyInstanceUID, 1, "settling")
    ]
    assert len(_workflows(reception)) == 1
    assert reception.spooled() == []


def test_names_on_disk_do_not_come_from_uids(reception: Reception) -> None:
    ds = make_mammogram()
    reception.store(ds)
    everything = "\n".join(str(path) for path in reception.root.rglob("*"))
    assert ds.SOPInstanceUID not in everything
    assert ds.StudyInstanceUID not in everything


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_compressed_images_are_kept_as_sent(reception: Reception, syntax: Any) -> None:
    ds = encoded(make_mammogram(), syntax)
    assert reception.store(ds) == [0x0000]
    (path,) = reception.objects()
    assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    assert path.read_bytes().endswith(data_set_bytes(ds))


def test_images_of_one_study_share_one_round(reception: Reception) -> None:
    assert reception.store(*exam()) == [0x0000] * 4
    assert reception.rows("SELECT number FROM round") == [(1,)]
    assert len(_workflows(reception)) == 1


@pytest.mark.fault("B33")
def test_second_copy_of_an_instance_is_a_success_without_new_work(reception: Reception) -> None:
    ds = make_mammogram()
    assert reception.store(ds, ds) == [0x0000, 0x0000]
    assert len(reception.objects()) == 1
    assert len(_workflows(reception)) == 1
    assert reception.spooled() == []


@pytest.mark.fault("B34")
def test_other_bytes_under_a_kept_uid_are_refused_and_put_aside(reception: Reception) -> None:
    first = make_mammogram()
    other = make_mammogram(StudyDescription="other")
    assert reception.store(first, other) == [0x0000, 0xC105]
    (path,) = reception.objects()
    assert path.read_bytes().endswith(data_set_bytes(first))
    (aside,) = (reception.root / "quarantine").iterdir()
    assert aside.read_bytes().endswith(data_set_bytes(other))
    assert len(reception.rows("SELECT path FROM quarantine")) == 1


@pytest.mark.fault("B33")
def test_two_associations_with_the_same_instance_at_once_keep_it_once(reception: Reception) -> None:
    for turn in range(10):
        ds = make_mammogram(study=f"twins {turn}")
        statuses: list[int] = []
        threads = [threading.Thread(target=_store_into, args=(statuses, reception, ds)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [0x0000] * 3
    assert len(reception.objects()) == 10
    assert len(reception.rows("SELECT path FROM instance")) == 10
    assert len(_workflows(reception)) == 10
    assert reception.spooled() == []


@pytest.mark.fault("C41", "C46")
@pytest.mark.parametrize(
    ("ds", "status"),
    [
        pytest.param(make_mammogram(StudyInstanceUID=None), 0xC101, id="no Study Instance UID"),
        pytest.param(make_mammogram(SeriesInstanceUID=""), 0xC101, id="empty Series Instance UID"),
        pytest.param(nested(61), 0xC104, id="nested 62 levels"),
    ],
)
def test_what_cannot_be_indexed_is_refused(reception: Reception, ds: FileDataset, status: int) -> None:
    assert reception.store(ds) == [status]
    _nothing_was_kept(reception)


def test_sixty_nested_levels_are_taken(reception: Reception) -> None:
    assert reception.store(nested(58)) == [0x0000]


@pytest.mark.fault("B23", "B25", "B26", "B28", "C43")
@pytest.mark.filterwarnings("ignore:.* for VR UI")
def test_each_refusal_has_its_status_and_costs_that_input_only(reception: Reception, connect: Connect) -> None:
    good = make_mammogram()
    data = data_set_bytes(good)
    uid = good.SOPInstanceUID
    peer = connect(reception).associate()
    assert peer.store(data, sop_instance="../../etc/passwd") == 0x0117
    assert peer.store(data, sop_instance="1.02.3") == 0x0117
    assert peer.store(data, sop_instance="1." + "2" * 80) == 0x0117
    assert peer.store(data, sop_instance="1.2.3") == 0xC102
    assert peer.store(data, sop_instance=None) == 0xC101
    assert peer.store(b"", sop_instance=uid) == 0xC100
    assert peer.store(data[:-1000], sop_instance=uid) == 0xC103
    assert peer.store(os.urandom(5000), sop_instance=uid) in {0xC100, 0xC103}
    assert peer.store(data, sop_instance=uid, sop_class="1.2.840.10008.5.1.4.1.1.2") == 0xA900
    assert peer.store(data, sop_instance=uid, context_id=1) == 0x0122
    other_class = data_set_bytes(make_mammogram(SOPClassUID="1.2.840.10008.5.1.4.1.1.1.2.1"))
    assert peer.store(other_class, sop_instance=uid) == 0xA900
    _nothing_was_kept(reception)
    assert peer.store(data, sop_instance=uid) == 0x0000


@pytest.mark.fault("C40")
def test_trailing_garbage_is_kept_with_the_rest(reception: Reception, connect: Connect) -> None:
    ds = make_mammogram()
    peer = connect(reception).associate()
    assert peer.store(data_set_bytes(ds) + b"\1\2\3", sop_instance=ds.SOPInstanceUID) == 0x0000
    (path,) = reception.objects()
    assert path.read_bytes().endswith(b"\1\2\3")


@pytest.mark.parametrize("fault", [{"context_id": 11}, {"message_id": None}], ids=["context", "message id"])
def test_a_store_that_cannot_be_answered_ends_its_association_and_leaves_nothing(
    reception: Reception, connect: Connect, fault: dict[str, Any]
) -> None:
    ds = make_mammogram()
    peer = connect(reception).associate()
    peer.send_store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID, **fault)
    assert peer.is_closed(10)
    assert reception.store(ds) == [0x0000]
    assert reception.spooled() == []


def test_a_class_that_is_no_mammogram_has_no_context(reception: Reception) -> None:
    ae = AE("SENDER")
    ae.add_requested_context(CTImageStorage)
    assoc = ae.associate("127.0.0.1", reception.port, ae_title="CMMD_NODE")
    assert not assoc.is_established
    assert len(assoc.rejected_contexts) == 1


@pytest.mark.fault("A14")
@pytest.mark.parametrize(
    ("calling", "called", "reason"), [("STRANGER", "CMMD_NODE", 0x03), ("FRIEND", "OTHER", 0x07), ("", "CMMD_NODE", 3)]
)
def test_strangers_are_rejected(receive: Receive, calling: str, called: str, reason: int) -> None:
    reception = receive(
        receive={"accept": "known"}, peer=({"name": "friend", "ae_title": "FRIEND", "host": "127.0.0.1"},)
    )
    assert _association(reception, calling or "        X", called).acceptor.primitive.diagnostic == reason
    assert _association(reception, "FRIEND", "CMMD_NODE").is_established


@pytest.mark.fault("A14")
def test_a_known_ae_title_from_another_host_is_rejected(receive: Receive) -> None:
    reception = receive(receive={"accept": "known"}, peer=({"name": "pacs", "ae_title": "PACS", "host": "192.0.2.1"},))
    assert _association(reception, "PACS", "CMMD_NODE").is_rejected


def test_nobody_sends_under_the_name_of_our_own_priors(reception: Reception) -> None:
    assert _association(reception, PRIOR_SOURCE, "CMMD_NODE").acceptor.primitive.diagnostic == 0x03


@pytest.mark.fault("E71", "B38")
def test_no_space_beyond_the_reserve_is_temporary_congestion_but_echo_answers(receive: Receive) -> None:
    reception = receive(receive={"reserve_mb": 10**9})
    refused = _association(reception, "SENDER", "CMMD_NODE", sop_class=MAMMOGRAPHY)
    primitive = refused.acceptor.primitive
    assert (primitive.result, primitive.result_source, primitive.diagnostic) == (2, 3, 1)
    echo = _association(reception, "SENDER", "CMMD_NODE")
    assert echo.send_c_echo().Status == 0x0000
    echo.release()


@pytest.mark.fault("A1")
def test_more_associations_than_allowed_are_rejected_but_silent_sockets_do_not_count(
    receive: Receive, connect: Connect
) -> None:
    reception = receive(receive={"associations": 2, "association_seconds": 30})
    for _ in range(12):
        connect(reception)
    first, _ = (connect(reception).associate() for _ in range(2))
    third = _association(reception, "SENDER", "CMMD_NODE")
    assert third.is_rejected
    first.socket.close()
    deadline = time.monotonic() + 10
    while not _association(reception, "SENDER", "CMMD_NODE").is_established:
        assert time.monotonic() < deadline, "the slot of a closed association does not come back"


def test_one_host_has_no_more_associations_than_it_may(receive: Receive, connect: Connect) -> None:
    reception = receive(receive={"associations": 20, "associations_per_host": 2})
    for _ in range(2):
        connect(reception).associate()
    primitive = _association(reception, "SENDER", "CMMD_NODE").acceptor.primitive
    assert (primitive.result, primitive.result_source, primitive.diagnostic) == (2, 3, 2)


def test_an_object_that_trickles_meets_its_deadline_and_leaves_nothing(receive: Receive, connect: Connect) -> None:
    reception = receive(receive={"object_seconds": 1})
    ds = make_mammogram()
    peer = connect(reception).associate()
    peer.socket.sendall(p_data(3, store_rq(sop_instance=ds.SOPInstanceUID), command=True))
    peer.socket.settimeout(0.1)
    deadline = time.monotonic() + 10
    while not _is_gone(peer, p_data(3, b"x", command=False, last=False)):
        assert time.monotonic() < deadline, "whole PDUs now and then keep the object open"
    _wait_until_spool_is_empty(reception)
    assert reception.store(ds) == [0x0000]


@pytest.mark.fault("A1", "A3")
@pytest.mark.parametrize("sent", [b"", b"\1\0\0", b"\1\0\0\0\0\x50abc"], ids=["silence", "half a header", "half a PDU"])
def test_a_peer_that_stalls_before_associating_is_closed_by_the_timer(
    receive: Receive, sent: bytes, connect: Connect
) -> None:
    reception = receive(receive={"association_seconds": 1})
    peer = connect(reception)
    peer.socket.sendall(sent)
    assert peer.is_closed(8)


@pytest.mark.fault("A3", "A4")
def test_a_peer_that_stalls_inside_an_object_is_closed_and_leaves_nothing(receive: Receive, connect: Connect) -> None:
    reception = receive(receive={"pdu_seconds": 1})
    ds = make_mammogram()
    peer = connect(reception).associate()
    peer.socket.sendall(p_data(3, store_rq(sop_instance=ds.SOPInstanceUID), command=True))
    peer.socket.sendall(p_data(3, data_set_bytes(ds)[:4000], command=False, last=False))
    peer.socket.sendall(b"\4\0\0")
    assert peer.is_closed(8)
    _wait_until_spool_is_empty(reception)
    assert reception.store(ds) == [0x0000]


@pytest.mark.fault("A5")
def test_a_trickle_inside_a_pdu_meets_the_deadline_of_the_whole_pdu(receive: Receive, connect: Connect) -> None:
    reception = receive(receive={"pdu_seconds": 1})
    peer = connect(reception).associate()
    peer.socket.settimeout(0.2)
    deadline = time.monotonic() + 8
    while not _is_gone(peer, b"\4"):
        assert time.monotonic() < deadline, "a byte now and then keeps the association alive"


def test_a_pdu_larger_than_negotiated_ends_the_association(reception: Reception, connect: Connect) -> None:
    peer = connect(reception).associate()
    peer.socket.sendall(b"\4\0\x7f\xff\xff\xff")
    assert peer.is_closed(8)


@pytest.mark.fault("A17")
def test_a_reset_in_the_middle_of_an_object_leaves_nothing(reception: Reception, connect: Connect) -> None:
    ds = make_mammogram()
    data = data_set_bytes(ds)
    for turn in range(20):
        peer = connect(reception).associate()
        peer.socket.sendall(p_data(3, store_rq(sop_instance=ds.SOPInstanceUID), command=True))
        peer.socket.sendall(p_data(3, data[: 500 * turn + 1], command=False, last=False))
        peer.reset()
    _wait_until_spool_is_empty(reception)
    _nothing_was_kept(reception)
    assert reception.store(ds) == [0x0000]


def test_objects_sent_without_waiting_for_answers_are_all_answered(reception: Reception, connect: Connect) -> None:
    images = [make_mammogram(study=f"pipeline {number}") for number in range(30)]
    peer = connect(reception).associate()
    sender = threading.Thread(
        target=lambda: [peer.send_store(data_set_bytes(ds), sop_instance=ds.SOPInstanceUID) for ds in images]
    )
    sender.start()
    assert [peer.status() for _ in images] == [0x0000] * 30
    sender.join()
    assert len(reception.objects()) == 30


def test_stopping_ends_idle_associations_at_once(reception: Reception, connect: Connect) -> None:
    peer = connect(reception).associate()
    started = time.monotonic()
    reception.receiver.stop(30)
    assert time.monotonic() - started < 15
    assert peer.is_closed(1)


def test_stopping_lets_an_object_in_transfer_end(reception: Reception, connect: Connect) -> None:
    ds = make_mammogram()
    data = data_set_bytes(ds)
    peer = connect(reception).associate()
    peer.socket.sendall(p_data(3, store_rq(sop_instance=ds.SOPInstanceUID), command=True))
    peer.socket.sendall(p_data(3, data[:4000], command=False, last=False))
    while not reception.spooled():
        time.sleep(0.01)
    stopping = threading.Thread(target=reception.receiver.stop, args=(30,))
    stopping.start()
    peer.socket.sendall(p_data(3, data[4000:], command=False))
    assert peer.status() == 0x0000
    stopping.join()
    assert len(reception.objects()) == 1


def test_stopping_does_not_wait_for_a_stalled_peer_for_ever(reception: Reception, connect: Connect) -> None:
    peer = connect(reception).associate()
    peer.socket.sendall(p_data(3, store_rq(sop_instance="1.2.3"), command=True) + b"\4\0\0")
    while not any(assoc.dimse.busy for assoc in reception.receiver._server.active_associations):
        time.sleep(0.01)
    reception.receiver.stop(0.5)
    assert peer.is_closed(5)
    assert reception.spooled() == []


@pytest.mark.fault("C55")
def test_an_object_over_the_limit_is_out_of_resources_and_gone(receive: Receive) -> None:
    reception = receive(receive={"object_limit_mb": 1})
    ds = make_mammogram(ImageComments="x" * 10)
    ds.add_new(0x00091001, "OB", b"\0" * 1_200_000)
    ds.add_new(0x00090010, "LO", "TEST")
    assert reception.store(ds) == [0xA700]
    _nothing_was_kept(reception)
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("E71")
def test_the_reserve_is_left_alone_while_an_object_arrives(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.disk_usage

    def fuller_once_something_is_written(place: Any) -> Any:
        return real(place)._replace(free=1_000_000) if isinstance(place, int) else real(place)

    monkeypatch.setattr(shutil, "disk_usage", fuller_once_something_is_written)
    ds = make_mammogram()
    ds.add_new(0x00091001, "OB", b"\0" * 1_200_000)
    ds.add_new(0x00090010, "LO", "TEST")
    assert reception.store(ds) == [0xA700]
    _nothing_was_kept(reception)
    monkeypatch.undo()
    assert reception.store(ds) == [0x0000]


@pytest.mark.fault("C41", "C55")
def test_a_data_set_more_complex_than_configured_is_refused(receive: Receive) -> None:
    reception = receive(receive={"depth_limit": 8, "element_limit": 1000})
    wide = make_mammogram(ReferencedImageSequence=Sequence([Dataset() for _ in range(1000)]))
    assert reception.store(nested(8), wide) == [0xC104, 0xC104]
    _nothing_was_kept(reception)
    assert reception.store(nested(7)) == [0x0000]


@pytest.mark.fault("E72")
def test_a_sync_that_fails_refuses_the_object_and_closes_the_intake(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    assert reception.store(make_mammogram()) == [0xA700]
    monkeypatch.undo()
    _nothing_was_kept(reception)
    assert _association(reception, "SENDER", "CMMD_NODE", sop_class=MAMMOGRAPHY).is_rejected


@pytest.mark.fault("E70")
def test_a_full_disk_at_sync_is_out_of_resources_and_recovers_without_restart(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", fail)
    assert reception.store(make_mammogram()) == [0xA700]
    monkeypatch.undo()
    _nothing_was_kept(reception)
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("E70")
def test_an_index_that_fails_is_out_of_resources_and_no_file_stays(reception: Reception) -> None:
    with reception.index.write() as connection:
        connection.exec_driver_sql("ALTER TABLE round RENAME TO elsewhere")
    assert reception.store(make_mammogram()) == [0xA700]
    assert reception.objects() == []
    with reception.index.write() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO round")
    assert reception.store(make_mammogram()) == [0x0000]


def test_logs_name_no_patient(reception: Reception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    reception.store(
        make_mammogram(patient="seeded-id-4711", PatientName="Seeded^Name"),
        make_mammogram(patient="seeded-id-4711", PatientName="Seeded^Name", StudyInstanceUID=None),
    )
    assert "C-STORE" in caplog.text
    assert "seeded" not in caplog.text.casefold()


@pytest.mark.fault("C47")
def test_another_patient_in_a_study_is_noticed(reception: Reception) -> None:
    first = make_mammogram(view="L CC")
    second = make_mammogram(view="R CC", PatientID="somebody else")
    assert reception.store(first, second) == [0x0000, 0x0000]
    ((conflict,),) = reception.rows("SELECT identity_conflict FROM study")
    assert "Patient ID" in conflict


def test_the_same_name_written_differently_is_the_same_patient(reception: Reception) -> None:
    first = make_mammogram(view="L CC", PatientName="Doe^Jane")
    second = make_mammogram(view="R CC", PatientName="DOE^JANE^^")
    assert reception.store(first, second) == [0x0000, 0x0000]
    assert reception.rows("SELECT identity_conflict FROM study") == [(None,)]


def _workflows(reception: Reception) -> list[Any]:
    table = "workflow_status" if reception.index.is_sqlite else "dbos.workflow_status"
    return reception.rows(f"SELECT workflow_uuid FROM {table}")


def _nothing_was_kept(reception: Reception) -> None:
    assert reception.objects() == []
    assert reception.spooled() == []
    assert reception.rows("SELECT path FROM instance") == []


def _wait_until_spool_is_empty(reception: Reception) -> None:
    deadline = time.monotonic() + 10
    while reception.spooled():
        assert time.monotonic() < deadline, "an unfinished object stays in the spool"
        threading.Event().wait(0.02)


def _association(reception: Reception, calling: str, called: str, sop_class: str = Verification) -> Any:
    ae = AE(calling)
    ae.add_requested_context(sop_class)
    return ae.associate("127.0.0.1", reception.port, ae_title=called)


def _store_into(statuses: list[int], reception: Reception, ds: FileDataset) -> None:
    statuses.extend(reception.store(ds))


def _is_gone(peer: RawPeer, byte: bytes) -> bool:
    """Send one byte, look for a fifth of a second: whether the receiver has ended the connection."""
    try:
        peer.socket.send(byte)
        return peer.socket.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("sop_instance_uid", ["1.2.3", "1.2.34"])
def test_the_usual_response_is_encoded_as_pynetdicom_would(sop_instance_uid: str) -> None:
    response = C_STORE()
    response.MessageIDBeingRespondedTo = 513
    response.AffectedSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    response.AffectedSOPInstanceUID = sop_instance_uid
    response.Status = 0x0000
    message = C_STORE_RSP()
    message.primitive_to_message(response)
    message.context_id = 5
    (primitive,) = message.encode_msg(5, 16384)
    request = C_STORE()
    request.MessageID = 513
    request.AffectedSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    request.AffectedSOPInstanceUID = sop_instance_uid
    assert success_response(request, 5) == P_DATA_TF(primitive).encode()
