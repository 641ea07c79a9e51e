"""One destination's queue: claims, associations, outcomes, breaker. Knows nothing of other destinations.

The pump (`run`) keeps a small buffer of claimed deliveries and as many slots as the window allows. A slot is one
association: it takes deliveries from the buffer until there are none, waits a little for more, and releases.

  - A further slot is opened only when each open one has `BACKLOG_PER_SLOT` deliveries waiting for it.
  - A slot prefers deliveries that its association has a context for; else it opens another association, proposing
    what waits (at most 128 contexts).
  - A delivery marked `alone` gets an association of its own.
  - Going down gives the buffer back to the ledger, untried. While down there is one C-ECHO a probe interval, and
    nothing else; a peer that does not accept Verification but answers is reachable.
  - An instance whose bytes in the spool no longer are what arrived is quarantined, and the association aborted
    before the last fragment leaves.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from gateway import telemetry
from gateway.config.values import Destination, Disposition
from gateway.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectionFailed,
    LedgerError,
    PeerError,
    PeerTimeout,
    SpoolCorrupt,
    SpoolError,
    SpoolMissing,
)
from gateway.flow import dispatch
from gateway.flow.dispatch import RetryPolicy, Trouble
from gateway.flow.line import Line, Slot
from gateway.flow.outcomes import OutcomeRecorder
from gateway.flow.send import context_of, stream
from gateway.flow.window import Window, initial
from gateway.ledger.base import Ledger
from gateway.ledger.thread import LedgerThread
from gateway.model import Breaker, DeliveryLease, DeliveryState, DestinationState, Outcome, Quarantine, Session
from gateway.net.driver import Ticker
from gateway.spool import Spool

CLAIM = 64
LOW = 16
BACKLOG_PER_SLOT = 8
POLL_S = 1.0
LOCAL_TROUBLE_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What all destinations of a forwarder share."""

    ledger: LedgerThread
    session: Session
    spool: Spool
    outcomes: OutcomeRecorder
    ticker: Ticker
    executor: Executor
    clock_ms: Callable[[], int]


