"""pynetdicom's server and DIMSE provider, with C-STORE data sets that go to the spool, and back-pressure.

Association negotiation, state machine and other services stay pynetdicom's. Replaced are: where the fragments of a data
set go (a spool file instead of memory), who serves a C-STORE (the thread that received it), how many other messages may
wait (two), and in `upper_layer` how they are read.
"""

from __future__ import annotations

import logging
import queue
import socket
import ssl
import sys
import time
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, N_ACTION_RQ, N_EVENT_REPORT_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, C_STORE
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from cmmd_node.errors import MalformedUID, MissingUID, RefusedInstance
from cmmd_node.receive.channel import NoChannel, open_channel
from cmmd_node.receive.command import COMMAND, LAST, StoreMessage, read_store_request, success_response
from cmmd_node.receive.inbox import Inbox, Spool
from cmmd_node.receive.structure import is_uid
from cmmd_node.receive.upper_layer import DeadlineSocket, InvalidPDU, StreamingUpperLayer

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import P_DATA

    from cmmd_node.settings import ReceiveSettings

logger = logging.getLogger(__name__)

_MESSAGES_WAITING = 2
#: Enough for a storage commitment of some ten thousand instances.
_COLLECTED_BYTES = 2_000_000
#: How often the reactor of an idle association looks at its timers.
_LOOK_SECONDS = 1.0
#: How long no connection is taken after one that could not be.
_PAUSE_SECONDS = 0.5
_MALFORMED_UID = 0x0117
_UNREADABLE = 0xC100
_MISSING_UID = 0xC101
#: Of an Error Comment, which is one LO (PS3.7 annex C, PS3.5 6.2).
_COMMENT_LENGTH = 64

#: Keeps the object of a C-STORE request: the request, the abstract syntax of its presentation context, the calling AE
#: title; the status of the response (PS3.7 annex C) and, unless it is a success, why.
StoreHandler = Callable[[C_STORE, str, str], tuple[int, str]]


class SpooledDataSet(BytesIO):
    """Stands where pynetdicom collects a data set in memory; that of a C-STORE goes to a spool file of the inbox.

    The short ones of N-ACTION and N-EVENT-REPORT stay in memory, up to a limit. `problem` says why there is no spool
    file, or why the data set was given up.
    """

    def __init__(self, inbox: Inbox, provider: SpoolingProvider, *, seconds: float) -> None:
        super().__init__()
        self.deadline = time.monotonic() + seconds
        self._inbox = inbox
        self._provider = provider
        self.spool: Spool | None = None
        self._problem: RefusedInstance | None = None

    @property
    def problem(self) -> RefusedInstance | None:
        return self._problem or (self.spool.problem if self.spool else None)

    def write(self, data: Any) -> int:
        """Append a fragment; the first one opens the spool file."""
        if self.spool is not None:
            self.spool.write(data)
            return len(data)
        if isinstance(self._provider.message, N_ACTION_RQ | N_EVENT_REPORT_RQ):
            return self._collect(data)
        if self._problem is None:
            self._open()
        if self.spool is not None:
            self.spool.write(data)
        return len(data)

    def discard(self) -> None:
        """Drop what was received; a kept object is not touched."""
        if self.spool is not None:
            self.spool.discard()

    def _collect(self, data: Any) -> int:
        if self.tell() + len(data) > _COLLECTED_BYTES:
            self._problem = RefusedInstance(f"a data set of more than {_COLLECTED_BYTES} bytes that is no object")
            self.truncate(0)
        if self._problem is None:
            super().write(data)
        return len(data)

    def _open(self) -> None:
        message = self._provider.message
        if not isinstance(message, C_STORE_RQ):
            self._problem = RefusedInstance("only C-STORE carries a data set here")
            return
        command = message.command_set
        sop_class_uid = str(command.get("AffectedSOPClassUID") or "")
        sop_instance_uid = str(command.get("AffectedSOPInstanceUID") or "")
        context = self._provider.assoc._accepted_cx.get(message.context_id)
        try:
            if not sop_instance_uid:
                raise MissingUID("the command has no SOP Instance UID")
            if not (is_uid(sop_class_uid) and is_uid(sop_instance_uid)):
                # pynetdicom would end the association over a long one; without it, `get_msg` answers.
                del command.AffectedSOPInstanceUID
                raise MalformedUID("the command's SOP Class or Instance UID is no UID")
            if context is None:
                raise RefusedInstance("the presentation context was not accepted")
            self.spool = self._inbox.spool(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=str(context.transfer_syntax[0]),
                source=self._provider.assoc.requestor.ae_title,
            )
        except RefusedInstance as error:
            self._problem = error


