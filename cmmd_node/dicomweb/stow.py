"""STOW-RS over HTTP (PS3.18 10.5): what is refused before the body is read, and how it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from cmmd_node.dicomweb.deposit import Deposit
from cmmd_node.dicomweb.negotiation import DICOM_JSON, want_json
from cmmd_node.dicomweb.urls import Uid, base_url, sender
from cmmd_node.errors import MalformedRequest
from cmmd_node.multipart import media_type
from cmmd_node.receive.inbox import Inbox
from cmmd_node.settings import Settings, WebSettings

#: Pieces of the body that are handed to a thread at once; what a request needs in memory is a few of them.
_PIECE_BYTES = 1 << 20
_RETRY_SECONDS = "60"


def stow_routes(settings: Settings, inbox: Inbox) -> APIRouter:
    """``POST /studies`` and ``POST /studies/{study}``."""
    router = APIRouter()

    @router.post("/studies")
    async def store(request: Request) -> JSONResponse:
        return await _store(request, settings.web, inbox, None)

    @router.post("/studies/{study}")
    async def store_into(request: Request, study: Uid) -> JSONResponse:
        return await _store(request, settings.web, inbox, study)

    return router


async def _store(request: Request, limits: WebSettings, inbox: Inbox, study: str | None) -> JSONResponse:
    want_json(request)
    boundary = _boundary(request)
    _refuse_early(request, limits, inbox)
    deposit = Deposit(inbox, boundary, study_instance_uid=study, sender=sender(request))
    try:
        async for piece in _pieces(request, limits):
            await run_in_threadpool(deposit.take, piece)
        deposit.end()
    except ClientDisconnect:
        deposit.break_off("the connection ended inside the instance")
        raise
    except (MalformedRequest, HTTPException) as error:
        problem = error.detail if isinstance(error, HTTPException) else str(error)
        deposit.break_off(problem)
        if not deposit.referenced and not deposit.failed:
            raise
        status = error.status_code if isinstance(error, HTTPException) else 400
        content = deposit.answer(base_url(request))
        return JSONResponse(content, 202 if deposit.referenced else status, None, DICOM_JSON)
    finally:
        deposit.break_off("the request ended inside the instance")
    if not deposit.referenced and not deposit.failed:
        raise HTTPException(400, "the body has no parts")
    headers = {"Retry-After": _RETRY_SECONDS} if deposit.status == 503 else {}
    return JSONResponse(deposit.answer(base_url(request)), deposit.status, headers, DICOM_JSON)


def _boundary(request: Request) -> str:
    """Of the multipart body.

    Raises
    ------
    HTTPException
        415: the body is something else.
    """
    kind, parameters = media_type(request.headers.get("content-type", ""))
    if kind != "multipart/related" or parameters.get("type", "application/dicom").lower() != "application/dicom":
        raise HTTPException(415, 'only multipart/related; type="application/dicom" can be stored')
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "a body with a Content-Encoding is not taken")
    return parameters.get("boundary", "")


def _refuse_early(request: Request, limits: WebSettings, inbox: Inbox) -> None:
    """Refuse what need not be read to be refused.

    Raises
    ------
    HTTPException
        413: it says itself that it is too large. 503: nothing can be taken now.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.request_limit_mb * 1_000_000:
        raise _too_large(limits)
    refusal = inbox.refusal()
    if refusal is not None:
        raise HTTPException(503, refusal, {"Retry-After": _RETRY_SECONDS})


async def _pieces(request: Request, limits: WebSettings) -> AsyncIterator[bytes]:
    """The body in pieces of about `_PIECE_BYTES`, within the time and size that a request may take.

    Raises
    ------
    HTTPException
        408: it came too slowly. 413: there is too much of it.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.request_seconds
    stream = request.stream()
    waiting, size, total = [], 0, 0
    while True:
        try:
            patience = min(limits.idle_seconds, max(0.0, end - loop.time()))
            data = await asyncio.wait_for(anext(stream, None), patience)
        except TimeoutError:
            raise HTTPException(408, "the body came too slowly") from None
        if data is None:
            break
        total += len(data)
        if total > limits.request_limit_mb * 1_000_000:
            raise _too_large(limits)
        waiting.append(data)
        size += len(data)
        if size >= _PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _too_large(limits: WebSettings) -> HTTPException:
    return HTTPException(413, f"larger than the limit of {limits.request_limit_mb} MB")
