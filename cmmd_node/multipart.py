"""Multipart bodies (RFC 2046 5.1, RFC 2387) piece by piece, in and out; nothing is held but the piece at hand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from email.message import Message
from enum import Enum, auto

from cmmd_node.errors import MalformedRequest

#: RFC 2046 wants at most 70 characters; Orthanc's boundaries have 73.
_BOUNDARY_LIMIT = 200
_HEADERS_LIMIT = 16_384
_PADDING_LIMIT = 256
_PREAMBLE_LIMIT = 65_536


class PartBegins:
    """A part of the body begins; `headers` by their names in lower case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers


class PartEnds:
    """The delimiter after a part is here: the part is complete."""


class _State(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()
    HEADERS = auto()
    BODY = auto()
    EPILOGUE = auto()


class MultipartReader:
    """Takes a body in pieces of any size and tells what is in it as soon as it is certain."""

    def __init__(self, boundary: str) -> None:
        if not 0 < len(boundary) <= _BOUNDARY_LIMIT or not boundary.isascii():
            raise MalformedRequest(f"Content-Type has no boundary of 1 to {_BOUNDARY_LIMIT} ASCII characters")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._buffer = bytearray(b"\r\n")  # so that a delimiter at the very beginning looks like any other
        self._state = _State.PREAMBLE
        self._preamble_bytes = 0

    def feed(self, data: bytes) -> Iterator[PartBegins | bytes | PartEnds]:
        """What `data` completes.

        Raises
        ------
        MalformedRequest
            It is no multipart body.
        """
        self._buffer += data
        while True:
            if self._state is _State.PREAMBLE:
                dropped, found = self._up_to_delimiter()
                self._preamble_bytes += len(dropped)
                if self._preamble_bytes > _PREAMBLE_LIMIT:
                    raise MalformedRequest(f"no boundary within the first {_PREAMBLE_LIMIT} bytes of the body")
                if not found:
                    return
            elif self._state is _State.BODY:
                content, found = self._up_to_delimiter()
                if content:
                    yield content
                if not found:
                    return
                yield PartEnds()
            elif self._state is _State.DELIMITER:
                if not self._step_over_delimiter():
                    return
            elif self._state is _State.HEADERS:
                headers = self._headers()
                if headers is None:
                    return
                yield PartBegins(headers)
                self._state = _State.BODY
            else:
                self._buffer.clear()
                return

    def end(self) -> None:
        """The body is over.

        Raises
        ------
        MalformedRequest
            It should not be: the last boundary is missing.
        """
        if self._state is not _State.EPILOGUE:
            raise MalformedRequest("the body ends before its last boundary")

    def _up_to_delimiter(self) -> tuple[bytes, bool]:
        """Bytes that surely come before the next delimiter, and whether it follows them; then it is stepped over."""
        start = 0
        while (at := self._buffer.find(self._delimiter, start)) >= 0:
            end = at + len(self._delimiter)
            following = bytes(self._buffer[end : end + 2])
            if len(following) < 2:
                break
            if following in (b"--", b"\r\n") or following[:1] in (b" ", b"\t"):
                content = bytes(self._buffer[:at])
                del self._buffer[:end]
                self._state = _State.DELIMITER
                return content, True
            start = at + 1  # content that begins like the delimiter
        certain = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
        content = bytes(self._buffer[:certain])
        del self._buffer[:certain]
        return content, False

    def _step_over_delimiter(self) -> bool:
        """Past what follows the boundary on its line; False when more of it must come first."""
        if self._buffer.startswith(b"--"):
            self._state = _State.EPILOGUE
            return True
        end = self._buffer.find(b"\r\n")
        if end < 0 and len(self._buffer) < _PADDING_LIMIT:
            return False
        if end < 0 or self._buffer[:end].strip(b" \t"):
            raise MalformedRequest("something else than blanks follows a boundary")
        del self._buffer[:end]  # the line's end stays: headers may be missing
        self._state = _State.HEADERS
        return True

    def _headers(self) -> dict[str, str] | None:
        """The headers of a part, None when more of them must come first."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _HEADERS_LIMIT:
                raise MalformedRequest(f"the headers of a part are longer than {_HEADERS_LIMIT} bytes")
            return None
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        pairs = (line.partition(":") for line in lines if line)
        return {name.strip().lower(): value.strip() for name, _, value in pairs}


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """Type and parameters of a Content-Type header, all but the values of parameters in lower case."""
    message = Message()
    message["Content-Type"] = header
    parameters = message.get_params(failobj=[], header="Content-Type")
    return message.get_content_type() if header else "", {name.lower(): value for name, value in parameters[1:]}


class MultipartWriter:
    """Frames of a multipart body under a boundary that nobody can foresee."""

    def __init__(self, media_type: str) -> None:
        self._boundary = secrets.token_hex(16)
        self.content_type = f'multipart/related; type="{media_type}"; boundary={self._boundary}'

    def begin_part(self, content_type: str, **headers: str) -> bytes:
        """What stands before the content of a part."""
        lines = [f"--{self._boundary}", f"Content-Type: {content_type}"]
        lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def end_part(self) -> bytes:
        """What stands behind it."""
        return b"\r\n"

    def end(self) -> bytes:
        """What ends the body."""
        return f"--{self._boundary}--\r\n".encode("latin-1")
