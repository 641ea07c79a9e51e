"""Workloads `scale` and `database`: more workers, and PostgreSQL beside SQLite.

`scale`: CTs to be de-identified are received while the supervisor and all workers stand still (SIGSTOP), so that
they wait; then the workers go on, and each makes its copies, until all is routed. There is no forwarder: nothing works
but the workers and their database. `wall ms` is from SIGCONT to the time that the ledger has for the last delivery;
`CPU ms` is that of the worker processes alone, `server CPU ms` that of PostgreSQL. `alone` is the same work in so many
processes that share nothing (`bench.alone`): what the machine can give.

`database`: instances from a sender to an archive, as in `ct` and `small`, and what of it the server takes.
`bytes` is what a database grows by an instance (SQLite's pages, with those in its journal), `connections` how many a
host with one process of each role has open at the end.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.alone import alone
from bench.dcmsend import Files, make_files, send
from bench.forwarding import LOADS
from bench.goals import Figures, Goal, Verdict
from bench.measure import CT_BYTES, Scale, folder_of, forwarded, tell
from bench.peers import GatewaySide, StorescpSide
from bench.processes import cpu_s, own_cpu_s
from bench.report import in_turn
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess, all_stopped
from tests.harness.ledgerrows import look, rows
from tests.harness.postgres import PostgresServer
from tests.harness.redis import RedisServer
from tests.harness.tools import free_port, wait_until

CTS = 2_000
WORKERS = (1, 2, 3, 4)
DEIDENTIFY = """\
transforms:
  anonymise:
    - deidentify: {key: site}
rules:
  - name: everything
    send_to: [{destination: research, transform: anonymise}]
