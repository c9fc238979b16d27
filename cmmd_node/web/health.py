"""Health, proven by traffic where that is cheap: a C-ECHO to our own receiver, the worker's heartbeat, the disk."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import DBAPIError

from cmmd_node.deliver import echo
from cmmd_node.index import Index
from cmmd_node.index.deliveries import dead_deliveries
from cmmd_node.index.status import silence_seconds
from cmmd_node.receive.filesystem import doubt
from cmmd_node.settings import CHECK_AE_TITLE, Settings
from cmmd_node.tls import to_ourselves

_SILENCE_SECONDS = 30
_CERTIFICATE_NOTICE = timedelta(days=30)


def check_health(settings: Settings, index: Index) -> list[str]:
    """What keeps the node from its work, as sentences; empty when nothing does."""
    problems = []
    free_mb = shutil.disk_usage(settings.node.data_dir).free // 1_000_000
    if free_mb < settings.receive.reserve_mb:
        problems.append(f"{free_mb} MB free in data_dir, less than the reserve of {settings.receive.reserve_mb} MB")
    if not echo(
        host=settings.own_host,
        port=settings.receive.port,
        called_ae_title=settings.node.ae_title,
        calling_ae_title=CHECK_AE_TITLE,
        tls=to_ourselves(settings),
    ):
        problems.append("the receiver does not answer a C-ECHO")
    try:
        with index.read() as connection:
            silence = silence_seconds(connection, "work")
            dead = len(dead_deliveries(connection))
    except DBAPIError as error:
        return [*problems, f"the index does not answer: {type(error.orig).__name__}"]
    if silence is None or silence > _SILENCE_SECONDS:
        problems.append("no worker has been alive " + ("yet" if silence is None else f"for {silence:.0f} s"))
    if dead:
        problems.append(f"{dead} deliveries are dead; see `cmmd-node deliveries`")
    return problems


def warnings(settings: Settings, certificate_ends: datetime | None) -> list[str]:
    """What does not keep the node from its work yet, or never, and that its administrator should know.

    Parameters
    ----------
    certificate_ends
        Of the certificate that the node was started with; None without one.
    """
    found = [
        one for one in (settings.openness, settings.http_openness, doubt(settings.node.data_dir)) if one is not None
    ]
    if certificate_ends is not None and certificate_ends - datetime.now(UTC) < _CERTIFICATE_NOTICE:
        found.append(f"tls.certificate ends on {certificate_ends:%Y-%m-%d}; renew it and restart the node")
    return found
