"""The worker's process: reads headers, evaluates rules. Limited in memory and time; no event loop."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from gateway.app.common import (
    begin,
    clock_ms,
    declare_names,
    local_queue,
    open_ledger_of,
    open_spool,
    read_in_force,
    register,
)
from gateway.app.keys import keys_at_hand
from gateway.app.reidentification import sealer_of
from gateway.flow.history import History
from gateway.flow.route import Router, limit_process
from gateway.model import Role
from gateway.work.base import Stage


def main(index: int, config_path: Path) -> int:
    """Be worker `index`."""
    process = begin(Role.WORKER, index, config_path)
    config = process.config
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True
        queue.notify(Stage.ROUTE)  # ends the wait

    def reload(number: int, frame: object) -> None:
        declare_names(read_in_force(config_path))

    queue = local_queue(config, Stage.ROUTE)
    ledger = open_ledger_of(config, create=False)
    session = register(config, ledger, Role.WORKER)
    process.control.session(session.session_id)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, reload)
    limit_process(config.worker.memory_bytes)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy reserves room for each, of what was just limited
    history = History(ledger, clock_ms) if config.rules.history_s and config.rules.history_size_bytes else None
    router = Router(
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
    process.ready()
    router.run(process.control.beat, lambda: stopping)
    ledger.void_session(session.session_id, clock_ms())
    ledger.close()
    queue.close()
    return 0
