"""A peer that speaks PDUs byte by byte (PS3.8 9.3, PS3.7 6.3), for what no well-behaved library would send."""

from __future__ import annotations

import socket
import struct

_IMPLICIT = "1.2.840.10008.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_RLE = "1.2.840.10008.1.2.5"
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"

CONTEXTS = {
    1: (VERIFICATION, _IMPLICIT),
    3: (MAMMOGRAPHY, _EXPLICIT),
    5: (MAMMOGRAPHY, _IMPLICIT),
    7: (MAMMOGRAPHY, _BIG_ENDIAN),
    9: (MAMMOGRAPHY, _RLE),
}


def associate_rq(*, calling: str = "RAW", called: str = "CMMD_NODE", without: int | None = None) -> bytes:
    """An A-ASSOCIATE-RQ that proposes `CONTEXTS`; `without` sub-items of that type."""
    items = _item(0x10, _APPLICATION_CONTEXT.encode())
    for context_id, (abstract, transfer) in CONTEXTS.items():
        syntaxes = {0x30: abstract, 0x40: transfer}
        content = b"".join(_item(kind, uid.encode()) for kind, uid in syntaxes.items() if kind != without)
        items += _item(0x20, bytes([context_id, 0, 0, 0]) + content)
    items += _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3.4"))
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode()) + items
    return pdu(0x01, body)


def store_rq(*, sop_class: str = MAMMOGRAPHY, sop_instance: str | None = "1.2.3", message_id: int | None = 1) -> bytes:
    """The command set of a C-STORE-RQ."""
    elements = [(0x0002, _ui(sop_class)), (0x0100, struct.pack("<H", 1))]
    if message_id is not None:
        elements.append((0x0110, struct.pack("<H", message_id)))
    elements += [(0x0700, struct.pack("<H", 0)), (0x0800, struct.pack("<H", 0))]
    if sop_instance is not None:
        elements.append((0x1000, _ui(sop_instance)))
    return command_set(elements)


def command_set(elements: list[tuple[int, bytes]]) -> bytes:
    """Elements of group 0000 with their group length (PS3.7 6.3.1)."""
    content = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(content)) + content


def pdu(kind: int, body: bytes) -> bytes:
    """Any PDU."""
    return struct.pack(">BxI", kind, len(body)) + body


def p_data(context_id: int, fragment: bytes, *, command: bool, last: bool = True) -> bytes:
    """A P-DATA-TF with one fragment."""
    value = bytes([context_id, (1 if command else 0) | (2 if last else 0)]) + fragment
    return pdu(0x04, struct.pack(">I", len(value)) + value)


class RawPeer:
    """A socket to a receiver."""

    def __init__(self, port: int, *, calling: str = "RAW") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._calling = calling

    def associate(self) -> RawPeer:
        """Open an association; fails when it is not accepted."""
        self.socket.sendall(associate_rq(calling=self._calling))
        kind, _ = self.receive()
        assert kind == 0x02, f"PDU type {kind:02X}, not A-ASSOCIATE-AC"
        return self

    def store(self, data_set: bytes, *, context_id: int = 3, chunk: int = 16000, **command: object) -> int:
        """One C-STORE; the status of its response."""
        self.send_store(data_set, context_id=context_id, chunk=chunk, **command)
        return self.status()

    def send_store(self, data_set: bytes, *, context_id: int = 3, chunk: int = 16000, **command: object) -> None:
        """One C-STORE without waiting for the response."""
        self.socket.sendall(p_data(context_id, store_rq(**command), command=True))  # type: ignore[arg-type]
        pieces = [data_set[start : start + chunk] for start in range(0, max(1, len(data_set)), chunk)]
        for number, piece in enumerate(pieces, start=1):
            self.socket.sendall(p_data(context_id, piece, command=False, last=number == len(pieces)))

    def status(self) -> int:
        """The status in the next message."""
        kind, body = self.receive()
        assert kind == 0x04, f"PDU type {kind:02X}, not P-DATA-TF"
        return status_of(body[6:])[0]

    def release(self) -> None:
        """End the association as one should; fails when the receiver does not."""
        self.socket.sendall(pdu(0x05, b"\0\0\0\0"))
        kind, _ = self.receive()
        assert kind == 0x06, f"PDU type {kind:02X}, not A-RELEASE-RP"
        self.socket.close()

    def receive(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, nothing) when the peer closed."""
        header = self._exactly(6)
        if not header:
            return 0, b""
        kind, length = struct.unpack(">BxI", header)
        return kind, self._exactly(length)

    def is_closed(self, seconds: float) -> bool:
        """Whether the peer ends the connection within the deadline, with or without an A-ABORT."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                return b""
            data += piece
        return data


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _ui(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid.encode()) % 2)


def status_of(command: bytes) -> tuple[int, str]:
    """Status and Affected SOP Instance UID of a response's command set."""
    elements = {}
    position = 0
    while position < len(command):
        _, element, length = struct.unpack_from("<HHI", command, position)
        elements[element] = command[position + 8 : position + 8 + length]
        position += 8 + length
    assert 0x0900 in elements, "the response has no status"
    return int(struct.unpack("<H", elements[0x0900])[0]), elements.get(0x1000, b"").rstrip(b"\0").decode(
        errors="replace"
    )
