"""The receiver's process: listeners, spool, recorder."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway import telemetry
from gateway.app.beat import LedgerBeat
from gateway.app.common import (
    Process,
    Signals,
    begin,
    clock_ms,
    open_ledger_of,
    open_session,
    open_spool,
    reload_config,
    run_loop,
    work_queue,
)
from gateway.config import Config, Listener
from gateway.errors import LedgerError
from gateway.flow.intake import Recorder
from gateway.flow.notes import Notes
from gateway.flow.receive import Receiver
from gateway.flow.room import give_up_ballast
from gateway.flow.strangers import Strangers
from gateway.ledger.thread import LedgerThread
from gateway.model import Role
from gateway.net.acceptor import Acceptor
from gateway.net.driver import Ticker
from gateway.net.served import AcceptorLimits
from gateway.work.base import Stage

ENDLESS = 2  # a data set of more than so many times `max_object` is cut off, not read to its end
STOP_GRACE_S = 10.0
RECORD_GRACE_S = 3.0


def main(index: int, config_path: Path) -> int:
    """Be receiver `index`."""
    process = begin(Role.RECEIVER, index, config_path)
    return run_loop(partial(_serve, process))


def limits_of(listener: Listener) -> AcceptorLimits:
    """A listener's bounds, as the acceptor takes them."""
    return AcceptorLimits(
        max_pdu_length=listener.max_pdu_length,
        artim_timeout_s=listener.artim_timeout_s,
        idle_timeout_s=listener.idle_timeout_s,
        progress_timeout_s=listener.progress_timeout_s,
        max_data_set_bytes=ENDLESS * listener.max_object_bytes,
    )


def tell_sources(config: Config) -> None:
    """Have the metrics say whom this process listens to."""
    telemetry.listening(silent_after_s={name: source.silent_after_s for name, source in config.sources.items()})


@dataclass(frozen=True, slots=True)
class _Serving:
    """What a receiver finishes when it drains: open associations, and arrivals that the ledger does not know yet."""

    acceptor: Acceptor
    receiver: Receiver
    recorder: Recorder

    @property
    def in_hand(self) -> int:
        return self.acceptor.associations + self.recorder.waiting

    def drain(self, draining: bool) -> None:
        self.receiver.drain(draining)


def _new_generation() -> str:
    """A name of our own for this process's files: never used again, known dead when the supervisor says so."""
    return f"{clock_ms():012x}-{secrets.token_hex(4)}"


async def _beat_first(beat: LedgerBeat) -> None:
    """A host that drains takes no association before it knows; while the ledger is away, it does not know."""
    try:
        await beat.once()
    except LedgerError as error:
        telemetry.problem("beat_not_counted", reason=str(error))


def _listen(acceptor: Acceptor, sockets: Mapping[str, socket.socket], listeners: Mapping[str, Listener]) -> None:
    for name, sock in sockets.items():
        listener = listeners[name]
        acceptor.listen(name, sock, limits_of(listener), listener.max_associations)


async def _finish(acceptor: Acceptor, recorder: Recorder) -> None:
    """What is being received, and what the ledger does not know yet."""
    await acceptor.stop(STOP_GRACE_S)
    if not await recorder.drain(RECORD_GRACE_S):
        reason = "the ledger did not take them; the next start adopts them"
        telemetry.problem("arrivals_not_recorded", reason=reason)


async def _serve(process: Process) -> None:
    config = process.config
    ledger = LedgerThread(partial(open_ledger_of, config, create=False))
    spool = open_spool(config)
    spool.prepare()
    queue = work_queue(config)
    generation = _new_generation()
    session = await open_session(process, ledger, Role.RECEIVER, generation)
    recorder = Recorder(ledger, clock_ms, partial(queue.notify, Stage.ROUTE), partial(give_up_ballast, spool))
    notes = Notes(ledger)
    strangers = Strangers(notes, clock_ms, time.monotonic)
    receiver = Receiver(
        spool, generation, config.spool.pool_size, recorder, config.listeners, config.sources, strangers.refused
    )

    def reload() -> None:
        changed = reload_config(process)
        if changed is not None:
            receiver.sources = changed.sources
            tell_sources(changed)

    signals = Signals(reload)
    acceptor = Acceptor(receiver, Ticker(), receiver.exhausted)
    beat = LedgerBeat(ledger, session, _Serving(acceptor, receiver, recorder))
    async with asyncio.TaskGroup() as tasks:
        serving = [
            process.control.start_beating(tasks, telemetry.loop_late),  # a disk that stalls is no reason to be ended
            tasks.create_task(receiver.run(), name="receiver"),
            tasks.create_task(notes.run(), name="audit notes"),
        ]
        await _beat_first(beat)
        serving.append(tasks.create_task(beat.run(signals.stop.set, recorder.close_intake), name="ledger beat"))
        await receiver.fill()
        _listen(acceptor, process.control.sockets(), config.listeners)
        tell_sources(config)
        process.ready()
        await signals.stop.wait()
        await _finish(acceptor, recorder)
        for task in serving:
            task.cancel()
    await notes.flush()
    await asyncio.to_thread(receiver.close)
    await ledger.call(lambda opened: opened.void_session(session.session_id, clock_ms()))
    await ledger.close()
    queue.close()
    process.metrics.close()
