"""When an exam is complete enough to be analysed."""

from __future__ import annotations

from collections.abc import Collection

from cmmd_node.facts import SCREENING_VIEWS, View
from cmmd_node.settings import SettleSettings


def settled_at_ms(
    views: Collection[View], *, first_received_ms: int, last_received_ms: int, settings: SettleSettings
) -> int:
    """The time, UTC epoch milliseconds, at which the exam counts as settled if nothing more comes.

    The wait after the last image is short once CC and MLO of both breasts are here; whatever comes, the limit after
    the first image ends it.
    """
    complete = set(views) >= SCREENING_VIEWS
    quiet_seconds = settings.complete_seconds if complete else settings.quiet_seconds
    return min(
        last_received_ms + round(1000 * quiet_seconds),
        first_received_ms + round(1000 * settings.limit_seconds),
    )
