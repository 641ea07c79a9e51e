"""Redis in the composition root: looked at before a start and each minute, told of, and given to the workers."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway import telemetry
from gateway.config import Config
from gateway.errors import QueueError
from gateway.work.broker import Broker
from gateway.work.redis_url import connect, is_redis, parse, require_installed

if TYPE_CHECKING:
    from gateway.work.rq_jobs import Refusal
    from gateway.work.rq_worker import RouteWorkers

TELL_S = 1.0  # between two lines about refused jobs
EVICTS_LOOK_S = 60.0


def require_broker(config: Config) -> None:
    """Before a host starts: refuse a Redis that throws wake-ups away, and say what else is wrong with it. That it is
    away is no reason not to start: all is done by the ledger until it comes.

    :raises QueueError: `queue.url` is wrong, redis and rq are not installed, or Redis evicts.
    """
    found = look_at_broker(config)
    if found is None:
        return
    for warning in found.warnings:
        telemetry.problem("redis_setting", reason=warning)
    if found.evicts:
        raise QueueError(found.evicts)
    if found.away:
        redis_told("start", found.away)
    else:
        for error in found.errors:
            telemetry.problem("redis_setting", reason=error)


def look_at_broker(config: Config) -> Broker | None:
    """What the Redis of `queue.url` is like; None with the local queue.

    :raises QueueError: `queue.url` is wrong, or redis and rq are not installed.
    """
    if not is_redis(config.queue.url):
        return None
    require_installed()
    from gateway.work.redis_look import look

    return look(parse(config.queue.url))


async def watch_broker(config: Config, every_s: float = EVICTS_LOOK_S) -> None:
    """Say when Redis begins to throw wake-ups away, which refuses the next start, and when it no longer does; until
    cancelled. The host stays ready: what a lost wake-up was about is found in the ledger seconds later.
    """
    from gateway.work.redis_look import evicts

    address = parse(config.queue.url)
    while True:
        found = await asyncio.to_thread(evicts, address)
        if found is not None:
            telemetry.redis_evicts(reason=found)
        await asyncio.sleep(every_s)


def redis_told(link: str, why: str) -> None:
    """One of a process's connections to Redis was lost (`why`), or is there again ("")."""
    telemetry.redis_link(link=link, up=not why, reason=why)


def route_workers(config: Config, index: int, run: Callable[..., str], host: str) -> RouteWorkers:
    """The RQ side of worker `index`; `run` is what a job does."""
    from gateway.work.rq_worker import RouteWorkers

    address = parse(config.queue.url)
    name = f"{host}.{index}.{os.getpid()}-{secrets.token_hex(4)}"
    return RouteWorkers(lambda: connect(address), name, run, redis_told, Refused())


class Refused:
    """Counts jobs that were refused, and tells of them once a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_at = -TELL_S
        self._untold = 0

    def __call__(self, refusal: Refusal) -> None:
        """A job was refused."""
        self._untold += 1
        now = self._clock()
        count = self._untold if now - self._told_at >= TELL_S else 0
        if count:
            self._told_at, self._untold = now, 0
        telemetry.job_refused(reason=refusal, count=count)
