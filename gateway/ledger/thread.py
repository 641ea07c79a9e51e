"""A ledger's own thread, for event loops: one hop, one transaction.

Rules:
  - The ledger is opened, used and closed by one thread; callables run there one after the other, in the order of
    their calls.
  - Once submitted, a callable runs, whatever becomes of its caller. A caller that is cancelled gets its
    CancelledError at once; what it asked for still happens. Where that must not stand (a claim that nobody knows
    of), the caller gives `undo`, which then runs behind it with the result; again, while the ledger is busy or away.
  - An error that no caller is left to receive goes to the event loop's exception handler.
  - `close` lets everything submitted before it finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar, cast

from gateway.errors import LedgerBusy, LedgerError
from gateway.ledger.base import Ledger

AGAIN_S = 1.0

T = TypeVar("T")


class _Job(Protocol):
    """What the thread does; it returns what is to be done again."""

    def __call__(self, ledger: Future[Ledger], /) -> _Job | None: ...


class _Call(Generic[T]):
    """One callable on its way through the thread, and back to the event loop that waits for it.

    Caller and thread settle between them, under a lock, who deals with the result of a caller that was cancelled.
    """

    __slots__ = ("_abandoned", "_answered", "_loop", "_mutex", "_undo", "_work", "error", "result", "waiter")

    def __init__(self, work: Callable[[Ledger], T], undo: Callable[[Ledger, T], object] | None) -> None:
        self._work = work
        self._undo = undo
        self._loop = asyncio.get_running_loop()
        self._mutex = threading.Lock()
        self._answered = False  # there is a result, or an error
        self._abandoned = False  # nobody will take it
        self.waiter: asyncio.Future[None] = self._loop.create_future()
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self, ledger: Future[Ledger]) -> _Job | None:
        """In the thread: do the work and hand over what came of it. Returns what is to be done again."""
        try:
            self.result = self._work(ledger.result())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, or reported
            self.error = error
        with self._mutex:
            self._answered = True
            abandoned = self._abandoned
            if not abandoned:
                try:
                    self._loop.call_soon_threadsafe(self._wake)
                except RuntimeError:  # the loop is closed: the process is ending, and its session with it
                    abandoned = True
        return self.settle(ledger) if abandoned else None

    def _wake(self) -> None:
        if not self.waiter.done():
            self.waiter.set_result(None)

    def abandon(self) -> bool:
        """The caller was cancelled. True: the result is there, and `settle` is still to be run in the thread."""
        with self._mutex:
            self._abandoned = True
            return self._answered

    def settle(self, ledger: Future[Ledger]) -> _Job | None:
        """In the thread: undo what nobody learned of, or report an error that nobody heard.

        Returns itself where the ledger is busy or away: it is to be done again.
        """
        if self.error is not None:
            _report(self._loop, self.error)
        elif self._undo is not None:
            try:
                self._undo(ledger.result(), cast(T, self.result))
            except LedgerBusy:
                return self.settle
            except BaseException as failure:  # noqa: BLE001 - reported: there is no caller
                _report(self._loop, failure)
        return None


class LedgerThread:
    """Runs callables on a ledger in a thread of its own.

    :param open_ledger: opens the ledger; called once, in the thread. What it raises, `start` and `call` raise.
    """

    def __init__(self, open_ledger: Callable[[], Ledger], name: str = "ledger") -> None:
        self._open = open_ledger
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._again: list[_Job] = []
        self._tried_at_s = 0.0
        self._opened: Future[Ledger] = Future()
        self._ended: Future[None] = Future()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def start(self) -> None:
        """Wait until the ledger is open. Raises what opening it raised."""
        await asyncio.shield(asyncio.wrap_future(self._opened))

    async def call(self, work: Callable[[Ledger], T], undo: Callable[[Ledger, T], object] | None = None) -> T:
        """Run `work` in the thread and return its result, or raise what it raised.

        :param undo: called in the thread with what `work` returned, when this caller was cancelled and so never had it.
        Raises `LedgerError` after `close`, and what opening the ledger raised.
        """
        if self._closing:
            raise LedgerError("the ledger is closed")
        call = _Call(work, undo)
        self._jobs.put(call.run)
        try:
            await call.waiter
        except asyncio.CancelledError:
            if call.abandon():
                self._jobs.put(call.settle)
            raise
        if call.error is not None:
            raise call.error
        return cast(T, call.result)

    async def close(self) -> None:
        """Finish what was submitted, close the ledger and end the thread. Idempotent."""
        if not self._closing:
            self._closing = True
            self._jobs.put(None)
        await asyncio.shield(asyncio.wrap_future(self._ended))

    def _next(self) -> _Job | None:
        """What comes next: a call, or once in AGAIN_S what is to be done again; None at the end."""
        while self._again:
            left_s = self._tried_at_s + AGAIN_S - time.monotonic()
            if left_s <= 0:
                self._tried_at_s = time.monotonic()
                return self._again.pop(0)
            with contextlib.suppress(queue.Empty):
                return self._jobs.get(timeout=left_s)
        return self._jobs.get()

    def _run(self) -> None:
        try:
            self._opened.set_result(self._open())
        except BaseException as error:  # noqa: BLE001 - handed to whoever starts or calls
            self._opened.set_exception(error)
        while (job := self._next()) is not None:
            if (again := job(self._opened)) is not None:
                self._again.append(again)
            del job  # hold nothing while there is nothing to do
        while not self._jobs.empty():  # what the last callers left to be undone
            job = self._jobs.get()
            if job is not None:
                job(self._opened)
        try:
            if self._opened.exception() is None:
                self._opened.result().close()
            self._ended.set_result(None)
        except BaseException as error:  # noqa: BLE001 - handed to whoever closes
            self._ended.set_exception(error)


def _report(loop: asyncio.AbstractEventLoop, error: BaseException) -> None:
    context = {"message": "a ledger call failed after its caller was cancelled", "exception": error}
    try:
        loop.call_soon_threadsafe(loop.call_exception_handler, context)
    except RuntimeError:  # the loop is closed: the process is ending
        sys.excepthook(type(error), error, error.__traceback__)
