"""What every role of a host shares: folders, ledger, spool, log, event loop, signals."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from gateway import telemetry
from gateway.config import Config, load
from gateway.control import Control
from gateway.errors import ConfigurationError, LedgerBusy, LedgerError, LedgerFull
from gateway.ledger import journal
from gateway.ledger.base import Ledger, Voided
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import LeftBehind, Role, Session
from gateway.spool import Spool
from gateway.telemetry.exposition import MetricsSocket
from gateway.work.base import Stage, WorkQueue
from gateway.work.local import LocalQueue
from gateway.work.redis_url import is_redis, parse

LEDGER_BEAT_S = 10.0
SNAPSHOT_VARIABLE = "GATEWAY_SNAPSHOT"  # tells a role where the configuration in force is
PROCESSES_VARIABLE = "GATEWAY_PROCESSES"  # tells a role how many of it run


def clock_ms() -> int:
    """The wall clock, as everything below `flow` is handed it."""
    return time.time_ns() // 1_000_000


def run_dir(config: Config) -> Path:
    """Sockets and what else lives as long as the processes."""
    return config.state_dir / "run"


def snapshot_path(config: Config) -> Path:
    """The text of the configuration in force, as the supervisor last accepted it."""
    return run_dir(config) / "gateway.yaml"


def ledger_path(config: Config) -> Path:
    """The SQLite ledger."""
    return config.state_dir / "ledger.db"


def open_ledger_of(config: Config, create: bool) -> SqliteLedger:
    """The ledger that the configuration names. :raises LedgerError: see `SqliteLedger.open`."""
    return SqliteLedger.open(ledger_path(config), create=create, committed=telemetry.ledger_committed)


def open_spool(config: Config) -> Spool:
    """The spool that the configuration names."""
    return Spool(config.spool.dir, config.spool.min_free_bytes, config.spool.ballast_bytes)


def work_queue(config: Config, stage: Stage | None = None) -> WorkQueue:
    """The work queue; `stage` is what this process waits for.

    :raises QueueError: `queue.url` is wrong, or what it needs is not installed.
    """
    if not is_redis(config.queue.url):
        return LocalQueue(run_dir(config), stage)
    from gateway.app.broker import redis_told
    from gateway.work.rq import RqQueue

    return RqQueue(parse(config.queue.url), run_dir(config), stage, redis_told)


def host_name() -> str:
    """This host, as sessions name it."""
    return socket.gethostname()


def read_in_force(config_path: Path) -> Config:
    """The configuration in force: the supervisor's accepted snapshot if there is one, else the file.

    A role that is started again while somebody edits the file must come up as the others run.
    :raises ConfigurationError: with every problem.
    """
    snapshot = os.environ.get(SNAPSHOT_VARIABLE, "")
    if not snapshot:
        return load(config_path, os.environ)
    return load(config_path, os.environ, text=Path(snapshot).read_text(encoding="utf-8"))


def processes_of(config: Config, role: Role) -> int:
    """How many processes of a role this host runs.

    What the supervisor says counts: the configuration in force may have another number, which waits for a restart.
    """
    return int(os.environ.get(PROCESSES_VARIABLE) or process_counts(config)[role])


def process_counts(config: Config) -> dict[Role, int]:
    """How many processes of each role the configuration asks for."""
    return {
        Role.RECEIVER: config.processes.receiver,
        Role.WORKER: config.processes.worker,
        Role.FORWARDER: config.processes.forwarder,
        Role.CONSOLE: 1,
    }


@dataclass(slots=True)
class Process:
    """One role's process: its configuration, its line to the supervisor, its ledger and its session."""

    config: Config
    config_path: Path
    control: Control
    metrics: MetricsSocket

    def ready(self) -> None:
        """The role does its work from now on. What was made for it stays, and is no collection's business any more: one
        that looks through all of it holds everybody up for some 10 ms."""
        gc.collect()
        gc.freeze()
        self.control.ready()


def begin(role: Role, index: int, config_path: Path) -> Process:
    """What every role does first."""
    control = Control.attach(role)
    config = read_in_force(config_path)
    telemetry.configure(f"{role}-{index}", format=config.log.format, level=config.log.level)
    declare_names(config)
    set_limits()
    metrics = telemetry.serve_metrics(run_dir(config))
    return Process(config, config_path, control, metrics)


def declare_names(config: Config) -> None:
    """Bound the metric labels by the configuration."""
    telemetry.declare(sources=tuple(config.sources), destinations=tuple(config.destinations))


def set_limits() -> None:
    """As many descriptors as we may have; no core dumps, which would hold patient data outside the spool."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_loop(main: Callable[[], Awaitable[None]]) -> int:
    """Run a role's coroutine on uvloop where it is there."""
    try:
        import uvloop
    except ImportError:
        factory = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop

    async def whole() -> None:
        await main()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(whole())
    return 0


class Signals:
    """SIGTERM sets `stop`; SIGHUP calls back."""

    def __init__(self, reload: Callable[[], None]) -> None:
        self.stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload)


def reload_config(process: Process) -> Config | None:
    """Read the configuration in force again; None when it cannot be read (then all stays as it is)."""
    try:
        config = read_in_force(process.config_path)
    except ConfigurationError as error:
        telemetry.problem("configuration_refused", problems=[str(problem) for problem in error.problems])
        return None
    process.config = config
    declare_names(config)
    return config


async def open_session(process: Process, ledger: LedgerThread, role: Role, generation: str = "") -> Session:
    """Register with the ledger, and tell the supervisor what to void when this process dies."""
    session = await ledger.call(lambda opened: opened.open_session(role, host_name(), os.getpid(), clock_ms()))
    process.control.session(session.session_id, generation)
    return session


def void_session(config: Config, ledger: Ledger, session_id: int) -> Voided:
    """End the session of a process that is dead, or ends: what it had delivered is recorded, what it held is freed."""
    voided = ledger.void_session(session_id, clock_ms(), left_behind(config, session_id))
    journal.forget(config.state_dir, session_id)
    return voided


def left_behind(config: Config, session_id: int) -> LeftBehind | None:
    """What a dead process had delivered. Where that cannot be read, a few are delivered twice, and nobody waits."""
    try:
        return journal.left_behind(config.state_dir, session_id)
    except OSError as error:
        telemetry.problem("journal_not_read", error)
        return None


async def beat_ledger(
    ledger: LedgerThread,
    session: Session,
    voided: Callable[[], None],
    failed: Callable[[LedgerError], None] | None = None,
) -> None:
    """Count heartbeats in the ledger; `voided` is called when the session was ended by somebody else.

    :param failed: called when the ledger is not merely busy or out of room.
    """
    while True:
        await asyncio.sleep(LEDGER_BEAT_S)
        try:
            alive = await ledger.call(lambda opened: opened.beat(session, clock_ms()))
        except LedgerError as error:
            # No reason to end: whoever waits for the ledger is alive, and a process that starts would wait for it too,
            # or, where it is damaged, could not start, and leave without an answer who is refused with a reason now.
            telemetry.problem("beat_not_counted", reason=str(error))
            if failed is not None and not isinstance(error, LedgerBusy | LedgerFull):
                failed(error)
            continue
        if not alive:
            telemetry.problem("session_voided", reason="another process took this one for dead; stopping")
            voided()
            return
