"""One scrape for the whole host: the metrics sockets of all its processes, joined, and the gauges of the host itself.

Every process answers on a socket in `run/` with its own text, each sample labelled with the process
(`gateway.telemetry.exposition`). They are joined family by family; no value is parsed, so a scrape costs the same
whatever the numbers are. Queue depths and ages come from the ledger's counters, room from the spool's filesystem; they
describe the host, and carry no `process` label.

A socket that does not answer in time is left out and counted (`gateway_scrape_sources{state="silent"}`); one that
nobody holds any more is removed. A ledger that cannot be read leaves its gauges out and sets `gateway_ledger_up` to 0.

Called by `gateway.console.app` for /metrics and, for the reasons not to be ready, for /readyz.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

from gateway import telemetry
from gateway.model import DeliveryState, InstanceState, LedgerGauges, ProcessCount, Role
from gateway.runfolder import METRICS_SUFFIX, RunFolder

SOURCE_TIMEOUT_S = 2.0
LEDGER_TIMEOUT_S = 2.0
_SOURCE_LIMIT_BYTES = 16 << 20
_WAITING_STATES = (
    DeliveryState.READY,
    DeliveryState.LEASED,
    DeliveryState.DEFERRED,
    DeliveryState.HELD,
    DeliveryState.DEAD,
)
_FAMILY = b"# HELP "
_CHILD_DOWN = re.compile(rb'^gateway_child_up\{.*?child="([a-z0-9-]+)".*\} 0$', re.MULTILINE)
_NOT_READY = re.compile(rb'^gateway_not_ready\{.*?reason="([a-z_]+)".*\} 1\.0$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SpoolFigures:
    """What the spool's filesystem says."""

    free_bytes: int
    low: bool = False


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the processes of the host answered."""

    texts: tuple[bytes, ...]
    silent: int
    silent_names: tuple[str, ...] = ()  # `receiver-0`: of those, the ones that live


class HostMetrics:
    """Gathers the metrics of a host.

    `gauges` reads the ledger's counters and raises when it cannot; `spool` looks at the filesystem (blocking, called in
    a thread); `clock_ms` is the wall clock.
    """

    def __init__(
        self,
        run_folder: Path,
        gauges: Callable[[], Awaitable[LedgerGauges]],
        spool: Callable[[], SpoolFigures],
        clock_ms: Callable[[], int],
    ) -> None:
        self._run = RunFolder(run_folder)
        self._gauges = gauges
        self._spool = spool
        self._clock_ms = clock_ms

    async def exposition(self) -> bytes:
        """The whole host as Prometheus text (format 0.0.4)."""
        gathered, gauges, figures = await asyncio.gather(self.gather(), self._read_ledger(), self._look_at_spool())
        own = _own_text(gathered, gauges, figures, self._clock_ms())
        return join([*gathered.texts, own])

    async def reasons_not_ready(self) -> list[str]:
        """Why the host should get no work now; empty when it is ready."""
        gathered, gauges, figures = await asyncio.gather(self.gather(), self._read_ledger(), self._look_at_spool())
        reasons = {word.decode() for text in gathered.texts for word in _NOT_READY.findall(text)}
        reasons |= {f"down: {name.decode()}" for text in gathered.texts for name in _CHILD_DOWN.findall(text)}
        reasons |= {f"silent: {name}" for name in gathered.silent_names}
        if gauges is None:
            reasons.add("ledger_unreachable")
        elif not gauges.rules_revision:
            reasons.add("no_rules")
        if figures is None:
            reasons.add("spool_unreachable")
        elif figures.low:
            reasons.add("spool_low")
        return sorted(reasons)

    async def gather(self) -> Gathered:
        """Ask every metrics socket in `run/`, all at once."""
        names = self._run.names(METRICS_SUFFIX)
        answers = await asyncio.gather(*(self._ask(name) for name in names))
        texts = tuple(text for text in answers if text is not None)
        living = set(self._run.names(METRICS_SUFFIX))
        silent = {name for name, text in zip(names, answers, strict=True) if text is None} & living
        return Gathered(texts, len(names) - len(texts), tuple(name.partition(".")[0] for name in silent))

    async def _ask(self, name: str) -> bytes | None:
        try:
            async with asyncio.timeout(SOURCE_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._run.address(name), limit=1 << 20)
                try:
                    return await _read_all(reader)
                finally:
                    writer.close()
        except ConnectionRefusedError:
            self._run.remove(name)  # its process is dead, and names are never used again
            return None
        except OSError:  # TimeoutError is one
            return None

    async def _read_ledger(self) -> LedgerGauges | None:
        try:
            async with asyncio.timeout(LEDGER_TIMEOUT_S):
                return await self._gauges()
        except Exception as error:  # noqa: BLE001 - whatever the ledger says, the processes' own numbers are shown
            telemetry.problem("ledger_gauges_failed", error=error)
            return None

    async def _look_at_spool(self) -> SpoolFigures | None:
        try:
            async with asyncio.timeout(LEDGER_TIMEOUT_S):
                return await asyncio.to_thread(self._spool)
        except OSError as error:
            telemetry.problem("spool_figures_failed", error=error)
            return None

    def close(self) -> None:
        """Give the folder's descriptor back."""
        self._run.close()