class _WaitingMessages(queue.Queue[Any]):
    """Finished messages that wait for their turn; a peer that sends faster than we store is held back on its socket."""

    def __init__(self, seconds: float) -> None:
        super().__init__(maxsize=_MESSAGES_WAITING)
        self._seconds = seconds
        self._look = self._over = False
        self.store: tuple[int, C_STORE] | None = None
        """A C-STORE that waits for the thread that received it, until it is answered."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if isinstance(item[1], C_STORE):
            self.store = item
        else:
            super().put(item, block, timeout or self._seconds)

    def await_one(self, seconds: float) -> None:
        """Wait until a message is there, or until somebody tells the reactor to look at other things."""
        with self.not_empty:
            self.not_empty.wait_for(lambda: self._qsize() or self._look or self._over, seconds)
            self._look = False

    def look(self, *, over: bool = False) -> None:
        """End the reactor's wait; it does not wait again when all is over."""
        with self.not_empty:
            self._look, self._over = True, self._over or over
            self.not_empty.notify()


class SpoolingProvider(DIMSEServiceProvider):  # type: ignore[misc]
    """pynetdicom's DIMSE provider with the data sets of C-STORE on disk from their first byte."""

    def __init__(self, assoc: Association, inbox: Inbox, store: StoreHandler, settings: ReceiveSettings) -> None:
        super().__init__(assoc)
        self.message: DIMSEMessage | None
        self._inbox = inbox
        self._store = store
        self._object_seconds = settings.object_seconds
        self._serving = False
        self.msg_queue = _WaitingMessages(10 * settings.idle_seconds)

    @property
    def open_data_set(self) -> SpooledDataSet | None:
        """Where fragments of the C-STORE that is being received go; None when there is none."""
        if isinstance(self.message, C_STORE_RQ) and isinstance(self.message.data_set, SpooledDataSet):
            return self.message.data_set
        return None

    @property
    def busy(self) -> bool:
        """Whether a message is being received, waits, or is being served."""
        waits = self.msg_queue.store is not None or not self.msg_queue.empty()
        return waits or self._serving or self.message is not None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take one P-DATA primitive; called by the thread that reads the socket."""
        ((context_id, value), *_) = primitive.presentation_data_value_list
        is_command = value[0] & COMMAND
        if self.message is None:
            is_whole_command = is_command and value[0] & LAST
            self.message = (read_store_request(value[1:], context_id) if is_whole_command else None) or DIMSEMessage()
            self.message.data_set = SpooledDataSet(self._inbox, self, seconds=self._object_seconds)
            if isinstance(self.message, StoreMessage):
                return
        elif is_command and isinstance(self.message, StoreMessage):
            raise InvalidPDU("a command where the data set of another belongs")
        if not self.message.decode_msg(primitive, self.assoc):
            return
        try:
            message = self.message.message_to_primitive()
        except Exception:  # whatever a peer has put into a command; pynetdicom raises anything
            raise InvalidPDU("a message that is none") from None
        context_id, data_set = self.message.context_id, self.message.data_set
        self.message = None
        if getattr(message, "DataSet", None) is not data_set:
            data_set.discard()  # of a C-STORE whose sender began another message inside it
        # All in order of arrival: pynetdicom would start a thread for every N-EVENT-REPORT. Nothing can be cancelled.
        if not isinstance(message, C_CANCEL):
            self.msg_queue.put((context_id, message))

    def get_msg(self, block: bool = False) -> Any:
        """The next message for the association's reactor, that is of any kind but C-STORE."""
        self._serving = False
        self.msg_queue.await_one(self.dimse_timeout if block else _LOOK_SECONDS)
        self._serving = True  # before the queue looks empty to whoever asks
        try:
            context_id, message = self.msg_queue.get_nowait()
        except queue.Empty:
            context_id, message = None, None
        self._serving = message is not None  # until the reactor comes back for the next one
        return context_id, message

    def serve_store(self) -> bool:
        """Serve the C-STORE that has just been received, if one has, in the thread that reads the socket.

        It would have nothing else to do until the answer is there, and two changes of threads cost more than the index.
        """
        if self.msg_queue.store is None:
            return False
        context_id, request = self.msg_queue.store
        context = self.assoc._accepted_cx.get(context_id)
        answerable = request.MessageID is not None and request.MessageIDBeingRespondedTo is None
        if context is None or not answerable:
            raise InvalidPDU("a C-STORE that cannot be answered")
        if request.is_valid_request:
            status, comment = self._store(request, context.abstract_syntax, self.assoc.requestor.ae_title)
        elif isinstance(request.DataSet, SpooledDataSet):
            problem = request.DataSet.problem
            status, comment = _MALFORMED_UID if isinstance(problem, MalformedUID) else _MISSING_UID, ""
            logger.warning("C-STORE from %r refused: %s", self.assoc.requestor.ae_title, problem)
            request.DataSet.discard()
        else:
            status, comment = _UNREADABLE, ""
            logger.warning("C-STORE from %r refused: it has no data set", self.assoc.requestor.ae_title)
        self._answer(request, context_id, status, comment)
        self.msg_queue.store = None
        return True

    def _answer(self, request: C_STORE, context_id: int, status: int, comment: str) -> None:
        """Send a C-STORE response; success, the usual one, without making a data set of it."""
        if status == 0x0000:
            pdu = success_response(request, context_id)
            if not 0 < self.maximum_pdu_size < len(pdu):
                self.dul.socket.send(pdu)
                return
        response = C_STORE()
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.AffectedSOPClassUID
        response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
        response.Status = status
        response.ErrorComment = comment[:_COMMENT_LENGTH] or None
        self.send_msg(response, context_id)

    def look(self) -> None:
        """The upper layer has something for the association: a release, an abort."""
        self.msg_queue.look()

    def end(self) -> None:
        """The connection is over: drop every object that was not answered."""
        waiting = [self.message.data_set] if self.message is not None else []
        if self.msg_queue.store is not None:
            waiting.append(self.msg_queue.store[1].DataSet)
        while True:
            try:
                _, message = self.msg_queue.get_nowait()
            except queue.Empty:
                break
            waiting.append(getattr(message, "DataSet", None))
        for data_set in waiting:
            if isinstance(data_set, SpooledDataSet):
                data_set.discard()
        self.msg_queue.look(over=True)


