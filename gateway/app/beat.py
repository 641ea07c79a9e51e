"""A process's heartbeat in the ledger, and what it is told in answer: go on, take no more work, or stop at once.

Every LEDGER_BEAT_S. Whoever watches from another host takes a process for dead that has not beaten for several times
as long (`gateway.flow.hosts`); a ledger that is busy or away is no reason to end: whoever waits for it is alive, and a
process that starts would wait for it too, or, where it is damaged, could not start, and leave without an answer who is
refused with a reason now.

A role of a host that drains (`gateway drain`) learns it here, a process that is started again with its first beat. From
then on its beats say what it still has in hand, more often while that is something.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from gateway import telemetry
from gateway.app.common import clock_ms
from gateway.errors import LedgerBusy, LedgerError, LedgerFull
from gateway.flow.trouble import Trouble
from gateway.ledger.base import Ledger
from gateway.ledger.thread import LedgerThread
from gateway.model import Beat, Session

LEDGER_BEAT_S = 5.0
DRAINING_BEAT_S = 1.0
VOIDED = "another process took this one for dead; stopping"


class Drainable(Protocol):
    """A role's work, as far as it can be told to take no more."""

    @property
    def in_hand(self) -> int:
        """How much there still is to finish, besides what the ledger has leased to it."""

    def drain(self, draining: bool) -> None:
        """Take no more and finish what there is; or take more again."""


class LedgerBeat:
    """The heartbeat of a process with an event loop.

    :param work: None where there is nothing that could drain.
    """

    def __init__(self, ledger: LedgerThread, session: Session, work: Drainable | None = None) -> None:
        self._ledger = ledger
        self._session = session
        self._work = work
        self._draining = False
        self._left: int | None = None
        self._trouble = Trouble("beat_not_counted")

    async def once(self) -> Beat:
        """Beat, and have the work know what was answered. Raises `LedgerError`."""
        left = self._work.in_hand if self._work is not None and self._draining else None
        answer = await self._ledger.call(lambda opened: opened.beat(self._session, clock_ms(), left))
        self._left = left
        self._trouble.over()
        draining = answer is Beat.DRAIN
        if self._work is not None and answer is not Beat.VOIDED and draining != self._draining:
            self._draining = draining
            self._work.drain(draining)
            tell_draining(draining)
        return answer

    async def run(self, voided: Callable[[], None], failed: Callable[[LedgerError], None] | None = None) -> None:
        """Beat until the session was ended by somebody else, or until cancelled; then `voided` is called.

        :param failed: called when the ledger is not merely busy or out of room.
        """
        while True:
            try:
                if await self.once() is Beat.VOIDED:
                    telemetry.problem("session_voided", reason=VOIDED)
                    voided()
                    return
            except LedgerError as error:
                self._trouble.tell(reason=str(error))
                if failed is not None and not isinstance(error, LedgerBusy | LedgerFull):
                    failed(error)
            await asyncio.sleep(DRAINING_BEAT_S if self._draining and self._left != 0 else LEDGER_BEAT_S)


class WorkerBeat:
    """The heartbeat of a process without an event loop, for its supervisor and for the ledger.

    Called as often as is convenient, whenever it may wait for the ledger.

    :param drain: called when what it is to do changes.
    """

    def __init__(self, ledger: Ledger, session: Session, drain: Callable[[bool], None]) -> None:
        self._ledger = ledger
        self._session = session
        self._drain = drain
        self._draining = False
        self._at_s = 0.0
        self._trouble = Trouble("beat_not_counted")
        self.voided = False

    def turn(self) -> None:
        """Beat, if it is time to."""
        telemetry.tell_due()
        now_s = time.monotonic()
        if self.voided or now_s - self._at_s < (DRAINING_BEAT_S if self._draining else LEDGER_BEAT_S):
            return
        self._at_s = now_s
        try:
            answer = self._ledger.beat(self._session, clock_ms(), 0 if self._draining else None)
        except LedgerError as error:
            self._trouble.tell(reason=str(error))
            return
        self._trouble.over()
        if answer is Beat.VOIDED:
            self.voided = True
            telemetry.problem("session_voided", reason=VOIDED)
        elif (answer is Beat.DRAIN) != self._draining:
            self._draining = answer is Beat.DRAIN
            self._drain(self._draining)
            tell_draining(self._draining)


def tell_draining(draining: bool) -> None:
    """Log what a process does from now on."""
    if draining:
        telemetry.event("draining", reason="this role of this host is drained: no more work is taken, until --undo")
    else:
        telemetry.event("drain_undone")
