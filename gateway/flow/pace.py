"""How long a batch is gathered: who tells the ledger of things that come one by one tells it of many at once.

A transaction, and all that later stages do for a batch (a wake-up, a claim, a transaction of theirs), costs the same
for one as for ten. So under load batches are large; and where things come now and then, nothing waits. The time between
two batches follows the size of the last one: AN_ITEM_S for each thing in it, LONGEST_S at most. Up to some 250 a second
each goes at once, or nearly; beyond, batches grow until there is one each LONGEST_S.
"""

from __future__ import annotations

import asyncio

AN_ITEM_S = 0.004
LONGEST_S = 0.08


class Pace:
    """The pace of one recorder. Make it inside the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._next_at = self._loop.time()
        self._turn: asyncio.Future[None] | None = None

    async def turn(self) -> None:
        """Wait until the next batch may go."""
        if self._next_at > self._loop.time():
            self._turn = turn = self._loop.create_future()
            timer = self._loop.call_at(self._next_at, self.hurry)
            try:
                await turn
            finally:
                timer.cancel()

    def went(self, size: int) -> None:
        """A batch of so many goes now."""
        self._next_at = self._loop.time() + min(LONGEST_S, size * AN_ITEM_S)

    def hurry(self) -> None:
        """Nothing more is to be expected: the next batch may go at once."""
        self._next_at = self._loop.time()
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)
