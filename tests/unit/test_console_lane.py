"""Threads of their own: searches of the audit trail hold up nobody, and health is looked at whoever is busy."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from gateway.audit.chain import Entry
from gateway.audit.read import TrailFilter
from gateway.audit.trail import Trail
from gateway.console.figures import SpoolFigures
from gateway.console.lane import Lane, LaneFull, Shared
from gateway.console.metrics import HostMetrics
from gateway.console.services import audit
from gateway.errors import SpoolError
from gateway.model import LedgerGauges
from tests.harness.console import console


def test_health_and_the_trail_are_looked_at_while_the_threads_of_all_others_are_busy(tmp_path: Path) -> None:
    async def run() -> None:
        over = Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
        async with console(tmp_path) as made:
            with closing(Trail(made.context.config().audit.dir, lambda: 0)) as trail:
                trail.append([Entry(1_000, "alert", {"who": "ct1"})])
            busy = loop.run_in_executor(None, over.wait)
            try:
                async with asyncio.timeout(30):
                    figures = await made.context.host.spool_figures()
                    found = await audit.trail(made.context, TrailFilter(), 10)
                    verdict = await audit.verified(made.context)
            finally:
                over.set()
                await busy
        assert figures is not None
        assert [row.who for row in found.rows] == ["ct1"]
        assert (verdict.records, verdict.fault) == (1, None)

    asyncio.run(run())


def test_of_one_kind_so_many_wait_and_no_more_and_who_went_away_has_no_turn() -> None:
    async def run() -> list[int]:
        lane, over, done = Lane("test", most=3), Event(), list[int]()
        first = asyncio.create_task(lane.run(over.wait))
        others = [asyncio.create_task(lane.run(lambda number=number: done.append(number))) for number in range(2)]  # type: ignore[misc]
        await asyncio.sleep(0)
        with pytest.raises(LaneFull):
            await lane.run(list)
        others[0].cancel()
        await asyncio.wait(others[:1])
        third = asyncio.create_task(lane.run(lambda: done.append(3)))
        await asyncio.sleep(0)
        over.set()
        await asyncio.gather(first, others[1], third)
        lane.close()
        return done

    assert asyncio.run(run()) == [1, 3]


def test_many_who_ask_at_once_have_one_look_together_and_who_comes_after_it_a_new_one() -> None:
    looks, go_on = list[int](), asyncio.Event()

    async def look() -> int:
        looks.append(1)
        await go_on.wait()
        return len(looks)

    async def scenario() -> None:
        shared = Shared(look)
        asking = [asyncio.create_task(shared.get()) for _ in range(100)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert await asyncio.gather(*asking[1:]) == [1] * 99
        assert await shared.get() == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [SpoolError("the spool is gone"), OSError(116, "Stale file handle")])
def test_a_spool_that_gives_an_error_is_a_reason_and_ends_nothing(tmp_path: Path, error: Exception) -> None:
    def figures() -> SpoolFigures:
        raise error

    async def gauges() -> LedgerGauges:
        return LedgerGauges(rules_revision="abc")

    async def scenario() -> None:
        host = HostMetrics(tmp_path, gauges, figures, lambda: 0)
        assert await host.reasons_not_ready() == ["spool_unreachable"]
        assert b"gateway_ready 0.0" in await host.exposition()
        assert await host.spool_figures() is None
        host.close()

    asyncio.run(scenario())


def test_a_crowd_that_asks_for_readiness_makes_no_host_unready(tmp_path: Path) -> None:
    def figures() -> SpoolFigures:
        return SpoolFigures(1 << 40)

    async def gauges() -> LedgerGauges:
        return LedgerGauges(rules_revision="abc")

    async def scenario() -> None:
        host = HostMetrics(tmp_path, gauges, figures, lambda: 0)
        for _ in range(5):
            found = await asyncio.gather(
                *(host.reasons_not_ready() for _ in range(50)), *(host.spool_figures() for _ in range(50))
            )
            assert found[:50] == [[]] * 50 and None not in found[50:]
        host.close()

    asyncio.run(scenario())
