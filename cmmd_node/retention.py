"""What the node keeps no longer: studies that were answered and delivered longer ago than ``node.keep_days``.

Rows first, in one transaction with the list of files, then the files (fault E82): a crash between the two leaves files
on the list, with which the next pass begins. Nothing that waits for a peer or for a person is touched, however old.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from dbos import DBOSClient
from sqlalchemy.exc import DBAPIError

from cmmd_node.index import Index, now_ms
from cmmd_node.index.purge import (
    finished_work,
    forget_files,
    purge_commitments,
    purge_study,
    purgeable_studies,
    purged_files,
)
from cmmd_node.receive.filesystem import sync_directory
from cmmd_node.settings import Settings

logger = logging.getLogger(__name__)

_PASS_SECONDS = 3600.0
_DAY_MS = 86_400_000
#: Studies, and files, that are looked up at once.
_STUDIES, _FILES = 20, 500


def keep_purging(settings: Settings, index: Index, client: DBOSClient, stop: threading.Event) -> None:
    """Purge every hour until told to stop; what an interrupted pass left, even where everything is kept."""
    while True:
        try:
            if settings.node.keep_days:
                before_ms = now_ms() - round(settings.node.keep_days * _DAY_MS)
                purge(settings.node.data_dir, index, client, before_ms=before_ms, stop=stop)
            else:
                remove_files(settings.node.data_dir, index)
        except (DBAPIError, OSError) as error:  # the next pass goes on
            logger.warning("old studies are not purged: %s", type(error).__name__)
        if stop.wait(_PASS_SECONDS):
            return


def purge(
    data_dir: Path, index: Index, client: DBOSClient, *, before_ms: int, stop: threading.Event | None = None
) -> int:
    """Purge all studies that ended before a moment, and what DBOS remembers of their work.

    Returns
    -------
    int
        How many.
    """
    remove_files(data_dir, index)
    with index.write() as connection:
        reported = purge_commitments(connection, before_ms=before_ms)
    client.delete_workflows(reported)
    purged = 0
    while not (stop and stop.is_set()):
        with index.read() as connection:
            studies = purgeable_studies(connection, before_ms=before_ms, limit=_STUDIES)
            work = [one for study in studies for one in finished_work(connection, study)]
        if not studies:
            break
        client.delete_workflows(work)  # it has ended; a crash after this leaves studies that are purgeable still
        for study in studies:
            with index.write() as connection:
                purged += purge_study(connection, study, before_ms=before_ms)
        remove_files(data_dir, index)
    if purged:
        logger.info("purged %d studies that had ended before %d", purged, before_ms)
    return purged


def remove_files(data_dir: Path, index: Index) -> None:
    """Remove files whose rows are purged; whoever has one open reads it to its end."""
    while True:
        with index.read() as connection:
            paths = purged_files(connection, _FILES)
        if not paths:
            return
        for path in paths:
            (data_dir / path).unlink(missing_ok=True)
        for folder in {(data_dir / path).parent for path in paths}:
            if folder.is_dir():
                sync_directory(folder)
        with index.write() as connection:
            forget_files(connection, paths)
