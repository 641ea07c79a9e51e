"""How files become durable: one fdatasync each, as many at once as there are files, and nobody waits for another's.

`Flusher.start` begins the flush of a finished file and returns; `fileno` becomes readable when some have ended, and
`serve` tells those who wait. The kernel does the work (`gateway.spool.aio`). Where it does not take it (a sandbox that
forbids the calls, more flushes than SLOTS) threads do; the results come the same way.

Flushes that are under way together share the commits of the file system's journal: twenty files of 9 KB take 1.2 ms,
against 2.7 ms one after the other, and each is acknowledged as soon as it is durable itself, not the group. So a large
file holds up no small one either.

A file whose flush failed is never flushed again: after a failure the kernel may have marked its pages clean, so that a
second flush would succeed without having written anything.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from gateway.errors import SpoolError
from gateway.spool import system
from gateway.spool.aio import KernelFlushes

SLOTS = 256  # flushes in the kernel at once; an association has one
THREADS = 8


class Flushable(Protocol):
    """A file that waits for its flush. `begin_flush` raises RuntimeError when it must not be flushed (again)."""

    @property
    def relative(self) -> str: ...

    def begin_flush(self) -> int:
        """The descriptor to flush."""

    def end_flush(self, error: SpoolError | None) -> None:
        """What became of it."""


Ended = Callable[[SpoolError | None], None]
"""Called once the flush has ended: None for durable, else why not."""


class Flusher:
    """See the module's docstring. For one thread: that of the event loop."""

    def __init__(self) -> None:
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._kernel: KernelFlushes | None = None
        with contextlib.suppress(OSError):  # then threads serve
            self._kernel = KernelFlushes(SLOTS, self._eventfd)
        self._threads: ThreadPoolExecutor | None = None
        self._by_threads: deque[tuple[int, int]] = deque()
        self._under_way: dict[int, tuple[Flushable, Ended]] = {}
        self._number = 0

    def fileno(self) -> int:
        """Readable when a flush has ended: call `serve`."""
        return self._eventfd

    def start(self, file: Flushable, ended: Ended) -> None:
        """Begin to make a finished file durable; it must stay open until that has ended."""
        fd = file.begin_flush()
        self._number = number = self._number + 1
        self._under_way[number] = file, ended
        if not self._in_the_kernel(fd, number):
            if self._threads is None:
                self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="flush")
            self._threads.submit(self._in_a_thread, fd, number)

    def serve(self) -> None:
        """Tell those whose flush has ended since. Does not wait. Raises OSError, and what they raise."""
        try:
            os.eventfd_read(self._eventfd)
        except BlockingIOError:
            return
        results = self._kernel.ended() if self._kernel is not None else []
        with contextlib.suppress(IndexError):
            while True:
                results.append(self._by_threads.popleft())
        for number, code in results:
            file, ended = self._under_way.pop(number)
            error = None
            if code:
                error = system.spool_error(OSError(code, os.strerror(code)), f"cannot flush {file.relative}")
            file.end_flush(error)
            ended(error)

    def flush(self, files: Sequence[Flushable]) -> list[SpoolError | None]:
        """Make files durable, and wait for it: for callers without an event loop. None for each that is, else why not.

        Nothing else may be under way.
        """
        found: dict[int, SpoolError | None] = {}
        for index, file in enumerate(files):
            self.start(file, functools.partial(found.__setitem__, index))
        while self._under_way:
            select.select([self._eventfd], [], [])
            self.serve()
        return [found[index] for index in range(len(files))]

    def close(self) -> None:
        """Wait for what is under way, and give everything back."""
        if self._threads is not None:
            self._threads.shutdown()
        if self._kernel is not None:
            self._kernel.close()
        os.close(self._eventfd)

    def _in_the_kernel(self, fd: int, number: int) -> bool:
        if self._kernel is None:
            return False
        try:
            self._kernel.submit(fd, number)
        except OSError:  # no slot, or not allowed: this says nothing of the file
            return False
        return True

    def _in_a_thread(self, fd: int, number: int) -> None:
        code = 0
        try:
            os.fdatasync(fd)
        except OSError as error:
            code = error.errno or errno.EIO
        self._by_threads.append((number, code))
        os.eventfd_write(self._eventfd, 1)
