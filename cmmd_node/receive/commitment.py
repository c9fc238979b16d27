"""Storage commitment, the SCP's side (PS3.4 annex J, Push Model): what peers ask for, and what we can vouch for.

An N-ACTION is answered once the transaction is durable. Its result is judged later, by the durable work that reports
it: from the object's file, never from its row alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbos import DBOSClient
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from sqlalchemy.exc import DBAPIError

from cmmd_node.index import Index, now_ms
from cmmd_node.index.commitments import Commitment, SOPReference, indexed_object, record_commitment
from cmmd_node.receive.stored import damage
from cmmd_node.receive.structure import is_uid

if TYPE_CHECKING:
    from pynetdicom.events import Event

    from cmmd_node.settings import Settings

logger = logging.getLogger(__name__)

#: The one action of the class, and its two events (PS3.4 J.3.2.1, J.3.3.1).
_REQUEST = 1
_SUCCESSFUL, _FAILURES_EXIST = 1, 2

_SUCCESS = 0x0000
_PROCESSING_FAILURE = 0x0110
_NO_SUCH_INSTANCE = 0x0112
_INVALID_ARGUMENT = 0x0115
_CLASS_INSTANCE_CONFLICT = 0x0119
_SOP_CLASS_NOT_SUPPORTED = 0x0122
_NO_SUCH_ACTION = 0x0123
_NOT_AUTHORISED = 0x0124
_DUPLICATE_TRANSACTION_UID = 0x0131
_RESOURCE_LIMITATION = 0x0213

#: What an N-ACTION is answered (PS3.7 annex C).
STATUSES = {
    _SUCCESS: "taken: the result will be reported",
    _PROCESSING_FAILURE: "processing failure: anything unexpected",
    _NO_SUCH_INSTANCE: "another SOP Instance than the well-known one",
    _INVALID_ARGUMENT: "no references, or a UID is none",
    _NO_SUCH_ACTION: "another Action Type ID than 1",
    _NOT_AUTHORISED: "no peer of the calling AE title with host and port",
    _RESOURCE_LIMITATION: "the list of references is too long, or the index is not available",
}

#: Why a reference is not vouched for: Failure Reason (0008,1197), PS3.3 C.14.1.1.
REASONS = {
    _PROCESSING_FAILURE: "the object was kept, and its file is damaged",
    _NO_SUCH_INSTANCE: "the object was not kept, or its file is missing",
    _CLASS_INSTANCE_CONFLICT: "the object was kept with another SOP Class",
    _SOP_CLASS_NOT_SUPPORTED: "objects of that SOP Class are not kept",
    _DUPLICATE_TRANSACTION_UID: "the Transaction UID was used for another request",
}


class CommitmentRequests:
    """Takes the requests of peers that can be answered: those that are configured with host and port."""

    def __init__(self, settings: Settings, index: Index, client: DBOSClient) -> None:
        self._peers = {peer.ae_title: peer.name for peer in reversed(settings.peer) if peer.host and peer.port}
        self._give_up_ms = round(settings.deliver.give_up_hours * 3_600_000)
        self._index = index
        self._client = client

    def take(self, event: Event) -> tuple[int, None]:
        """Answer an N-ACTION; success means that the transaction survives a power cut."""
        source = event.assoc.requestor.ae_title
        try:
            status, reason = self._take(event, source)
        except DBAPIError as error:
            status, reason = _RESOURCE_LIMITATION, f"the index is not available: {type(error.orig).__name__}"
        except Exception:  # the one catch-all around a DIMSE request
            logger.exception("storage commitment request from %r failed", source)
            return _PROCESSING_FAILURE, None
        if status == _SUCCESS:
            logger.info("storage commitment request from %r: %s", source, reason)
        else:
            logger.warning("storage commitment request from %r refused with %04X: %s", source, status, reason)
        return status, None

    def _take(self, event: Event, source: str) -> tuple[int, str]:
        """Status, and what the log says of it."""
        request = event.request
        if event.context.abstract_syntax != StorageCommitmentPushModel or (
            request.RequestedSOPInstanceUID != StorageCommitmentPushModelInstance
        ):
            return _NO_SUCH_INSTANCE, "another SOP Instance than the well-known one of the Push Model"
        if event.action_type != _REQUEST:
            return _NO_SUCH_ACTION, f"action type {event.action_type}"
        peer = self._peers.get(source)
        if peer is None:
            return _NOT_AUTHORISED, "no peer of that AE title with host and port, which the result would go to"
        if request.ActionInformation is None or getattr(request.ActionInformation, "problem", None) is not None:
            return _RESOURCE_LIMITATION, "no list of references, or one that is too long"
        ds = event.action_information
        transaction_uid = str(ds.get("TransactionUID", ""))
        references = tuple(_reference(item) for item in ds.get("ReferencedSOPSequence") or ())
        uids = [transaction_uid, *(uid for one in references for uid in (one.sop_class_uid, one.sop_instance_uid))]
        if not references or not all(is_uid(uid) for uid in uids):
            return _INVALID_ARGUMENT, "it names no instances, or a UID is none"
        with self._index.write() as connection:
            record_commitment(
                connection,
                self._client,
                transaction_uid=transaction_uid,
                peer=peer,
                references=references,
                give_up_ms=now_ms() + self._give_up_ms,
            )
        return _SUCCESS, f"transaction {transaction_uid} of {len(references)} instances"


def judge(one: Commitment, index: Index, root: Path, sop_classes: Sequence[str]) -> list[int | None]:
    """The Failure Reason for each reference of the transaction, None for those that we vouch for.

    Parameters
    ----------
    root
        The data_dir, which paths in the index are relative to.
    sop_classes
        Those that we store.
    """
    if one.is_duplicate:
        return [_DUPLICATE_TRANSACTION_UID] * len(one.references)
    return [_judge(reference, index, root, sop_classes) for reference in one.references]


def result_of(one: Commitment, reasons: Sequence[int | None]) -> tuple[int, Dataset]:
    """Event Type ID and Event Information of the N-EVENT-REPORT (PS3.4 table J.3-2)."""
    kept, failed = [], []
    for reference, reason in zip(one.references, reasons, strict=True):
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class_uid
        item.ReferencedSOPInstanceUID = reference.sop_instance_uid
        if reason is None:
            kept.append(item)
        else:
            item.FailureReason = reason
            failed.append(item)
    ds = Dataset()
    ds.TransactionUID = one.transaction_uid
    if kept:
        ds.ReferencedSOPSequence = DicomSequence(kept)
    if failed:
        ds.FailedSOPSequence = DicomSequence(failed)
    return (_FAILURES_EXIST if failed else _SUCCESSFUL), ds


def refuse_report(event: Event) -> tuple[int, None]:
    """Answer an N-EVENT-REPORT: we have asked nobody for a commitment."""
    logger.warning("%r reports on a transaction that we know nothing of", event.assoc.requestor.ae_title)
    return _PROCESSING_FAILURE, None


def _judge(reference: SOPReference, index: Index, root: Path, sop_classes: Sequence[str]) -> int | None:
    with index.read() as connection:
        known = indexed_object(connection, reference.sop_instance_uid)
    if known is None:
        return _NO_SUCH_INSTANCE if reference.sop_class_uid in sop_classes else _SOP_CLASS_NOT_SUPPORTED
    if known.sop_class_uid != reference.sop_class_uid:
        return _CLASS_INSTANCE_CONFLICT
    wrong = damage(root / known.path, size_bytes=known.size_bytes, digest=known.digest)
    if wrong is None:
        return None
    logger.error("%s was kept and is damaged: %s", reference.sop_instance_uid, wrong)
    return _NO_SUCH_INSTANCE if wrong == "missing" else _PROCESSING_FAILURE


def _reference(item: Any) -> SOPReference:
    return SOPReference(str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
