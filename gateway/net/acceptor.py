"""The acceptor: listening sockets in, associations out.

Takes connections from listening sockets it is handed, drives each with a `Driver`, and lets a `Service` decide: who is
admitted, what a command means, where a data set goes. Rules:

  - One message at a time on an association (we answer an asynchronous operations window with 1). What a peer sends
    while its previous message is still being made durable waits, and the socket is not read meanwhile.
  - Commands are answered in the order they came. A data set nobody wants is read to its last fragment and dropped;
    one that passes `max_data_set_bytes` has no end, and the association is aborted.
  - A peer that does not take our answers is not read either: it is held up by TCP, then cut off as making no progress.
  - C-CANCEL has no response (PS3.7 9.3.2.3); one that cancels nothing is ignored.
  - No file descriptors left (EMFILE): a spare one is given up, the connection is taken and closed, so that peers see a
    close and not a silence; accepting goes on as soon as there are descriptors. Where another thread takes the spare
    one's place meanwhile, nothing is accepted for SHED_PAUSE_S.
  - `stop` accepts no more, lets messages in progress finish, aborts what is idle, and aborts the rest at its deadline.

Called by the receiver role (`gateway.flow.receive`) and by the archives of `gateway demo`.
TLS belongs in `_begin`, between the accepted socket and the driver, as a task of its own, so that a slow handshake
holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.dicom.association import (
    Aborted,
    Association,
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
from gateway.dicom.status import describe_rejection
from gateway.net.driver import Driver, Peer, Ticker

ACCEPT_BATCH = 64
SHED_PAUSE_S = 0.1
# Connections that have not (yet) become associations, above the association limit: silent peers and port scanners.
EXTRA_CONNECTIONS = 1024


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

    def connected(self, peer: Peer, open_connections: int) -> bool:
        """A TCP connection came in. False closes it at once."""

    def admit(self, association: ServerAssociation, request: AssociateRQ) -> AssociateAC | AssociateRJ:
        """An A-ASSOCIATE-RQ came in: answer it."""

    def command(self, association: ServerAssociation, context: AcceptedContext, command: Command) -> Sink | int:
        """A request came in: a sink for its data set, or the status to answer with."""

    def closed(self, association: ServerAssociation, result: str) -> None:
        """An admitted association has ended: `released`, `aborted` (by the peer), `aborted_by_us`, `lost`."""

    def connection_ended(self, association: ServerAssociation, text: str) -> None:
        """A connection ended that never became an association; `text` says why."""


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
    _waiting: deque[Event] = field(default_factory=deque, init=False)
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
            self._end("failed", describe_rejection(event.result, event.source, event.reason))

    def on_lost(self) -> None:
        self._end("lost", "the connection was lost")
        self.acceptor.forget(self)

    def on_tick(self, now: float) -> None:
        if not self.admitted or self._result:
            return
        if not self.idle or self.driver.core.mid_message:
            self._quiet_since = now
        elif self.acceptor.stopping:
            self.driver.abort("shutting down")
        elif now - max(self._quiet_since, self.driver.last_byte_at) > self.limits.idle_timeout_s:
            self.driver.abort(f"idle for {self.limits.idle_timeout_s:g} s")

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
        if not isinstance(outcome, int):
            self._sink = outcome
            if not command.has_data_set:
                self._finish()
        elif command.has_data_set:
            self._sink = _Drop(outcome)
        else:
            self._respond(outcome)

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
        if self._result or self.driver.lost:
            return
        try:
            self._respond(status)
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
        if isinstance(event, DataSetFragment):
            event = DataSetFragment(event.context_id, memoryview(bytes(event.data)), event.last)
        self._waiting.append(event)
        self.driver.pause_reading()

    def _resume(self) -> None:
        if self._resuming:
            return  # a message that needs no flush was finished inside the loop below, which goes on with the next
        self._resuming = True
        try:
            while self._waiting and not self._busy and not self._result:
                self.on_event(self._waiting.popleft())
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
        self._waiting.clear()

    @property
    def ending(self) -> tuple[str, str]:
        """How it ended: result and a sentence."""
        return self._result or "lost", self._text

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class Acceptor:
    """Associations on any number of listening sockets.

    :param service: who decides.
    :param ticker: the process's ticker.
    :param exhausted: told True when there is no descriptor for a connection, and False when there is one again.
    """

    def __init__(
        self, service: Service, ticker: Ticker, exhausted: Callable[[bool], None] = lambda exhausted: None
    ) -> None:
        self.service = service
        self.stopping = False
        self._ticker = ticker
        self._open: set[ServerAssociation] = set()
        self._admitted: Counter[str] = Counter()
        self._listening: dict[socket.socket, tuple[str, AcceptorLimits, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._spare = _spare_descriptor()
        self._exhausted = exhausted
        self._told_exhausted = False
        self._emptied = asyncio.Event()

    @property
    def associations(self) -> int:
        """Admitted associations now."""
        return self._admitted.total()

    def associations_of(self, host: str) -> int:
        """Admitted associations of one peer host now."""
        return self._admitted[host]

    def listen(self, name: str, sock: socket.socket, limits: AcceptorLimits, max_connections: int) -> None:
        """Accept on a bound, listening socket from now on. `name` is the listener's, for the service."""
        sock.setblocking(False)
        self._listening[sock] = (name, limits, max_connections + EXTRA_CONNECTIONS)
        asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _accept(self, listening: socket.socket) -> None:
        name, limits, most = self._listening[listening]
        for _ in range(ACCEPT_BATCH):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._shed(listening)
                    return
                raise
            peer = Peer(str(address[0]), int(address[1]))
            if len(self._open) >= most or not self.service.connected(peer, len(self._open)):
                sock.close()
                continue
            task = asyncio.get_running_loop().create_task(
                self._begin(name, sock, peer, limits), name=f"accept {peer.host}:{peer.port}"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _shed(self, listening: socket.socket) -> None:
        """Out of descriptors: take one connection with the spare descriptor, and close it."""
        if not self._told_exhausted:
            self._told_exhausted = True
            self._exhausted(True)
            asyncio.get_running_loop().call_later(SHED_PAUSE_S, self._look_for_descriptors)
        spare, self._spare = self._spare, -1  # from here on the number may be another thread's
        if spare >= 0:
            os.close(spare)
            with contextlib.suppress(OSError):
                sock, _ = listening.accept()
                sock.close()
        self._spare = _spare_descriptor()
        if self._spare < 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(SHED_PAUSE_S, self._accept_again, listening)

    def _look_for_descriptors(self) -> None:
        another = _spare_descriptor()
        if another < 0:
            asyncio.get_running_loop().call_later(SHED_PAUSE_S, self._look_for_descriptors)
            return
        os.close(another)
        self._told_exhausted = False
        self._exhausted(False)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    async def _begin(self, name: str, sock: socket.socket, peer: Peer, limits: AcceptorLimits) -> None:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        association = ServerAssociation(self, name, peer, limits)
        core = Association.acceptor(loop.time(), max_pdu_length=limits.max_pdu_length, artim_s=limits.artim_timeout_s)
        association.driver = Driver(core, association, self._ticker, limits.progress_timeout_s, only_answers=True)
        self._open.add(association)
        try:
            await loop.connect_accepted_socket(lambda: association.driver, sock)
        except OSError:  # reset before we looked at it
            sock.close()
            self.forget(association)

    def admitted(self, association: ServerAssociation) -> None:
        """Count an association that was accepted."""
        self._admitted[association.peer.host] += 1

    def forget(self, association: ServerAssociation) -> None:
        """A connection has ended."""
        if association not in self._open:
            return
        self._open.discard(association)
        result, text = association.ending
        if association.admitted:
            host = association.peer.host
            self._admitted[host] -= 1
            if self._admitted[host] <= 0:
                del self._admitted[host]
            self.service.closed(association, result)
        elif result != "rejected":
            self.service.connection_ended(association, text)
        if not self._open:
            self._emptied.set()

    async def stop(self, grace_s: float) -> None:
        """Accept no more; let messages in progress finish within `grace_s`; then abort what is left."""
        self.stopping = True
        loop = asyncio.get_running_loop()
        for sock in self._listening:
            loop.remove_reader(sock)
            sock.close()
        self._listening.clear()
        for association in list(self._open):
            if association.idle and not association.driver.core.mid_message:
                association.driver.abort("shutting down")
        await self._wait_empty(grace_s)
        for association in list(self._open):
            association.driver.abort("shutting down")
        await self._wait_empty(2.0)
        for association in list(self._open):
            association.driver.kill()
        await self._wait_empty(1.0)
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    async def _wait_empty(self, timeout_s: float) -> None:
        if not self._open:
            return
        self._emptied.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._emptied.wait(), timeout_s)


def _spare_descriptor() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
