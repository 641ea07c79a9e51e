"""The contract of a work queue (`gateway.work.base`), on every implementation, over real sockets and a real Redis."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from gateway.work.base import Stage, WorkQueue
from gateway.work.local import LocalQueue
from gateway.work.redis_url import parse
from gateway.work.rq import RqQueue
from tests.harness.tools import wait_until

IDS = [f"{number:032x}" for number in range(100)]


class Site:
    """Ends of one queue. Who waits is on one host; who notifies is there too, or on another (`apart`)."""

    def __init__(self, folder: Path, stage: Stage, redis_url: str = "", *, apart: bool = False) -> None:
        self.stage = stage
        self.other = next(each for each in Stage if each is not stage)
        self.redis_url, self.apart = redis_url, apart
        self._folder = folder
        self._opened: list[WorkQueue] = []

    def _open(self, host: str, stage: Stage | None) -> WorkQueue:
        folder = self._folder / host
        queue: WorkQueue = (
            RqQueue(parse(self.redis_url), folder, stage) if self.redis_url else LocalQueue(folder, stage)
        )
        self._opened.append(queue)
        return queue

    def waiter(self, stage: Stage | None = None) -> WorkQueue:
        """An end that waits; where it listens to Redis, it does so now."""
        queue = self._open("one", stage or self.stage)
        if self.redis_url and (stage or self.stage) is Stage.DELIVER:
            assert queue.wait_sync(10), "whoever begins to listen looks once"
        return queue

    def notifier(self) -> WorkQueue:
        """An end that wakes up others."""
        return self._open("two" if self.apart else "one", None)

    def close(self) -> None:
        for queue in self._opened:
            queue.close()


KINDS: dict[str, Callable[[Path, pytest.FixtureRequest], Site]] = {
    "local, workers": lambda folder, _: Site(folder, Stage.ROUTE),
    "local, forwarders": lambda folder, _: Site(folder, Stage.DELIVER),
    "rq, forwarders": lambda folder, asked: Site(folder, Stage.DELIVER, asked.getfixturevalue("redis_url")),
    "rq, forwarders of another host": lambda folder, asked: Site(
        folder, Stage.DELIVER, asked.getfixturevalue("redis_url"), apart=True
    ),
}


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A queue under test."""
    site = KINDS[request.param](tmp_path, request)
    yield site
    site.close()


def quiet(queue: WorkQueue) -> bool:
    """Whether an end hears nothing for a moment."""
    return not queue.wait_sync(0.1)


def test_a_wake_up_arrives_and_several_are_few(site: Site) -> None:
    waiter, notifier = site.waiter(), site.notifier()
    for _ in range(50):
        notifier.notify(site.stage, IDS[:1])
    assert waiter.wait_sync(5) is True
    heard = 1
    while not quiet(waiter):
        heard += 1
    assert heard <= (3 if site.apart else 1)


def test_only_the_stage_that_is_meant_is_woken_and_everyone_of_it(site: Site) -> None:
    meant = [site.waiter() for _ in range(3)]
    other = site.waiter(site.other)
    site.notifier().notify(site.stage)
    assert [waiter.wait_sync(5) for waiter in meant] == [True] * 3
    assert quiet(other)


def test_who_waits_can_be_woken_alone(site: Site) -> None:
    meant, other = site.waiter(), site.waiter()
    threading.Thread(target=meant.wake).start()
    assert meant.wait_sync(5) is True
    assert quiet(other)


def test_async_wait_is_woken_from_another_thread(site: Site) -> None:
    waiter, notifier = site.waiter(), site.notifier()

    async def scenario() -> bool:
        task = asyncio.get_running_loop().create_task(waiter.wait(30))
        await asyncio.sleep(0)
        threading.Thread(target=notifier.notify, args=(site.stage, IDS)).start()
        return await task

    assert asyncio.run(scenario())
    assert uvloop.run(scenario())


def test_what_came_before_the_wait_is_not_lost(site: Site) -> None:
    waiter, notifier = site.waiter(), site.notifier()
    site.notifier().notify(site.stage)
    notifier.close()
    wait_until(lambda: waiter.wait_sync(0), 5, "the wake-up")

    async def nothing_comes() -> bool:
        return await waiter.wait(0.01)

    assert uvloop.run(nothing_comes()) is False
    assert quiet(waiter)


def test_a_cancelled_wait_can_be_followed_by_another(site: Site) -> None:
    waiter, notifier = site.waiter(), site.notifier()

    async def scenario() -> bool:
        task = asyncio.create_task(waiter.wait(30))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        notifier.notify(site.stage)
        return await waiter.wait(5)

    assert asyncio.run(scenario())


def test_two_tasks_cannot_wait_on_one_end(site: Site) -> None:
    waiter, notifier = site.waiter(), site.notifier()

    async def scenario() -> None:
        task = asyncio.create_task(waiter.wait(30))
        await asyncio.sleep(0)
        try:
            with pytest.raises(RuntimeError, match="another task"):
                await waiter.wait(1)
        finally:
            task.cancel()

    asyncio.run(scenario())
    with pytest.raises(RuntimeError, match="notify only"):
        notifier.wait_sync(0)


def test_notify_never_blocks_on_a_receiver_that_does_not_read(site: Site) -> None:
    waiter, notifier = site.waiter(), site.notifier()
    began = time.monotonic()
    for _ in range(20_000):
        notifier.notify(site.stage, IDS[:3])
    assert time.monotonic() - began < 10
    wait_until(lambda: quiet(waiter), 10, "it to have read all of them")
    notifier.notify(site.stage)
    assert waiter.wait_sync(5) is True


def test_an_end_that_comes_later_is_found(site: Site) -> None:
    notifier = site.notifier()
    notifier.notify(site.stage)
    waiter = site.waiter()

    def heard() -> bool:
        notifier.notify(site.stage)
        return waiter.wait_sync(0.05)

    wait_until(heard, 5, "the late one to be found")


def test_after_the_end_nothing_happens(site: Site) -> None:
    waiter, notifier = site.waiter(), site.notifier()
    waiter.close()
    waiter.close()
    notifier.notify(site.stage)
    notifier.close()
    notifier.notify(site.stage)
    notifier.wake()
    with pytest.raises(RuntimeError, match="closed"):
        waiter.wait_sync(0)
