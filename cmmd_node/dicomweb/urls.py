"""The addresses of DICOMweb resources: UIDs that stand in a path, and where a request has found us."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request
from pydantic import AfterValidator

from cmmd_node.receive.structure import is_uid


def _uid(value: str) -> str:
    if not is_uid(value):
        raise ValueError("no UID (PS3.5 9.1)")
    return value


#: A UID in a path: nothing else gets past it.
Uid = Annotated[str, AfterValidator(_uid)]


def base_url(request: Request) -> str:
    """The base URI of the service as the user agent knows it, ``http://HOST:PORT/dicom-web``.

    What ``web.url`` says, else the Host header. dicomweb-client leaves the port out of that: where no proxy speaks, it
    is the one that the request came in on.
    """
    if request.app.state.url:
        return str(request.app.state.url)
    url = request.base_url
    server = request.scope.get("server")
    if url.port is None and server is not None and "x-forwarded-for" not in request.headers:
        url = url.replace(port=server[1])
    return str(url).rstrip("/") + str(request.scope.get("root_path", ""))


def sender(request: Request) -> str:
    """The other end's address, for the log."""
    return request.client.host if request.client else "?"
