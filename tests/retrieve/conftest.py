"""What tests of archives over HTTP share."""

from __future__ import annotations

import pytest

from cmmd_node import http_client


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the client makes; nobody waits for them."""
    made: list[float] = []
    monkeypatch.setattr(http_client.time, "sleep", made.append)
    return made
