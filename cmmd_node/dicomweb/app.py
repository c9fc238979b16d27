"""The DICOMweb application that the web role mounts under ``/dicom-web``."""

from __future__ import annotations

import logging

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from cmmd_node.dicomweb.access import Access
from cmmd_node.dicomweb.decoder import Decoder
from cmmd_node.dicomweb.headers import Cataloguer
from cmmd_node.dicomweb.qido import qido_routes
from cmmd_node.dicomweb.rendered import rendered_routes
from cmmd_node.dicomweb.store import Store
from cmmd_node.dicomweb.stow import stow_routes
from cmmd_node.dicomweb.urls import sender
from cmmd_node.dicomweb.wado import wado_routes
from cmmd_node.errors import MalformedRequest
from cmmd_node.index import Index
from cmmd_node.receive.inbox import Inbox
from cmmd_node.settings import Settings

logger = logging.getLogger(__name__)


def make_dicomweb(settings: Settings, index: Index, inbox: Inbox, cataloguer: Cataloguer, decoder: Decoder) -> FastAPI:
    """The application for one node.

    Parameters
    ----------
    inbox
        Of this process: nobody else writes to its spool.
    """
    access = Depends(Access(settings.web))
    app = FastAPI(title="cmmd-node DICOMweb", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[access])
    app.state.url = settings.web.url.rstrip("/")
    app.include_router(stow_routes(settings, inbox))
    app.include_router(qido_routes(index, cataloguer, most=settings.web.results))
    store = Store(index, settings.node.data_dir, cataloguer, decoder.decode)
    app.include_router(wado_routes(store))
    app.include_router(rendered_routes(store))

    @app.exception_handler(MalformedRequest)
    def malformed(request: Request, error: Exception) -> JSONResponse:
        logger.warning("HTTP request from %s refused: %s", sender(request), type(error).__name__)
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: Exception) -> JSONResponse:
        names = ", ".join(sorted({str(one["loc"][-1]) for one in _complaints(error)}))
        return JSONResponse({"detail": f"{names}: not what is wanted there"}, 400)

    return app


def _complaints(error: Exception) -> list[dict[str, tuple[str, ...]]]:
    return list(error.errors()) if isinstance(error, RequestValidationError) else []
