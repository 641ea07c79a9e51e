"""One association that a peer asked us for: one message at a time, from the first command to the last answer.

Rules:
  - One message at a time (we answer an asynchronous operations window with 1). What a peer sends while its previous
    message is still being made durable waits, and the socket is not read meanwhile.
  - Commands are answered in the order they came. A data set nobody wants is read to its last fragment and dropped;
    one that passes `max_data_set_bytes` has no end, and the association is aborted.
  - A peer that does not take our answers is not read either: it is held up by TCP, then cut off as making no progress.
  - C-CANCEL has no response (PS3.7 9.3.2.3); one that cancels nothing is ignored.

What a command means and where a data set goes is decided by a `Service`. Made by `gateway.net.acceptor`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.dicom.association import (
    Aborted,
    AssociationRejected,
    AssociationRequested,
    CommandReceived,
    ConnectionClosed,
    DataSetFragment,
    Event,
    Released,
    ReleaseRequested,
)
from gateway.dicom.dimse import Command, CommandField, response_to
from gateway.dicom.negotiation import AcceptedContext
from gateway.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ
from gateway.net.driver import Driver, Peer

if TYPE_CHECKING:
    from gateway.net.acceptor import Acceptor

LULL_S = 2.0  # at a stop: how long a sender may pause between two instances


@dataclass(frozen=True, slots=True)
class AcceptorLimits:
    """Bounds of one listener; times in seconds."""

    max_pdu_length: int = 262_144
    artim_timeout_s: float = 30.0
    idle_timeout_s: float = 600.0
    progress_timeout_s: float = 60.0
    max_data_set_bytes: int = 1 << 40


class Sink(Protocol):
    """Where a data set goes. A sink never raises: it remembers what went wrong and says so as a status."""

    def write(self, data: memoryview) -> None:
        """One piece of the data set; the view is valid only during the call."""

    def finish(self, done: Callable[[int], None]) -> None:
        """The last piece was written: call `done(status)` once, now or later, from the event loop."""

    def discard(self) -> None:
        """The data set will never be complete."""


class Service(Protocol):
    """What the acceptor's user decides. All methods are called from the event loop and must not block."""

    def admit(self, association: ServerAssociation, request: AssociateRQ) -> AssociateAC | AssociateRJ:
        """An A-ASSOCIATE-RQ came in: answer it."""

    def rejected(self, association: ServerAssociation, request: AssociateRQ, answer: AssociateRJ) -> None:
        """An A-ASSOCIATE-RQ came in that PS3.8 itself has rejected: nobody was asked. See `negotiation.refusal`."""

    def command(
        self, association: ServerAssociation, context: AcceptedContext, command: Command
    ) -> Sink | int | asyncio.Future[Sink]:
        """A request came in: a sink for its data set, or the status to answer with.

        A future stands for a sink that is not there yet: until it is, nothing more of the association is looked at. It
        is cancelled when the association ends.
        """

    def closed(self, association: ServerAssociation, result: str) -> None:
        """An admitted association has ended: `released`, `aborted` (by the peer), `aborted_by_us`, `lost`."""

    def connection_ended(self, association: ServerAssociation, text: str) -> None:
        """A connection ended without a request that was accepted or rejected; `text` says why."""


class _Gathered:
    """Fragments of one data set that wait, as one."""

    __slots__ = ("_context_id", "_data", "_last")

    def __init__(self, first: DataSetFragment) -> None:
        self._context_id = first.context_id
        self._data = bytearray(first.data)
        self._last = first.last

    def add(self, fragment: DataSetFragment) -> None:
        """The next one."""
        self._data += fragment.data
        self._last = fragment.last

    def fragment(self) -> DataSetFragment:
        """All of them."""
        return DataSetFragment(self._context_id, memoryview(self._data), self._last)


