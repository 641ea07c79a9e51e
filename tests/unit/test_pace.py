"""Batches follow the load: at once where things come now and then, gathered where they come all the time."""

from __future__ import annotations

import asyncio

from gateway.flow.pace import AN_ITEM_S, LONGEST_S, Pace


def test_the_wait_follows_the_size_of_the_last_batch_up_to_a_bound() -> None:
    async def waits() -> list[float]:
        loop = asyncio.get_running_loop()
        pace = Pace()
        found = []
        for size in (0, 1, 10, 10_000):
            began = loop.time()
            await pace.turn()
            found.append(loop.time() - began)
            pace.went(size)
        began = loop.time()
        await pace.turn()
        return [*found, loop.time() - began]

    first, after_none, after_one, after_ten, after_many = asyncio.run(waits())
    assert first < AN_ITEM_S and after_none < AN_ITEM_S
    assert after_one >= AN_ITEM_S * 0.9
    assert after_ten >= 10 * AN_ITEM_S * 0.9
    assert after_many >= LONGEST_S * 0.9


def test_who_hurries_waits_for_nothing() -> None:
    async def waits() -> list[float]:
        loop = asyncio.get_running_loop()
        pace = Pace()
        found = []
        for early in (False, True):
            pace.went(10_000)
            if early:
                pace.hurry()
            else:
                loop.call_soon(pace.hurry)
            began = loop.time()
            await pace.turn()
            found.append(loop.time() - began)
        return found

    assert max(asyncio.run(waits())) < LONGEST_S / 2
