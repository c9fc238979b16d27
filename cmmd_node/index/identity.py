"""The node's identity: made once for a data_dir, the root from which all its UIDs derive."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def node_uid(data_dir: Path, make: Callable[[], str]) -> str:
    """Read the identity kept in `data_dir`; the first call keeps what `make` gives, durably and only once."""
    path = data_dir / "node.json"
    if not path.exists():
        data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft = data_dir / f".node-{secrets.token_hex(8)}"
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"node_uid": make()}, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails when another process was faster: then its identity counts
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        directory = os.open(data_dir, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return str(json.loads(path.read_text(encoding="utf-8"))["node_uid"])
