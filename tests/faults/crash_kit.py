"""What the crash tests share: a gateway between journaling senders and archives, and how it is judged.

`Scene` holds one gateway, its archives and one journal over any number of starts. `Load` sends small instances over
several associations, in rounds, until it is stopped. `Scene.settle` waits until nothing moves, `Scene.judge` has the
checker decide.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.spool import FoundState, Spool, scan
from tests.harness.archive import OurArchive
from tests.harness.checker import Evidence, Report, check
from tests.harness.data import Instance, make_instances
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.ledgerrows import Source, rows
from tests.harness.ledgers import opened
from tests.harness.sender import Journal, JournalSender
from tests.harness.tools import wait_until

LONG = os.environ.get("GATEWAY_CHAOS") == "long"
ADOPTED_WITHIN_S = 30.0
READY_WITHIN_S = 120.0  # a bound for a crowded machine; a start takes about two seconds


def scaled(short: int, long: int) -> int:
    """A number for the short version of a campaign, or for the long one (GATEWAY_CHAOS=long)."""
    return long if LONG else short


@dataclass(frozen=True, slots=True)
class Door:
    """Where a gateway takes instances, and where it is written down what it said."""

    host: str
    port: int
    journal: Journal


class Scene:
    """A gateway, its archives and a journal. `archives`: their names; `sections` go to `GatewayConfig`."""

    def __init__(
        self,
        folder: Path,
        *,
        archives: Collection[str] = ("pacs", "dr"),
        rules: Mapping[str, str] | None = None,
        state_dir: Path | None = None,
        **sections: Any,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.archives = {name: OurArchive().start() for name in archives}
        ports = {name: archive.port for name, archive in self.archives.items()}
        if state_dir is not None:
            sections = {"state_dir": str(state_dir), "spool": {"dir": str(state_dir / "spool")}, **sections}
        self.config = GatewayConfig(folder, ports, rules=rules, **sections)
        self.purges = "keep" not in sections.get("spool", {})
        self.gateway = GatewayProcess(self.config)
        self.journal = Journal(folder / "journal.jsonl")

    @property
    def host(self) -> str:
        return self.config.host

    @property
    def port(self) -> int:
        return self.config.port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gateway.close()
        for archive in self.archives.values():
            archive.close()
        self.journal.close()

    def contents(self) -> dict[str, dict[str, list[str]]]:
        """What each archive holds."""
        return {name: archive.contents() for name, archive in self.archives.items()}

    def settle(self, timeout_s: float = 90.0) -> None:
        """Wait until nothing has a way to go any more, and every file is accounted for.

        Purges are included, except where the spool keeps what is settled.
        """

        def quiet() -> bool:
            work = open_work(self.config.ledger_source)
            return not any(count for state, count in work.items() if self.purges or state != "settled")

        wait_until(
            quiet,
            timeout_s,
            lambda: f"nothing to move: {open_work(self.config.ledger_source)}\n{self.gateway.log()[-3000:]}",
            interval_s=0.1,
        )
        self.wait_accounted_for()

    def wait_accounted_for(self, timeout_s: float = ADOPTED_WITHIN_S) -> None:
        """Wait until no file of a dead receiver is unknown to the ledger: each is adopted or removed."""
        wait_until(lambda: not self.orphans(), timeout_s, lambda: f"orphans gone: {self.orphans()}", interval_s=0.1)

    def orphans(self) -> list[str]:
        """Files of receivers that are dead which the ledger does not know. Of the live one's, its pool is no orphan."""
        found = list(scan(Spool(self.config.spool_dir, 0, 0)))
        known = known_instances(self.config.ledger_source)
        newest = max((one.generation for one in found), default="")
        return [
            f"{one.relative} ({one.state})"
            for one in found
            if one.instance_id not in known and (one.generation != newest or one.state is FoundState.COMPLETE)
        ]

    def judge(self, **evidence: Any) -> Report:
        """The checker's verdict on journal, spool, ledger, archives and sinks as they are now."""
        return check(
            Evidence(
                **{
                    "journals": [self.journal.path],
                    "spool_dir": self.config.spool_dir,
                    "ledger": self.gateway.ledger(),
                    "archives": self.contents(),
                    "routing": lambda uid: tuple(self.archives),
                    "sinks": self.gateway.sinks,
                    **evidence,
                }
            )
        )

    def ledger_problems(self) -> list[str]:
        """What the ledger's own integrity check finds."""
        with opened(self.config.ledger_source) as ledger:
            return ledger.check()


