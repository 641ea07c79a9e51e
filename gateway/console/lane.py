"""A thread of its own for one kind of blocking work, so that this can hold up nothing but itself.

`asyncio.to_thread` has a handful of threads for everybody: the audit trail's writer, password checks, uploads. What a
person may ask for as often as they like, what may take long, and what must answer whatever the others do, has a lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

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
