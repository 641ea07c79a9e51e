"""The ledger of a year is one that the gateway could have made; and what a search finds there, page by page, is what a
look at every row finds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest

from gateway.ledger.look import StudyFilter
from gateway.ledger.looking import Looks
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres import look as of_server
from gateway.ledger.postgres.copying import copy_ledger
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite import look as of_file
from gateway.model import DeliveryState, InstanceState
from tests.harness.ledgers import postgres_server
from tests.load.year import Year, fill_year

YEAR = Year(studies=1_200, instances=4_000, waiting=200, stopped=300)
NOW_MS = 1_800_000_000_000

STUDIES = """
SELECT DISTINCT t.study_key FROM study t
JOIN series s USING (study_key) JOIN instance i USING (series_key) JOIN association a USING (association_key)
LEFT JOIN delivery d ON d.instance_seq = i.seq WHERE
"""
SEARCHES = {
    "TRUE": StudyFilter(),
    "t.patient_name LIKE 'wang^%'": StudyFilter(patient_name="wang"),
    "t.patient_name LIKE '%^ina%'": StudyFilter(patient_name="*^ina*"),
    "t.patient_name LIKE 'Schäfer^%'": StudyFilter(patient_name="SCHÄFER"),
    "t.patient_id LIKE '%7'": StudyFilter(patient_id="*7"),
    "t.study_date BETWEEN '20261001' AND '20261015'": StudyFilter(date_from="20261001", date_to="20261015"),
    "s.modality = 'MG'": StudyFilter(modality="mg"),
    "a.source = 'us1'": StudyFilter(source="us1"),
    "a.source = 'nobody'": StudyFilter(source="nobody"),
    "i.state = 'purged'": StudyFilter(states=("purged",)),
    "i.state = 'routed'": StudyFilter(states=("routed",)),
    "d.state = 'dead'": StudyFilter(states=("dead",)),
    "d.state = 'held' OR i.state = 'held'": StudyFilter(states=("held",)),
    "d.state IN ('held', 'cancelled') OR i.state = 'held'": StudyFilter(states=("held", "cancelled")),
    "d.state = 'deferred' AND a.source = 'cr1'": StudyFilter(states=("deferred",), source="cr1"),
    "d.state IN ('delivered')": StudyFilter(states=("delivered",)),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger in SQLite."""
    path = tmp_path_factory.mktemp("year") / "ledger.db"
    fill_year(path, YEAR, NOW_MS)
    return path


@pytest.fixture(scope="module")
def url(path: Path) -> Iterator[str]:
    """The same in PostgreSQL."""
    server = postgres_server()
    name = server.create_database()
    copy_ledger(path, server.url(name), "year", name="test")
    yield server.url(name)
    server.drop_database(name)


def test_the_ledger_of_a_year_finds_nothing_wrong_with_itself(path: Path, url: str) -> None:
    ledger = SqliteLedger.open(path, create=False)
    gauges = ledger.gauges()
    assert ledger.check() == []
    ledger.close()
    shared = PostgresLedger.open(url)
    assert shared.gauges() == gauges
    shared.close()

    by_state = Counter[DeliveryState]()
    for (_, state), count in gauges.queue_depth.items():
        by_state[state] += count
    seen = set(gauges.instances)
    assert {InstanceState.RECEIVED, InstanceState.ROUTED, InstanceState.SETTLED, InstanceState.PURGED} <= seen
    assert by_state[DeliveryState.DEFERRED] > 50
    assert by_state[DeliveryState.HELD] + by_state[DeliveryState.DEAD] > 50


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_search_finds_page_by_page_what_a_look_at_every_row_finds(path: Path, url: str, database: str) -> None:
    """Also where each page has time for one step only."""
    opened: dict[str, Callable[[], Looks]] = {
        "sqlite": lambda: of_file.open_look(path, search_s=0),
        "postgres": lambda: of_server.open_look(url, "test", search_s=0),
    }

    async def scenario() -> dict[str, list[int]]:
        look = opened[database]()
        found = {where: await _all_pages(look, which) for where, which in SEARCHES.items()}
        await look.close()
        return found

    assert asyncio.run(scenario()) == _every_row(path)


async def _all_pages(look: Looks, which: StudyFilter) -> list[int]:
    found: list[int] = []
    after = ""
    while True:
        page = await look.studies(which, 150, after)
        found += [row.study_key for row in page.rows]
        after = page.next
        if not after:
            return found


@cache
def _every_row(path: Path) -> dict[str, list[int]]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            where: [key for (key,) in connection.execute(f"{STUDIES} {where} ORDER BY 1 DESC")] for where in SEARCHES
        }
