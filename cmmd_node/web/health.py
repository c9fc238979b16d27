"""Health, proven by traffic where that is cheap: a C-ECHO to our own receiver, the worker's heartbeat, the disk."""

from __future__ import annotations

import shutil

from sqlalchemy.exc import DBAPIError

from cmmd_node.deliver import echo
from cmmd_node.index import Index
from cmmd_node.index.deliveries import dead_deliveries
from cmmd_node.index.status import silence_seconds
from cmmd_node.settings import CHECK_AE_TITLE, Settings

_SILENCE_SECONDS = 30


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
