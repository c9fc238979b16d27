"""CSV files whose columns are known, row by row: what is wrong with a row costs that row only."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cmmd_node.errors import NodeError

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Row:
    """One row; asking it for a cell that cannot be used raises ValueError, which says what was wanted."""

    number: int
    """As spreadsheets count: the header is row 1."""
    cells: dict[str | None, Any]

    def text(self, name: str) -> str:
        """A cell as it is; empty where there is no such column."""
        if None in self.cells or None in self.cells.values():
            raise ValueError("has more or fewer cells than the header")
        return str(self.cells.get(name, "")).strip()

    def value(self, name: str, read: Callable[[str], _Value], wanted: str) -> _Value | None:
        """What `read` makes of a cell; None when it is empty."""
        text = self.text(name)
        try:
            return read(text) if text else None
        except (ValueError, KeyError) as error:
            raise ValueError(f"{name} is {text!r}, not {wanted}") from error

    def needed(self, name: str, read: Callable[[str], _Value], wanted: str) -> _Value:
        """The same of a cell that must not be empty."""
        value = self.value(name, read, wanted)
        if value is None:
            raise ValueError(f"{name} is empty, not {wanted}")
        return value


def read_rows(path: Path, data: bytes, *, columns: Sequence[str], needed: Sequence[str]) -> list[Row]:
    """The rows of a file with these bytes.

    Raises
    ------
    NodeError
        It is no CSV in UTF-8, a needed column is missing, a column is unknown, or it has no rows.
    """
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows = [Row(number, cells) for number, cells in enumerate(reader, start=2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise NodeError(f"{path} is no CSV file in UTF-8: {error}") from error
    _check_columns(path, reader.fieldnames or (), columns, needed)
    if not rows:
        raise NodeError(f"{path} has a header and no rows")
    return rows


def natural(text: str) -> int:
    """A whole number from 0."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def _check_columns(path: Path, found: Iterable[str], columns: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in found]
    if missing:
        raise NodeError(f"{path} has no column {', '.join(missing)}; needed are {', '.join(needed)}")
    for name in found:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, 1)
            hint = f"; is {near[0]} meant?" if near else f"; known are {', '.join(columns)}"
            raise NodeError(f"{path} has an unknown column {name!r}{hint}")
