"""A TCP proxy on loopback that does to a conversation what networks do.

``with Proxy(port, back=Fault(cut_after=100)) as proxy`` stands before a server on `port`; peers talk to ``proxy.port``.
Each direction has a fault of its own, which every connection meets anew.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_PIECE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the bytes of one direction; nothing unless it is said."""

    delay_seconds: float = 0.0
    """Before each piece is passed on."""
    piece_bytes: int = _PIECE_BYTES
    """The largest piece; with the delay, the speed of the line."""
    cut_after: int | None = None
    """After so many bytes both connections are reset."""
    freeze_after: int | None = None
    """After so many bytes nothing passes any more, and nothing is closed: a cable that was pulled."""
    drop_after: int | None = None
    """After so many bytes the rest is swallowed, and the sender believes that it arrived."""
    corrupt_at: int | None = None
    """The bits of the byte at this position are flipped."""


class Proxy:
    """Passes connections on to `port`, with faults, until the ``with`` block ends."""

    def __init__(self, port: int, *, out: Fault | None = None, back: Fault | None = None) -> None:
        self.out, self.back = out or Fault(), back or Fault()
        """What happens to what clients send, and to what they are answered; may be changed for new connections."""
        self.sent: list[bytearray] = []
        """What each client sent, in the order of their connections."""
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._thaw = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thaw.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def thaw(self) -> None:
        """No delay holds anything up any more, on any connection."""
        self._thaw.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            self._sockets.append(server)
            self.sent.append(bytearray())
            for source, target, fault, record in (
                (client, server, self.out, self.sent[-1]),
                (server, client, self.back, None),
            ):
                threading.Thread(target=self._pass_on, args=(source, target, fault, record), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, fault: Fault, record: bytearray | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := bytearray(source.recv(fault.piece_bytes)):
                if record is not None:
                    record += data
                if fault.corrupt_at is not None and passed <= fault.corrupt_at < passed + len(data):
                    data[fault.corrupt_at - passed] ^= 0xFF
                self._thaw.wait(fault.delay_seconds)
                limits = (fault.cut_after, fault.freeze_after, fault.drop_after)
                limit = min((each for each in limits if each is not None), default=None)
                left = len(data) if limit is None else max(0, limit - passed)
                target.sendall(data[:left])
                passed += len(data)
                if left < len(data) or limit == passed:
                    if fault.cut_after is not None:
                        _reset(source)
                        _reset(target)
                        return
                    if fault.freeze_after is not None:
                        self._thaw.wait()
                        return
            target.shutdown(socket.SHUT_WR)


def _reset(one: socket.socket) -> None:
    """End a connection the hard way."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RD)  # wakes whoever waits for it
    one.close()