class _Drop:
    """A sink for a data set that nobody wants, with the status its command is answered with."""

    __slots__ = ("_status",)

    def __init__(self, status: int) -> None:
        self._status = status

    def write(self, data: memoryview) -> None:
        return

    def finish(self, done: Callable[[int], None]) -> None:
        done(self._status)

    def discard(self) -> None:
        return


@dataclass(eq=False, slots=True)
class ServerAssociation:
    """One connection to us, from accept to close."""

    acceptor: Acceptor
    listener: str  # the name of the listener that took the connection
    peer: Peer
    limits: AcceptorLimits
    facts: object = None  # whatever the service wants to keep here
    driver: Driver = field(init=False)
    admitted: bool = field(default=False, init=False)
    opened_at: float = field(default=0.0, init=False)
    _sink: Sink | None = field(default=None, init=False)
    _pending: CommandReceived | None = field(default=None, init=False)
    _busy: bool = field(default=False, init=False)
    _awaited: asyncio.Future[Sink] | None = field(default=None, init=False)
    _waiting: deque[Event | _Gathered] = field(default_factory=deque, init=False)
    _resuming: bool = field(default=False, init=False)
    _result: str = field(default="", init=False)
    _text: str = field(default="", init=False)
    _quiet_since: float = field(default=0.0, init=False)
    _data_bytes: int = field(default=0, init=False)

    @property
    def idle(self) -> bool:
        """No message is in progress in either direction."""
        return self._sink is None and not self._busy and not self._waiting

    def on_event(self, event: Event) -> None:
        if isinstance(event, Aborted):
            self._end("aborted" if event.by_peer else "aborted_by_us", event.text)
        elif isinstance(event, ConnectionClosed):
            self._end("lost", "the connection was closed without release or abort")
        elif self._busy:
            self._wait(event)
        elif isinstance(event, DataSetFragment):
            self._data(event)
        elif isinstance(event, CommandReceived):
            self._command(event)
        elif isinstance(event, AssociationRequested):
            self._request(event.request)
        elif isinstance(event, ReleaseRequested):
            self._end("released", "")  # a data set that had begun is given up: its sender does not want it stored
            self.driver.core.respond_release(self._now())
        elif isinstance(event, Released):
            self._end("released", "")
        elif isinstance(event, AssociationRejected):
            self._rejected_unasked(event)

    def on_lost(self) -> None:
        self._end("lost", "the connection was lost")
        self.acceptor.forget(self)

    def on_tick(self, now: float) -> None:
        if self._result:
            return
        if self.acceptor.stopping:
            self.end_if_quiet(now)
        if not self.admitted or self._result:
            return
        if not self.idle or self.driver.core.mid_message:
            self._quiet_since = now
        elif now - max(self._quiet_since, self.driver.last_byte_at) > self.limits.idle_timeout_s:
            self.driver.abort(f"idle for {self.limits.idle_timeout_s:g} s")

    def end_if_quiet(self, now: float) -> None:
        """At a stop: abort, unless the peer sends, or asked for an association, less than LULL_S ago. Between two
        instances, and between connecting and asking, a sender is not idle."""
        waits = self.idle and not self.driver.core.mid_message
        if waits and now - max(self._quiet_since, self.driver.last_byte_at) > LULL_S:
            self.driver.abort("shutting down")

    # ── one message at a time ─────────────────────────────────────────────────────────────────────────────────

    def _request(self, request: AssociateRQ) -> None:
        answer = self.acceptor.service.admit(self, request)
        if isinstance(answer, AssociateRJ):
            self._result = "rejected"
            self.driver.core.reject(answer, self._now())
            return
        self.admitted = True
        self.opened_at = self._quiet_since = self._now()
        self.acceptor.admitted(self)
        self.driver.core.accept(answer, self._now())

    def _rejected_unasked(self, event: AssociationRejected) -> None:
        """The request was none that PS3.8 lets anybody accept: it was answered already, and is told like any other."""
        request = self.driver.core.request
        assert request is not None  # noqa: S101 - it came, or it could not be rejected
        self._result = "rejected"
        self.acceptor.service.rejected(self, request, AssociateRJ(event.result, event.source, event.reason))

    def _command(self, event: CommandReceived) -> None:
        command = event.command
        self._data_bytes = 0
        if command.command_field == CommandField.C_CANCEL_RQ or command.command_field & 0x8000:
            # A response nobody asked for is as meaningless as a cancel of nothing: neither has an answer.
            self._sink = _Drop(0) if command.has_data_set else None
            self._pending = None
            return
        outcome = self.acceptor.service.command(self, event.context, command)
        self._pending = event
        if isinstance(outcome, asyncio.Future):
            self._busy, self._awaited = True, outcome
            outcome.add_done_callback(self._ready)
        else:
            self._begin(command, outcome)

    def _begin(self, command: Command, outcome: Sink | int) -> None:
        if not isinstance(outcome, int):
            self._sink = outcome
            if not command.has_data_set:
                self._finish()
        elif command.has_data_set:
            self._sink = _Drop(outcome)
        else:
            self._respond(outcome)

    def _ready(self, future: asyncio.Future[Sink]) -> None:
        """The sink that was waited for is there. Raises nothing."""
        self._busy, self._awaited = False, None
        if future.cancelled():
            return
        sink, pending = future.result(), self._pending
        if self._result or self.driver.lost or pending is None:
            sink.discard()
            return
        self._go_on(lambda: self._begin(pending.command, sink))

    def _data(self, event: DataSetFragment) -> None:
        if self._sink is None:
            return
        self._data_bytes += len(event.data)
        if self._data_bytes > self.limits.max_data_set_bytes:
            self.driver.abort(f"a data set of more than {self.limits.max_data_set_bytes} bytes")
            return
        if event.data:
            self._sink.write(event.data)
        if event.last:
            self._finish()

    def _finish(self) -> None:
        sink, self._sink = self._sink, None
        assert sink is not None  # noqa: S101 - only called with one
        self._busy = True
        sink.finish(self._finished)

    def _finished(self, status: int) -> None:
        """A message is through. Raises nothing: who calls serves other associations too."""
        self._busy = False
        if not self._result and not self.driver.lost:
            self._go_on(lambda: self._respond(status))

    def _go_on(self, begin: Callable[[], None]) -> None:
        """Do what was waited for, and then what came meanwhile."""
        try:
            begin()
            self._resume()
            self.driver.flush()
        except Exception as error:  # noqa: BLE001 - a bug, or a message that met one, ends this association only
            self.driver.fail(error)

    def _respond(self, status: int) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            answer = response_to(pending.command, status)
            self.driver.core.send_command(pending.context.context_id, answer)

    def _wait(self, event: Event) -> None:
        """Keep an event for later; its data is copied because the receive buffer is used again."""
        if not isinstance(event, DataSetFragment):
            self._waiting.append(event)
        elif self._waiting and isinstance(self._waiting[-1], _Gathered):
            # However small the fragments are, what waits is no larger than what was read. All are of one data set: the
            # next one has a command before it.
            self._waiting[-1].add(event)
        else:
            self._waiting.append(_Gathered(event))
        self.driver.pause_reading()

    def _resume(self) -> None:
        if self._resuming:
            return  # a message that needs no flush was finished inside the loop below, which goes on with the next
        self._resuming = True
        try:
            while self._waiting and not self._busy and not self._result:
                event = self._waiting.popleft()
                self.on_event(event.fragment() if isinstance(event, _Gathered) else event)
        finally:
            self._resuming = False
        if not self._waiting:
            self.driver.resume_reading()

    def _end(self, result: str, text: str) -> None:
        if not self._text:
            self._text = text
        if not self._result:
            self._result = result
        if self._sink is not None:
            self._sink.discard()
            self._sink = None
        if self._awaited is not None:
            self._awaited.cancel()
        self._waiting.clear()

    @property
    def ending(self) -> tuple[str, str]:
        """How it ended: result and a sentence."""
        return self._result or "lost", self._text

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
