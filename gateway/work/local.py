"""The work queue of one machine: unix datagram sockets in `run/`, nothing to install.

A process that waits for a stage binds `<stage>.<pid>-<token>.wake`; `notify` sends one byte to every socket of the
stage. Rules:
  - sending never blocks: a full receive buffer means that the receiver has wake-ups waiting, so nothing is lost;
  - a socket that nobody holds any more is removed by whoever finds it (its name is never used again);
  - the folder is listed at most once a second. A process that has just started may so miss wake-ups for that long,
    and has looked at the ledger at its start.

p50 from `notify` to the return of `wait` in another process: 25-45 µs.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.runfolder import WAKE_SUFFIX, RunFolder, unique
from gateway.work.base import Stage

_LISTING_AGE_S = 1.0
_WAKE = b"w"


class LocalQueue:
    """A `WorkQueue` over the sockets of one run folder. `stage` None: it wakes others and is never woken."""

    def __init__(self, folder: Path, stage: Stage | None = None) -> None:
        self._run = RunFolder(folder)
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._listings: dict[Stage, tuple[float, list[str]]] = {}
        self._name = ""
        self._receiver: socket.socket | None = None
        self._waiting = False
        self._closed = False
        if stage is not None:
            self._name = unique(stage, WAKE_SUFFIX)
            self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._receiver.setblocking(False)
            self._receiver.bind(self._run.address(self._name))

    def notify(self, stage: Stage, instance_ids: Sequence[str] = ()) -> None:
        """Wake up everyone on this host who waits for `stage`."""
        if self._closed:
            return
        for name in self._names(stage):
            if not self._send(name):
                self._forget(stage, name)

    def wake(self) -> None:
        """Wake up who waits on this end. As `notify`, from any thread."""
        if self._name and not self._closed:
            self._send(self._name)

    def _send(self, name: str) -> bool:
        """False where nobody holds the socket any more."""
        try:
            self._sender.sendto(_WAKE, self._run.address(name))
        except BlockingIOError:
            return True  # it has wake-ups waiting
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # no memory for it now: the sweep of the ledger finds the work
        return True

    def _names(self, stage: Stage) -> list[str]:
        now = time.monotonic()
        listed_at, names = self._listings.get(stage, (0.0, []))
        if not listed_at or now - listed_at >= _LISTING_AGE_S:
            with contextlib.suppress(OSError):  # out of descriptors: what was known is still good
                names = self._run.names(WAKE_SUFFIX, prefix=f"{stage}.")
            self._listings[stage] = (now, names)
        return names

    def _forget(self, stage: Stage, name: str) -> None:
        listed_at, names = self._listings.get(stage, (0.0, []))
        self._listings[stage] = (listed_at, [other for other in names if other != name])
        with contextlib.suppress(OSError):
            self._run.remove(name)

    async def wait(self, timeout_s: float) -> bool:
        """Wait until woken up, or for `timeout_s`; True when woken."""
        receiver = self._open_receiver()
        if self._drain(receiver):
            return True
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        self._waiting = True
        # Watched only while waiting: wake-ups of a busy process queue up in the kernel and cost nothing.
        loop.add_reader(receiver, woken.set)
        try:
            async with asyncio.timeout(timeout_s):
                await woken.wait()
        except TimeoutError:
            return self._drain(receiver)
        finally:
            loop.remove_reader(receiver)
            self._waiting = False
        return self._drain(receiver)

    def wait_sync(self, timeout_s: float) -> bool:
        """`wait` for a process without an event loop."""
        receiver = self._open_receiver()
        poll = select.poll()
        poll.register(receiver, select.POLLIN)
        poll.poll(max(0.0, timeout_s) * 1000)
        return self._drain(receiver)

    def _open_receiver(self) -> socket.socket:
        if self._receiver is None or self._closed:
            raise RuntimeError("this work queue was opened to notify only, or is closed")
        if self._waiting:
            raise RuntimeError("another task waits on this work queue already")
        return self._receiver

    @staticmethod
    def _drain(receiver: socket.socket) -> bool:
        woken = False
        while True:
            try:
                receiver.recv(16)
            except (BlockingIOError, InterruptedError):
                return woken
            woken = True

    def close(self) -> None:
        """Remove the socket and give the descriptors back."""
        if self._closed:
            return
        self._closed = True
        if self._receiver is not None:
            self._run.remove(self._name)
            self._receiver.close()
        self._sender.close()
        self._run.close()