def join(texts: Iterable[bytes]) -> bytes:
    """Expositions with every family in one piece: a family's head once, then the samples of all. Order is kept."""
    families: dict[bytes, list[bytes]] = {}
    for text in texts:
        for family in (b"\n" + text).split(b"\n" + _FAMILY)[1:]:
            name, _, _ = family.partition(b" ")
            family = family.rstrip(b"\n")
            if name in families:
                lines = family.split(b"\n", 2)  # HELP, TYPE, samples
                if len(lines) == 3:
                    families[name].append(lines[2])
            else:
                families[name] = [_FAMILY + family]
    return b"".join(b"\n".join(parts) + b"\n" for parts in families.values())


async def _read_all(reader: asyncio.StreamReader) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while part := await reader.read(1 << 18):
        parts.append(part)
        size += len(part)
        if size > _SOURCE_LIMIT_BYTES:
            return None
    text = b"".join(parts)
    return text if text.endswith(b"\n") else None  # cut short: its process died while it answered


class _Families:
    """A collector of families that were made for one scrape."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


def _own_text(gathered: Gathered, gauges: LedgerGauges | None, figures: SpoolFigures | None, now_ms: int) -> bytes:
    families: list[Metric] = []
    sources = GaugeMetricFamily("gateway_scrape_sources", "Processes asked for their metrics.", labels=["state"])
    sources.add_metric(["answered"], len(gathered.texts))
    sources.add_metric(["silent"], gathered.silent)
    families.append(sources)
    families.append(GaugeMetricFamily("gateway_ledger_up", "1 while the ledger can be read.", int(gauges is not None)))
    if figures is not None:
        families.append(GaugeMetricFamily("gateway_spool_free_bytes", "Room for the spool.", figures.free_bytes))
    if gauges is not None:
        families += _ledger_families(gauges, now_ms)
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


def _host_families(processes: Sequence[ProcessCount]) -> list[Metric]:
    """What the ledger knows of all hosts, whose names are no labels: they come and go."""
    sessions = GaugeMetricFamily("gateway_sessions", "Processes that live, on all hosts.", labels=["role"])
    draining = GaugeMetricFamily("gateway_hosts_draining", "Hosts on which a role drains.", labels=["role"])
    for role in Role:
        of_role = [each for each in processes if each.role is role]
        sessions.add_metric([role.value], sum(each.number for each in of_role))
        draining.add_metric([role.value], sum(each.draining for each in of_role))
    hosts = len({each.host for each in processes})
    return [sessions, draining, GaugeMetricFamily("gateway_hosts", "Hosts with a process that lives.", hosts)]


def _ledger_families(gauges: LedgerGauges, now_ms: int) -> list[Metric]:
    names = [destination.name for destination in gauges.destinations]
    depth = GaugeMetricFamily(
        "gateway_queue_depth", "Deliveries that are not settled, by state.", labels=["destination", "state"]
    )
    oldest = GaugeMetricFamily(
        "gateway_queue_oldest_age_seconds", "Age of the oldest delivery that waits.", labels=["destination"]
    )
    paused = GaugeMetricFamily(
        "gateway_destination_paused", "1 while a person has paused a destination.", labels=["destination"]
    )
    owned = GaugeMetricFamily(
        "gateway_destination_owned", "1 while a forwarder, on whichever host, serves it.", labels=["destination"]
    )
    for destination in gauges.destinations:
        paused.add_metric([destination.name], int(destination.paused))
        owned.add_metric([destination.name], int(destination.owner is not None))
    for name in names:
        since_ms = gauges.queue_oldest_ms.get(name)
        oldest.add_metric([name], 0.0 if since_ms is None else max(0, now_ms - since_ms) / 1000)
        for state in _WAITING_STATES:
            depth.add_metric([name, state.value], gauges.queue_depth.get((name, state), 0))
    instances = GaugeMetricFamily("gateway_instances", "Instances in the ledger, by state.", labels=["state"])
    for kind in InstanceState:
        instances.add_metric([kind.value], gauges.instances.get(kind, 0))
    unrouted = gauges.instances.get(InstanceState.HELD, 0)
    quarantined = gauges.instances.get(InstanceState.QUARANTINED, 0)
    return [
        depth,
        oldest,
        paused,
        owned,
        *_host_families(gauges.processes),
        instances,
        GaugeMetricFamily("gateway_spool_bytes", "Data set bytes that the spool holds.", gauges.spool_bytes),
        GaugeMetricFamily("gateway_unrouted_instances", "Instances held that no rule has routed.", unrouted),
        GaugeMetricFamily("gateway_quarantined_instances", "Instances that must not be sent.", quarantined),
        InfoMetricFamily("gateway_rules", "The rule set in force.", {"revision": gauges.rules_revision}),
    ]
