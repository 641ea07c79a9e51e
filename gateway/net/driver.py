"""One association on one TCP connection: the asyncio protocol that both roles share.

The driver moves bytes between a socket and `gateway.dicom.association.Association`, and nothing more: what an event
means is its user's affair (`gateway.net.acceptor`, `gateway.net.requestor`). Rules:

  - All connections of a process share one receive buffer. An event's data is a view of it, and is used up before
    the callback returns.
  - TCP_NODELAY always; TCP_QUICKACK while a message is incomplete, because a sender that leaves Nagle's algorithm on
    waits for our ACK before it sends the last, partial segment of a message (40 ms and more with delayed ACKs).
  - Deadlines are looked at once a second by one `Ticker` a process, and only while there are connections. Progress
    inside a message means at least `MIN_PROGRESS_BYTES` in each `progress_timeout_s`: a slow link passes, a peer
    that feeds one byte a second does not.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import termios
from dataclasses import dataclass
from typing import Protocol, cast

from gateway.dicom.association import Association, Event

RECEIVE_BUFFER_BYTES = 1 << 20
WRITE_HIGH_WATER_BYTES = 1 << 20
WRITE_LOW_WATER_BYTES = 1 << 18
MIN_PROGRESS_BYTES = 1024
TICK_S = 1.0
CLOSE_S = 2.0

_TCP_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_OUTPUT_QUEUE: int | None = getattr(termios, "TIOCOUTQ", None)  # tcp(7), SIOCOUTQ: bytes not acknowledged yet
_receive_buffer = memoryview(bytearray(RECEIVE_BUFFER_BYTES))


@dataclass(frozen=True, slots=True)
class Peer:
    """The address at the other end of a connection."""

    host: str
    port: int


class User(Protocol):
    """Who drives an association: told of everything that happens on it, in order."""

    def on_event(self, event: Event) -> None:
        """One event of the association. Views in it are valid until this returns."""

    def on_lost(self) -> None:
        """The connection is gone; called exactly once, last."""

    def on_tick(self, now: float) -> None:
        """About a second has passed."""


class Ticker:
    """Calls `tick` on every open driver about once a second; sleeps when there is none."""

    def __init__(self) -> None:
        self._drivers: set[Driver] = set()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, driver: Driver) -> None:
        """Begin to tick a driver."""
        self._drivers.add(driver)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def discard(self, driver: Driver) -> None:
        """Stop ticking a driver."""
        self._drivers.discard(driver)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(TICK_S, self._tick) if self._drivers else None
        now = loop.time()
        for driver in list(self._drivers):
            try:
                driver.tick(now)
            except Exception as error:  # noqa: BLE001 - the deadlines of the others are looked at all the same
                driver.fail(error)


class Driver(asyncio.BufferedProtocol):
    """Bytes between one socket and one association.

    :param core: the sans-IO association; its time is the event loop's.
    :param user: who is told of events.
    :param ticker: the process's ticker.
    :param progress_timeout_s: how long a message may stand still, in either direction.
    :param only_answers: what is written are answers: while the peer does not take them, it is not read either.
    """

    def __init__(
        self, core: Association, user: User, ticker: Ticker, progress_timeout_s: float, only_answers: bool = False
    ) -> None:
        self.core = core
        self.bytes_in = 0
        self.bytes_out = 0
        self.last_byte_at = 0.0
        self._user = user
        self._ticker = ticker
        self._progress_timeout_s = progress_timeout_s
        self._only_answers = only_answers
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._writable: asyncio.Future[None] | None = None
        self._write_mark = (0.0, 0)
        self._read_mark = (0.0, 0)
        self._reading = True
        self._wants_to_read = True
        self._lost = False

    # ── asyncio's side ────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES, low=WRITE_LOW_WATER_BYTES)
        self._socket = transport.get_extra_info("socket")
        set_socket_options(self._socket)
        self.last_byte_at = self._loop.time()
        self._read_mark = (self.last_byte_at, 0)
        self._ticker.add(self)
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        now = self._loop.time()
        self.bytes_in += nbytes
        self.last_byte_at = now
        on_event = self._user.on_event
        for event in self.core.receive_data(_receive_buffer[:nbytes], now):
            on_event(event)
        if self.core.mid_message and _TCP_QUICKACK is not None and self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)
        self.flush()

    def eof_received(self) -> bool:
        # PS3.8 has no half-open associations: a FIN is the end, and connection_lost follows.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._ticker.discard(self)
        try:
            for event in self.core.connection_lost(self._loop.time()):
                self._user.on_event(event)
        finally:  # whatever went wrong: nobody waits for ever, and the connection is counted no more
            if self._writable is not None and not self._writable.done():
                self._writable.set_result(None)
            self._user.on_lost()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()
        self._write_mark = (self._loop.time(), self.taken_bytes())
        self._read_or_wait()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None
        self._read_or_wait()

    # ── the user's side ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def lost(self) -> bool:
        """The connection is gone."""
        return self._lost

    @property
    def held_up(self) -> bool:
        """The peer does not take what was written."""
        return self._writable is not None

    def flush(self) -> None:
        """Hand to the socket what the association has to say, and close the connection if it is through."""
        transport = self._transport
        if transport is None or self._lost:
            return
        buffers = self.core.outgoing()
        if len(buffers) == 1:
            self.bytes_out += len(buffers[0])
            transport.write(buffers[0])
        elif buffers:
            self.bytes_out += sum(map(len, buffers))
            transport.writelines(buffers)
        if self.core.closing:
            self.close()

    async def drained(self) -> None:
        """Wait until the socket takes more. Returns at once when the connection is lost."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def pause_reading(self) -> None:
        """Take no more bytes from the peer until `resume_reading`."""
        self._wants_to_read = False
        self._read_or_wait()

    def resume_reading(self) -> None:
        """Take bytes again."""
        self._wants_to_read = True
        self._read_or_wait()

    def _read_or_wait(self) -> None:
        reading = self._wants_to_read and not (self._only_answers and self._writable is not None)
        if reading == self._reading or self._transport is None or self._transport.is_closing():
            return
        self._reading = reading
        if reading:
            now = self._loop.time()
            self._read_mark = (now, self.bytes_in)
            self.last_byte_at = now
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        """Close after what is queued was sent, or in `CLOSE_S`: a peer that does not read would keep it for ever."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._kill_soon()

    @property
    def open(self) -> bool:
        """There is a connection, and it is not closing."""
        return self._transport is not None and not self._transport.is_closing()

    def kill(self) -> None:
        """Close now (RST), whatever is queued."""
        if self._transport is not None:
            self._transport.abort()

    # ── deadlines ─────────────────────────────────────────────────────────────────────────────────────────────

    def tick(self, now: float) -> None:
        """Look at the deadlines: ARTIM, progress of reading, progress of writing, then the user's own."""
        deadline = self.core.deadline
        if deadline is not None and now >= deadline:
            for event in self.core.handle_timeout(now):
                self._user.on_event(event)
            self.flush()
        if self._lost:
            return
        if self._stalled_writing(now):
            # Nothing that is said now would be read: the connection is cut, not closed.
            text = f"the peer has taken nothing for {self._progress_timeout_s:g} s"
            for event in self.core.abort(2, 0, now, text):
                self._user.on_event(event)
            self.kill()
            return
        if self._stalled_reading(now):
            self.abort(f"no progress inside a message for {self._progress_timeout_s:g} s")
            return
        self._user.on_tick(now)

    def abort(self, text: str) -> None:
        """A-ABORT to the peer, the event to the user, and the connection closed."""
        for event in self.core.abort(2, 0, self._loop.time(), text):
            self._user.on_event(event)
        self.flush()
        self._kill_soon()

    def fail(self, error: Exception) -> None:
        """An error of ours: told to the event loop's exception handler, and the connection cut."""
        self._loop.call_exception_handler({"message": "an error ended an association", "exception": error})
        self.kill()

    def _kill_soon(self) -> None:
        if not self._lost:
            self._loop.call_later(CLOSE_S, self._kill_if_open)

    def _kill_if_open(self) -> None:
        if not self._lost:
            self.kill()

    def _stalled_reading(self, now: float) -> bool:
        mark_time, mark_bytes = self._read_mark
        if not self._reading or not self.core.mid_message or self.bytes_in - mark_bytes >= MIN_PROGRESS_BYTES:
            self._read_mark = (now, self.bytes_in)
            return False
        return now - mark_time > self._progress_timeout_s

    def _stalled_writing(self, now: float) -> bool:
        if self._writable is None:
            return False
        taken = self.taken_bytes()
        mark_time, mark_taken = self._write_mark
        if taken - mark_taken >= MIN_PROGRESS_BYTES:
            self._write_mark = (now, taken)
            return False
        return now - mark_time > self._progress_timeout_s

    def taken_bytes(self) -> int:
        """How much of what was written the peer's TCP has acknowledged; all but our own queue where that is unknown."""
        if self._socket is None or _OUTPUT_QUEUE is None or self._lost:
            return self._sent_bytes()
        held = array.array("i", [0])
        try:
            fcntl.ioctl(self._socket.fileno(), _OUTPUT_QUEUE, held)
        except OSError:  # the connection ended a moment ago, and connection_lost follows
            return self._sent_bytes()
        return self._sent_bytes() - held[0]

    def _sent_bytes(self) -> int:
        pending = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self.bytes_out - pending


def set_socket_options(sock: socket.socket | None) -> None:
    """TCP_NODELAY, TCP_QUICKACK and keepalive (a dead peer is noticed after about 2 minutes of silence)."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4, "TCP_QUICKACK": 1}
    for name, value in options.items():
        if hasattr(socket, name):
            with contextlib.suppress(OSError):  # the peer may have reset the connection already
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
