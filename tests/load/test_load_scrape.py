"""One scrape shows the whole host, whatever waits; and the number of series does not follow it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.tools import free_port
from tests.load.backlog import fill

WAITING = 50_000
DESTINATIONS = ("slow-archive", "slow-reading")


MOST_LABEL_VALUES = 32  # buckets of a histogram are the largest set


def labels(text: str) -> dict[str, set[str]]:
    """Label name → its values."""
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for name, value in sample.labels.items():
                found[name].add(value)
    return found


def test_scrape_with_many_deliveries_waiting(tmp_path: Path) -> None:
    """The queue depth is there to the last delivery, and only the configuration makes label values."""
    config = GatewayConfig(tmp_path / "gateway", dict.fromkeys(DESTINATIONS, free_port()))
    with GatewayProcess(config) as gateway:
        gateway.stop()
        fill(config.ledger_path, DESTINATIONS, WAITING)
        gateway.restart()
        found = labels(gateway.metrics())
        states = ("ready", "leased", "deferred")
        depths = {
            name: sum(gateway.metric("gateway_queue_depth", destination=name, state=state) for state in states)
            for name in DESTINATIONS
        }
    assert depths == dict.fromkeys(DESTINATIONS, WAITING / len(DESTINATIONS))
    assert found["destination"] == set(DESTINATIONS)
    assert found.get("source", set()) <= {"loopback", "unknown", "other"}
    assert max(map(len, found.values())) <= MOST_LABEL_VALUES, found
