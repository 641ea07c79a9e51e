"""Looks wait for nobody and hold nobody up: deadlines, cancelled callers, lost connections, the write-ahead log."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from gateway.errors import LedgerAway, LedgerBusy, LedgerDamaged, LedgerError, LookTooWide
from gateway.ledger.base import InstanceFilter
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.look import COUNT_MAX, LOOKED_AT_MAX, TIMELINE_MAX, StudyFilter
from gateway.ledger.looking import WAITING_MAX, Lane
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres import look as of_server
from gateway.ledger.postgres.look import PostgresView
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite import look as of_file
from gateway.ledger.sqlite.look import SqliteView
from gateway.model import DeliveryState, InstanceState
from tests.contract.ledger_scene import Scene
from tests.harness.ledgers import postgres_server

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the SQLite ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def scene(path: Path) -> Scene:
    """A SQLite ledger with two instances on their way."""
    scene = Scene(lambda: SqliteLedger.open(path))
    scene.arrive("a", "b")
    scene.route()
    scene.claim(limit=1)
    return scene


def endless(tx: Transaction) -> object:
    """A look that does not end by itself."""
    return tx.value(ENDLESS)


def test_a_look_sees_what_the_ledger_sees_while_a_writer_is_at_work(scene: Scene, path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def write(_: object) -> None:
        entered.set()
        assert leave.wait(30)

    async def scenario() -> None:
        look = of_file.open_look(path)
        before = scene.ledger.gauges()
        writing = asyncio.create_task(asyncio.to_thread(_write_elsewhere, path, write))
        assert await asyncio.to_thread(entered.wait, 30)
        scrapes = [asyncio.create_task(look.gauges()) for _ in range(5)]
        await asyncio.sleep(0)
        scrapes[1].cancel()
        answers = await asyncio.gather(*scrapes, return_exceptions=True)
        assert answers.count(before) == 4
        leave.set()
        await writing
        await look.close()
        with pytest.raises(LedgerError):
            await look.gauges()

    asyncio.run(scenario())
    scene.close()


def _write_elsewhere(path: Path, work: Callable[[object], None]) -> None:
    ledger = SqliteLedger.open(path)
    ledger._database.write(work)
    ledger.close()


def test_a_ledger_that_was_replaced_or_is_missing_is_damaged(scene: Scene, path: Path) -> None:
    async def scenario() -> None:
        look = of_file.open_look(path)
        await look.gauges()
        path.rename(path.with_name("elsewhere.db"))  # noqa: ASYNC240 - a test's own
        with pytest.raises(LedgerDamaged):
            await look.gauges()
        path.with_name("elsewhere.db").rename(path)
        assert await look.gauges() == scene.ledger.gauges()
        await look.close()

    asyncio.run(scenario())
    scene.close()
    with pytest.raises(LedgerDamaged):
        of_file.open_look(path.with_name("nothing.db"))


def test_a_look_can_write_nothing(scene: Scene, path: Path) -> None:
    async def scenario() -> None:
        lane = Lane(partial(SqliteView, path), 1, "look", 5, 10)
        with pytest.raises(LedgerError, match="readonly"):
            await lane.look(lambda tx: tx.execute("UPDATE instance SET state = 'purged'"))
        lane.close()

    asyncio.run(scenario())
    scene.close()


def test_a_look_is_given_up_at_its_deadline_and_the_next_one_works(scene: Scene, path: Path) -> None:
    async def scenario(lane: Lane) -> None:
        with pytest.raises(LookTooWide, match="narrow the search"):
            await lane.look(endless)
        assert await lane.look(lambda tx: tx.value("SELECT 1")) == 1
        lane.close()

    asyncio.run(scenario(Lane(partial(SqliteView, path), 1, "look", 0.1, 10)))
    url = _postgres()
    asyncio.run(scenario(Lane(partial(PostgresView, url, "look", 0.1), 1, "look", 0.1, 10)))
    scene.close()


def test_a_look_whose_caller_is_gone_ends_and_holds_no_write_ahead_log_back(scene: Scene, path: Path) -> None:
    async def scenario() -> None:
        lane = Lane(partial(SqliteView, path), 1, "look", 600, 600)
        begun = threading.Event()

        def look(tx: Transaction) -> object:
            tx.value("SELECT count(*) FROM instance")  # from here on it holds on to the log
            begun.set()
            return endless(tx)

        looking = asyncio.create_task(lane.look(look))
        assert await asyncio.to_thread(begun.wait, 30)
        scene.arrive("c")
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        assert await lane.look(lambda tx: tx.value("SELECT count(*) FROM instance")) == 3  # in the same thread
        scene.arrive("d")
        scene.ledger.checkpoint()
        assert scene.ledger._file.waiting_bytes() == 0  # type: ignore[attr-defined]
        lane.close()

    asyncio.run(scenario())
    scene.close()


def test_more_than_a_few_dozen_that_wait_for_a_look_are_turned_away(scene: Scene, path: Path) -> None:
    async def scenario() -> None:
        lane, leave = Lane(partial(SqliteView, path), 1, "look", 600, 600), threading.Event()
        waiting = [asyncio.create_task(lane.look(lambda _: leave.wait(30))) for _ in range(WAITING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(LedgerBusy, match="try again"):
            await lane.look(lambda _: None)
        leave.set()
        assert await asyncio.gather(*waiting) == [True] * WAITING_MAX
        await lane.look(lambda _: None)
        lane.close()

    asyncio.run(scenario())
    scene.close()


MANY = 10_003


NUMBERS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < :more)"
INSTANCES = """
INSERT INTO instance (seq, instance_id, state, association_key, sop_class_uid, sop_instance_uid, received_at_ms,
                      recorded_at_ms, duplicate, decision_key, series_key)
