"""What may take long, in threads of its own: what a child's death asks for, and a reload. The loop only says what, and
hears when it is done.

A `Lane` does one job at a time, in order. A job that fails goes to the end and comes again when its time is due (1 s,
doubling to 10 s), so that it holds up no other; unless it is one that is not repeated. There is one lane a kind of
work: what is slow in one (the checksums of a long adoption) holds up nothing of the other (a session that is voided, so
that others take over its leases).

Called by `gateway.supervisor.loop`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

RETRY_MIN_S, RETRY_MAX_S = 1.0, 10.0


@dataclass(eq=False, slots=True)
class Job:
    """`do` is repeated until it returns; then `done` is called, after each failure `failed`. All in the lane's thread.

    Without `repeats`, `do` is called once, and then one of them. What they raise is told as if it had ended the thread.
    """

    do: Callable[[], None]
    done: Callable[[], None]
    failed: Callable[[Exception], None]
    repeats: bool = True
    retry_s: float = RETRY_MIN_S
    due_at: float = 0.0


class Lane:
    """One thread and its jobs. Made and closed by the supervisor's loop."""

    def __init__(self, name: str) -> None:
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._giving_up = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, job: Job) -> None:
        """Put a job at the end."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def close(self) -> None:
        """Take no more jobs; those there are will be done. Returns at once."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """After `close`: wait for the last job, for so long; what is then not done is given up."""
        self._thread.join(max(0.0, timeout_s))
        with self._changed:
            self._giving_up = True
            self._changed.notify()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.do()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and mostly tried again
                if job.repeats:
                    job.due_at = time.monotonic() + job.retry_s
                    job.retry_s = min(RETRY_MAX_S, job.retry_s * 2)
                    self.add(job)
                self._tell(lambda job=job, error=error: job.failed(error))  # type: ignore[misc]
            else:
                self._tell(job.done)

    def _tell(self, told: Callable[[], None]) -> None:
        """A mistake in telling must not end the lane: what is to be cleaned up would be so for ever."""
        try:
            told()
        except Exception as error:  # noqa: BLE001 - it goes where that of a thread that dies would go
            thread = threading.current_thread()
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))

    def _next(self) -> Job | None:
        """The first job that is due, waited for; None when there will be none."""
        with self._changed:
            while not self._giving_up and (self._jobs or not self._closing):
                now = time.monotonic()
                for job in self._jobs:
                    if job.due_at <= now:
                        self._jobs.remove(job)
                        return job
                soonest = min((job.due_at for job in self._jobs), default=None)
                self._changed.wait(None if soonest is None else soonest - now)
        return None
