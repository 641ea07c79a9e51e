"""What every role of a host shares: folders, ledger, spool, log, event loop, signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pwd
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import telemetry
from gateway.app.home import home_of
from gateway.app.moved import refuse_moved
from gateway.config import Config, load
from gateway.control import Control
from gateway.errors import ConfigurationError, UsageError
from gateway.ledger import journal
from gateway.ledger.base import Ledger, Voided
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import LeftBehind, Role, Session
from gateway.spool import Spool, shared
from gateway.telemetry.exposition import MetricsSocket
from gateway.work.base import Stage, WorkQueue
from gateway.work.local import LocalQueue
from gateway.work.redis_url import is_redis, parse

if TYPE_CHECKING:
    from gateway.ledger.looking import Looks

SNAPSHOT_VARIABLE = "GATEWAY_SNAPSHOT"  # tells a role where the configuration in force is


def user_name() -> str:
    """Whose process this is, for the audit trail: as the system has it, not as the environment says. The number where
    nobody bears it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


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


def open_ledger_of(config: Config, create: bool) -> Ledger:
    """The ledger that the configuration names; only what it needs is imported.

    :raises LedgerError: see `SqliteLedger.open` and `PostgresLedger.open`. UsageError: a package is missing.
    """
    if not shares_ledger(config):
        refuse_moved(ledger_path(config))
        return SqliteLedger.open(ledger_path(config), create=create, committed=telemetry.ledger_committed)
    with needed_packages("ledger.url"):
        from gateway.ledger.postgres import PostgresLedger
    return PostgresLedger.open(
        config.ledger.url,
        create=create,
        name=_client(config),
        committed=telemetry.ledger_committed,
        replaced=_tell_replaced,
    )


def _tell_replaced() -> None:
    reason = "another server has taken over, which may lack what was recorded last: this process starts anew"
    telemetry.problem("ledger_replaced", reason=reason)


def open_look_of(config: Config) -> Looks:
    """What looks at the ledger for an event loop. :raises LedgerError: a SQLite ledger is not there."""
    if not shares_ledger(config):
        from gateway.ledger.sqlite import look as of_file

        return of_file.open_look(ledger_path(config))
    from gateway.ledger.postgres import look as of_server

    return of_server.open_look(config.ledger.url, _client(config))


def _client(config: Config) -> str:
    """What a server shows of this process."""
    return f"gateway {config.host} {os.getpid()}"


@contextlib.contextmanager
def needed_packages(key: str) -> Iterator[None]:
    """Say what to install where a package is missing that the value of a configuration key asks for."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{key} asks for the package {error.name}, which is not installed: pip install 'dicom-gateway[scale]'"
        ) from error


def open_spool(config: Config) -> Spool:
    """The spool that the configuration names."""
    home = home_of(config.state_dir) if config.spool.shared else ""
    return Spool(config.spool.dir, config.spool.min_free_bytes, config.spool.ballast_bytes, home)


def shares_ledger(config: Config) -> bool:
    """Whether other hosts may use the ledger. Else the lock on the state folder proves that nobody does."""
    return config.ledger.url != "sqlite"


def journal_dir(config: Config, home: str = "") -> Path:
    """Where the journals of outcomes lie of this host's forwarders, or of another home's, for whoever voids its
    sessions. On a shared spool, so that others can read them; else beside the ledger.
    """
    if not config.spool.shared:
        return config.state_dir
    return config.spool.dir / shared.OUTCOMES / (home or home_of(config.state_dir))


def work_queue(config: Config, stage: Stage | None = None) -> WorkQueue:
    """The work queue; `stage` is what this process waits for.

    :raises QueueError: `queue.url` is wrong, or what it needs is not installed.
    """
    if not is_redis(config.queue.url):
        return LocalQueue(run_dir(config), stage)
    from gateway.app.broker import redis_told
    from gateway.work.rq import RqQueue

    return RqQueue(parse(config.queue.url), run_dir(config), stage, redis_told)


def read_in_force(config_path: Path) -> Config:
    """The configuration in force: the supervisor's accepted snapshot if there is one, else the file.

    A role that is started again while somebody edits the file must come up as the others run.
    :raises ConfigurationError: with every problem.
    """
    snapshot = os.environ.get(SNAPSHOT_VARIABLE, "")
    if not snapshot:
        return load(config_path, os.environ)
    return load(config_path, os.environ, text=Path(snapshot).read_text(encoding="utf-8"))


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
    session = await ledger.call(lambda opened: register(process.config, opened, role, generation))
    process.control.session(session.session_id, generation)
    return session


def register(config: Config, ledger: Ledger, role: Role, generation: str = "") -> Session:
    """Open a session for this process, under the name of its host and the id of its state folder."""
    home = home_of(config.state_dir)
    session = ledger.open_session(role, config.host, os.getpid(), clock_ms(), generation, home)
    if config.spool.shared:
        try:
            shared.show(config.spool.dir, home, session.session_id)
        except OSError as error:
            telemetry.problem("spool_not_shown", error, reason="`gateway check` on other hosts will miss this one")
    return session


def void_session(
    config: Config, ledger: Ledger, session_id: int, home: str = "", beats: int | None = None
) -> Voided | None:
    """End the session of a process that is dead, or ends: what it had delivered is recorded, what it held is freed.

    :param home: that of the session, where it is another host's.
    :param beats: see `Ledger.void_session`. Returns None, as that does, where it lives after all.
    """
    voided = ledger.void_session(session_id, clock_ms(), left_behind(config, session_id, home), beats)
    if voided is None:
        return None
    journal.forget(journal_dir(config, home), session_id)
    if config.spool.shared:
        shared.hide(config.spool.dir, home or home_of(config.state_dir), session_id)
    return voided


def left_behind(config: Config, session_id: int, home: str = "") -> LeftBehind | None:
    """What a dead process had delivered. Where that cannot be read, a few are delivered twice, and nobody waits."""
    try:
        return journal.left_behind(journal_dir(config, home), session_id)
    except OSError as error:
        telemetry.problem("journal_not_read", error)
        return None
