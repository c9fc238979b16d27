"""Compressed frames, decoded in a process of their own: a codec that crashes or hangs costs the frame, no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeAlias

from pydicom.uid import UID

from cmmd_node.assemble.codecs import Stored, decode_frame
from cmmd_node.assemble.pixel_format import PixelFormat
from cmmd_node.errors import NotAnalysed
from cmmd_node.isolation import IsolatedPool, Lost

#: What `Decoder.decode` is to those who only decode.
Decode: TypeAlias = Callable[[bytes, UID, PixelFormat], Stored]

#: For one frame; the largest take a second or two.
_SECONDS = 30.0


class Decoder:
    """One process for all requests, started when the first compressed frame is asked for."""

    def __init__(self) -> None:
        self._pool: IsolatedPool | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()

    def decode(self, frame: bytes, transfer_syntax: UID, pixel_format: PixelFormat) -> Stored:
        """As `decode_frame`, which also says what is raised; a decoder that crashes or hangs is NotAnalysed too."""
        with self._lock:
            if self._pool is None:
                self._pool = IsolatedPool(1)
        (decoded,) = self._pool.map(_decode, [(frame, transfer_syntax, pixel_format)], seconds=_SECONDS)
        if isinstance(decoded, Lost):
            raise NotAnalysed(f"The {transfer_syntax.name} image cannot be decoded: {decoded.reason}")
        return decoded


def _decode(job: tuple[bytes, UID, PixelFormat]) -> Stored:
    return decode_frame(*job)
