"""What RQ's workers run, and the worker's loop where Redis is the queue.

A job is a wake-up: `route` has the router take turns, whatever the job names, until the ledger has nothing more or
JOB_S are over, so that the CPU of a job is shared by as many instances as there are. The loop also looks at the ledger
without a job: at once while there is more, every LOOK_S when idle, and once a second while Redis is away. So this is
the outbox's flusher as well: what a job that was lost was about is routed LOOK_S later by whoever is idle, and nobody
has to put anything into Redis again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gateway.flow.route import IDLE_S, Router
from gateway.flow.watch import Watch
from gateway.work.base import WorkQueue
from gateway.work.rq_worker import RouteWorkers

JOB_S = 5.0
LOOK_S = 3.0
WAIT_S = 1.0  # for a job; a signal to stop is heeded after

_serving: JobLoop | None = None


def route(instance_ids: Sequence[str]) -> str:
    """The function that jobs name (`gateway.work.rq_jobs.FUNCTION`). Returns a word for Redis, and never raises."""
    if _serving is None:
        return "this is no worker of the gateway"
    return _serving.job()


class JobLoop:
    """One worker's loop over jobs and ledger. `workers` are made with `route` for what a job does.

    :param ran: called after each job.
    :param rested: called whenever nothing is held up by it, where it may wait for the ledger too.
    """

    def __init__(
        self,
        router: Router,
        queue: WorkQueue,
        beat: Callable[[], None],
        stopping: Callable[[], bool],
        time_s: float,
        ran: Callable[[], None],
        rested: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._queue = queue
        self._beat = beat
        self._stopping = stopping
        self._rested = rested
        self._watch = Watch(beat, time_s, rested)
        router.rested = rested
        self._ran = ran
        self._clock = clock
        self._more = False
        self._looked_at = -LOOK_S
        self._failed: Exception | None = None

    def run(self, workers: RouteWorkers) -> None:
        """Route until told to stop."""
        global _serving
        _serving = self
        while not self._stopping():
            self._beat()
            self._rested()
            if workers.turn(0.0 if self._more else WAIT_S):
                self._ran()
            elif self._more or workers.away or self._clock() - self._looked_at >= LOOK_S:
                self._turns()
            if self._failed is not None:
                raise self._failed
            if workers.away and not self._more:
                self._queue.wait_sync(IDLE_S)
        self._router.finish()

    def job(self) -> str:
        """What a job does. What goes wrong ends this process, as it would without RQ; Redis hears one word."""
        try:
            self._turns()
        except Exception as error:  # noqa: BLE001 - raised by `run`: RQ would take it, and store its text
            self._failed = error
            return "failed"
        return "more" if self._more else "done"

    def _turns(self) -> None:
        began = self._clock()
        while True:
            self._beat()
            self._more = self._router.turn(self._watch, self._stopping)
            self._looked_at = self._clock()
            if not self._more or self._stopping() or self._looked_at - began >= JOB_S:
                return
