"""A thread of its own for one kind of blocking work, so that this can hold up nothing but itself.

`asyncio.to_thread` has a handful of threads for everybody: the audit trail's writer, password checks, uploads. What a
person may ask for as often as they like, what may take long, and what must answer whatever the others do, has a lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")

WAITING_MAX = 8


class LaneFull(Exception):
    """So many wait already that another one would wait too long."""


class Lane:
    """See the module's docstring. The thread begins with the first work. :param most: how many may run or wait."""

    def __init__(self, name: str, most: int = WAITING_MAX) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._most = most
        self._asked: list[Future[Any]] = []

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work, one after the other. Whoever is cancelled before their turn has none. :raises LaneFull."""
        self._asked = [each for each in self._asked if not each.done()]
        if len(self._asked) >= self._most:
            raise LaneFull
        future = self._thread.submit(work)
        self._asked.append(future)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Shared(Generic[T]):
    """A look that all who ask for it while it goes on have together. For one event loop.

    :param look: must raise nothing that nobody may see: where all who asked are gone, nobody does.
    """

    def __init__(self, look: Callable[[], Awaitable[T]]) -> None:
        self._look = look
        self._running: asyncio.Future[T] | None = None

    async def get(self) -> T:
        """What the look that goes on finds, or else a new one's. Whoever is cancelled takes it from nobody."""
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._look())
        return await asyncio.shield(self._running)
