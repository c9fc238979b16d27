"""Who shows wrong credentials again and again has to wait; others do not notice."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

#: So many wrong tries at once, and one more in so many seconds.
TRIES, SECONDS_PER_TRY = 10, 10.0
#: Hosts that are remembered; the one that failed longest ago is forgotten for a new one.
MOST_HOSTS = 10_000


class Throttle:
    """Wrong tries of each host: their number sinks by one every `SECONDS_PER_TRY`, and with `TRIES` there is a wait."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._forgiven_at: OrderedDict[str, float] = OrderedDict()

    def wait_seconds(self, host: str) -> float:
        """How long until the host may try again; 0 when it may now."""
        with self._lock:
            left = self._forgiven_at.get(_network(host), 0.0) - self._now()
        return max(0.0, left - (TRIES - 1) * SECONDS_PER_TRY)

    def count(self, host: str) -> None:
        """The host has shown wrong credentials."""
        network = _network(host)
        with self._lock:
            self._forgiven_at[network] = max(self._forgiven_at.pop(network, 0.0), self._now()) + SECONDS_PER_TRY
            if len(self._forgiven_at) > MOST_HOSTS:
                self._forgiven_at.popitem(last=False)


def _network(host: str) -> str:
    """What one machine can take addresses from: of IPv6, the first 64 bits (RFC 4291 2.5.4)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host
