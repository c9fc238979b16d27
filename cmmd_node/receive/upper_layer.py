"""pynetdicom's upper layer with a short cut: the fragments of a data set go from the socket to the spool.

Negotiation, release, abort and every other PDU take pynetdicom's way through its state machine. An established
association that gets a P-DATA-TF stays in state 6 whatever it holds (PS3.8 table 9-10), so its fragments are taken
here, one after the other as they arrive, without an event, a queue, a thread or a copy between, and the object is kept
and answered before the next one is read. A peer that stalls, announces more than was negotiated or sends what is no
P-DATA-TF loses its association.

pynetdicom's two reactors look a thousand times a second whether there is something to do. Here the upper layer waits
for its socket or for something to send, and tells the association's reactor when that has something to look at.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu_primitives import A_ASSOCIATE, P_DATA
from pynetdicom.transport import AssociationSocket

from cmmd_node.receive.command import COMMAND, LAST, P_DATA_TF

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from cmmd_node.settings import ReceiveSettings

logger = logging.getLogger(__name__)

#: A-ASSOCIATE-RQ has no negotiated limit; 128 contexts with every transfer syntax stay far below this.
_NEGOTIATION_LIMIT = 1 << 20
#: How much is read from a socket at once: two PDUs of 128 KiB with their headers, or many of the usual 16 KiB.
_BUFFER_BYTES = 2 * (6 + (1 << 17))
#: How long the layer waits for the answer to a message before it looks at the socket again.
_ANSWER_SECONDS = 1.0
#: How often an idle layer looks at its timers.
_LOOK_SECONDS = 1.0

_PDU_HEADER = struct.Struct(">BxI")
_VALUE_HEADER = struct.Struct(">IBB")

_IDLE = "Sta1"
_ESTABLISHED = "Sta6"
_CLOSING = "Sta13"
_CONNECTION_CLOSED = "Evt17"
_INVALID_PDU = "Evt19"


class DeadlineSocket(AssociationSocket):  # type: ignore[misc]
    """Reads large pieces ahead; every PDU has a deadline as a whole and a size limit."""

    def __init__(self, assoc: Association, client_socket: socket.socket, settings: ReceiveSettings) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._settings = settings
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._start = self._end = 0
        self._seconds = settings.association_seconds
        self._deadline = 0.0
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_socket.settimeout(None)
        self._limit_waiting(self._seconds)

    def established(self) -> None:
        """From now on the limits of an association hold, not those of its negotiation."""
        self._seconds = self._settings.pdu_seconds
        self._limit_waiting(self._seconds)

    @property
    def ready(self) -> bool:
        """Whether there is something to read, here or in the socket."""
        return self._start < self._end or self.wait(0)

    def wait(self, seconds: float, wake: int | None = None) -> bool:
        """Wait until there is something to read, or `wake` can be read; whether there is something to read.

        By poll(2), since select(2), which pynetdicom takes, knows no descriptor beyond 1023.
        """
        if self._start < self._end or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        poll = select.poll()
        if wake is not None:
            poll.register(wake, select.POLLIN)
        if self.socket is not None and self.socket.fileno() >= 0:  # else it is closed, and only `wake` can come
            poll.register(self.socket, select.POLLIN)
        return any(file != wake for file, _ in poll.poll(1000 * seconds))

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes` of a PDU that pynetdicom takes, fewer when the peer closes.

        Raises
        ------
        OSError
            The deadline passed, or the peer announces more than is allowed.
        """
        limit = self._settings.pdu_bytes if self.assoc.is_established else _NEGOTIATION_LIMIT
        if nr_bytes > limit:
            raise OSError(f"a PDU of {nr_bytes} bytes; at most {limit} were negotiated")
        self.begin_pdu()
        data = bytearray()
        while len(data) < nr_bytes:
            piece = self.piece(nr_bytes - len(data))
            if not piece:
                break
            data += piece
        return data

    def begin_pdu(self) -> None:
        """The deadline of the next PDU begins."""
        self._deadline = time.monotonic() + self._seconds

    def next_byte(self) -> int | None:
        """The byte that comes next, which stays; None when the peer closed."""
        if self._start == self._end and not self._fill():
            return None
        return self._buffer[self._start]

    def piece(self, limit: int) -> memoryview:
        """What is there of the next `limit` bytes, at least one; nothing when the peer closed.

        The memory is used again by the next call.
        """
        if self._start == self._end and not self._fill(limit):  # no more, so that reads end where PDUs end
            return self._buffer[:0]
        start, self._start = self._start, min(self._end, self._start + limit)
        return self._buffer[start : self._start]

    def drop(self) -> bool:
        """Throw away what is there; False when the peer closed."""
        self._start = self._end = 0
        try:
            return not self.wait(0) or self.socket.recv_into(self._buffer) > 0
        except OSError:
            return False

    def exactly(self, count: int) -> bytes:
        """The next few bytes.

        Raises
        ------
        OSError
            The peer closed, or the deadline passed.
        """
        end = self._start + count
        if end <= self._end:  # the rule, and all that a PDU's headers cost
            data = bytes(self._buffer[self._start : end])
            self._start = end
            return data
        data = bytes(self._buffer[self._start : self._end])
        self._start = self._end
        while len(data) < count:
            piece = self.piece(count - len(data))
            if not piece:
                raise ConnectionResetError("the peer closed inside a PDU")
            data += piece
        return data

    def _fill(self, limit: int = _BUFFER_BYTES) -> int:
        """Read what the socket has, at most `limit` bytes; the number of bytes."""
        if time.monotonic() > self._deadline:
            raise TimeoutError("a PDU took longer than its deadline")
        try:
            received = self.socket.recv_into(self._buffer, min(limit, _BUFFER_BYTES))
        except BlockingIOError:
            raise TimeoutError("the peer sent nothing within the deadline of a PDU") from None
        self._start, self._end = 0, received
        return int(received)

    def _limit_waiting(self, seconds: float) -> None:
        """Deadlines of single calls are the kernel's: Python's would cost a system call each.

        TLS would ask the kernel again and again for the rest of a record, so there they are Python's.
        """
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket.settimeout(seconds)
            return
        limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


