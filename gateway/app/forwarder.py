"""The forwarder's process: the queues of the destinations that it owns."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from gateway import telemetry
from gateway.app.beat import VOIDED, LedgerBeat
from gateway.app.common import (
    Process,
    Signals,
    begin,
    clock_ms,
    journal_dir,
    open_ledger_of,
    open_session,
    open_spool,
    reload_config,
    run_loop,
    void_session,
    work_queue,
)
from gateway.config import Config
from gateway.errors import LeaseLost, LedgerUnsure
from gateway.flow.destination import Tools
from gateway.flow.forward import Forwarder
from gateway.flow.outcomes import OutcomeRecorder
from gateway.flow.room import give_up_ballast
from gateway.flow.send import Buffers
from gateway.ledger.journal import OutcomeJournal
from gateway.ledger.thread import LedgerThread
from gateway.model import Role, Session
from gateway.net.driver import Ticker
from gateway.work.base import Stage

READERS = 4


def main(index: int, config_path: Path) -> int:
    """Be forwarder `index`."""
    process = begin(Role.FORWARDER, index, config_path)
    return run_loop(partial(_serve, process))


async def _serve(process: Process) -> None:
    config = process.config
    ledger = LedgerThread(partial(open_ledger_of, config, create=False))
    queue = work_queue(config, Stage.DELIVER)
    session = await open_session(process, ledger, Role.FORWARDER)
    spool = open_spool(config)
    outcomes = OutcomeRecorder(ledger, session, _journal(config, session), clock_ms, partial(give_up_ballast, spool))
    executor = ThreadPoolExecutor(READERS, thread_name_prefix="spool-read")
    changed = asyncio.Event()
    signals = Signals(changed.set)

    def give_up(error: LeaseLost) -> None:
        if isinstance(error.__cause__, LedgerUnsure):
            telemetry.problem("session_given_up", reason=str(error))
        else:
            telemetry.problem("session_voided", reason=VOIDED)
        signals.stop.set()

    tools = Tools(ledger, session, spool, outcomes, Ticker(), executor, Buffers(), clock_ms, give_up)
    forwarder = Forwarder(tools, queue)
    async with asyncio.TaskGroup() as tasks:
        serving = [
            tasks.create_task(forwarder.run(config.destinations), name="forwarder"),
            tasks.create_task(_reload(process, forwarder, changed), name="reload"),
            tasks.create_task(LedgerBeat(ledger, session, forwarder).run(signals.stop.set), name="ledger beat"),
            process.control.start_beating(tasks, telemetry.loop_late),
        ]
        await forwarder.begun.wait()
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
        return OutcomeJournal(journal_dir(config), session)
    except OSError as error:
        telemetry.problem("outcomes_wait_for_ledger", reason=f"no journal of outcomes: {error.strerror}")
        return None


async def _reload(process: Process, forwarder: Forwarder, changed: asyncio.Event) -> None:
    while True:
        await changed.wait()
        changed.clear()
        config = reload_config(process)
        if config is not None:
            await forwarder.configure(config.destinations)
