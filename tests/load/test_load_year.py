"""The ledger of a year is one that the gateway could have made, and has in it what people look for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres.copying import copy_ledger
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import DeliveryState, InstanceState
from tests.harness.ledgers import postgres_server
from tests.load.year import Year, fill_year

YEAR = Year(studies=300, instances=3_000, waiting=100, stopped=150)
NOW_MS = 1_800_000_000_000


def test_the_ledger_of_a_year_finds_nothing_wrong_with_itself_on_either_database(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    fill_year(path, YEAR, NOW_MS)
    ledger = SqliteLedger.open(path, create=False)
    gauges = ledger.gauges()
    assert ledger.check() == []
    ledger.close()

    by_state = Counter[DeliveryState]()
    for (_, state), count in gauges.queue_depth.items():
        by_state[state] += count
    assert {InstanceState.RECEIVED, InstanceState.ROUTED, InstanceState.SETTLED, InstanceState.PURGED} <= set(
        gauges.instances
    )
    assert sum(gauges.instances.values()) > 2_500
    assert by_state[DeliveryState.DEFERRED] > 50
    assert by_state[DeliveryState.HELD] + by_state[DeliveryState.DEAD] > 50

    server = postgres_server()
    url = server.url(server.create_database())
    copy_ledger(path, url, "year", name="test")
    shared = PostgresLedger.open(url)
    assert shared.gauges() == gauges
    shared.close()