class DestinationQueue:
    """Sends what is due to one destination."""

    def __init__(self, destination: Destination, tools: Tools, saved: DestinationState | None) -> None:
        self._tools = tools
        self._configure(destination)
        self._window = initial(destination.max_associations, destination.probe_min_s, destination.probe_max_s)
        if saved is not None and saved.breaker is not Breaker.UP:
            self._window = self._window.failed(asyncio.get_running_loop().time() - destination.probe_max_s * 2, 0, True)
        self._buffer: deque[DeliveryLease] = deque()
        self._slots: set[asyncio.Task[None]] = set()
        self._waiting_slots = 0
        self._work = asyncio.Condition()
        self._wake = asyncio.Event()
        self._more = True
        self._stopping = False
        self._unsaved = False
        self._last_error = ""
        self._successes = 0
        self._lone: dict[int, int] = {}

    # ── from outside ──────────────────────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """There may be something to send."""
        self._more = True
        self._wake.set()

    def reconfigure(self, destination: Destination) -> None:
        """Use changed settings from the next association on."""
        self._configure(destination)
        self._window = self._window.limited(
            destination.max_associations, destination.probe_min_s, destination.probe_max_s
        )
        self.wake()

    async def stop(self, grace_s: float) -> None:
        """Finish what is being sent, give back the rest."""
        self._stopping = True
        self._wake.set()
        async with self._work:
            self._work.notify_all()
        if self._slots:
            await asyncio.wait(self._slots, timeout=grace_s)

    def _configure(self, destination: Destination) -> None:
        self._destination = destination
        self._line = Line(destination, self._tools.ticker)
        self._policy = RetryPolicy(
            destination.retry_min_s, destination.retry_max_s, destination.give_up_after_s, destination.attempts
        )

    # ── the pump ──────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until stopped or cancelled."""
        telemetry.window(destination=self._destination.name, value=self._window.size)
        telemetry.destination_changed(name=self._destination.name, breaker=self._window.breaker, reason="starting")
        try:
            async with asyncio.TaskGroup() as tasks:
                while not self._stopping:
                    self._wake.clear()
                    if self._unsaved:
                        await self._save()
                    if self._window.breaker is Breaker.DOWN:
                        await self._down()
                        continue
                    await self._refill()
                    self._start_slots(tasks)
                    await self._sleep(POLL_S)
                    self._more = True
                if self._slots:
                    await asyncio.wait(self._slots)
        finally:
            await self._give_back()

    async def _sleep(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), max(0.0, timeout_s))
        except TimeoutError:
            return

    async def _refill(self) -> None:
        """Claim more when the buffer is low; nothing while outcomes cannot be recorded."""
        if len(self._buffer) >= LOW or not self._more or not self._tools.outcomes.open:
            return
        half_open = self._window.breaker is Breaker.HALF_OPEN
        if half_open and (self._buffer or len(self._slots) > self._waiting_slots):
            return
        limit = 1 if half_open else CLAIM
        name, session, clock_ms = self._destination.name, self._tools.session, self._tools.clock_ms

        def claim(ledger: Ledger) -> list[DeliveryLease]:
            return ledger.claim_deliveries(session, name, limit, clock_ms())

        def give_back(ledger: Ledger, leases: list[DeliveryLease]) -> None:
            ledger.release_deliveries(session, leases, clock_ms())

        try:
            leases = await self._tools.ledger.call(claim, undo=give_back)
        except LedgerError as error:
            telemetry.problem("claim_failed", destination=name, reason=str(error))
            self._more = False
            return
        self._more = len(leases) == limit and not half_open
        self._buffer.extend(leases)
        if leases:
            async with self._work:
                self._work.notify_all()

    def _start_slots(self, tasks: asyncio.TaskGroup) -> None:
        while self._buffer and len(self._slots) < self._window.associations:
            if self._slots and len(self._buffer) <= BACKLOG_PER_SLOT * len(self._slots):
                return
            task = tasks.create_task(self._slot(), name=f"slot {self._destination.name}")
            self._slots.add(task)
            task.add_done_callback(self._slot_ended)

    def _slot_ended(self, task: asyncio.Task[None]) -> None:
        self._slots.discard(task)
        self._wake.set()

    async def _give_back(self) -> None:
        leases = list(self._buffer)
        self._buffer.clear()
        if not leases:
            return
        session, now_ms = self._tools.session, self._tools.clock_ms()
        try:
            await self._tools.ledger.call(lambda ledger: ledger.release_deliveries(session, leases, now_ms))
        except LedgerError as error:
            # They stay leased to this session; when it ends they are free again.
            telemetry.problem("release_failed", destination=self._destination.name, reason=str(error))

    # ── down ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _down(self) -> None:
        await self._give_back()
        if self._slots:
            await asyncio.wait(self._slots)
            await self._give_back()
        loop = asyncio.get_running_loop()
        while not self._stopping and loop.time() < self._window.probe_at:
            self._wake.clear()
            await self._sleep(self._window.probe_at - loop.time())
        if self._stopping:
            return
        reachable, permanent, text = await self._probe()
        self._change(
            self._window.probed(reachable, loop.time(), random.uniform(-1, 1), permanent),  # noqa: S311 - jitter
            text,
        )

    async def _probe(self) -> tuple[bool, bool, str]:
        """Whether the destination is reachable, whether it says it will not heal, and a sentence."""
        calling = self._destination.calling_ae_title
        if calling.startswith("$"):
            calling = self._destination.ae_title
        try:
            status = await self._line.echo(calling)
        except PeerError as error:
            return False, isinstance(error, AssociationRejected) and error.permanent, str(error)
        if status not in (0, None):
            return False, False, f"C-ECHO was answered with 0x{status:04X}"
        return True, False, "the probe was answered"

    def _change(self, window: Window, reason: str) -> None:
        before, self._window = self._window, window
        name = self._destination.name
        if window.size != before.size:
            telemetry.window(destination=name, value=window.size)
        if window.breaker is before.breaker:
            return
        telemetry.destination_changed(name=name, breaker=window.breaker, reason=reason)
        self._last_error = "" if window.breaker is Breaker.UP else reason
        self._unsaved = self._more = True
        self._wake.set()

    async def _save(self) -> None:
        """Keep breaker and window for the next start, and for people to see."""
        self._unsaved = False
        name, window, error = self._destination.name, self._window, self._last_error
        now_ms = self._tools.clock_ms()
        probe_at_ms = now_ms + max(0, int((window.probe_at - asyncio.get_running_loop().time()) * 1000))

        def save(ledger: Ledger) -> None:
            ledger.save_destination(name, window.breaker.value, window.size, error, probe_at_ms, now_ms)

        try:
            await self._tools.ledger.call(save)
        except LedgerError as failure:
            telemetry.problem("destination_not_saved", destination=name, reason=str(failure))

    def _failed(self, reason: str, permanent: bool = False) -> None:
        loop = asyncio.get_running_loop()
        jitter = random.uniform(-1, 1)  # noqa: S311 - jitter
        self._change(self._window.failed(loop.time(), jitter, permanent), reason)

    def _succeeded(self) -> None:
        self._successes += 1
        self._change(self._window.succeeded(), "a delivery was answered")

    # ── slots ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _slot(self) -> None:
        slot = Slot()
        try:
            while self._window.breaker is not Breaker.DOWN and not self._stopping:
                lease = self._take(slot)
                if lease is None:
                    if not await self._wait_for_work(slot):
                        return
                    continue
                if self._must_hold(lease):
                    continue
                if not await self._ready(slot, lease):
                    return
                await self._deliver(slot, lease)
                if lease.alone:
                    return
        finally:
            await slot.release()

    def _take(self, slot: Slot) -> DeliveryLease | None:
        """The next delivery, one that this association has a context for if there is one."""
        if not self._buffer:
            return None
        if len(self._buffer) < LOW and self._more:
            self._wake.set()
        if slot.usable:
            for index, lease in enumerate(self._buffer):
                if slot.fits(self._destination, lease):
                    del self._buffer[index]
                    return lease
        return self._buffer.popleft()

    async def _wait_for_work(self, slot: Slot) -> bool:
        """Wait with an idle association; False when it has been idle long enough."""
        if not slot.usable:
            return False
        self._waiting_slots += 1
        self._wake.set()
        slot.waited = True
        try:
            async with asyncio.timeout(self._destination.idle_timeout_s), self._work:
                await self._work.wait_for(lambda: self._buffer or self._stopping)
        except TimeoutError:
            return False
        finally:
            self._waiting_slots -= 1
        return slot.usable or bool(self._buffer)

    def _must_hold(self, lease: DeliveryLease) -> bool:
        """A destination that requires a transform is never sent anything else."""
        required = self._destination.require_transform
        if required is None or lease.chain == required:
            return False
        reason = f"the destination requires the transform {required!r}, and this instance did not go through it"
        outcome = Outcome(lease.delivery_id, lease.token, DeliveryState.HELD, "transform_required", reason)
        self._submit(lease, outcome)
        return True

    async def _ready(self, slot: Slot, lease: DeliveryLease) -> bool:
        """Have an association that was proposed this delivery's context. False: the delivery was put back."""
        if slot.fits(self._destination, lease) and not (lease.alone and slot.waited):
            return True
        try:
            await slot.open(self._line, lease, self._buffer)
        except PeerError as error:
            self._buffer.appendleft(lease)
            self._failed(str(error), isinstance(error, AssociationRejected) and error.permanent)
            return False
        return True

    async def _deliver(self, slot: Slot, lease: DeliveryLease) -> None:
        association = slot.association
        assert association is not None  # noqa: S101 - _ready made it
        context_id = association.context_for(*context_of(lease))
        if context_id is None:
            sop_class, transfer_syntax = context_of(lease)
            reason = f"the destination does not accept {sop_class} in transfer syntax {transfer_syntax}"
            self._submit(lease, dispatch.not_accepted(lease, reason), slot.association_id)
            self._succeeded()
            return
        payload = lease.payload
        try:
            status = await association.store(
                context_id,
                payload.sop_class_uid,
                payload.sop_instance_uid,
                stream(self._tools.spool, payload, self._tools.executor),
                self._destination.priority.code,
            )
        except (SpoolMissing, SpoolCorrupt) as error:
            self._tools.outcomes.quarantine(Quarantine(lease.instance_id, f"spool: {error}"))
            telemetry.quarantined(instance_id=lease.instance_id, reason=str(error))
        except SpoolError as error:
            # Not the instance's fault (no descriptors, for example): it stays ours, and is tried again.
            self._buffer.append(lease)
            telemetry.problem("spool_read", destination=self._destination.name, reason=str(error))
            await asyncio.sleep(LOCAL_TROUBLE_PAUSE_S)
        except PeerError as error:
            await self._unanswered(slot, lease, error)
        else:
            slot.sent()
            self._answered(lease, status, slot.association_id)

    def _answered(self, lease: DeliveryLease, status: int, association_id: str) -> None:
        jitter = random.uniform(-1, 1)  # noqa: S311 - jitter
        chosen, outcome = dispatch.answered(
            lease, status, self._policy, self._destination.statuses, self._tools.clock_ms(), jitter
        )
        self._lone.pop(lease.delivery_id, None)
        self._submit(lease, outcome, association_id)
        if chosen is Disposition.THROTTLE:
            self._failed(outcome.reason)
        else:
            self._succeeded()

    async def _unanswered(self, slot: Slot, lease: DeliveryLease, error: PeerError) -> None:
        if slot.waited and isinstance(error, ConnectionFailed | AssociationAborted):
            # The peer closed an idle association just when we began to use it: nobody's fault. Once more, afresh.
            slot.waited = False
            lease = replace(lease, uncertain=True)
            if await self._ready(slot, lease):
                await self._deliver(slot, lease)
            return
        others = self._successes > self._lone.get(lease.delivery_id, self._successes)
        self._lone[lease.delivery_id] = self._successes
        jitter = random.uniform(-1, 1)  # noqa: S311 - jitter
        outcome = dispatch.unanswered(
            lease, _trouble(error), str(error), self._policy, self._tools.clock_ms(), jitter, others
        )
        self._submit(lease, outcome, slot.association_id)
        if not (lease.alone and others):
            self._failed(str(error))

    def _submit(self, lease: DeliveryLease, outcome: Outcome, association_id: str = "") -> None:
        self._tools.outcomes.submit(outcome)
        delivered = outcome.state is DeliveryState.DELIVERED
        telemetry.delivery_outcome(
            destination=self._destination.name,
            code=outcome.code,
            state=outcome.state,
            reason=outcome.reason,
            instance_id=lease.instance_id,
            association_id=association_id,
            attempt=lease.attempt,
            size_bytes=lease.payload.length if delivered else 0,
            status=outcome.status,
            seconds=max(0, self._tools.clock_ms() - lease.received_at_ms) / 1000 if delivered else None,
        )


def _trouble(error: PeerError) -> Trouble:
    if isinstance(error, PeerTimeout):
        return Trouble.TIMEOUT
    if isinstance(error, AssociationAborted):
        return Trouble.ABORTED
    if isinstance(error, AssociationRejected):
        return Trouble.REJECTED
    return Trouble.CONNECTION
