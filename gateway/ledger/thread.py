"""A ledger's own thread, for event loops: one hop, one transaction.

Rules:
  - The ledger is opened, used and closed by one thread; callables run there one after the other, in the order of
    their calls.
  - Once submitted, a callable runs, whatever becomes of its caller. A caller that is cancelled gets its
    CancelledError at once; what it asked for still happens. Where that must not stand (a claim that nobody knows
    of), the caller gives `undo`, which then runs behind it with the result.
  - An error that no caller is left to receive goes to the event loop's exception handler.
  - `close` lets everything submitted before it finish.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from gateway.errors import LedgerError
from gateway.ledger.base import Ledger

T = TypeVar("T")


class LedgerThread:
    """Runs callables on a ledger in a thread of its own.

    :param open_ledger: opens the ledger; called once, in the thread. What it raises, `start` and `call` raise.
    """

    def __init__(self, open_ledger: Callable[[], Ledger], name: str = "ledger") -> None:
        self._open = open_ledger
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
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
        outcome: Future[T] = Future()
        self._jobs.put(lambda: self._do(work, outcome))
        try:
            return await asyncio.shield(asyncio.wrap_future(outcome))
        except asyncio.CancelledError:
            loop = asyncio.get_running_loop()
            outcome.add_done_callback(lambda done: self._abandoned(done, undo, loop))
            raise

    async def close(self) -> None:
        """Finish what was submitted, close the ledger and end the thread. Idempotent."""
        if not self._closing:
            self._closing = True
            self._jobs.put(None)
        await asyncio.shield(asyncio.wrap_future(self._ended))

    def _do(self, work: Callable[[Ledger], T], outcome: Future[T]) -> None:
        try:
            outcome.set_result(work(self._opened.result()))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, or reported by _abandoned
            outcome.set_exception(error)

    def _abandoned(
        self, done: Future[T], undo: Callable[[Ledger, T], object] | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        error = done.exception()
        if error is not None:
            _report(loop, error)
            return
        if undo is None:
            return
        take_back, result = undo, done.result()

        def job() -> None:
            try:
                take_back(self._opened.result(), result)
            except BaseException as failure:  # noqa: BLE001 - reported: there is no caller
                _report(loop, failure)

        self._jobs.put(job)

    def _run(self) -> None:
        try:
            self._opened.set_result(self._open())
        except BaseException as error:  # noqa: BLE001 - handed to whoever starts or calls
            self._opened.set_exception(error)
        while (job := self._jobs.get()) is not None:
            job()
        while not self._jobs.empty():  # what the last jobs left to be undone
            job = self._jobs.get()
            if job is not None:
                job()
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
