"""Outcomes on their way into the ledger, in batches.

A forwarder that cannot record an outcome must not make new ones: `open` is False while the ledger fails, and nothing
more is claimed. What was delivered is kept here until it is recorded, or until the process ends: then its lease is void
and the delivery is tried again (at least once).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway import telemetry
from gateway.errors import LedgerError
from gateway.ledger.base import Ledger
from gateway.ledger.thread import LedgerThread
from gateway.model import Outcome, Quarantine, Session

GATHER_S = 0.002
RETRY_S = 1.0


class OutcomeRecorder:
    """Writes outcomes and quarantines for one forwarder process."""

    def __init__(self, ledger: LedgerThread, session: Session, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._session = session
        self._clock_ms = clock_ms
        self._outcomes: list[Outcome] = []
        self._quarantines: list[Quarantine] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failing = False

    @property
    def open(self) -> bool:
        """Whether outcomes can be recorded, as far as is known."""
        return not self._failing

    def submit(self, outcome: Outcome) -> None:
        """Have an outcome recorded."""
        self._outcomes.append(outcome)
        self._idle.clear()
        self._wake.set()

    def quarantine(self, verdict: Quarantine) -> None:
        """Have an instance quarantined: its bytes in the spool are not what arrived."""
        self._quarantines.append(verdict)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(GATHER_S)
            while self._outcomes or self._quarantines:
                await self._record(list(self._outcomes), list(self._quarantines))
            self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everything is recorded; False when time ran out."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def _record(self, outcomes: list[Outcome], quarantines: list[Quarantine]) -> None:
        def record(ledger: Ledger) -> int:
            now_ms = self._clock_ms()
            if quarantines:
                ledger.quarantine(self._session, quarantines, now_ms)
            return len(outcomes) - len(ledger.record_outcomes(self._session, outcomes, now_ms) if outcomes else [])

        try:
            lost = await self._ledger.call(record)
        except LedgerError as error:
            if not self._failing:
                telemetry.problem("outcomes_not_recorded", reason=str(error), waiting=len(outcomes))
            self._failing = True
            await asyncio.sleep(RETRY_S)
            return
        self._failing = False
        del self._outcomes[: len(outcomes)]
        del self._quarantines[: len(quarantines)]
        if lost:
            telemetry.problem("leases_lost", reason="another process took over these deliveries", count=lost)
