"""Conditional and range requests (RFC 9110 13 and 14) for what has bytes of its own and a tag that names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator

from fastapi import HTTPException, Request, Response

from cmmd_node.dicomweb.streaming import Streamed

#: What is read and sent at once.
PIECE_BYTES = 1 << 20


def not_modified(request: Request, etag: str) -> Response | None:
    """304 when the user agent has this representation already; None when it has not.

    A weak comparison (RFC 9110 8.8.3.2): representations of one tag mean the same.
    """
    told = request.headers.get("if-none-match", "")
    tags = {one.strip().removeprefix("W/") for one in told.split(",")}
    if told.strip() == "*" or etag.removeprefix("W/") in tags:
        return Response(status_code=304, headers={"ETag": etag})
    return None


def content(
    request: Request, read: Callable[[int, int], Generator[bytes, None, None]], size: int, *, media_type: str, etag: str
) -> Response:
    """The bytes, or the one range of them that is asked for.

    Parameters
    ----------
    read
        Gives bytes from an offset, so many of them, in pieces.

    Raises
    ------
    HTTPException
        416: the range lies outside.
    """
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    start, end, status = 0, size, 200
    wanted = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.headers.get("range", "").strip(), re.ASCII)
    unchanged = request.headers.get("if-range", etag) == etag
    if wanted and unchanged and (wanted[1] or wanted[2]):
        start = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
        end = min(size, int(wanted[2]) + 1) if wanted[1] and wanted[2] else size
        if start >= size or start >= end:
            raise HTTPException(416, f"there are {size} bytes", {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        status = 206
    headers["Content-Length"] = str(end - start)
    return Streamed(read(start, end - start), status, headers, media_type)
