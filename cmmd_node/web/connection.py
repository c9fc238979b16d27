"""A connection of the HTTP server with the deadlines that uvicorn leaves to others.

Headers must be complete, and a reader that stalls must go on, within limits; who exceeds one loses the connection. The
deadline of a body is that of whoever reads it (`dicomweb.stow`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class DeadlineConnection(H11Protocol):
    """uvicorn's, with deadlines; `header_seconds` and `stall_seconds` are set by `limited`."""

    header_seconds = 20.0
    stall_seconds = 60.0

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Headers are awaited."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """No deadline matters any more."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A request that is being answered needs no more headers."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete and self._header_timer is not None:
            self._header_timer.cancel()

    def on_response_complete(self) -> None:
        """The next request may come, but not for ever; the rest of a body that nobody read counts as that."""
        self._await_headers()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The reader does not keep up; begin to lose patience."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has gone on."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        super().resume_writing()

    def _await_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
        self._header_timer = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _cancel(self) -> None:
        for timer in (self._header_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()


def limited(*, header_seconds: float, stall_seconds: float) -> type[DeadlineConnection]:
    """The class of connections with these deadlines, as uvicorn wants it."""
    limits = {"header_seconds": header_seconds, "stall_seconds": stall_seconds}
    return type("LimitedConnection", (DeadlineConnection,), limits)
