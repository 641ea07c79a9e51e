"""The gauges of a whole host, as Prometheus text: what its ledger, its spool and its Redis say.

They describe the host, or the gateway that several hosts are, and carry no `process` label. Called by
`gateway.console.metrics` for each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

from gateway.model import STARTED_ROLES, DeliveryState, InstanceState, LedgerGauges, ProcessCount
from gateway.telemetry.registry import SOURCES

_WAITING_STATES = (
    DeliveryState.READY,
    DeliveryState.LEASED,
    DeliveryState.DEFERRED,
    DeliveryState.HELD,
    DeliveryState.DEAD,
)


@dataclass(frozen=True, slots=True)
class SpoolFigures:
    """What the spool's filesystem says. A file system that does not count inodes has 0 of them."""

    free_bytes: int
    low: bool = False
    total_bytes: int = 0
    min_free_bytes: int = 0
    free_inodes: int = 0
    total_inodes: int = 0


@dataclass(frozen=True, slots=True)
class JobFigures:
    """How many jobs of RQ there are in Redis by where they stand, and how many workers wait for them."""

    queued: int = 0
    started: int = 0
    failed: int = 0
    workers: int = 0


@dataclass(frozen=True, slots=True)
class HostFigures:
    """What one look at a host found; None where it does not answer, or there is none."""

    answered: int
    silent: int
    ready: bool
    ledger: LedgerGauges | None
    spool: SpoolFigures | None
    jobs: JobFigures | None = None


def text_of(figures: HostFigures, now_ms: int) -> bytes:
    """The text (format 0.0.4). A ledger that does not answer leaves its gauges out."""
    sources = GaugeMetricFamily("gateway_scrape_sources", "Processes asked for their metrics.", labels=["state"])
    sources.add_metric(["answered"], figures.answered)
    sources.add_metric(["silent"], figures.silent)
    families: list[Metric] = [
        sources,
        _one("gateway_ready", "1 while /readyz says 200: the host can be given work.", int(figures.ready)),
        _one("gateway_ledger_up", "1 while the ledger can be read.", int(figures.ledger is not None)),
    ]
    if figures.spool is not None:
        families += _spool_families(figures.spool)
    if figures.ledger is not None:
        families += _ledger_families(figures.ledger, now_ms)
    if figures.jobs is not None:
        families += _job_families(figures.jobs)
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


class _Families:
    """A collector of families that were made for one scrape."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _age_s(since_ms: int | None, now_ms: int) -> float:
    return 0.0 if since_ms is None else max(0, now_ms - since_ms) / 1000


def _spool_families(spool: SpoolFigures) -> list[Metric]:
    families = [
        _one("gateway_spool_free_bytes", "Room for the spool.", spool.free_bytes),
        _one("gateway_spool_total_bytes", "Size of the spool's file system.", spool.total_bytes),
        _one("gateway_spool_min_free_bytes", "Below this much room nothing new is taken.", spool.min_free_bytes),
    ]
    if spool.total_inodes:
        families += [
            _one("gateway_spool_free_inodes", "Files that can still be made for the spool.", spool.free_inodes),
            _one("gateway_spool_total_inodes", "Files that the spool's file system can have.", spool.total_inodes),
        ]
    return families


def _job_families(jobs: JobFigures) -> list[Metric]:
    found = GaugeMetricFamily("gateway_rq_jobs", "Jobs of RQ in Redis, by where they stand.", labels=["state"])
    found.add_metric(["queued"], jobs.queued)
    found.add_metric(["started"], jobs.started)
    found.add_metric(["failed"], jobs.failed)
    return [found, _one("gateway_rq_workers", "Workers of RQ that Redis knows of, on all hosts.", jobs.workers)]


def _host_families(processes: Sequence[ProcessCount]) -> list[Metric]:
    """What the ledger knows of all hosts, whose names are no labels: they come and go."""
    sessions = GaugeMetricFamily("gateway_sessions", "Processes that live, on all hosts.", labels=["role"])
    draining = GaugeMetricFamily("gateway_hosts_draining", "Hosts on which a role drains.", labels=["role"])
    for role in STARTED_ROLES:
        of_role = [each for each in processes if each.role is role]
        sessions.add_metric([role.value], sum(each.number for each in of_role))
        draining.add_metric([role.value], sum(each.draining for each in of_role))
    hosts = len({each.host for each in processes})
    return [sessions, draining, GaugeMetricFamily("gateway_hosts", "Hosts with a process that lives.", hosts)]


def _arrivals(gauges: LedgerGauges) -> Metric:
    arrivals = GaugeMetricFamily(
        "gateway_source_last_arrival_timestamp_seconds",
        "When the newest instance of a source arrived, on whichever host.",
        labels=["source"],
    )
    for source, at_ms in sorted(gauges.source_arrivals_ms.items()):
        if SOURCES.value(source) == source:  # the ledger remembers those of former configurations, too
            arrivals.add_metric([source], at_ms / 1000)
    return arrivals


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
        if not destination.configured:
            continue  # nobody is to serve it any more; what is held for it is still shown
        paused.add_metric([destination.name], int(destination.paused))
        owned.add_metric([destination.name], int(destination.owner is not None))
    for name in names:
        oldest.add_metric([name], _age_s(gauges.queue_oldest_ms.get(name), now_ms))
        for state in _WAITING_STATES:
            depth.add_metric([name, state.value], gauges.queue_depth.get((name, state), 0))
    instances = GaugeMetricFamily("gateway_instances", "Instances in the ledger, by state.", labels=["state"])
    for kind in InstanceState:
        instances.add_metric([kind.value], gauges.instances.get(kind, 0))
    routing_s = _age_s(gauges.routing_since_ms, now_ms)
    unrouted = gauges.instances.get(InstanceState.HELD, 0)
    quarantined = gauges.instances.get(InstanceState.QUARANTINED, 0)
    return [
        depth,
        oldest,
        paused,
        owned,
        *_host_families(gauges.processes),
        _arrivals(gauges),
        instances,
        _one("gateway_routing_oldest_age_seconds", "Age of the oldest instance that is not routed yet.", routing_s),
        GaugeMetricFamily("gateway_spool_bytes", "Data set bytes that the spool holds.", gauges.spool_bytes),
        GaugeMetricFamily("gateway_unrouted_instances", "Instances held that no rule has routed.", unrouted),
        GaugeMetricFamily("gateway_quarantined_instances", "Instances that must not be sent.", quarantined),
        InfoMetricFamily("gateway_rules", "The rule set in force.", {"revision": gauges.rules_revision}),
    ]