"""
_TABLES = "SELECT pg_database_size(current_database())"
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def scale(scale: Scale) -> list[Verdict]:
    """So many workers, on the default of one machine and on Redis with PostgreSQL."""
    with ExitStack() as stack:
        folder = folder_of(stack)
        postgres, redis = stack.enter_context(PostgresServer()), stack.enter_context(RedisServer())
        files = make_files(folder / "files", scale(CTS), CT_BYTES, seed=7)
        key = folder / "site.key"
        key.write_text("the secret of a benchmark, long enough\n")
        counts = WORKERS if scale.rounds > 1 else WORKERS[:2]  # one round is to see that it runs
        measures = {}
        for backend, (database, queue) in {"local": (None, None), "redis": (postgres, redis)}.items():
            for workers in counts:
                side = folder / f"{backend}-{workers}"
                measures[_name(backend, workers)] = partial(_deidentified, side, workers, files, key, database, queue)
        for workers in counts:
            measures[_name("alone", workers)] = partial(alone, folder / "alone", workers, files.paths)
        found = in_turn(measures, scale.rounds)
    goals = [Goal(_name(each, 2), "wall ms", 1 / 1.7, _name(each, 1)) for each in ("alone", "local", "redis")]
    goals += [
        Goal(_name(each, workers), "CPU ms", 1.15, _name(each, 1))
        for each in ("alone", "local", "redis")
        for workers in counts[1:]
    ]
    return tell("scale", found, goals)


def database(scale: Scale) -> list[Verdict]:
    """Small instances and CTs, over one association, with either ledger."""
    return [verdict for load in LOADS for verdict in _beside(scale, load)]


def _name(backend: str, workers: int) -> str:
    return f"{backend}, {workers} worker{'s' * (workers > 1)}"


# ── scale ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _deidentified(
    folder: Path, workers: int, files: Files, key: Path, postgres: PostgresServer | None, redis: RedisServer | None
) -> Figures:
    """A gateway of its own with so many workers, that is gone afterwards with all it keeps."""
    files.renew()
    with ExitStack() as stack:
        stack.callback(_remove, folder)
        sections: dict[str, Any] = {"queue": {"url": redis.url()}} if redis else {}
        if postgres:
            name = postgres.create_database()
            stack.callback(postgres.drop_database, name)
            sections["ledger"] = {"url": postgres.url(name)}
        config = GatewayConfig(
            folder,
            {"research": free_port()},
            rules={"10-deidentify.yaml": DEIDENTIFY},
            pseudonym_keys={"site": {"file": str(key)}},
            processes={"worker": workers},
            log={"level": "info"},
            **sections,
        )
        gateway = stack.enter_context(GatewayProcess(config, options=["--roles", "receiver,worker,console"]))
        return _routed(gateway, files, postgres)


def _routed(gateway: GatewayProcess, files: Files, postgres: PostgresServer | None) -> Figures:
    """Have all files waiting, let the workers go, and wait until each has its delivery."""
    count, pids = len(files.paths), gateway.roles()["worker"]
    with _stopped([gateway.supervisor_pid(), *pids]):
        send(files.paths, gateway.config.port)
        wait_until(lambda: _counted(gateway, "instance") == count, 60, "all to be recorded")
        assert not _counted(gateway, "delivery"), "a worker works that was stopped"
        worker_s, server_s = sum(map(own_cpu_s, pids)), _server_cpu_s(postgres)
        began_ms = time.time_ns() / 1e6
    wait_until(lambda: _counted(gateway, "delivery") == count, 300, "all to be routed", interval_s=0.25)
    assert gateway.roles()["worker"] == pids, "a worker was replaced"
    [(ended_ms,)] = rows(gateway.config.ledger_source, "SELECT max(created_at_ms) FROM delivery")
    [(copies,)] = rows(gateway.config.ledger_source, "SELECT count(*) FROM payload WHERE chain <> ''")
    assert copies == count, f"{copies} copies of {count} instances"
    wall_ms = ended_ms - began_ms
    found = {
        "wall ms": wall_ms / count,
        "instances/s": count / wall_ms * 1000,
        "CPU ms": (sum(map(own_cpu_s, pids)) - worker_s) / count * 1000,
    }
    return found | ({"server CPU ms": (_server_cpu_s(postgres) - server_s) / count * 1000} if postgres else {})


@contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    """Processes stand still for the length of a block. The first is the supervisor, which would end silent ones."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: all(map(all_stopped, pids)), 10, "the workers to stop")
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _counted(gateway: GatewayProcess, table: str) -> int:
    with look(gateway.config.ledger_source) as ask:
        [(count,)] = ask(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name of ours
    return int(count)


def _server_cpu_s(postgres: PostgresServer | None) -> float:
    if postgres is None:
        return 0.0
    assert postgres.process is not None
    return cpu_s(postgres.process.pid)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


# ── database ──────────────────────────────────────────────────────────────────────────────────────────────────


def _beside(scale: Scale, load: str) -> list[Verdict]:
    count, pixel_bytes = LOADS[load]
    with ExitStack() as stack:
        folder = folder_of(stack)
        archive = stack.enter_context(StorescpSide(folder / "archive"))
        postgres = stack.enter_context(PostgresServer())
        name = postgres.create_database()
        url = {"url": postgres.url(name)}
        sqlite = stack.enter_context(GatewaySide(folder / "sqlite", [archive.port]))
        other = stack.enter_context(GatewaySide(folder / "postgresql", [archive.port], ledger=url))
        files = make_files(folder / "files", scale(count), pixel_bytes, seed=8)

        def by_sqlite() -> Figures:
            before = _file_bytes(sqlite.gateway.config.ledger_path)
            found = forwarded(sqlite, [archive], files)
            grown = _file_bytes(sqlite.gateway.config.ledger_path) - before
            return found | {"instances/s": 1000 / found["wall ms"], "bytes": grown / len(files.paths)}

        def by_postgres() -> Figures:
            server_s, [(before,)] = _server_cpu_s(postgres), postgres.rows(_TABLES, database=name)
            found = forwarded(other, [archive], files)
            server_ms = (_server_cpu_s(postgres) - server_s) / len(files.paths) * 1000
            [(after,)], [(connections,)] = (postgres.rows(query, database=name) for query in (_TABLES, _CONNECTIONS))
            return found | {
                "instances/s": 1000 / found["wall ms"],
                "bytes": (after - before) / len(files.paths),
                "server CPU ms": server_ms,
                "connections": connections,
            }

        found = in_turn({"postgresql": by_postgres, "sqlite": by_sqlite}, scale.rounds)
    return tell(f"database {load}", found, [])


def _file_bytes(path: Path) -> int:
    """What its pages take, the ones of the journal included."""
    with closing(sqlite3.connect(path)) as connection:
        [(pages,)], [(size,)] = (
            connection.execute(f"PRAGMA {name}").fetchall() for name in ("page_count", "page_size")
        )
    return int(pages * size)