class StreamingUpperLayer(DULServiceProvider):  # type: ignore[misc]
    """The provider of one association; `limit_bytes` is the PDU size that we announced."""

    def __init__(self, assoc: Association, *, limit_bytes: int) -> None:
        super().__init__(assoc)
        self._limit_bytes = limit_bytes
        self._run_loop_delay = 0  # `_is_transport_event` waits instead
        self.to_user_queue = _Indications(assoc)
        self._wake_lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def run_reactor(self) -> None:
        """Run until the association is over, and tell it so."""
        try:
            super().run_reactor()
        except InvalidEventError as error:
            # What we were about to send came too late, since the peer went away or broke the protocol meanwhile.
            logger.warning("%r is gone: %s", self.assoc.requestor.ae_title, error)
            self.socket.close()
        finally:
            self.assoc.dimse.end()
            with self._wake_lock:
                os.close(self._wake)
                self._wake = -1

    def send_pdu(self, primitive: Any) -> None:
        """Have a primitive sent; whoever is answered is not idle."""
        self._idle_timer.restart()
        super().send_pdu(primitive)
        self._look()

    def kill_dul(self) -> None:
        """End the reactor."""
        super().kill_dul()
        self._look()

    def stop_dul(self) -> bool:
        """End the reactor if the connection is closed; whether it was."""
        if self.state_machine.current_state == _IDLE:
            self.kill_dul()
        return bool(super().stop_dul())

    def idle_timer_expired(self) -> bool:
        """Whether the peer sent nothing for too long; while an object arrives or is being kept, other limits hold."""
        return not self.assoc.dimse.busy and bool(super().idle_timer_expired())

    def _look(self) -> None:
        """End the reactor's wait."""
        with self._wake_lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _is_transport_event(self) -> bool:
        """Wait for the peer, for something to send, or for a timer to be looked at; then take what the peer sent."""
        may_wait = self.event_queue.empty() and self.state_machine.current_state != _CLOSING
        if may_wait and not self.socket.wait(_LOOK_SECONDS, self._wake):
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            return False
        return bool(super()._is_transport_event())

    def _decode_pdu(self, bytestream: bytearray) -> Any:
        """As pynetdicom; what becomes no primitive is invalid too, which its state machine would stumble over."""
        pdu, event = super()._decode_pdu(bytestream)
        primitive = pdu.to_primitive()
        if isinstance(primitive, A_ASSOCIATE):
            for context in primitive.presentation_context_definition_list:
                if not (context.abstract_syntax and context.transfer_syntax):
                    raise InvalidPDU("a presentation context without its syntaxes (PS3.8 9.3.2.2)")
        return pdu, event

    def _read_pdu_data(self) -> None:
        """Take the next PDU; while an object arrives, all of its PDUs; when all is said, nothing."""
        if self.state_machine.current_state == _CLOSING:
            if not self.socket.drop():
                self.event_queue.put(_CONNECTION_CLOSED)
            return
        if self.state_machine.current_state != _ESTABLISHED:
            super()._read_pdu_data()
            return
        try:
            while True:
                self.socket.begin_pdu()
                kind = self.socket.next_byte()
                if kind != P_DATA_TF:
                    break
                self._take_p_data()
                if self.assoc.dimse.message is None:
                    if not self.assoc.dimse.serve_store():
                        self._await_answer()
                    return
        except InvalidPDU as error:
            logger.warning("%r sent an invalid PDU: %s", self.assoc.requestor.ae_title, error)
            self.event_queue.put(_INVALID_PDU)
            return
        except OSError as error:
            logger.warning("%r is gone: %s", self.assoc.requestor.ae_title, error)
            self.event_queue.put(_CONNECTION_CLOSED)
            return
        super()._read_pdu_data()

    def _take_p_data(self) -> None:
        """One P-DATA-TF: its presentation data values (PS3.8 9.3.5.1) with their fragments (PS3.8 annex E)."""
        _, left = _PDU_HEADER.unpack(self.socket.exactly(6))
        if left > self._limit_bytes:
            raise InvalidPDU(f"{left} bytes; at most {self._limit_bytes} were negotiated")
        if left == 0:
            raise InvalidPDU("no presentation data value")
        while left:
            if left < 6:
                raise InvalidPDU("a presentation data value without header")
            length, context_id, control = _VALUE_HEADER.unpack(self.socket.exactly(6))
            if length < 2 or length + 4 > left:
                raise InvalidPDU("a presentation data value that does not fit its PDU")
            self._take_fragment(context_id, control, length - 2)
            left -= length + 4

    def _take_fragment(self, context_id: int, control: int, length: int) -> None:
        """Part of a data set that is being spooled goes on to its file; everything else to pynetdicom."""
        data_set = None if control & COMMAND else self.assoc.dimse.open_data_set
        if data_set is None:
            self._hand_on(context_id, control, self.socket.exactly(length))
            return
        if time.monotonic() > data_set.deadline:
            raise TimeoutError("an object took longer than its deadline")
        while length:
            piece = self.socket.piece(length)
            if not piece:
                raise ConnectionResetError("the peer closed inside an object")
            data_set.write(piece)
            length -= len(piece)
        if control & LAST:
            self._hand_on(context_id, control, b"")

    def _hand_on(self, context_id: int, control: int, fragment: bytes) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context_id, bytes([control]) + fragment]]
        self.assoc.dimse.receive_primitive(primitive)

    def _await_answer(self) -> None:
        """A message is complete: its answer is what happens next, as a rule within milliseconds."""
        answers: Any = self.to_provider_queue
        with answers.not_empty:
            answers.not_empty.wait_for(lambda: bool(answers.queue), _ANSWER_SECONDS)


class _Indications(queue.Queue[Any]):
    """What the layer tells the association besides messages: its request, release and abort."""

    def __init__(self, assoc: Association) -> None:
        super().__init__()
        self._assoc = assoc

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._assoc.dimse.look()


class InvalidPDU(Exception):
    """What the peer sent is none; the association is aborted."""
