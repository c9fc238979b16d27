"""The node's SCP: Verification, Storage of mammograms, Storage Commitment.

The handler decodes no pixels, loads no model and calls no remote; a success is a promise that the object survives a
power cut (see `inbox`).
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pydicom.config
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from cmmd_node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from cmmd_node.errors import (
    InstanceCollision,
    MalformedUID,
    MissingUID,
    OutOfResources,
    RefusedInstance,
    TooComplex,
    Truncated,
    UIDMismatch,
    UnreadableInstance,
    UnsupportedSOPClass,
    WrongSOPClass,
)
from cmmd_node.receive.admission import Admission, Rejection, local_limit_exceeded, temporary_congestion
from cmmd_node.receive.commitment import CommitmentRequests, refuse_report
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.transport import Server, SpooledDataSet
from cmmd_node.tls import certificate_of, server_context

if TYPE_CHECKING:
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.events import Event

    from cmmd_node.settings import Settings

logger = logging.getLogger(__name__)

#: What a peer may store; other classes have no presentation context here.
STORAGE_CLASSES = (
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
)

#: In how many encodings; deflated is left out, since it inflates without limit before anything can be checked.
TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    *JPEGTransferSyntaxes,
    *JPEGLSTransferSyntaxes,
    *JPEG2000TransferSyntaxes,
    RLELossless,
)
#: For a C-ECHO it makes no difference.
VERIFICATION_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

#: For lists of references; as for objects, nothing that inflates.
COMMITMENT_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)

#: The C-STORE response to each refusal (PS3.4 table B.2-1, PS3.7 annex C); the nearest class decides.
STORE_STATUS: dict[type[RefusedInstance], int] = {
    OutOfResources: 0xA700,
    WrongSOPClass: 0xA900,
    UnsupportedSOPClass: 0x0122,
    MalformedUID: 0x0117,
    MissingUID: 0xC101,
    UIDMismatch: 0xC102,
    Truncated: 0xC103,
    TooComplex: 0xC104,
    InstanceCollision: 0xC105,
    UnreadableInstance: 0xC100,
    RefusedInstance: 0x0110,
}
PROCESSING_FAILURE = 0x0110
#: PS3.8 9.3.8, source 0: initiated by the service user.
_ABORT_BY_USER = 0x00
_ABORT_SECONDS = 1.0
_SUCCESS = 0x0000

# Process-wide switches of our libraries, set once: nothing that peers send is printed or logged. Python would remember
# each text of a warning that it has shown, for ever.
warnings.filterwarnings("ignore", module=r"pydicom\.")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False


class Receiver:
    """Listens on the configured address until it is stopped."""

    def __init__(self, settings: Settings, inbox: Inbox, commitments: CommitmentRequests) -> None:
        self._inbox = inbox
        self._limit = settings.receive.associations
        self._limit_per_host = settings.receive.associations_per_host or self._limit
        self._admission = Admission(settings)
        ae = AE(settings.node.ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = settings.receive.pdu_bytes
        ae.acse_timeout = settings.receive.association_seconds
        ae.dimse_timeout = settings.receive.idle_seconds
        ae.network_timeout = settings.receive.idle_seconds
        ae.maximum_associations = 10_000  # counted by `_requested`, which leaves out half-open sockets
        ae.add_supported_context(Verification, list(VERIFICATION_SYNTAXES))
        for storage_class in STORAGE_CLASSES:
            ae.add_supported_context(storage_class, list(TRANSFER_SYNTAXES))
        ae.add_supported_context(StorageCommitmentPushModel, list(COMMITMENT_SYNTAXES))
        self._server = Server(
            ae,
            (settings.receive.host, settings.receive.port),
            settings.node.ae_title,
            ae.supported_contexts,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_ACCEPTED, _accepted),
                (evt.EVT_C_ECHO, _echo),
                (evt.EVT_N_ACTION, commitments.take),
                (evt.EVT_N_EVENT_REPORT, refuse_report),
            ],
            inbox=inbox,
            store=self._store,
            settings=settings.receive,
            tls=server_context(settings.tls),
        )
        ae._servers.append(self._server)
        self._thread = threading.Thread(target=self._server.serve_forever, name="accept", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to take associations."""
        self._thread.start()
        words = "with TLS" if self._server.tls else "without TLS"
        logger.info("listening on %s:%d as %s, %s", *self._server.server_address[:2], self._server.ae_title, words)

    def stop(self, seconds: float) -> None:
        """Take no more associations, let objects in transfer end within `seconds`, and abort what is left."""
        self._server.shutdown()
        _wait_while(lambda: any(assoc.dimse.busy for assoc in self._server.active_associations), seconds)
        for assoc in self._server.active_associations:
            assoc.acse.send_abort(_ABORT_BY_USER)
        _wait_while(lambda: bool(self._server.active_associations), _ABORT_SECONDS)
        for assoc in self._server.active_associations:
            assoc.dul.socket.close()
            assoc.kill()

    def _requested(self, event: Event) -> None:
        assoc = event.assoc
        request = assoc.requestor.primitive
        host = assoc.requestor.address_info.address
        rejection = self._admission.judge(
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            host=host,
            certificate=certificate_of(assoc.dul.socket.socket),
        )
        hosts = self._server.established
        if rejection is None and (len(hosts) >= self._limit or hosts.count(host) >= self._limit_per_host):
            rejection = local_limit_exceeded()
        refusal = self._inbox.refusal()
        if rejection is None and refusal is not None and not _only_echoes(request):
            rejection = temporary_congestion(refusal)
        if rejection is not None:
            _reject(assoc, rejection)

    def _store(self, request: C_STORE, abstract_syntax: str, source: str) -> tuple[int, str]:
        """Keep one SOP Instance (PS3.4 annex B), as `transport.StoreHandler` says."""
        data_set = cast(SpooledDataSet, request.DataSet)
        try:
            if abstract_syntax not in STORAGE_CLASSES:
                raise UnsupportedSOPClass("the presentation context is not one for storage")
            if abstract_syntax != request.AffectedSOPClassUID:
                raise WrongSOPClass("the command has another SOP Class than the presentation context")
            if data_set.problem is not None:
                raise data_set.problem
            if data_set.spool is None:
                raise UnreadableInstance("the data set is empty")
            outcome = self._inbox.keep(data_set.spool)
        except RefusedInstance as error:
            status = next(STORE_STATUS[kind] for kind in type(error).__mro__ if kind in STORE_STATUS)
            logger.warning("C-STORE from %r refused with %04X: %s", source, status, error)
            return status, str(error)
        except Exception:  # the one catch-all around a DIMSE request
            logger.exception("C-STORE from %r failed", source)
            return PROCESSING_FAILURE, "unexpected error"
        finally:
            data_set.discard()
        logger.info("C-STORE from %r: %s %s", source, request.AffectedSOPInstanceUID, outcome)
        return _SUCCESS, ""


def _wait_while(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def _echo(_event: Event) -> int:
    return _SUCCESS


def _accepted(event: Event) -> None:
    event.assoc.dul.socket.established()
    logger.info("association from %r at %s", event.assoc.requestor.ae_title, event.assoc.requestor.address_info.address)


def _only_echoes(request: Any) -> bool:
    """Verification alone may always come in: health checks must not fail for want of space."""
    return all(context.abstract_syntax == Verification for context in request.presentation_context_definition_list)


def _reject(assoc: Any, rejection: Rejection) -> None:
    requestor = assoc.requestor
    logger.warning(
        "association from %r at %s rejected: %s",
        requestor.primitive.calling_ae_title,
        requestor.address_info.address,
        rejection.reason,
    )
    assoc.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
    assoc.is_rejected = True
    assoc.kill()
