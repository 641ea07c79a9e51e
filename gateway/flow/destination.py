"""One destination's queue: claims, associations, outcomes. Knows nothing of other destinations.

The pump (`run`) keeps a small stock of claimed deliveries and as many slots as the window allows. A slot is one
association: it takes deliveries from the stock until there are none, waits a little for more, and releases.

  - A further slot is opened only when each open one has `BACKLOG_PER_SLOT` deliveries waiting for it, or when none of
    them has taken anything for `STALL_S`. A slot that the window no longer allows ends after its delivery.
  - A slot prefers deliveries that its association has a context for; else it opens another association, proposing
    what waits (at most 128 contexts).
  - A delivery marked `alone` gets an association of its own, and only one such goes at a time.
  - Whose association was refused is put back, unless it is to blame itself (`dispatch.blames_delivery`).
  - Going down, a pause and the end give the stock back to the ledger, untried. While down there is one C-ECHO a probe
    interval and nothing else; while paused there is nothing.
  - Half open, one delivery is out at a time. What ends without a word of the destination (its file is damaged, its copy
    is not there) is followed by the next at once, on the same association where that still is one.
  - A slot takes the next delivery when the outcome of its last one is recorded (see `gateway.flow.outcomes`).
  - An instance whose bytes in the spool no longer are what arrived is quarantined, and the association aborted
    before the last fragment leaves.
  - An error of the gateway itself holds the delivery that met it, and is no other destination's affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass

from gateway import telemetry
from gateway.config.values import SOURCE_CALLING_AE_TITLE, Destination
from gateway.errors import (
    AssociationRejected,
    LeaseLost,
    LedgerError,
    PeerError,
    SpoolCorrupt,
    SpoolError,
    SpoolMissing,
)
from gateway.flow import dispatch
from gateway.flow.accepts import wanted_by
from gateway.flow.health import Health
from gateway.flow.line import Line, Slot
from gateway.flow.outcomes import OutcomeRecorder, tell
from gateway.flow.send import CHUNK_BYTES, Buffers, DataSet, calling_ae_title, context_of
from gateway.flow.stock import Stock
from gateway.flow.trouble import Trouble
from gateway.flow.verdict import Verdicts
from gateway.ledger.base import Ledger
from gateway.ledger.thread import LedgerThread
from gateway.model import Breaker, DeliveryLease, DestinationState, Outcome, Quarantine, Session, transforms_of
from gateway.net.driver import Ticker
from gateway.net.requestor import ClientAssociation
from gateway.reasons import Distrusted, of_file
from gateway.spool import Spool, bring_in

CLAIM = 64
LOW = 16
BACKLOG_PER_SLOT = 8
STALL_S = 0.25
POLL_S = 1.0
LOCAL_TROUBLE_PAUSE_S = 1.0
FRESH_MS = 60_000


@dataclass(frozen=True, slots=True)
class Tools:
    """What all destinations of a forwarder share."""

    ledger: LedgerThread
    session: Session
    spool: Spool
    outcomes: OutcomeRecorder
    ticker: Ticker
    executor: Executor
    buffers: Buffers
    clock_ms: Callable[[], int]
    give_up: Callable[[LeaseLost], None]  # ends this process: what it has is given back


class DestinationQueue:
    """Sends what is due to one destination.

    :param may_begin: whether the destination is certainly still this process's own; else nothing more is begun.
    """

    def __init__(
        self,
        destination: Destination,
        tools: Tools,
        saved: DestinationState | None,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        self._tools = tools
        self._may_begin = may_begin
        self._claim_trouble = Trouble("claim_failed")
        self._configure(destination)
        self._stock = Stock()
        self._health = Health(destination, tools.ledger, tools.clock_ms, saved, self._breaker_changed)
        self._verdicts = Verdicts(destination, self._health, tools.clock_ms)
        self._slots: set[asyncio.Task[None]] = set()
        self._open: set[Slot] = set()  # those that are not on their way out
        self._taken_at = 0.0
        self._wake = asyncio.Event()
        self._more = True  # there may be something to claim
        self._dry_at = 0.0  # when there last was nothing else to claim
        self._stopping = False
        self._paused = saved is not None and saved.paused
        self._last_calling = ""
        self._brought_in: set[int] = set()  # old deliveries whose files are in memory, or were a moment ago

    @property
    def name(self) -> str:
        """The destination's."""
        return self._destination.name

    # ── from outside ──────────────────────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """There may be something to send."""
        self._more = True
        self._wake.set()

    def reconfigure(self, destination: Destination) -> None:
        """Use changed settings from the next association on."""
        if destination != self._destination:
            self._configure(destination)
            self._health.configure(destination)
            self._verdicts.configure(destination)
            self.wake()

    def look(self, state: DestinationState) -> None:
        """What the ledger says of it now: whether a person has paused it, or wants it probed."""
        self.pause(state.paused or not state.configured)
        self._health.asked(state)

    def pause(self, paused: bool) -> None:
        """Begin nothing more and give back what was not begun; or go on."""
        if paused != self._paused:
            self._paused = paused
            self._stock.wake()
            self.wake()

    def end(self) -> None:
        """Have `run` end: what is being sent is finished, the rest given back."""
        self._stopping = True
        self._stock.wake()
        self._wake.set()

    async def stop(self, grace_s: float) -> None:
        """`end`, and wait for it."""
        self.end()
        if self._slots:
            await asyncio.wait(self._slots, timeout=grace_s)

    def _configure(self, destination: Destination) -> None:
        self._destination = destination
        self._line = Line(destination, self._tools.ticker)

    # ── the pump ──────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until stopped or cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while not self._stopping:
                    self._wake.clear()
                    await self._health.save()
                    await self._turn(tasks)
                await self._give_back()  # what is being sent may take its time
                if self._slots:
                    await asyncio.wait(self._slots)
        finally:
            await self._give_back()
            await self._health.save()

    async def _turn(self, tasks: asyncio.TaskGroup) -> None:
        """Do what can be done now, and sleep until there may be more to do."""
        if self._paused or not self._may_begin():
            await self._give_back()
            await self._sleep(POLL_S)
        elif self._health.breaker is Breaker.DOWN:
            await self._give_back()
            if self._slots:
                await self._sleep(POLL_S)  # what is still being sent may bring it up by itself
            elif self._health.probe_in_s > 0:
                await self._sleep(self._health.probe_in_s)
            else:
                await self._health.probe(self._line, self._last_calling)
        else:
            await self._refill()
            self._start_slots(tasks)
            if self._stock and len(self._slots) < self._health.window.associations:
                await self._sleep(STALL_S)
            elif not await self._sleep(POLL_S):
                self._more = True

    async def _sleep(self, timeout_s: float) -> bool:
        """Wait for a wake-up; False when there was none in time."""
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    async def _refill(self) -> None:
        """Claim more when the stock is low; nothing while outcomes cannot be recorded."""
        if len(self._stock) >= LOW or not self._more or not self._tools.outcomes.open:
            return
        half_open = self._health.breaker is Breaker.HALF_OPEN
        if half_open and self._stock.is_busy:
            return
        limit = 1 if half_open else CLAIM
        name, session, clock_ms = self._destination.name, self._tools.session, self._tools.clock_ms

        def claim(ledger: Ledger) -> list[DeliveryLease]:
            return ledger.claim_deliveries(session, name, limit, clock_ms())

        def give_back(ledger: Ledger, leases: list[DeliveryLease]) -> None:
            ledger.release_deliveries(session, leases, clock_ms())

        self._more = False  # unless somebody wakes us meanwhile
        try:
            leases = await self._tools.ledger.call(claim, undo=give_back)
        except LeaseLost as error:
            self._tools.give_up(error)
            return
        except LedgerError as error:
            self._claim_trouble.tell(destination=name, reason=str(error))
            return
        self._claim_trouble.over()
        now = asyncio.get_running_loop().time()
        if not leases or leases[-1].alone:
            self._dry_at = now
        if leases and not half_open:
            # What is marked `alone` is claimed when there is nothing else, and one by one: where a little comes all the
            # time, it has its chance once a second.
            self._more |= len(leases) == limit or leases[-1].alone or now - self._dry_at >= POLL_S
        try:
            await self._bring_in(leases)
        finally:
            self._stock.add(leases)

    async def _bring_in(self, leases: Sequence[DeliveryLease]) -> None:
        """What came long ago may lie on the disk only, where even to open it takes long: a thread sees to all of it.
        What is too large to be read at once has threads of its own."""
        old = [lease for lease in leases if not self._is_fresh(lease) and lease.payload.length <= CHUNK_BYTES]
        if old:
            payloads = [lease.payload for lease in old]
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._tools.executor, bring_in, self._tools.spool, payloads)
            self._brought_in.update(lease.delivery_id for lease in old)

    def _is_fresh(self, lease: DeliveryLease) -> bool:
        return self._tools.clock_ms() - lease.received_at_ms < FRESH_MS

    def _start_slots(self, tasks: asyncio.TaskGroup) -> None:
        while self._stock and len(self._slots) < self._health.window.associations:
            stalled = asyncio.get_running_loop().time() - self._taken_at >= STALL_S
            if self._slots and not stalled and len(self._stock) <= BACKLOG_PER_SLOT * len(self._slots):
                return
            if self._slots and not self._health.ask_for_another():
                return
            self._taken_at = asyncio.get_running_loop().time()
            task = tasks.create_task(self._slot(), name=f"slot {self._destination.name}")
            self._slots.add(task)
            task.add_done_callback(self._slot_ended)

    def _slot_ended(self, task: asyncio.Task[None]) -> None:
        self._slots.discard(task)
        self._wake.set()

    async def _give_back(self) -> None:
        leases = self._stock.empty()
        if not leases:
            return
        self._brought_in.clear()
        session, now_ms = self._tools.session, self._tools.clock_ms()
        try:
            await self._tools.ledger.call(lambda ledger: ledger.release_deliveries(session, leases, now_ms))
        except LedgerError as error:
            # Still ours, so they are not lost with it: given back at the next turn, or freed when the session ends.
            self._stock.add(leases)
            telemetry.problem("release_failed", destination=self._destination.name, reason=str(error))
            await asyncio.sleep(LOCAL_TROUBLE_PAUSE_S)

    def _breaker_changed(self) -> None:
        self._stock.wake()
        self.wake()

    # ── slots ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _may_go_on(self) -> bool:
        """Whether a slot may begin another delivery."""
        if self._stopping or self._paused or not self._may_begin():
            return False
        return len(self._open) <= self._health.window.associations

    async def _slot(self) -> None:
        slot = Slot()
        self._open.add(slot)
        try:
            while self._may_go_on():
                lease = self._take(slot)
                if lease is not None:
                    try:
                        opened = await self._serve(slot, lease)
                    finally:
                        self._stock.done(lease)
                        self._brought_in.discard(lease.delivery_id)
                    self._more |= self._health.breaker is Breaker.HALF_OPEN  # it said nothing of the destination
                    if not opened:
                        return
                elif not await self._wait_for_work(slot):
                    return
        finally:
            self._open.discard(slot)
            await slot.release()

    def _take(self, slot: Slot) -> DeliveryLease | None:
        lease = self._stock.take(lambda waiting: slot.fits(self._line, waiting))
        if lease is not None:
            self._taken_at = asyncio.get_running_loop().time()
            if len(self._stock) < LOW and self._more:
                self._wake.set()
        return lease

    async def _wait_for_work(self, slot: Slot) -> bool:
        """Wait with an idle association; False when it has been idle long enough."""
        if not slot.usable:
            return False
        if self._more:
            self._wake.set()
        slot.waited = True
        return await self._stock.wait(self._destination.idle_timeout_s)

    async def _serve(self, slot: Slot, lease: DeliveryLease) -> bool:
        """Try one delivery and record what became of it. False: there was no association, and it was put back."""
        required = self._destination.require_transform
        try:
            if required is not None and required not in transforms_of(lease.chain):
                outcome: Outcome | None = dispatch.transform_required(lease, required)
            elif not lease.payload.path:
                outcome = dispatch.copy_lost(lease, "there is none", self._tools.clock_ms())
            else:
                outcome = await self._try(slot, lease)
        except PeerError as error:
            if self._others_open(slot):
                self._stock.put_back(lease)
                self._health.another_refused()  # it serves us on another: that it gives no more blames nobody
                return False
            if not dispatch.blames_delivery(error, lease.alone, self._health.breaker):
                self._stock.put_back(lease)
                self._health.failed(str(error), permanent=isinstance(error, AssociationRejected) and error.permanent)
                return False
            outcome = self._verdicts.unanswered(lease, error, sent_whole=False)
        except Exception as error:  # noqa: BLE001 - a bug holds what met it, and leaves all else flowing
            telemetry.problem("delivery_error", error, instance_id=lease.instance_id, destination=lease.destination)
            outcome = dispatch.impossible(lease, f"an error in the gateway: {type(error).__name__}, see its log")
        if outcome is not None:
            tell(lease, outcome, slot.association_id, self._tools.clock_ms())
            await self._tools.outcomes.record(outcome)
        return True

    async def _try(self, slot: Slot, lease: DeliveryLease, again: PeerError | None = None) -> Outcome | None:
        """The outcome of one try; None when it was put back or quarantined.

        :param again: why the association failed that was idle when this try began: nobody's fault, once.
        :raises PeerError: there is no association to try on.
        """
        if not slot.fits(self._line, lease):
            try:
                await self._associate(slot, lease)
            except PeerError as error:
                if isinstance(error, AssociationRejected) and self._passes_title_on and error.unknown_calling_title:
                    return self._verdicts.sender_rejected(lease, error)
                if again is None:
                    raise
                self._health.failed(str(error))
                return self._verdicts.unanswered(lease, again, sent_whole=lease.uncertain)
        association = slot.association
        assert association is not None  # noqa: S101 - made by _associate
        context_id = association.context_for(*context_of(lease))
        if context_id is None:
            instead = self._line.accepts.instead_of(wanted_by(lease)) if self._line.transcodes else None
            return self._verdicts.not_accepted(lease, instead)
        try:
            status = await self._store(association, context_id, lease)
        except (SpoolMissing, SpoolCorrupt) as error:
            if lease.chain:
                return self._verdicts.copy_lost(lease, of_file(error))
            self._tools.outcomes.quarantine(Quarantine(lease.instance_id, f"{Distrusted.SPOOL}: {of_file(error)}"))
            telemetry.quarantined(instance_id=lease.instance_id, reason=str(error))
            return None
        except SpoolError as error:
            # Not the instance's fault (no descriptors, for example).
            telemetry.problem("spool_read", destination=self._destination.name, reason=str(error))
            await asyncio.sleep(LOCAL_TROUBLE_PAUSE_S)
            self._stock.put_back(lease)
            return None
        except PeerError as error:
            if slot.waited and again is None and dispatch.ended_by_peer(error):
                uncertain = lease.uncertain or association.sent_whole
                return await self._try(slot, lease._replace(uncertain=uncertain), error)
            return self._verdicts.unanswered(lease, error, association.sent_whole)
        slot.sent()
        return self._verdicts.answered(lease, status)

    def _others_open(self, slot: Slot) -> bool:
        """Whether the destination serves us on another association."""
        return any(other.usable for other in self._open if other is not slot)

    @property
    def _passes_title_on(self) -> bool:
        return self._destination.calling_ae_title == SOURCE_CALLING_AE_TITLE

    async def _associate(self, slot: Slot, lease: DeliveryLease) -> None:
        self._last_calling = calling_ae_title(self._destination, lease)
        await slot.open(self._line, lease, () if lease.alone else self._stock)
        if self._others_open(slot):
            self._health.another_opened()

    async def _store(self, association: ClientAssociation, context_id: int, lease: DeliveryLease) -> int:
        payload = lease.payload
        at_hand = lease.delivery_id in self._brought_in or self._is_fresh(lease)
        buffer = self._tools.buffers.take(payload.length) if at_hand else bytearray()
        data_set = DataSet(self._tools.spool, payload, self._tools.executor)
        command = (context_id, payload.sop_class_uid, payload.sop_instance_uid)
        priority = self._destination.priority.code
        try:
            whole = data_set.read_cached(buffer)
            if whole is not None:
                status = await association.store(*command, whole, priority)
            else:
                async with aclosing(data_set.pieces()) as pieces:
                    status = await association.store(*command, pieces, priority)
        finally:
            data_set.close()
        self._tools.buffers.give_back(buffer)  # it was answered; after an error who knows what still looks at it
        return status
