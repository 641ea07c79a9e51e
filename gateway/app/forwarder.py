"""The forwarder's process: the queues of the destinations that are its own, by `assigned`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from gateway import telemetry
from gateway.app.common import (
    Process,
    Signals,
    beat_ledger,
    begin,
    clock_ms,
    open_ledger_of,
    open_session,
    open_spool,
    processes_of,
    reload_config,
    run_loop,
    void_session,
    work_queue,
)
from gateway.config import Config
from gateway.config.values import Destination
from gateway.flow.destination import Tools
from gateway.flow.forward import Forwarder, assigned
from gateway.flow.outcomes import OutcomeRecorder
from gateway.flow.room import give_up_ballast
from gateway.flow.send import Buffers
from gateway.ledger.journal import OutcomeJournal
from gateway.ledger.thread import LedgerThread
from gateway.model import Role, Session
from gateway.net.driver import Ticker
from gateway.work.base import Stage

READERS = 4

Share = Callable[[Mapping[str, Destination]], dict[str, Destination]]


def main(index: int, config_path: Path) -> int:
    """Be forwarder `index`."""
    process = begin(Role.FORWARDER, index, config_path)
    share = partial(assigned, index=index, processes=processes_of(process.config, Role.FORWARDER))
    return run_loop(partial(_serve, process, share))


async def _serve(process: Process, share: Share) -> None:
    config = process.config
    ledger = LedgerThread(partial(open_ledger_of, config, create=False))
    queue = work_queue(config, Stage.DELIVER)
    session = await open_session(process, ledger, Role.FORWARDER)
    spool = open_spool(config)
    outcomes = OutcomeRecorder(ledger, session, _journal(config, session), clock_ms, partial(give_up_ballast, spool))
    executor = ThreadPoolExecutor(READERS, thread_name_prefix="spool-read")
    tools = Tools(ledger, session, spool, outcomes, Ticker(), executor, Buffers(), clock_ms)
    forwarder = Forwarder(tools, queue)
    changed = asyncio.Event()
    signals = Signals(changed.set)
    async with asyncio.TaskGroup() as tasks:
        serving = [
            tasks.create_task(forwarder.run(share(config.destinations)), name="forwarder"),
            tasks.create_task(_reload(process, forwarder, share, changed), name="reload"),
            tasks.create_task(beat_ledger(ledger, session, signals.stop.set), name="ledger beat"),
            process.control.start_beating(tasks),
        ]
        process.ready()
        await signals.stop.wait()
        await forwarder.stop()
        for task in serving:
            task.cancel()
    executor.shutdown()
    await ledger.call(lambda opened: void_session(config, opened, session.session_id))
    await ledger.close()
    queue.close()
    process.metrics.close()


def _journal(config: Config, session: Session) -> OutcomeJournal | None:
    try:
        return OutcomeJournal(config.state_dir, session)
    except OSError as error:
        telemetry.problem("outcomes_wait_for_ledger", reason=f"no journal in the state folder: {error.strerror}")
        return None


async def _reload(process: Process, forwarder: Forwarder, share: Share, changed: asyncio.Event) -> None:
    while True:
        await changed.wait()
        changed.clear()
        config = reload_config(process)
        if config is not None:
            await forwarder.configure(share(config.destinations))
