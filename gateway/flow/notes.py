"""Notes for the audit trail from an event loop: kept in the ledger in the order they came, and never waited for.

`put` is for what anybody may cause and nobody waits for (log-ins, alerts); `keep` for what must be in the ledger before
it is done (a download). While the ledger is away notes wait here; past MOST the oldest of them are lost, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from gateway import telemetry
from gateway.errors import LedgerBusy, LedgerError
from gateway.flow.trouble import Trouble
from gateway.ledger.base import Ledger
from gateway.ledger.thread import LedgerThread
from gateway.ledger.trail import Note

MOST = 10_000
BATCH = 100
AGAIN_S = 1.0


class Notes:
    """See the module's docstring."""

    def __init__(self, ledger: LedgerThread) -> None:
        self._ledger = ledger
        self._waiting: deque[Note] = deque()
        self._lost = 0
        self._there = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._trouble = Trouble("audit_notes_wait")

    def put(self, note: Note) -> None:
        """Have a note kept soon."""
        if len(self._waiting) >= MOST:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(note)
        self._there.set()

    async def keep(self, note: Note) -> None:
        """Keep a note. :raises LedgerError: it is not kept, and what it tells of must not be done."""
        await self._ledger.call(partial(_tell, [note]))

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            if await self.flush():
                await self._there.wait()
                self._there.clear()
            else:
                await asyncio.sleep(AGAIN_S)

    async def flush(self) -> bool:
        """Keep what waits. False: the ledger takes nothing now."""
        async with self._flushing:
            return await self._flush()

    async def _flush(self) -> bool:
        alone = 0  # so many are tried one by one: one of them may be what the ledger cannot take
        while self._waiting:
            size = 1 if alone else min(BATCH, len(self._waiting))
            batch = [self._waiting[at] for at in range(size)]
            try:
                await self._ledger.call(partial(_tell, batch))
            except LedgerBusy as error:
                self._trouble.tell(waiting=len(self._waiting), lost=self._lost, reason=str(error))
                return False
            except LedgerError as error:
                if size > 1:
                    alone = size
                    continue
                telemetry.problem("audit_notes_refused", error, notes=1)  # it must not hold up the others for ever
            alone = max(0, alone - 1)
            for note in batch:
                if self._waiting and self._waiting[0] is note:
                    self._waiting.popleft()
        self._trouble.over()
        return True


def _tell(notes: list[Note], ledger: Ledger) -> None:
    ledger.tell(notes)
