"""When an exam counts as complete."""

from __future__ import annotations

import pytest

from cmmd_node.assemble.settle import settled_at_ms
from cmmd_node.facts import SCREENING_VIEWS, Laterality, View, ViewPosition
from cmmd_node.settings import SettleSettings

SETTINGS = SettleSettings(quiet_seconds=20, complete_seconds=1, limit_seconds=60)
R_CC = View(Laterality.RIGHT, ViewPosition.CC)


@pytest.mark.parametrize(
    ("views", "first", "last", "settled"),
    [
        pytest.param({R_CC}, 0, 0, 20_000, id="one view waits for quiet"),
        pytest.param(set(), 0, 5_000, 25_000, id="no standard view waits for quiet after the last image"),
        pytest.param(SCREENING_VIEWS, 0, 5_000, 6_000, id="all four views wait a moment"),
        pytest.param(SCREENING_VIEWS - {R_CC}, 0, 5_000, 25_000, id="three views wait for quiet"),
        pytest.param({R_CC}, 0, 59_000, 60_000, id="the limit ends every wait"),
    ],
)
def test_settling(views: set[View], first: int, last: int, settled: int) -> None:
    assert settled_at_ms(views, first_received_ms=first, last_received_ms=last, settings=SETTINGS) == settled
