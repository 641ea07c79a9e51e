"""Threads that keep a connection to Redis, whatever becomes of it: one that sends, one that listens.

Whoever has something to send says so and goes on (`Sender.wake`): a byte into a socket, which neither blocks nor takes
a lock, so that it works from a signal handler too. A connection that is lost is made anew, after 0.5 s, doubling to
5 s; what was to be sent is sent then, once. `Link` remembers whether it is there, and tells when that changes.

Imports redis-py: only what speaks to Redis imports this.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from gateway.work.redis_trouble import TROUBLE, reason
from gateway.work.redis_url import Client

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.5, 5.0
GATHER_S = 0.04  # between two sends: what comes meanwhile is sent as one, so that a flood costs little
PING_S, SILENT_S = 3.0, 8.0  # a listener that hears nothing for so long asks; and takes the connection for dead
_STEP_S = 1.0  # how soon a listener sees that it is to end
_JOIN_S = 2.0

Connect = Callable[[], Client]
Told = Callable[[str, str], None]
"""Called with the name of a link and why it was lost; with "" when it is there again. From any thread."""


class Link:
    """Whether one connection is there, and when to try again. Used by one thread; `lost` may be read by any."""

    def __init__(self, name: str, told: Told, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._told = told
        self._clock = clock
        self._pause_s = 0.0
        self._try_at = 0.0
        self.lost = False

    def failed(self, error: BaseException) -> None:
        """It is not there. Told of once, until it is."""
        self._pause_s = min(BACKOFF_MAX_S, max(BACKOFF_MIN_S, 2 * self._pause_s))
        self._try_at = self._clock() + self._pause_s
        if not self.lost:
            self.lost = True
            self._told(self._name, reason(error))

    def works(self) -> None:
        """It is there."""
        self._pause_s = 0.0
        if self.lost:
            self.lost = False
            self._told(self._name, "")

    @property
    def due_in_s(self) -> float:
        """How long until the next try; 0 now."""
        return max(0.0, self._try_at - self._clock()) if self.lost else 0.0


class Sender:
    """Calls `send` in a thread of its own after each `wake`; several calls may become one.

    :param send: sends what there is to send. When it raises, it is called again once Redis is back.
    """

    def __init__(self, connect: Connect, send: Callable[[Client], None], told: Told) -> None:
        self._connect = connect
        self._send = send
        self._link = Link("sender", told)
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._waiting = False  # something was not sent yet
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redis sender", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """True while Redis is away."""
        return self._link.lost

    def wake(self) -> None:
        """There is something to send. From any thread, and from a signal handler."""
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._writer.send(b"w")

    def close(self) -> None:
        """Send what there is to send, if that is quickly done, and end."""
        self._ends.set()
        self.wake()
        self._thread.join(_JOIN_S)
        self._writer.close()

    def _run(self) -> None:
        client: Client | None = None
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while True:
            if not self._waiting and not self._ends.is_set():
                poll.poll()
            self._take_note()
            if self._ends.is_set() and (self._link.lost or not self._waiting):
                break
            if self._link.due_in_s:
                self._ends.wait(self._link.due_in_s)
                continue
            try:
                client = client or self._connect()
                self._send(client)
            except TROUBLE as error:
                self._link.failed(error)
                continue
            self._waiting = False
            self._link.works()
            self._ends.wait(GATHER_S)
        if client is not None:
            client.close()
        self._reader.close()

    def _take_note(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(1024):
                self._waiting = True


class Listener:
    """Calls `heard` for each message on a channel, in a thread of its own, and once whenever it listens anew: what was
    said before is not known."""

    def __init__(self, connect: Connect, channel: str, heard: Callable[[bytes | None], None], told: Told) -> None:
        self._connect = connect
        self._channel = channel
        self._heard = heard
        self._link = Link("listener", told)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redis listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End within a moment."""
        self._ends.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                with contextlib.closing(self._connect()) as client, client.pubsub() as messages:
                    self._listen(messages)
            except TROUBLE as error:
                self._link.failed(error)
                self._ends.wait(self._link.due_in_s)

    def _listen(self, messages: Any) -> None:
        messages.subscribe(self._channel)
        heard_at = asked_at = time.monotonic()
        while not self._ends.is_set():
            message = messages.get_message(timeout=_STEP_S)
            now = time.monotonic()
            if message is None:
                if now - heard_at >= SILENT_S:
                    raise TimeoutError("no answer to a ping")
                if now - max(heard_at, asked_at) >= PING_S:
                    asked_at = now
                    messages.ping()
                continue
            heard_at = now
            if message["type"] == "subscribe":
                self._link.works()
                self._heard(None)
            elif message["type"] == "message":
                self._heard(message["data"])
