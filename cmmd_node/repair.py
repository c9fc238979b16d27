"""What an operator does after a disk or a database was damaged: rebuild the index, look at every object.

The files are what was promised; the index follows from them.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmmd_node.index import open_index
from cmmd_node.index.intake import indexed_objects
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.stored import damage
from cmmd_node.serve import lock
from cmmd_node.settings import Settings

logger = logging.getLogger(__name__)


def reindex(settings: Settings, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Index every object that the index does not know, with the work that follows from it, while the node is stopped.

    A damaged SQLite file is put aside first. Objects that the index does not know may have been answered already: the
    node then takes a new identity, so that no UID of an earlier result is used for other bytes.

    Returns
    -------
    dict
        Plain values, ready for JSON.

    Raises
    ------
    StartRefused
        The node runs, or the index cannot be opened.
    """
    data_dir = settings.node.data_dir
    held = [lock(data_dir, f"{role}-0") for role in ("receive", "work", "web")]
    set_aside = None if settings.node.database_url else _set_damaged_index_aside(data_dir)
    index = open_index(settings)
    inbox = Inbox(settings, index, index.client())
    unknown = inbox.unknown_objects()
    if unknown:
        _take_new_identity(data_dir)
    indexed = 0
    for number, path in enumerate(unknown):
        tell(f"{number} of {len(unknown)} objects")
        indexed += inbox.adopt_object(path)
    with index.read() as connection:
        known = len(indexed_objects(connection))
    index.close()
    for one in held:
        os.close(one)
    return {
        "objects": known,
        "indexed": indexed,
        "put_aside": len(unknown) - indexed,
        "damaged_index": None if set_aside is None else str(set_aside),
    }


def verify(settings: Settings, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Compare the file of every object with what the index knows of it: there, as long, the same hash.

    Returns
    -------
    dict
        How many objects there are, and each that is damaged; plain values, ready for JSON.
    """
    index = open_index(settings)
    with index.read() as connection:
        known = indexed_objects(connection)
    index.close()
    damaged = []
    for number, one in enumerate(known):
        tell(f"{number} of {len(known)} objects")
        wrong = damage(settings.node.data_dir / one.path, size_bytes=one.size_bytes, digest=one.digest)
        if wrong is not None:
            damaged.append({"SOPInstanceUID": one.sop_instance_uid, "path": one.path, "problem": wrong})
    return {"objects": len(known), "damaged": damaged}


def _set_damaged_index_aside(data_dir: Path) -> Path | None:
    """Rename an SQLite file that is none any more, with what belongs to it; its new name."""
    path = data_dir / "index.sqlite"
    if not path.exists():
        return None
    connection = sqlite3.connect(path)
    try:
        sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        sound = False
    finally:
        connection.close()
    if sound:
        return None
    aside = data_dir / f"index.sqlite.damaged-{time.time_ns() // 1_000_000}"
    for suffix in ("-wal", "-shm", "-journal"):
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    return aside


def _take_new_identity(data_dir: Path) -> None:
    path = data_dir / "node.json"
    if path.exists():
        path.rename(data_dir / f"node.json.until-{time.time_ns() // 1_000_000}")
