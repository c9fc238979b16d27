"""Files and folders as they are named on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cmmd_node.errors import NodeError


def files_below(paths: Iterable[Path]) -> list[Path]:
    """The files that `paths` name, and all files below the folders among them, in a stable order.

    Raises
    ------
    NodeError
        A path does not exist, or there is no file at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(one for one in path.rglob("*") if one.is_file() and one.name != "DICOMDIR")
        elif path.exists():
            found.append(path)
        else:
            raise NodeError(f"{path} does not exist")
    if not found:
        raise NodeError("there are no files to work on")
    return found
