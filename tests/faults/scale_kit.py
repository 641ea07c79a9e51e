"""What the tests of many machines share: hosts of one gateway, their ledger, their broker, and how they are judged.

`Site` holds hosts that share one spool, one ledger and one Redis, between journaling senders and archives. A host is a
`gateway run` with a state folder, ports, a name and, on a `Lan`, an address of its own. `door` is what
`crash_kit.Load` sends to. `settle` waits until nothing moves, `judge` has the checker decide: over what Redis ever
wrote and PostgreSQL ever logged, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.spool import FoundState, Spool, scan
from tests.faults.crash_kit import READY_WITHIN_S, Door, known_instances, open_work
from tests.harness.archive import OurArchive
from tests.harness.checker import Evidence, Report, check
from tests.harness.evidence import LedgerView, Sinks
from tests.harness.gatewayprocess import ROLES, GatewayConfig, GatewayProcess, all_stopped
from tests.harness.lan import WORLD, Lan
from tests.harness.ledgerrows import Source, rows
from tests.harness.postgres import PostgresServer
from tests.harness.redis import RedisServer
from tests.harness.sender import Journal
from tests.harness.tools import wait_until

RECONCILED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Host:
    """What runs on a host: its roles, and how many processes of each (1, where it is not said)."""

    roles: tuple[str, ...] = ROLES
    processes: Mapping[str, int] = field(default_factory=dict)


class Site:
    """See the module's docstring. `hosts`: name → what runs there. `sections` go to each `GatewayConfig`.

    Without `postgres` the ledger is SQLite's, and there is one host.
    """

    def __init__(
        self,
        folder: Path,
        hosts: Mapping[str, Host],
        *,
        redis: RedisServer | None = None,
        postgres: PostgresServer | None = None,
        lan: Lan | None = None,
        archives: Collection[str] = ("pacs", "dr"),
        **sections: Any,
    ) -> None:
        assert postgres is not None or len(hosts) == 1, "many hosts need PostgreSQL"
        self.folder, self.lan = folder, lan
        self.redis, self.postgres = redis, postgres
        self.spool_dir = folder / "spool"
        self.database = postgres.create_database() if postgres else ""
        self.journal = Journal(folder / "journal.jsonl")
        self.sinks = Sinks()
        world = lan.address(WORLD) if lan else "127.0.0.1"
        self.archives = {name: OurArchive(host=world).start() for name in archives}
        self.hosts: dict[str, GatewayProcess] = {}
        for name, host in hosts.items():
            self.hosts[name] = self._host(name, host, {**self._shared(), **sections})

    def _shared(self) -> dict[str, Any]:
        sections: dict[str, Any] = {
            "spool": {"dir": str(self.spool_dir)},
            "sources": {"anyone": {"hosts": ["10.0.0.0/8"]}},
        }
        if self.redis is not None:
            sections["queue"] = {"url": self.redis.url()}
        if self.postgres is not None:
            sections["ledger"] = {"url": self.postgres.url(self.database)}
        return sections

    def _host(self, name: str, host: Host, sections: Mapping[str, Any]) -> GatewayProcess:
        places = {one: {"host": archive.host, "port": archive.port} for one, archive in self.archives.items()}
        config = GatewayConfig(
            self.folder / name,
            places,
            host=self.lan.address_of(name) if self.lan else "127.0.0.1",
            processes=dict(host.processes),
            **sections,
        )
        config.folder.mkdir(parents=True, exist_ok=True)
        options = [] if host.roles == ROLES else ["--roles", ",".join(host.roles)]
        wrapper = self.lan.command(name) if self.lan else []
        config.document["host"] = name
        gateway = GatewayProcess(config, wrapper=wrapper, options=options)
        self.sinks.add_tree(gateway.log_dir)
        gateway.sinks = self.sinks
        return gateway

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, *names: str) -> Self:
        """Start hosts (all of them), all at once, and wait until each is ready."""
        wanted = [self.hosts[name] for name in names or self.hosts]
        for gateway in wanted:
            gateway.start(ready=False)
        for gateway in wanted:
            gateway.wait_ready(READY_WITHIN_S)
        return self

    def stop(self) -> None:
        """Stop every host that runs, in order; each ends well."""
        for name, gateway in self.hosts.items():
            if gateway.process is not None and gateway.process.running:
                assert gateway.stop() == 0, f"host {name}:\n{gateway.log()[-3000:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for gateway in self.hosts.values():
            gateway.close()
        for archive in self.archives.values():
            archive.close()
        self.journal.close()

    # ── what it knows ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def one(self) -> GatewayProcess:
        """The only host."""
        [gateway] = self.hosts.values()
        return gateway

    @property
    def source(self) -> Source:
        """Where the ledger is."""
        return next(iter(self.hosts.values())).config.ledger_source

    def door(self, name: str = "") -> Door:
        """Where a host (the only one) takes instances."""
        config = (self.hosts[name] if name else self.one).config
        return Door(config.host, config.port, self.journal)

    def contents(self) -> dict[str, dict[str, list[str]]]:
        """What each archive holds."""
        return {name: archive.contents() for name, archive in self.archives.items()}

    def logs(self, last: int = 1500) -> str:
        """The end of each host's log."""
        return "\n".join(f"── {name}\n{gateway.log()[-last:]}" for name, gateway in self.hosts.items())

    def log_lines(self, **fields: Any) -> list[dict[str, Any]]:
        """Log lines of all hosts that have these fields."""
        return [line for gateway in self.hosts.values() for line in gateway.log_lines(**fields)]

    def leased(self) -> int:
        """How many deliveries are on their way, as the ledger has it."""
        found = rows(self.source, "SELECT count(*) FROM delivery WHERE state = 'leased'")
        return int(found[0][0]) if found else 0

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def settle(self, timeout_s: float = RECONCILED_WITHIN_S) -> None:
        """Wait until nothing has a way to go any more, and the ledger knows every whole file in the spool."""

        def quiet() -> bool:
            return not any(open_work(self.source).values()) and not self.unknown_files()

        wait_until(
            quiet,
            timeout_s,
            lambda: f"nothing to move: {open_work(self.source)} {self.unknown_files()[:5]}\n{self.logs()}",
            interval_s=0.1,
        )

    def unknown_files(self) -> list[str]:
        """Whole files in the spool that the ledger does not know: acknowledged, and to be adopted."""
        found = [one for one in scan(Spool(self.spool_dir, 0, 0)) if one.state is FoundState.COMPLETE]
        known = known_instances(self.source)
        return [one.relative for one in found if one.instance_id not in known]

    def judge(self, **evidence: Any) -> Report:
        """The checker's verdict on journal, spool, ledger, archives and sinks as they are now."""
        for name, gateway in self.hosts.items():
            self.sinks.add_state_dir(gateway.config.state_dir, self.spool_dir)
            with contextlib.suppress(AssertionError):  # it does not run, or cannot be reached
                self.sinks.add(f"{name}/metrics", gateway.metrics())
        if self.redis is not None:
            for name, text in written_by(self.redis):
                self.sinks.add(name, text)
        if self.postgres is not None:
            self.sinks.add("postgres.log", self.postgres.output())
        given = {
            "journals": [self.journal.path],
            "spool_dir": self.spool_dir,
            "ledger": LedgerView.read(self.source),
            "archives": self.contents(),
            "routing": lambda uid: tuple(self.archives),
            "sinks": self.sinks,
            **evidence,
        }
        return check(Evidence(**given))


_DEFLATED = re.compile(rb"\x78[\x01\x5e\x9c\xda]")


def written_by(redis: RedisServer) -> Iterator[tuple[str, bytes]]:
    """Everything that Redis wrote to its disk and its log, and everything deflated in there, inflated."""
    for path in sorted(redis.folder.rglob("*")):
        if path.is_file() and path.suffix not in {".key", ".pem", ".conf"}:
            raw = path.read_bytes()
            yield str(path.relative_to(redis.folder)), raw
            for match in _DEFLATED.finditer(raw):
                with contextlib.suppress(zlib.error):
                    yield f"{path.name}, inflated", zlib.decompressobj().decompress(raw[match.start() :], 1 << 20)


@contextlib.contextmanager
def frozen(pids: Sequence[int]) -> Iterator[None]:
    """Processes stand still for the length of a block; those that died meanwhile are no matter."""
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    for pid in pids:
        wait_until(lambda pid=pid: all_stopped(pid) or not Path(f"/proc/{pid}/exe").exists(), 10, f"{pid} to stop")
    try:
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
