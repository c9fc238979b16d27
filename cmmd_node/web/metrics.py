"""Metrics, read from the index when they are asked for: the same whatever process answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cmmd_node.index import Index
from cmmd_node.index.status import counts
from cmmd_node.settings import Settings


class IndexCollector(Collector):
    """Counts by state; accepted instances equal the sum over their states."""

    def __init__(self, settings: Settings, index: Index) -> None:
        self._settings = settings
        self._index = index

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges for Prometheus."""
        with self._index.read() as connection:
            now = counts(connection)
        for name, help_text, by_state in (
            ("instances", "Accepted instances by what became of them", now.instances),
            ("rounds", "Rounds of studies by state", now.rounds),
            ("answers", "Answered rounds by outcome", now.outcomes),
            ("deliveries", "Deliveries by state", now.deliveries),
            ("priors", "Searches for the priors of exams by state", now.priors),
            ("commitments", "Storage commitment transactions of peers by state", now.commitments),
        ):
            gauge = GaugeMetricFamily(f"cmmd_node_{name}", help_text, labels=["state"])
            for state, number in sorted(by_state.items()):
                gauge.add_metric([state], number)
            yield gauge
        yield GaugeMetricFamily("cmmd_node_quarantined", "Objects put aside for a person", value=now.quarantined)
        yield GaugeMetricFamily(
            "cmmd_node_oldest_waiting_seconds",
            "Age of the oldest round or delivery that is not at its end",
            value=now.oldest_waiting_seconds,
        )
        yield GaugeMetricFamily(
            "cmmd_node_free_bytes", "Free space in data_dir", value=shutil.disk_usage(self._settings.node.data_dir).free
        )

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing in advance: asking the index before the start would be too early."""
        return []
