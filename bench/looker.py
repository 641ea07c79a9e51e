"""Somebody who looks: `python -m bench.looker LEDGER` reads of a SQLite ledger what the console does for one person who
opens a page a second, and for the live figures of a page, until its input ends."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import cycle
from pathlib import Path

from gateway.ledger.look import StudyFilter
from gateway.ledger.looking import Looks
from gateway.ledger.sqlite.look import open_look

BOUNDS_S = (60, 3_600, 86_400)
DAY_MS = 86_400_000


async def look_on(path: Path) -> None:
    """Each page once, which is told; then one of them a second, in turn."""
    look = open_look(path)
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    for page in PAGES:
        await page(look)
    print("looking", flush=True)
    for page in cycle(PAGES):
        await asyncio.wait([ended], timeout=1.0)
        if ended.done():
            break
        await look.totals()
        await page(look)
    await look.close()


async def overview(look: Looks) -> None:
    """What waits, and what somebody has to look after."""
    await look.queue(BOUNDS_S, time.time_ns() // 1_000_000)
    await look.attention()


async def search(look: Looks) -> None:
    """Studies by a name."""
    await look.studies(StudyFilter(patient_name="wang"), 50)


async def study(look: Looks) -> None:
    """A study that is under way, as its page shows it."""
    for row in (await look.studies(StudyFilter(states=("routed",)), 1)).rows:
        await look.study(row.study_key)
        instances = await look.study_instances(row.study_key, 200)
        await look.matrix([each.instance_id for each in instances.rows])
        await look.timeline(row.study_key)


async def system(look: Looks) -> None:
    """Rules and hosts."""
    await look.rule_matches(time.time_ns() // 1_000_000 - DAY_MS)
    await look.hosts()


PAGES: tuple[Callable[[Looks], Awaitable[None]], ...] = (overview, search, study, system)

if __name__ == "__main__":
    asyncio.run(look_on(Path(sys.argv[1])))
