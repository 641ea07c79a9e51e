"""What the gateway tells about itself: one function per event, each a metric and a log line.

Rules:
  - no function takes patient data. An instance is named by the gateway's own instance_id, an association by its
    association_id; nothing else of a data set gets here;
  - strings from peers (AE titles, hosts, reasons) may be given as they are: they are escaped and cut here;
  - label values come from the configuration (`declare`) or from fixed sets; others count as `other`;
  - no function raises for what it is told, blocks on a lock of others, or fails because a line cannot be written.

`configure` comes first in every process, then `serve_metrics`. Called by `gateway.flow`, the console and the roles'
main functions; what stands below `flow` returns or raises, and leaves the telling to it.

Modules: `associations`, `receiving` (and the spool), `routing`, `delivering`, `hosts` (processes, ledger, Redis),
`trail`, `lines` for what has no function of its own. Their functions are this package's.

All sizes are bytes, all durations seconds. Words for `result`, `reason` and `kind` are in `gateway.telemetry.registry`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from gateway.telemetry import log, registry
from gateway.telemetry.associations import association_accepted, association_closed, association_rejected
from gateway.telemetry.delivering import delivery_outcome, destination_changed, destination_given_up, window
from gateway.telemetry.door import access, access_counted
from gateway.telemetry.exposition import MetricsSocket
from gateway.telemetry.hosts import (
    certificate,
    job_done,
    job_refused,
    ledger_committed,
    loop_late,
    redis_evicts,
    redis_link,
    taken_for_dead,
    watching,
)
from gateway.telemetry.lines import event, problem
from gateway.telemetry.log import escape, tell_due
from gateway.telemetry.receiving import (
    adopted,
    duplicate,
    instance_received,
    listening,
    not_ready,
    purged,
    spool_flushed,
    spool_room,
    store_refused,
)
from gateway.telemetry.registry import DESTINATIONS, RULES, SOURCES
from gateway.telemetry.routing import (
    copy_made,
    instance_discarded,
    instance_held,
    instance_routed,
    quarantined,
    rules_reloaded,
)
from gateway.telemetry.trail import (
    audit_syslog,
    audit_syslog_again,
    audit_syslog_behind,
    audit_syslog_unsaid,
    audit_written,
)

__all__ = [
    "access",
    "access_counted",
    "adopted",
    "association_accepted",
    "association_closed",
    "association_rejected",
    "audit_syslog",
    "audit_syslog_again",
    "audit_syslog_behind",
    "audit_syslog_unsaid",
    "audit_written",
    "certificate",
    "configure",
    "copy_made",
    "declare",
    "delivery_outcome",
    "destination_changed",
    "destination_given_up",
    "duplicate",
    "escape",
    "event",
    "instance_discarded",
    "instance_held",
    "instance_received",
    "instance_routed",
    "job_done",
    "job_refused",
    "ledger_committed",
    "listening",
    "loop_late",
    "not_ready",
    "problem",
    "purged",
    "quarantined",
    "redis_evicts",
    "redis_link",
    "rules_reloaded",
    "serve_metrics",
    "spool_flushed",
    "spool_room",
    "store_refused",
    "taken_for_dead",
    "tell_due",
    "watching",
    "window",
]

_process = "unconfigured"


# ── set-up ────────────────────────────────────────────────────────────────────────────────────────────────────────


def configure(process: str, *, format: str = "auto", level: str = "info", stream: BinaryIO | None = None) -> None:
    """Name this process (`receiver-0`) and set up its log.

    `format` is auto (console on a terminal, else json), json or console; `level` debug, info, warning or error;
    `stream` is where lines go, standard error by default.
    """
    global _process
    _process = process
    log.configure(process, format, level, stream, registry.log_lines_lost)
    log.capture_others()


def declare(
    *,
    sources: Collection[str] | None = None,
    destinations: Collection[str] | None = None,
    rules: Collection[str] | None = None,
) -> None:
    """Say which names the configuration has now; None leaves a kind as it is. Called again after a reload.

    From then on any other name counts as `other`, and series of names that are gone are dropped.
    """
    if sources is not None:
        gone = SOURCES.declare(sources)
        registry.drop_series(
            gone,
            registry.instances_received,
            registry.received_bytes,
            registry.stores_refused,
            registry.source_received_at,
            registry.source_silent_after,
        )
    if destinations is not None:
        gone = DESTINATIONS.declare(destinations)
        registry.drop_series(
            gone,
            registry.deliveries,
            registry.answers,
            registry.answered_at,
            registry.delivered_bytes,
            registry.delivery_seconds,
            registry.destination_up,
            registry.destination_window,
        )
    if rules is not None:
        registry.drop_series(RULES.declare(rules), registry.instances_routed)


def serve_metrics(folder: Path) -> MetricsSocket:
    """Answer on a unix socket in `folder` (run/) with this process's metrics, from a daemon thread."""
    return MetricsSocket(folder, registry.REGISTRY, _process)
