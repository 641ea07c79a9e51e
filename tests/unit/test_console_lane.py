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
from gateway.console.lane import Lane, LaneFull
from gateway.console.services import audit
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