SELECT seq + x, instance_id || x, state, association_key, sop_class_uid, sop_instance_uid || x, received_at_ms,
       recorded_at_ms, duplicate, decision_key, series_key FROM instance, n WHERE seq = 1
"""
PAYLOADS = """
INSERT INTO payload
SELECT instance_seq + x, chain, path || x, data_offset, length, checksum, sop_class_uid, sop_instance_uid,
       transfer_syntax_uid, steps FROM payload, n WHERE instance_seq = 1
"""
DELIVERIES = """
INSERT INTO delivery (instance_seq, destination_key, state, created_at_ms, queued_at_ms, updated_at_ms)
SELECT instance_seq + x, destination_key, state, created_at_ms, queued_at_ms, updated_at_ms
FROM delivery, n WHERE instance_seq = 1
"""


def many(path: Path) -> None:
    """Instances and deliveries like the first one, MANY in all, by SQL."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in (INSTANCES, PAYLOADS, DELIVERIES):
            connection.execute(NUMBERS + statement, {"more": MANY - 1})
        connection.execute("UPDATE instance_count SET n = n + ? WHERE n > 0", (MANY - 1,))
        connection.execute("UPDATE delivery_count SET n = n + ? WHERE n > 0", (MANY - 1,))


def test_counts_have_an_end_and_say_that_there_are_more(path: Path) -> None:
    scene = Scene(lambda: SqliteLedger.open(path))
    scene.arrive("a")
    scene.route()
    many(path)

    async def scenario() -> None:
        look = of_file.open_look(path)
        (row,) = (await look.studies(StudyFilter(), 5)).rows
        assert (row.instances, row.more, row.looked_at) == (COUNT_MAX, True, LOOKED_AT_MAX)
        assert row.states == {InstanceState.ROUTED: LOOKED_AT_MAX}
        detail = await look.study(row.study_key)
        assert detail is not None
        assert (detail.states, detail.series[0].more) == ({InstanceState.ROUTED: COUNT_MAX}, True)
        assert detail.deliveries == {"pacs": {DeliveryState.READY: COUNT_MAX}}
        assert [each.count for each in await look.timeline(row.study_key)] == [TIMELINE_MAX] * 3
        affected = await look.affected(InstanceFilter())
        assert affected.more and sum(affected.deliveries.values()) > COUNT_MAX
        again = await look.sent_again(InstanceFilter(destination="pacs"))
        assert again.more and again.instances == {InstanceState.ROUTED: COUNT_MAX + 1}
        _, pacs = await look.queue((60,), scene.now_ms)
        assert [(cell.count, cell.more) for cell in pacs.cells] == [(MANY, False), (0, False)]  # the counter knows
        stop = "UPDATE delivery SET state = 'held', code = 'failed', reason = '0x0110'"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(stop)
            connection.execute("UPDATE delivery_count SET state = 'held' WHERE n > 0")
        (trouble,) = await look.attention()
        assert (trouble.count, trouble.more) == (COUNT_MAX, True)
        await look.close()

    asyncio.run(scenario())
    scene.ledger.close()


def _postgres() -> str:
    server = postgres_server()
    url = server.url(server.create_database())
    PostgresLedger.open(url).close()
    return url


def test_a_connection_that_was_cut_is_opened_again_by_the_next_look() -> None:
    url = _postgres()

    async def scenario() -> None:
        look = of_server.open_look(url, "look")
        await look.gauges()
        assert postgres_server().disconnect(url.rsplit("/", 1)[1]) == 1
        assert (await look.gauges()).instances == {}
        await look.close()

    asyncio.run(scenario())


def test_a_server_that_stands_still_is_away_until_it_goes_on() -> None:
    url = _postgres()

    async def scenario() -> None:
        look = of_server.open_look(url, "look", answer_s=0.2)
        await look.studies(StudyFilter(), 5)
        with postgres_server().frozen(), pytest.raises(LedgerAway, match="no answer"):
            await look.studies(StudyFilter(), 5)
        await look.close()
        again = of_server.open_look(url, "look")
        assert (await again.studies(StudyFilter(), 5)).rows == ()
        await again.close()

    asyncio.run(scenario())
