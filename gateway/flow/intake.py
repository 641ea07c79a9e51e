"""Between the last fragment and the ledger: flush, acknowledgement, recording.

- `Flushes`: complete spool files are flushed, many at once, and each is acknowledged as soon as it is durable.
- `Recorder`: arrivals wait for the ledger, and go there in batches (see `pace`). Every later stage works in these
  batches, so that under load its transactions and wake-ups are shared by many. The spool is the promise, so a ledger
  that is busy holds up no acknowledgement until MAX_UNRECORDED arrivals wait; then intake closes (0xA700) until they
  are written. A ledger that fails closes intake for good: the next start checks it, and adopts what it does not know.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from gateway import telemetry
from gateway.errors import LedgerBusy, LedgerError, LedgerFull, SpoolError
from gateway.flow.pace import Pace
from gateway.flow.trouble import Trouble
from gateway.ledger.base import Ledger, RecordedArrival
from gateway.ledger.thread import LedgerThread
from gateway.model import Arrival, DuplicateKind
from gateway.spool import Flusher, SpoolWriter

MAX_UNRECORDED = 10_000
RECORD_BATCH = 500
BUSY_PAUSE_S = 0.2

Flushed = Callable[[SpoolError | None], None]
"""Called from the event loop when a file's flush has ended; None means durable."""


class Flushes:
    """Flushes complete spool files. Make it inside the running event loop.

    :param discard: removes a file that did not become durable.
    """

    def __init__(self, discard: Callable[[SpoolWriter], None]) -> None:
        self._discard = discard
        self._flusher = Flusher()
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._flusher.fileno(), self._serve)

    def submit(self, writer: SpoolWriter, flushed: Flushed) -> None:
        """Have a finished writer flushed."""
        began = time.monotonic()

        def ended(error: SpoolError | None) -> None:
            telemetry.spool_flushed(seconds=time.monotonic() - began)
            if error is None:
                writer.close()
            else:
                self._discard(writer)
            flushed(error)

        self._flusher.start(writer, ended)

    async def run(self) -> None:
        """Serve until cancelled. Raises what is a bug: an error that is not a file's."""
        try:
            await self._failed
        finally:
            self._loop.remove_reader(self._flusher.fileno())

    def _serve(self) -> None:
        try:
            self._flusher.serve()
        except Exception as error:  # noqa: BLE001 - raised by `run`
            if not self._failed.done():
                self._failed.set_exception(error)


class Recorder:
    """Tells the ledger of arrivals, in batches. Make it inside the running event loop.

    :param recorded: called after each commit with the ids of what it recorded, to wake the worker.
    :param no_room: called when the ledger found no room on its file system.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        clock_ms: Callable[[], int],
        recorded: Callable[[Sequence[str]], None],
        no_room: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._recorded = recorded
        self._no_room = no_room
        self._waiting: deque[Arrival] = deque()
        self._pace = Pace()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failed = False
        self._trouble = Trouble("arrivals_wait_for_ledger")

    @property
    def open(self) -> bool:
        """Whether new instances may be acknowledged."""
        return not self._failed and len(self._waiting) < MAX_UNRECORDED

    @property
    def failed(self) -> bool:
        """The ledger failed: nothing is taken until a restart has checked it."""
        return self._failed

    @property
    def waiting(self) -> int:
        """How many arrivals the ledger does not know yet."""
        return len(self._waiting)

    def submit(self, arrival: Arrival) -> None:
        """Have a durable arrival recorded."""
        self._waiting.append(arrival)
        self._idle.clear()
        self._wake.set()

    def hurry(self) -> None:
        """Nobody sends any more: what waits need not wait for what comes next."""
        self._pace.hurry()

    def close_intake(self, error: LedgerError) -> None:
        """The ledger failed: acknowledge nothing more. What waits is in the spool, for the next start to adopt."""
        if self._failed:
            return
        self._failed = True
        telemetry.problem("intake_closed", reason=str(error), unrecorded=len(self._waiting))
        telemetry.not_ready("intake_closed", True, "the ledger failed: restart the gateway to have it checked")

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._pace.turn()
            self._pace.went(len(self._waiting))
            while self._waiting and not self._failed:
                batch = [self._waiting[i] for i in range(min(RECORD_BATCH, len(self._waiting)))]
                await self._record(batch)
            if not self._waiting:
                self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everything is recorded; False when time ran out (adoption finds the rest)."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def _record(self, batch: list[Arrival]) -> None:
        def record(ledger: Ledger) -> list[RecordedArrival]:
            return ledger.record_arrivals(batch, self._clock_ms())

        try:
            results = await self._ledger.call(record)
        except (LedgerBusy, LedgerFull) as error:
            self._trouble.tell(reason=str(error), unrecorded=len(self._waiting))
            telemetry.not_ready("intake_closed", not self.open, "the ledger lags too far behind")
            if isinstance(error, LedgerFull):
                self._no_room()
            await asyncio.sleep(BUSY_PAUSE_S)
            return
        except LedgerError as error:
            self.close_intake(error)
            return
        self._trouble.over()
        for _ in batch:
            self._waiting.popleft()
        telemetry.not_ready("intake_closed", not self.open)
        self._recorded([arrival.instance_id for arrival in batch])
        for result in results:
            if result.duplicate is not DuplicateKind.NONE:
                telemetry.duplicate(kind=result.duplicate, instance_id=result.instance_id)
