"""Somebody who looks: `python -m bench.looker LEDGER` reads of a SQLite ledger what the console does for one person who
opens a page a second, and for the live figures of a page, until its input ends."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from gateway.ledger.look import StudyFilter
from gateway.ledger.looking import Looks
from gateway.ledger.sqlite.look import open_look

BOUNDS_S = (60, 3_600, 86_400)


async def look_on(path: Path) -> None:
    """Overview, studies, a study and its deliveries, trouble: one of them a second, in turn."""
    look = open_look(path)
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    number = 0
    while not ended.done():
        await look.totals()
        await page(look, number)
        number += 1
        await asyncio.wait([ended], timeout=1.0)
    await look.close()


async def page(look: Looks, number: int) -> None:
    """The looks of one page."""
    kind = number % 4
    if kind == 0:
        await look.queue(BOUNDS_S, time.time_ns() // 1_000_000)
        await look.attention()
    elif kind == 1:
        await look.studies(StudyFilter(patient_name="wang"), 50)
    elif kind == 2:
        rows = (await look.studies(StudyFilter(states=("routed",)), 50)).rows
        for row in rows[:1]:
            await look.study(row.study_key)
            instances = await look.study_instances(row.study_key, 200)
            await look.matrix([each.instance_id for each in instances.rows])
            await look.timeline(row.study_key)
    else:
        await look.rule_matches(time.time_ns() // 1_000_000 - 86_400_000)
        await look.hosts()


if __name__ == "__main__":
    asyncio.run(look_on(Path(sys.argv[1])))
