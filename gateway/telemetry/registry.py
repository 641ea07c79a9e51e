"""The metrics of one process, and the bounds of their labels.

Every name begins with `gateway_`. A label's value is a name from the configuration (source, destination, rule) or a
word of a fixed set; anything else counts as `other`, so that no peer can make a series. Gauges of the whole host
(queue depths, spool room) are not here: they come from the ledger and the spool, in `gateway.console.metrics`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

from gateway.model import Role

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter, that nobody asked for

REGISTRY = CollectorRegistry()
OTHER = "other"
NO_RULE = "(no rule)"  # the rule of an instance that none matched
UNKNOWN = "unknown"  # the source of an association from a sender that a listener accepts although nobody named it

_UNDECLARED_LIMIT = 256

ASSOCIATION_RESULTS = frozenset(
    {
        "released",
        "aborted",
        "aborted_by_us",
        "lost",
        "timeout",
        "failed",
        "rejected",
        "rejected_called_ae_title",
        "rejected_calling_ae_title",
        "rejected_congestion",
        "rejected_limit",
        "rejected_unsupported",
    }
)
ROLES = frozenset(map(str, Role))
RELOAD_RESULTS = frozenset({"loaded", "unchanged", "refused"})
REDIS_LINKS = frozenset({"start", "sender", "listener", "jobs"})
JOB_REFUSALS = frozenset({"id", "fields", "callbacks", "data", "function", "arguments"})
NOT_READY_REASONS = frozenset(
    {"starting", "intake_closed", "spool_low", "ledger_unreachable", "no_rules", "no_descriptors", "drained"}
)
STORE_STATUSES = frozenset({0xA700, 0xA900, 0xC000, 0x0105, 0x0106, 0x0110, 0x0117, 0x0122, 0x0124, 0x0211, 0x0212})
# What a destination may answer to a C-STORE (PS3.4 Table B.2-1, PS3.7 C); of the ranges one label each.
ANSWER_STATUSES = frozenset(
    {0x0105, 0x0106, 0x0107, 0x0110, 0x0111, 0x0116, 0x0117, 0x0122, 0x0124, 0x0210, 0x0211, 0x0212, 0x0213}
    | {0xA700, 0xA900, 0xB000, 0xB006, 0xB007, 0xC000}
)
ANSWER_RANGES = {0xA7: "0xA7xx", 0xA9: "0xA9xx", 0xB0: "0xB0xx"} | {0xC0 + low: "0xCxxx" for low in range(16)}
DELIVERY_STATES = frozenset({"delivered", "deferred", "held", "dead"})

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 43200, 86400)


class Bounded:
    """The values one label may take.

    After `declare`, the declared ones and `also`; before it, whatever comes first, up to a limit. All else is `other`.
    """

    def __init__(self, *also: str) -> None:
        self._also = frozenset(also)
        self._allowed: set[str] = set(also)
        self._declared = False

    def declare(self, names: Collection[str]) -> set[str]:
        """Allow exactly these names from now on. Returns the values that are no longer allowed."""
        before = set(self._allowed)
        self._allowed = set(names) | self._also
        self._declared = True
        return before - self._allowed

    def value(self, name: str) -> str:
        """`name`, or `other`."""
        if name in self._allowed:
            return name
        if not self._declared and len(self._allowed) < _UNDECLARED_LIMIT and name.isascii() and name.isprintable():
            self._allowed.add(name)
            return name
        return OTHER


SOURCES = Bounded(UNKNOWN)
DESTINATIONS = Bounded()
RULES = Bounded()
CODES = Bounded("success", "warning")
CERTIFICATES = Bounded()


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, namespace="gateway", registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, namespace="gateway", registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(name, text, labels, namespace="gateway", registry=REGISTRY, buckets=buckets)


associations = _counter("associations_total", "Associations by how they ended, rejections included.", "role", "result")
associations_active = _gauge("associations_active", "Associations established now.", "role")
instances_received = _counter("instances_received_total", "Instances answered with Success.", "source")
received_bytes = _counter("received_bytes_total", "Data set bytes of instances answered with Success.", "source")
store_seconds = _histogram("store_seconds", "From the first byte of a C-STORE-RQ to its response.", _SECONDS)
stores_refused = _counter("stores_refused_total", "C-STORE requests answered with a failure.", "source", "status")
spool_flush_seconds = _histogram("spool_flush_seconds", "How long the flush of an instance took.", _SECONDS)
sessions_voided = _counter("sessions_voided_total", "Processes of other hosts that this one took for dead.", "role")
ledger_commits = _counter("ledger_commits_total", "Transactions committed to the ledger by this process.")
ledger_commit_seconds = _histogram(
    "ledger_commit_seconds", "From asking for a turn to write to the ledger until the commit.", _SECONDS
)
loop_late_seconds = _histogram("loop_late_seconds", "How late the event loop came to what was due.", _SECONDS)
source_received_at = _gauge(
    "source_last_received_timestamp_seconds",
    "When the last instance of a source arrived; until one has, when this process began to listen.",
    "source",
)
source_silent_after = _gauge(
    "source_silent_after_seconds", "After how long without an instance a source is taken for silent.", "source"
)
certificate_expiry = _gauge("certificate_expiry_timestamp_seconds", "When a certificate expires.", "certificate")
audit_records = _counter("audit_records_total", "Records written into the audit trail's files.")
audit_trail_up = _gauge("audit_trail_up", "Whether the audit trail's files take records; what they do not take waits.")
audit_syslog_up = _gauge("audit_syslog_up", "Whether the syslog server took the newest audit messages.")
audit_syslog_behind = _gauge(
    "audit_syslog_behind_seconds", "Age of the oldest audit message that the syslog server has not got; 0 for none."
)
instances_adopted = _counter("instances_adopted_total", "Complete spool files that the ledger did not know.")
instances_purged = _counter("instances_purged_total", "Settled instances whose files were removed.")
instances_routed = _counter("instances_routed_total", "Instances that a rule matched.", "rule")
instances_unmatched = _counter("instances_unmatched_total", "Instances that no rule matched, and that were held.")
instances_held = _counter("instances_held_total", "Instances held at routing, by whose order.", "rule")
copies = _counter("copies_total", "Copies that transforms made, or could not make.", "result")
instances_discarded = _counter("instances_discarded_total", "Instances discarded by a rule.")
instances_quarantined = _counter("instances_quarantined_total", "Instances that must not be sent.")
duplicates = _counter("duplicates_total", "Instances whose SOP Instance UID had arrived before.", "kind")
deliveries = _counter("deliveries_total", "Tries to deliver, by what came of them.", "destination", "outcome", "state")
answers = _counter(
    "delivery_answers_total",
    "C-STOREs that a destination answered with another status than 0.",
    "destination",
    "status",
)
answered_at = _gauge(
    "delivery_answer_timestamp_seconds", "When a destination last answered with this status.", "destination", "status"
)
delivered_bytes = _counter("delivered_bytes_total", "Data set bytes delivered.", "destination")
delivery_seconds = _histogram("delivery_seconds", "From received to delivered.", _LONG_SECONDS, "destination")
destination_up = _gauge("destination_up", "1 while a destination is thought to be reachable.", "destination")
destination_window = _gauge("destination_window", "Deliveries that may be in flight at once.", "destination")
rules_reloads = _counter("rules_reload_total", "Looks at changed rule files, by what came of them.", "result")
rules_refused = _gauge("rules_refused", "1 while the rule files of this host are refused, and others are in force.")
jobs = _counter("jobs_total", "Jobs of RQ that this worker ran.")
jobs_refused = _counter("jobs_refused_total", "Jobs in Redis that were none of ours, and were not run.", "reason")
redis_up = _gauge("redis_up", "1 while this connection of a process to Redis is there.", "link")
redis_evicts = _gauge("redis_evicts", "1 while Redis throws away what is in it when it is full.")
console_access = _counter("console_access_total", "What happened at the console's door.", "event")
not_ready = _gauge("not_ready", "1 while this keeps the host from being ready.", "reason")
problems = _counter("problems_total", "Log lines of level warning or error.")
log_lines_lost = _counter("log_lines_lost_total", "Log lines that could not be written.")
ProcessCollector(registry=REGISTRY)


_M = TypeVar("_M", bound=MetricWrapperBase)
_series: dict[tuple[object, ...], Any] = {}


def series(metric: _M, *labels: str) -> _M:
    """A metric's series: `metric.labels`, remembered. Label values are bounded, and so is this."""
    key = (metric, *labels)
    found: _M | None = _series.get(key)
    if found is None:
        found = _series[key] = metric.labels(*labels)
    return found


def drop_series(gone: Collection[str], *metrics: MetricWrapperBase) -> None:
    """Forget the series of names that left the configuration. The name is the first label of each metric."""
    _series.clear()
    for metric in metrics:
        for family in metric.collect():
            for labels in {
                tuple(sample.labels.get(name, "") for name in metric._labelnames) for sample in family.samples
            }:
                if labels and labels[0] in gone:
                    metric.remove(*labels)


def one_of(word: str, words: frozenset[str]) -> str:
    """`word`, if it is one of a fixed set; else `other`."""
    return str(word) if word in words else OTHER


def answer_status(status: int) -> str:
    """A status that a destination answered with, as a label: a known one, its range, or `other`."""
    return f"0x{status:04X}" if status in ANSWER_STATUSES else ANSWER_RANGES.get(status >> 8, OTHER)
