"""The sweeper: frees the spool of what is settled, keeps the ledger's log short, and watches the room.

One process a host runs it (the console). Each turn:

  1. `begin_purge` (fully durable, checks every delivery and payload again) → the files are emptied or removed →
     `finish_purge`. What a crash left in `purging` comes again. An error of the commit touches no file.
  2. The SQLite checkpoint, under the writers' lock: at most every CHECKPOINT_S and when CHECKPOINT_BYTES wait for it,
     or every QUIET_CHECKPOINT_S. It holds up every writer for the time of two flushes, so a quiet gateway has few.
  3. History: what is remembered of routed instances, past its time or its size, in small batches, every HISTORY_S.
     With it a step towards forgetting rule sets that nothing needs any more (`gateway.flow.old_rules`).
  4. Room: the ballast comes back when there is room for it; empty files that are kept for the pools go when inodes are
     scarce; gauges are set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from gateway import telemetry
from gateway.errors import LedgerError, SpoolError
from gateway.flow.old_rules import OldRules
from gateway.ledger.base import Ledger, PurgeItem
from gateway.ledger.thread import LedgerThread
from gateway.spool import Spool

TURN_S = 1.0
CHECKPOINT_S = 5.0
CHECKPOINT_BYTES = 4 << 20
QUIET_CHECKPOINT_S = 60.0
PURGE_BATCH = 500
HISTORY_S = 60.0
HISTORY_BATCH = 200


class Sweeper:
    """See the module's docstring.

    :param keep_s: how long settled instances stay in the spool.
    :param history_s: how long headers of routed instances are remembered, and how much they may hold.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        spool: Spool,
        keep_s: float,
        clock_ms: Callable[[], int],
        history_s: float = 0.0,
        history_bytes: int = 0,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._keep_ms = int(keep_s * 1000)
        self._clock_ms = clock_ms
        self._history_ms = int(history_s * 1000)
        self._history_bytes = history_bytes
        self._old_rules = OldRules(ledger, clock_ms)
        self.healthy = True  # the last turn reached the ledger
        self._stuck: set[str] = set()

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        checkpoint_at = late_at = forget_at = loop.time()
        while True:
            try:
                while await self._purge() == PURGE_BATCH:
                    pass
                now = loop.time()
                if now >= checkpoint_at and await self._checkpoint(0 if now >= late_at else CHECKPOINT_BYTES):
                    checkpoint_at, late_at = now + CHECKPOINT_S, now + QUIET_CHECKPOINT_S
                if now >= forget_at:
                    while await self._forget() == HISTORY_BATCH:
                        pass
                    await self._old_rules.step()
                    forget_at = now + HISTORY_S
                self.healthy = True
            except (LedgerError, SpoolError) as error:
                if self.healthy:
                    telemetry.problem("sweep_failed", reason=str(error))
                self.healthy = False
            await asyncio.to_thread(self._look)
            await asyncio.sleep(TURN_S)

    async def _purge(self) -> int:
        before_ms = self._clock_ms() - self._keep_ms

        def begin(ledger: Ledger) -> list[PurgeItem]:
            return ledger.begin_purge(before_ms, PURGE_BATCH, self._clock_ms())

        items = await self._ledger.call(begin)
        if not items:
            return 0
        paths = [path for item in items for path in item.paths]
        failed = await asyncio.to_thread(partial(self._spool.try_unlink, paths, keep=True))
        gone = [item.instance_id for item in items if failed.keys().isdisjoint(item.paths)]
        if gone:
            # Sweepers of several hosts may get the same items; each counts what it finished itself.
            count = await self._ledger.call(lambda ledger: ledger.finish_purge(gone, self._clock_ms()))
            if count:
                telemetry.purged(count=count)
        self._tell(failed)
        return len(items) if gone else 0

    async def _forget(self) -> int:
        before_ms = self._clock_ms() - self._history_ms
        return await self._ledger.call(
            lambda ledger: ledger.trim_history(before_ms, self._history_bytes, HISTORY_BATCH)
        )

    async def _checkpoint(self, at_least_bytes: int) -> bool:
        return await self._ledger.call(lambda ledger: ledger.checkpoint(at_least_bytes))

    def _tell(self, failed: Mapping[str, SpoolError]) -> None:
        """Name files that cannot be removed, once each; they are tried again each turn, and hold up no others."""
        for path in failed.keys() - self._stuck:
            telemetry.problem("spool_file_not_removed", file=path, reason=str(failed[path]))
        self._stuck = set(failed)

    def _look(self) -> None:
        try:
            room = self._spool.room()
            if not room.low:
                self._spool.restore_ballast()
            elif room.few_inodes:
                self._spool.free_inodes()
        except SpoolError as error:
            telemetry.problem("spool_room", reason=str(error))
            return
        telemetry.spool_room(free_bytes=room.free_bytes, total_bytes=room.total_bytes, low=room.low)
