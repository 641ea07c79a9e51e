"""Workload `console`: what the console's pages read of a ledger with 10^6 instances in 10^5 studies, on both databases.

Every look of `gateway.ledger.look` is called many times over, searches with the filters that find least among all that
there is, and so is every page (`bench.pages`); the goals are the medians of the slowest. Then instances pass through
the same SQLite ledger (arrival, routing, two deliveries, batches of 10, checkpoints as the console makes them) while
somebody looks (`bench.looker`), and while nobody does, in turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import psycopg

from bench.goals import Figures, Goal, Verdict
from bench.ledger import DESTINATIONS as FLOW
from bench.ledger import Flow
from bench.measure import Scale, folder_of, tell
from bench.pages import GOAL_MS as PAGE_GOAL_MS
from bench.pages import pages
from bench.processes import cpu_s
from bench.report import in_turn, percentile, rounded, save, show, spread
from gateway.ledger.base import InstanceFilter
from gateway.ledger.look import AuditFilter, StudyFilter
from gateway.ledger.looking import Looks
from gateway.ledger.postgres import look as of_server
from gateway.ledger.postgres.copying import copy_ledger
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite import look as of_file
from gateway.model import DeliveryState
from tests.harness.postgres import PostgresServer
from tests.load.year import DAY_MS, Year, fill_year

GOAL_MS = 100.0
TIMES = 20
BATCH = 10
BOUNDS_S = (60, 300, 900, 3_600, 14_400, 86_400, 604_800)

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Places:
    """What there is to look at in the ledger: keys and names that the looks are called with."""

    study: int
    giant: int
    patient_id: str
    study_uid: str
    instance_ids: tuple[str, ...]
    instance_uid: str
    series_uid: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What a look took: each call, and the CPU of one on both sides of it."""

    wall_ms: tuple[float, ...]
    cpu_ms: float

    @property
    def median_ms(self) -> float:
        """Of the calls; this is what counts."""
        return statistics.median(self.wall_ms)


