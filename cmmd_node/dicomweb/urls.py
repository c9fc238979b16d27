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
    """The base URI of the service as the user agent knows it, ``http://HOST:PORT/dicom-web``."""
    return str(request.base_url).rstrip("/") + str(request.scope.get("root_path", ""))


def sender(request: Request) -> str:
    """The other end's address, for the log."""
    return request.client.host if request.client else "?"
