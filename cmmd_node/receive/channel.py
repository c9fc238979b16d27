"""The channel under an association: who speaks what on our port, and the TLS handshake where we want one.

A connection becomes an association once its first byte is here and, with TLS, the handshake has ended. Until then it
costs a thread that sleeps.
"""

from __future__ import annotations

import socket
import ssl

from cmmd_node.tls import mistake

#: The first byte of a connection: of an A-ASSOCIATE-RQ (PS3.8 9.3.2) and of a TLS handshake record (RFC 8446 5.1).
_A_ASSOCIATE_RQ = 0x01
_TLS_HANDSHAKE = 0x16
_LETTERS = range(0x41, 0x5B)


class NoChannel(Exception):
    """Nothing comes of the connection; `reason` tells whoever watches, empty for a peer that only looked."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def open_channel(connection: socket.socket, tls: ssl.SSLContext | None, seconds: float) -> socket.socket:
    """The socket to associate on: `connection` as it is, or over TLS.

    Raises
    ------
    NoChannel
        It speaks something else, its handshake failed, or it let `seconds` pass.
    """
    connection.settimeout(seconds)
    try:
        first = connection.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        raise NoChannel(f"it sent nothing within {seconds:g} s") from None
    except OSError:
        raise NoChannel("") from None
    if not first:
        raise NoChannel("")
    if first[0] in _LETTERS:
        raise NoChannel("it speaks HTTP or another protocol of text to our DICOM port")
    if tls is None:
        if first[0] == _TLS_HANDSHAKE:
            raise NoChannel("it speaks TLS, which this port does not; tls.certificate would change that")
        return connection
    if first[0] == _A_ASSOCIATE_RQ:
        raise NoChannel("it speaks DICOM without TLS, and this port wants TLS")
    try:
        return tls.wrap_socket(connection, server_side=True)
    except OSError as error:
        raise NoChannel(mistake(error)) from error