def open_work(source: Source) -> dict[str, int]:
    """State → how many instances and deliveries still have a way to go; {"unreadable": 1} for a ledger that is."""
    found = rows(
        source,
        "SELECT state, count(*) FROM instance WHERE state IN ('received', 'settled', 'purging') GROUP BY 1 UNION ALL "
        "SELECT state, count(*) FROM delivery WHERE state IN ('ready', 'leased', 'deferred') GROUP BY 1 UNION ALL "
        "SELECT 'readable', 0",
    )
    return {state: count for state, count in found if state != "readable"} if found else {"unreadable": 1}


def leased_deliveries(source: Source) -> int:
    """How many deliveries are leased in the ledger."""
    return int(rows(source, "SELECT count(*) FROM delivery WHERE state = 'leased'")[0][0])


def known_instances(source: Source) -> set[str]:
    """Every instance id that the ledger has."""
    return {instance_id for (instance_id,) in rows(source, "SELECT instance_id FROM instance")}


class Load:
    """Instances over several associations, round after round, until `stop`. Each is sent until it is acknowledged.

    A round's instances are sent at full speed; between rounds there is a pause, so that the archives can keep up.
    """

    def __init__(
        self,
        door: Scene | Door,
        *,
        associations: int = 4,
        round_size: int = 30,
        pause_s: float = 0.3,
        pixel_bytes: int = 2048,
        timeout_s: float = 30.0,
        per_association: int = 0,
        seed: int = 1,
    ) -> None:
        self._door = door
        self._instances: Iterator[Instance] = make_instances(
            10**9, patients=5, series_per_study=2, pixel_bytes=pixel_bytes, seed=seed
        )
        self._associations, self._round_size = associations, round_size
        self._pause_s, self._timeout_s, self._per_association = pause_s, timeout_s, per_association
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.acknowledged = 0
        self.unanswered = 0
        self.refused = 0
        self.problems: Counter[str] = Counter()  # associations that could not be had, or that ended
        self.error: BaseException | None = None

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self, timeout_s: float = 60.0) -> None:
        """Finish the round under way and stop."""
        self._stopping.set()
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"the load does not stop: {self.acknowledged} acknowledged"
        if self.error is not None:
            raise self.error

    def wait_acknowledged(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until so many were acknowledged in all."""
        wait_until(
            lambda: self.acknowledged >= count or self.error is not None,
            timeout_s,
            lambda: f"{count} acknowledged: {self.acknowledged}",
        )
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._round()
                self._stopping.wait(self._pause_s)
        except BaseException as error:
            self.error = error

    def _round(self) -> None:
        sender = JournalSender(
            self._door.port,
            self._door.journal,
            [next(self._instances) for _ in range(self._round_size)],
            host=self._door.host,
            associations=self._associations,
            timeout_s=self._timeout_s,
            per_association=self._per_association,
        ).start()
        ends: float | None = None
        counted = 0
        while not sender.done:
            if self._stopping.is_set() and ends is None:
                ends = time.monotonic() + self._timeout_s
            if ends is not None and time.monotonic() > ends:
                sender.stop()
                break
            self._stopping.wait(0.02) if ends is None else time.sleep(0.02)
            self.acknowledged += sender.acknowledged - counted
            counted = sender.acknowledged
        sender.join(self._timeout_s)
        self.acknowledged += sender.acknowledged - counted
        self.unanswered += sender.statuses[None]
        self.problems += sender.problems
        self.refused += sum(count for status, count in sender.statuses.items() if status)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
