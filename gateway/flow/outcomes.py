"""Outcomes on their way into the ledger, in batches (see `gateway.flow.pace`).

The death of the process leaves at most one delivery an association that the peer has and the ledger will not know of:
whoever has an outcome waits until it is recorded before it makes another, unless it is a delivery that the journal has
kept (see `gateway.ledger.journal`), which nearly all are.

A forwarder that cannot record an outcome must not make new ones: `open` is False while the ledger fails, and nothing
more is claimed. What was delivered is kept here until it is recorded, or until the process ends: then its lease is void
and the delivery is tried again (at least once).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway import telemetry
from gateway.errors import LedgerError, LedgerFull
from gateway.flow.pace import Pace
from gateway.ledger.base import Ledger
from gateway.ledger.journal import BEHIND, OutcomeJournal
from gateway.ledger.thread import LedgerThread
from gateway.model import DeliveryLease, DeliveryState, Outcome, Quarantine, Session

RETRY_S = 1.0


class OutcomeRecorder:
    """Writes outcomes and quarantines for one forwarder process.

    :param journal: None where there is none: then everybody waits.
    :param no_room: called when the ledger found no room on its file system.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        session: Session,
        journal: OutcomeJournal | None,
        clock_ms: Callable[[], int],
        no_room: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._journal = journal
        self._clock_ms = clock_ms
        self._no_room = no_room
        self._outcomes: list[tuple[Outcome, asyncio.Future[None] | None]] = []
        self._quarantines: list[Quarantine] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failing = False
        self._journal_failing = False

    @property
    def open(self) -> bool:
        """Whether outcomes can be recorded, as far as is known."""
        return not self._failing

    async def record(self, outcome: Outcome) -> None:
        """Have an outcome recorded, and wait until that is sure. It is recorded too when the caller is cancelled."""
        recorded = None if self._is_kept(outcome) else asyncio.get_running_loop().create_future()
        self._outcomes.append((outcome, recorded))
        self._idle.clear()
        self._wake.set()
        if recorded is not None:
            await recorded

    def _is_kept(self, outcome: Outcome) -> bool:
        """Put an outcome into the journal, if it is one for it and there is room."""
        delivered = outcome.state is DeliveryState.DELIVERED
        if self._journal is None or not delivered or self._failing or len(self._outcomes) >= BEHIND:
            return False
        try:
            self._journal.write(outcome)
        except OSError as error:
            if not self._journal_failing:
                telemetry.problem("outcomes_wait_for_ledger", reason=f"the journal cannot be written: {error.strerror}")
            self._journal_failing = True
            return False
        self._journal_failing = False
        return True

    @property
    def pending(self) -> frozenset[int]:
        """The deliveries whose outcomes the ledger is still to be told of."""
        return frozenset(outcome.delivery_id for outcome, _ in self._outcomes)

    def quarantine(self, verdict: Quarantine) -> None:
        """Have an instance quarantined: its bytes in the spool are not what arrived."""
        self._quarantines.append(verdict)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        pace = Pace()
        while True:
            await self._wake.wait()
            self._wake.clear()
            await pace.turn()
            pace.went(len(self._outcomes))
            while self._outcomes or self._quarantines:
                await self._record(list(self._outcomes), list(self._quarantines))
            self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everything is recorded; False, and a complaint, when time ran out."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            count = len(self._outcomes) + len(self._quarantines)
            telemetry.problem("outcomes_not_recorded", reason="no time left: these are tried again", waiting=count)
            return False
        return True

    async def _record(
        self, waiting: list[tuple[Outcome, asyncio.Future[None] | None]], quarantines: list[Quarantine]
    ) -> None:
        outcomes = [outcome for outcome, _ in waiting]

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
            if isinstance(error, LedgerFull):
                self._no_room()
            await asyncio.sleep(RETRY_S)
            return
        self._failing = False
        del self._outcomes[: len(waiting)]
        del self._quarantines[: len(quarantines)]
        for _, recorded in waiting:
            if recorded is not None and not recorded.done():
                recorded.set_result(None)
        if lost:
            reason = "these deliveries were stopped, or another process took them over, while they were tried"
            telemetry.problem("leases_lost", reason=reason, count=lost)


def tell(lease: DeliveryLease, outcome: Outcome, association_id: str, now_ms: int) -> None:
    """Log and count what became of a try."""
    delivered = outcome.state is DeliveryState.DELIVERED
    telemetry.delivery_outcome(
        destination=lease.destination,
        code=outcome.code,
        state=outcome.state,
        reason=outcome.reason,
        instance_id=lease.instance_id,
        association_id=association_id,
        attempt=lease.attempt,
        size_bytes=lease.payload.length if delivered else 0,
        status=outcome.status,
        seconds=max(0, now_ms - lease.received_at_ms) / 1000 if delivered else None,
    )
