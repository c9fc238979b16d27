"""The HTTP application: ``/healthz`` for watchdogs, ``/metrics`` for Prometheus, ``/dicom-web``, nothing else."""

from __future__ import annotations

import logging
import socket
import threading

import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from cmmd_node.dicomweb import Cataloguer, Decoder, make_dicomweb
from cmmd_node.errors import StartRefused
from cmmd_node.index import Index
from cmmd_node.receive.inbox import Inbox
from cmmd_node.settings import Settings
from cmmd_node.tls import check_certificate
from cmmd_node.web.connection import limited
from cmmd_node.web.health import check_health, warnings
from cmmd_node.web.metrics import IndexCollector

logger = logging.getLogger(__name__)


def make_app(settings: Settings, index: Index, cataloguer: Cataloguer, decoder: Decoder) -> FastAPI:
    """The application for one node, with a spool of its own for what comes in by DICOMweb."""
    app = FastAPI(title="cmmd-node", docs_url=None, redoc_url=None, openapi_url=None)
    certificate_ends = check_certificate(settings)
    registry = CollectorRegistry()
    registry.register(IndexCollector(settings, index))
    inbox = Inbox(settings, index, index.client(), name="web")
    inbox.sweep()
    app.mount("/dicom-web", make_dicomweb(settings, index, inbox, cataloguer, decoder))

    @app.get("/healthz")
    def healthz(response: Response) -> dict[str, object]:
        problems = check_health(settings, index)
        response.headers["Cache-Control"] = "no-store"
        if problems:
            response.status_code = 503
        return {
            "status": "failing" if problems else "ok",
            "problems": problems,
            "warnings": warnings(settings, certificate_ends),
        }

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections send at once.

    Raises
    ------
    StartRefused
        The address cannot be listened on.
    """
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise StartRefused(f"cannot listen on {host}:{port}: {error.strerror}") from error
    # Connections inherit it. asyncio sets it only where the socket names its protocol, which an accepted one does not;
    # without it an answer's body waits 40 ms for the client to acknowledge its header.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def serve_http(settings: Settings, index: Index, stop: threading.Event, *, stop_seconds: float) -> None:
    """Answer on the configured address until `stop` is set; then let open requests end for `stop_seconds`.

    Raises
    ------
    StartRefused
        The address cannot be listened on.
    """
    listening = listen(settings.web.host, settings.web.port)
    web = settings.web
    cataloguer = Cataloguer(index, settings.node.data_dir)
    with Decoder() as decoder:
        config = uvicorn.Config(
            make_app(settings, index, cataloguer, decoder),
            http=limited(header_seconds=web.header_seconds, stall_seconds=web.idle_seconds),
            limit_concurrency=web.connections,
            timeout_graceful_shutdown=max(1, int(stop_seconds)),
            log_config=None,
            access_log=False,
            server_header=False,
        )
        if settings.http_openness is not None:
            logger.warning("%s", settings.http_openness)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        cataloguer.keep_up(stop)
        server.should_exit = True
        thread.join(stop_seconds)
    listening.close()
