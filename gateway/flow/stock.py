"""What a destination's queue has claimed and not begun: whose turn it is, and waiting for it.

Rules:
  - In the order of the claim; but a slot takes first what its association has a context for, so that an association
    is used up before another is opened.
  - Whoever is first in line is passed over at most PATIENCE times, so that no context starves another.
  - Of the deliveries marked `alone` at most one is out at a time.
  - A delivery that is out is not given out again: while it is sent its destination may have been taken out of the
    configuration and put back, which frees it in the ledger.

Called by `gateway.flow.destination`, in one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from gateway.model import DeliveryLease

PATIENCE = 64


class Stock:
    """Leases in line. Iterating goes through them in order."""

    def __init__(self) -> None:
        self._line: deque[DeliveryLease] = deque()
        self._passed_over = 0
        self._out: set[int] = set()  # deliveries that were taken, and are not done
        self._alone_out: int | None = None  # the one of them that is marked `alone`
        self._waiters: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._line)

    @property
    def is_busy(self) -> bool:
        """Something is in line, or was taken and is not done."""
        return bool(self._line or self._out)

    def __iter__(self) -> Iterator[DeliveryLease]:
        return iter(self._line)

    def add(self, leases: Iterable[DeliveryLease]) -> None:
        """New ones, at the end of the line."""
        self._line.extend(leases)
        self.wake()

    def put_back(self, lease: DeliveryLease) -> None:
        """One that was taken and not tried, at the front. It is `done` too."""
        self._line.appendleft(lease)
        self._passed_over = 0
        self.done(lease)
        self.wake()

    def take(self, fits: Callable[[DeliveryLease], bool]) -> DeliveryLease | None:
        """Whose turn it is, given what the caller's association fits; None: nobody's. Say `done` after."""
        first = chosen = None
        for index, lease in enumerate(self._line):
            if lease.delivery_id in self._out or (lease.alone and self._alone_out is not None):
                continue
            if first is None:
                first = chosen = index
                if self._passed_over >= PATIENCE:
                    break
            if fits(lease):
                chosen = index
                break
        if chosen is None:
            return None
        self._passed_over = 0 if chosen == first else self._passed_over + 1
        taken = self._line[chosen]
        del self._line[chosen]
        self._out.add(taken.delivery_id)
        if taken.alone:
            self._alone_out = taken.delivery_id
        return taken

    def done(self, lease: DeliveryLease) -> None:
        """The caller is through with what it took."""
        self._out.discard(lease.delivery_id)
        if self._alone_out == lease.delivery_id:
            self._alone_out = None
        if self._line:  # somebody waits although there is something: for this
            self.wake()

    def empty(self) -> list[DeliveryLease]:
        """Everything in line, which then holds nothing."""
        leases = list(self._line)
        self._line.clear()
        self._passed_over = 0
        return leases

    async def wait(self, timeout_s: float) -> bool:
        """Wait until there may be something to take, or `wake`; False when time ran out."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True

    def wake(self) -> None:
        """Let everybody who waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