def console(scale: Scale) -> list[Verdict]:
    """Both databases, and what a look costs whoever receives."""
    studies = max(300, 100_000 // scale.divisor**2)
    with ExitStack() as stack:
        folder = folder_of(stack)
        path = folder / "state" / "ledger.db"
        path.parent.mkdir()
        began_s = time.monotonic()
        fill_year(path, Year(studies, studies * 10, waiting=studies, stopped=studies // 5))
        server = stack.enter_context(PostgresServer(fsync="off", shared_buffers="256MB", max_wal_size="2GB"))
        url = server.url(server.create_database())
        copy_ledger(path, url, "console", name="bench")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")  # as the server does by itself, some time later
        print(f"{studies * 10:,} instances in {studies:,} studies, twice, in {time.monotonic() - began_s:.0f} s")
        times = TIMES if scale.divisor == 1 else 2
        verdicts = _told(
            {
                "SQLite": asyncio.run(_measured(of_file.open_look(path), studies, times, time.process_time)),
                "PostgreSQL": asyncio.run(
                    _measured(of_server.open_look(url, "bench"), studies, times, partial(_both_cpu_s, server))
                ),
            }
        )
        verdicts += _pages_told(asyncio.run(pages(folder, studies, times)))
        with contextlib.closing(SqliteLedger.open(path)) as ledger:
            ledger.sync_destinations(dict.fromkeys(FLOW, False), 0)
            flow, count = Flow(ledger), scale(20_000)
            passing = {
                "looked at": lambda: _passed(flow, count, path),
                "alone": lambda: _passed(flow, count, None),
            }
            goal = Goal("looked at", "instance ms", 1.03, "alone")
            return verdicts + tell("console", in_turn(passing, scale.rounds), [goal])


def _both_cpu_s(server: PostgresServer) -> float:
    assert server.process is not None
    return time.process_time() + cpu_s(server.process.pid)


def _passed(flow: Flow, count: int, looked_at: Path | None) -> Figures:
    """Pass so many instances through, while somebody looks or nobody does."""
    argv = [sys.executable, "-m", "bench.looker", str(looked_at)]
    looker = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) if looked_at else None
    try:
        if looker is not None and looker.stdout is not None:
            looker.stdout.readline()  # it looks from now on
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        for turn in range(count // BATCH):
            flow.arrive(BATCH, FLOW)
            flow.deliver(BATCH)
            if turn % 100 == 0:
                flow.ledger.checkpoint()
        taken_s, taken_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        return {"instance ms": taken_s / count * 1000, "CPU ms": taken_cpu_s / count * 1000}
    finally:
        if looker is not None:
            looker.communicate()


def _told(found: Mapping[str, Mapping[str, Taken]]) -> list[Verdict]:
    columns = [column for name in found for column in (f"{name}, ms: median (p95)", "CPU ms")]
    rows = [
        (look, *chain.from_iterable(_cells(side[look]) for side in found.values()))
        for look in next(iter(found.values()))
    ]
    show("looks", ("look", *columns), rows)
    save("console-looks", {name: {look: asdict(each) for look, each in side.items()} for name, side in found.items()})
    slowest = {name: max(each.median_ms for each in side.values()) for name, side in found.items()}
    return [Verdict("console", Goal(name, "slowest look ms", GOAL_MS), (most,)) for name, most in slowest.items()]


def _pages_told(found: Mapping[str, Sequence[float]]) -> list[Verdict]:
    rows = [(page, spread(each), rounded(percentile(each, 95))) for page, each in found.items()]
    show("pages, ms", ("page", "median (least - greatest)", "p95"), rows)
    save("console-pages", found)
    slowest = max(found.values(), key=statistics.median)
    return [Verdict("console", Goal("SQLite", "slowest page ms", PAGE_GOAL_MS), tuple(slowest))]


def _cells(taken: Taken) -> tuple[str, str]:
    return f"{rounded(taken.median_ms)} ({rounded(percentile(taken.wall_ms, 95))})", rounded(taken.cpu_ms)


async def _measured(look: Looks, studies: int, times: int, cpu_s: Callable[[], float]) -> dict[str, Taken]:
    """Each look by name; the first call of each does not count."""
    calls = _calls(look, await _places(look, studies))
    found: dict[str, Taken] = {}
    for name, call in calls.items():
        await call()
        began_cpu_s = cpu_s()
        wall_ms = [await _timed_ms(call) for _ in range(times)]
        found[name] = Taken(tuple(wall_ms), (cpu_s() - began_cpu_s) / times * 1000)
    await look.close()
    return found


async def _timed_ms(call: Call) -> float:
    began_s = time.perf_counter()
    await call()
    return (time.perf_counter() - began_s) * 1000


async def _places(look: Looks, studies: int) -> Places:
    rows = (await look.studies(StudyFilter(), 50)).rows
    giant = studies // 2
    instances = (await look.study_instances(giant, 200)).rows
    return Places(
        study=rows[-1].study_key,
        giant=giant,
        patient_id=rows[-1].patient_id,
        study_uid=rows[-1].study_instance_uid,
        instance_ids=tuple(each.instance_id for each in instances),
        instance_uid=instances[0].sop_instance_uid,
        series_uid=instances[0].series_instance_uid,
    )


def _calls(look: Looks, at: Places) -> dict[str, Call]:
    now_ms = time.time_ns() // 1_000_000

    def search(**which: object) -> Call:
        return lambda: look.studies(StudyFilter(**which), 50)  # type: ignore[arg-type]

    return {
        "newest studies": search(),
        "by a name": search(patient_name="müller"),
        "by a name that nobody has": search(patient_name="xyzzy"),
        "by wildcards that match nothing": search(patient_name="*q*^*z?x"),
        "by a patient ID": search(patient_id=at.patient_id),
        "by the end of a patient ID": search(patient_id="*99"),
        "by a study's UID": search(uid=at.study_uid),
        "by a series' UID": search(uid=at.series_uid),
        "by an instance's UID": search(uid=at.instance_uid),
        "by old dates": search(date_from="19000101", date_to="19991231"),
        "by a modality that nobody has": search(modality="XX"),
        "by a rare source": search(source="mg1"),
        "by a source that nobody is": search(source="nobody"),
        "held": search(states=("held",)),
        "dead": search(states=("dead",)),
        "waiting": search(states=("deferred", "ready")),
        "held or waiting": search(states=("held", "dead", "quarantined", "ready", "leased", "deferred")),
        "cancelled": search(states=("cancelled",)),
        "a study": lambda: look.study(at.study),
        "its timeline": lambda: look.timeline(at.study),
        "its instances": lambda: look.study_instances(at.study, 200),
        "the largest study": lambda: look.study(at.giant),
        "the largest's timeline": lambda: look.timeline(at.giant),
        "the largest's instances": lambda: look.study_instances(at.giant, 200),
        "deliveries of 200 instances": lambda: look.matrix(at.instance_ids),
        "an instance": lambda: look.instance(at.instance_ids[0]),
        "an instance's timeline": lambda: look.timeline(at.instance_ids[0]),
        "attention": look.attention,
        "what is held": lambda: look.affected(_HELD),
        "what a study has": lambda: look.affected(InstanceFilter(study_instance_uid=at.study_uid)),
        "queue": lambda: look.queue(BOUNDS_S, now_ms),
        "matches of a day": lambda: look.rule_matches(now_ms - DAY_MS),
        "rules": look.rule_files,
        "revisions": lambda: look.revisions(50),
        "orders": lambda: look.audit(AuditFilter(), 50),
        "orders about nothing": lambda: look.audit(AuditFilter(about="nothing"), 50),
        "hosts": look.hosts,
        "totals": look.totals,
        "gauges": look.gauges,
    }


_HELD = InstanceFilter(destination="pacs", delivery_states=(DeliveryState.HELD,))
