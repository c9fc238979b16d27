"""A receiver's memory does not depend on the size of what it is sent; tests/bench/memory.py does this at full size."""

from __future__ import annotations

from pathlib import Path

from tests.bench.memory import measure


def test_large_objects_at_once_need_no_memory(tmp_path: Path) -> None:
    at_rest, peak = measure(tmp_path, [1, 1])
    assert peak - at_rest < 20
    assert peak < 150
