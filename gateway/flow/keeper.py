"""The keeper of the audit trail: carries what the ledger has to tell into the files, in batches, off everybody's way.

One task of the console's process runs it. Each turn: a batch is taken from the ledger; its messages are made and
written in a thread, flushed; then the ledger forgets it and remembers how far the files have got. What dies between two
of these steps is gone on with by the next: a batch stays as it is, and the files know which messages of it they have.
Before the first, the files are held to what the ledger knows of them: records that were cut off at their end meanwhile
raise an alarm, and only then the ledger takes the new end for what it is.

Nothing waits for the keeper. While the ledger is away, or the disk is full, what has to be told waits in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gateway import telemetry
from gateway.audit.chain import Entry, Head
from gateway.audit.trail import Trail
from gateway.errors import LeaseLost, LedgerError, TrailError
from gateway.flow.told import Names, entries, raise_alarm
from gateway.flow.trouble import Trouble
from gateway.ledger.base import Ledger
from gateway.ledger.thread import LedgerThread
from gateway.ledger.trail import UNKNOWN, NoteTold, TrailHead, Untold
from gateway.model import Session

T = TypeVar("T")

TURN_S = 1.0
BATCH = 500


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a transfer has to be quiet before it is told, and how late it is told at the latest."""

    quiet_s: float
    latest_s: float


class Keeper:
    """See the module's docstring.

    :param open_trail: opens the files, given a record that was written; blocks.
    :param written: called when there is something new in them. :param home: whose files they are.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        session: Session,
        open_trail: Callable[[Head | None], Trail],
        names: Callable[[], Names],
        clock_ms: Callable[[], int],
        patience: Patience,
        written: Callable[[], None] = lambda: None,
        home: str = "",
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._open_trail = open_trail
        self._names = names
        self._clock_ms = clock_ms
        self._patience = patience
        self._written = written
        self._home = home
        self._trail: Trail | None = None
        self._writing = asyncio.Lock()
        self._trouble = Trouble("audit_trail_waits")

    async def run(self) -> None:
        """Serve until cancelled; then comes `finish`."""
        while True:
            await self._work(self._patience)
            await asyncio.sleep(TURN_S)

    async def finish(self, all_of_it: bool) -> None:
        """Write what there is, and close the files.

        :param all_of_it: also of transfers that somebody else might go on with.
        """
        await self._work(Patience(0.0, 0.0) if all_of_it else self._patience)
        async with self._writing:
            if self._trail is not None:
                await asyncio.to_thread(self._trail.close)
                self._trail = None

    async def _work(self, patience: Patience) -> None:
        try:
            while await self._turn(patience):
                pass
        except LeaseLost:
            return  # this process is ending; the next takes over
        except (LedgerError, TrailError) as error:
            telemetry.audit_written(records=0, failed=True)
            self._trouble.tell(reason=str(error))
            return
        telemetry.audit_written(records=0)  # where there is nothing to be told, too
        self._trouble.over()

    async def _turn(self, patience: Patience) -> bool:
        """Write one batch. False: there was none."""
        quiet_ms, late_ms = int(patience.quiet_s * 1000), int(patience.latest_s * 1000)

        def take(ledger: Ledger) -> Untold | None:
            now_ms = self._clock_ms()
            return ledger.take_untold(self._session, now_ms, quiet_ms=quiet_ms, late_ms=late_ms, limit=BATCH)

        async with self._writing:
            if self._trail is None:
                await self._open()
            untold = await self._ledger.call(take)
            if untold is None:
                return False
            head, alarmed = await _in_thread(lambda: self._write(untold))
        self._written()
        await self._ledger.call(lambda ledger: ledger.told(self._session, untold.batch, head))
        if alarmed is not None:  # as in `_open`
            await self._ledger.call(lambda ledger: ledger.told(self._session, "", alarmed))
        return True

    async def _open(self) -> None:
        heads = await self._ledger.call(lambda ledger: ledger.trail_heads())
        told = heads.get(self._home)
        known = None if told is None else Head(told.seq, told.hash)
        head = await _in_thread(lambda: self._open_files(known))
        if head is not None:  # the next start must not miss the same records again
            await self._ledger.call(lambda ledger: ledger.told(self._session, "", head))

    def _open_files(self, known: Head | None) -> TrailHead | None:
        """Open the files. What is wrong with them is told; then they end there."""
        trail = self._open_trail(known)
        try:
            head = self._alarm(trail)
        except BaseException:
            trail.close()
            raise
        self._trail = trail
        return head

    def _alarm(self, trail: Trail) -> TrailHead | None:
        if not trail.fault:
            return None
        raise_alarm(trail, self._names(), self._clock_ms())
        return TrailHead(trail.head.seq, trail.head.hash, self._clock_ms())

    def _write(self, untold: Untold) -> tuple[TrailHead, TrailHead | None]:
        """Write a batch. Where the files end; and the same again where they were found to lack records for it."""
        assert self._trail is not None  # noqa: S101 - opened by the turn
        there = self._trail.written(untold.batch)
        for told in untold.told:
            if isinstance(told, NoteTold) and told.note.what == UNKNOWN:
                telemetry.problem("audit_note_unknown", kind=told.note.subject)
        fresh: list[Entry] = [entry for entry in entries(untold, self._names()) if entry.ref not in there]
        if fresh:
            self._trail.append(fresh)
        alarmed = self._alarm(self._trail)  # it may have been opened again for that
        head = self._trail.head
        telemetry.audit_written(records=len(fresh))
        return TrailHead(head.seq, head.hash, self._clock_ms()), alarmed


async def _in_thread(work: Callable[[], T]) -> T:
    """Run in a thread to its end, even where the caller is cancelled: files are not closed under a writer."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
