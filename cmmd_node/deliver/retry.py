"""What a C-STORE status means for us as sender, and when to try again."""

from __future__ import annotations

import random
from enum import StrEnum

#: Success, and the warnings "coercion", "elements discarded" and "does not match SOP Class": stored (PS3.4 B.2.3).
STORED = frozenset({0x0000, 0xB000, 0xB006, 0xB007})
#: Processing failure and resource limitation of PS3.7 annex C.
MAY_PASS = frozenset({0x0110, 0x0213})


class Verdict(StrEnum):
    """What follows from an answer."""

    STORED = "stored"
    TRY_AGAIN = "try-again"
    REFUSED = "refused"


def verdict_of(status: int) -> Verdict:
    """Out of resources (A7xx) and failures that may pass are tried again; everything else is for a person."""
    if status in STORED:
        return Verdict.STORED
    if status & 0xFF00 == 0xA700 or status in MAY_PASS:
        return Verdict.TRY_AGAIN
    return Verdict.REFUSED


def retry_after_seconds(attempts: int, *, first_seconds: float, limit_seconds: float) -> float:
    """Exponential backoff from `first_seconds` to `limit_seconds`, with jitter so that studies do not come in step."""
    doubled = first_seconds * 2.0 ** min(attempts, 30)
    return min(limit_seconds, doubled) * random.uniform(0.5, 1.0)
