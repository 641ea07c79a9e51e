"""Rule sets that nothing needs any more leave the ledger: each has the whole of its CSV files.

A set is needed while it is current; and while an instance that it decided about is in the spool, as a copy that is
lost is made again by the rules that made it (`gateway.flow.remake`). Which those are no index tells: all instances are
looked through, CHUNK at a step. A set goes when others had come in its place KEEP_MS before such a pass began, and the
pass has not met it. What is decided meanwhile is decided by newer rules.

Called by the sweeper, a step a minute; a pass that a restart ends begins anew.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway import telemetry
from gateway.ledger.thread import LedgerThread

CHUNK = 20_000
KEEP_MS = 24 * 3600 * 1000


class OldRules:
    """See the module's docstring."""

    def __init__(self, ledger: LedgerThread, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._unmet: set[str] = set()  # what the pass that is under way has not met
        self._after_seq = 0

    async def step(self) -> None:
        """Look at the next instances; behind the last of them, forget the sets that none was decided by.

        :raises LedgerError: the step is taken again.
        """
        if not self._unmet:
            before_ms = self._clock_ms() - KEEP_MS
            self._unmet = set(await self._ledger.call(lambda ledger: ledger.superseded_rules(before_ms)))
            self._after_seq = 0
            if not self._unmet:
                return
        after_seq = self._after_seq
        seen = await self._ledger.call(lambda ledger: ledger.revisions_of(after_seq, CHUNK))
        self._unmet -= seen.revisions
        if seen.last_seq is not None:
            self._after_seq = seen.last_seq
            return
        while self._unmet:
            await self._forget(next(iter(self._unmet)))

    async def _forget(self, revision: str) -> None:
        """A transaction of its own for each: a set may have some megabytes."""
        if await self._ledger.call(lambda ledger: ledger.forget_rules(revision)):
            telemetry.event("rules_forgotten", revision=revision)
        self._unmet.discard(revision)
