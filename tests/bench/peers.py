"""What a receiver is measured against: a bare loop that does the same durable work, as fast as Python lets it.

``python -m tests.bench.peers PORT FOLDER`` takes each association in a thread of its own and answers Verification and
Storage of Digital Mammography For Presentation in Explicit VR Little Endian on 127.0.0.1. It reads PDUs from a raw
socket and writes their bytes to a file; then it syncs the file, renames it, syncs the directory and commits one SQLite
row with synchronous FULL before it answers. It checks nothing, so it is no receiver to use.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sqlite3
import struct
import sys
import threading
from pathlib import Path

MAX_PDU = 131072

_RELEASE_REPLY = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"
_LAST, _COMMAND = 0x02, 0x01


class Store:
    """Files in a folder and their rows; threads write files beside each other and rows in turn."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "objects"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        self._database = sqlite3.connect(folder / "index.sqlite", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE instance (uid TEXT PRIMARY KEY, path TEXT, size INTEGER)")
        self._turn = threading.Lock()
        self._numbers = itertools.count(1)

    def begin(self) -> tuple[int, Path]:
        path = self._folder / f"{next(self._numbers)}.part"
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640), path

    def end(self, file: int, path: Path, uid: str) -> None:
        size = os.lseek(file, 0, os.SEEK_CUR)
        os.fdatasync(file)
        os.close(file)
        final = path.with_suffix(".dcm")
        path.rename(final)
        os.fsync(self._directory)
        with self._turn:
            self._database.execute("INSERT INTO instance VALUES (?, ?, ?)", (uid, final.name, size))


def serve(port: int, folder: Path) -> None:
    """Take associations."""
    store = Store(folder)
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve_one, args=(connection, store), daemon=True).start()


def _serve_one(connection: socket.socket, store: Store) -> None:
    with connection, contextlib.suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _associate(connection, store)


def _associate(connection: socket.socket, store: Store) -> None:
    buffer = bytearray(MAX_PDU + 6)
    view = memoryview(buffer)
    command = b""
    file, path = -1, Path()
    while True:
        _read(connection, view[:6])
        kind, length = struct.unpack_from(">BxI", buffer)
        if length > len(buffer):
            return
        _read(connection, view[:length])
        if kind == 0x01:
            connection.sendall(_acceptance(bytes(view[:length])))
        elif kind == 0x05:
            connection.sendall(_RELEASE_REPLY)
            return
        elif kind != 0x04:
            return
        at = 0
        while kind == 0x04 and at < length:
            size, context, flags = struct.unpack_from(">IBB", buffer, at)
            piece = view[at + 6 : at + 4 + size]
            at += 4 + size
            if flags & _COMMAND:
                command += bytes(piece)
                if flags & _LAST:
                    fields = _elements(command)
                    if fields[0x0100] == b"\x30\x00":
                        connection.sendall(_response(context, fields, 0x8030))
                        command = b""
                continue
            if file < 0:
                file, path = store.begin()
            os.write(file, piece)
            if flags & _LAST:
                fields = _elements(command)
                store.end(file, path, fields[0x1000].rstrip(b"\0").decode())
                file, command = -1, b""
                connection.sendall(_response(context, fields, 0x8001))


def _read(connection: socket.socket, view: memoryview) -> None:
    while view:
        received = connection.recv_into(view)
        if received == 0:
            raise ConnectionError
        view = view[received:]


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _acceptance(request: bytes) -> bytes:
    """A-ASSOCIATE-AC (PS3.8 9.3.3): every context is accepted with the last of its transfer syntaxes that is plain."""
    answers = b""
    at = 68
    while at < len(request):
        kind, length = struct.unpack_from(">BxH", request, at)
        if kind == 0x20:
            content = request[at + 4 : at + 4 + length]
            syntaxes = [text for kind, text in _items(content[4:]) if kind == 0x40]
            explicit = next((one for one in syntaxes if one == b"1.2.840.10008.1.2.1"), syntaxes[0])
            answers += _item(0x21, bytes([content[0], 0, 0, 0]) + _item(0x40, explicit))
        at += 4 + length
    user = _item(0x51, struct.pack(">I", MAX_PDU)) + _item(0x52, b"2.25.1")
    body = request[:68] + _item(0x10, b"1.2.840.10008.3.1.1.1") + answers + _item(0x50, user)
    return struct.pack(">BxI", 0x02, len(body)) + body


def _items(content: bytes) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while at < len(content):
        kind, length = struct.unpack_from(">BxH", content, at)
        found.append((kind, content[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def _elements(command: bytes) -> dict[int, bytes]:
    """The elements of a command set, all of group 0000 in Implicit VR Little Endian."""
    found = {}
    at = 0
    while at < len(command):
        element, length = struct.unpack_from("<2xHI", command, at)
        found[element] = command[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def _response(context: int, request: dict[int, bytes], field: int) -> bytes:
    elements = {0x0002: request[0x0002], 0x0100: struct.pack("<H", field), 0x0120: request[0x0110]}
    elements |= {0x0800: b"\x01\x01", 0x0900: b"\x00\x00"}
    if 0x1000 in request:
        elements[0x1000] = request[0x1000]
    body = b"".join(struct.pack("<2xHI", element, len(value)) + value for element, value in sorted(elements.items()))
    command = struct.pack("<2xHII", 0x0000, 4, len(body)) + body
    value = struct.pack(">IBB", len(command) + 2, context, _COMMAND | _LAST) + command
    return struct.pack(">BxI", 0x04, len(value)) + value


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
