"""Answers that are made while they are sent, and give back what they hold however they end."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send


class Streamed(StreamingResponse):
    """Sends what a generator yields; its files are closed when the answer ends, not when memory is tidied up."""

    def __init__(
        self, pieces: Generator[bytes, None, None], status: int, headers: Mapping[str, str], media_type: str
    ) -> None:
        super().__init__(pieces, status, headers, media_type)
        self._pieces: Generator[bytes, Any, None] = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await run_in_threadpool(self._pieces.close)