class Handler(RequestHandler):  # type: ignore[misc]
    """Opens the channel of a connection, and gives its association our socket and our DIMSE provider."""

    server: Server
    request: socket.socket

    def handle(self) -> None:
        """Make an association of a connection; in a thread of its own, so that nobody waits for a slow handshake."""
        try:
            self.request = open_channel(self.request, self.server.tls, self.server.settings.association_seconds)
        except NoChannel as problem:
            if problem.reason:
                logger.warning("connection from %s refused: %s", self.client_address[0], problem.reason)
            self.server.shutdown_request(self.request)
        else:
            super().handle()

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        assoc.dul = StreamingUpperLayer(assoc, limit_bytes=self.server.settings.pdu_bytes)
        assoc.acse_timeout, assoc.network_timeout = assoc.acse_timeout, assoc.network_timeout  # sets the new timers
        assoc.set_socket(DeadlineSocket(assoc, self.request, self.server.settings))
        assoc.dimse = SpoolingProvider(assoc, self.server.inbox, self.server.store, self.server.settings)
        return assoc


class Server(ThreadedAssociationServer):  # type: ignore[misc]
    """Listens, on a port that several receiver processes may share."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        *arguments: Any,
        inbox: Inbox,
        store: StoreHandler,
        settings: ReceiveSettings,
        tls: ssl.SSLContext | None,
        **keywords: Any,
    ) -> None:
        self.inbox = inbox
        self.store = store
        self.settings = settings
        self.tls = tls
        super().__init__(*arguments, request_handler=Handler, **keywords)

    def server_bind(self) -> None:
        """Bind with SO_REUSEPORT, so that the kernel spreads connections over the receivers."""
        if self.settings.processes > 1:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> Any:
        """Take a connection; while the process may open no more files, they wait in the backlog."""
        try:
            return super().get_request()
        except OSError as error:
            logger.warning("no connection can be taken now: %s", error.strerror)
            time.sleep(_PAUSE_SECONDS)  # else the loop, which sees it waiting, would come back at once
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say why a connection became no association."""
        logger.warning("connection from %s given up: %s", client_address[0], sys.exception())

    @property
    def established(self) -> list[str]:
        """The hosts of the associations that are open; sockets that have not associated do not count."""
        return [assoc.requestor.address_info.address for assoc in self.active_associations if assoc.is_established]
