"""The worker's process: reads headers, evaluates rules. Limited in memory and time; no event loop.

With the local queue it is woken by datagrams; where Redis is the queue it is a worker of RQ (`gateway.app.jobs`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from gateway import telemetry
from gateway.app.beat import VOIDED, WorkerBeat
from gateway.app.common import (
    Process,
    begin,
    clock_ms,
    declare_names,
    open_ledger_of,
    open_spool,
    read_in_force,
    register,
    work_queue,
)
from gateway.app.keys import keys_at_hand
from gateway.app.reidentification import sealer_of
from gateway.config import Config
from gateway.errors import LeaseLost
from gateway.flow.history import History
from gateway.flow.route import Router, limit_process
from gateway.ledger.base import Ledger
from gateway.model import Role, Session
from gateway.work.base import Stage, WorkQueue
from gateway.work.redis_url import is_redis


def main(index: int, config_path: Path) -> int:
    """Be worker `index`."""
    process = begin(Role.WORKER, index, config_path)
    config = process.config
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True
        queue.wake()  # ends the wait

    def reload(number: int, frame: object) -> None:
        declare_names(read_in_force(config_path))

    queue = work_queue(config, Stage.ROUTE)
    ledger = open_ledger_of(config, create=False)
    session = register(config, ledger, Role.WORKER)
    process.control.session(session.session_id)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, reload)
    _limit(config)
    router = _router(config, ledger, session, queue)

    def drain(draining: bool) -> None:
        router.draining = draining

    beat = WorkerBeat(ledger, session, drain)
    beat.turn()  # a host that drains claims nothing before it knows
    process.ready()
    try:
        if is_redis(config.queue.url):
            _run_jobs(process, router, queue, beat, index, lambda: stopping)
        else:
            router.run(process.control.beat, lambda: stopping or beat.voided, beat.turn)
    except LeaseLost:
        telemetry.problem("session_voided", reason=VOIDED)
    ledger.void_session(session.session_id, clock_ms())
    ledger.close()
    queue.close()
    return 0


def _limit(config: Config) -> None:
    limit_process(config.worker.memory_bytes)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy reserves room for each, of what was just limited


def _router(config: Config, ledger: Ledger, session: Session, queue: WorkQueue) -> Router:
    history = History(ledger, clock_ms) if config.rules.history_s and config.rules.history_size_bytes else None
    return Router(
        ledger,
        session,
        open_spool(config),
        queue,
        clock_ms,
        config.worker.time_s,
        keys=keys_at_hand(config),
        sealer=sealer_of(config),
        history=history,
    )


def _run_jobs(
    process: Process, router: Router, queue: WorkQueue, beat: WorkerBeat, index: int, stopping: Callable[[], bool]
) -> None:
    """Be a worker of RQ. Only where Redis is the queue: the rest of the time nothing of it is imported."""
    from gateway.app import jobs
    from gateway.app.broker import route_workers

    config = process.config
    loop = jobs.JobLoop(
        router,
        queue,
        process.control.beat,
        lambda: stopping() or beat.voided,
        config.worker.time_s,
        telemetry.job_done,
        beat.turn,
    )
    workers = route_workers(config, index, jobs.route, config.host)
    try:
        loop.run(workers)
    finally:
        workers.close()
