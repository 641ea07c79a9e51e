"""What the gateway tells about itself: one function per event, each a metric and a log line.

Rules:
  - no function takes patient data. An instance is named by the gateway's own instance_id, an association by its
    association_id; nothing else of a data set gets here;
  - strings from peers (AE titles, hosts, reasons) may be given as they are: they are escaped and cut here;
  - label values come from the configuration (`declare`) or from fixed sets; others count as `other`;
  - no function raises for what it is told, blocks on a lock of others, or fails because a line cannot be written.

`configure` comes first in every process, then `serve_metrics`. Called by `gateway.flow`, the console and the roles'
main functions; what stands below `flow` returns or raises, and leaves the telling to it.

All sizes are bytes, all durations seconds. Words for `result`, `reason` and `kind` are in `gateway.telemetry.registry`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

from gateway.model import Derivation
from gateway.telemetry import log, registry
from gateway.telemetry.exposition import MetricsSocket
from gateway.telemetry.log import escape
from gateway.telemetry.registry import DESTINATIONS, OTHER, RULES, SOURCES, series

__all__ = [
    "adopted",
    "association_accepted",
    "association_closed",
    "association_rejected",
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
    "not_ready",
    "problem",
    "purged",
    "quarantined",
    "redis_link",
    "rules_reloaded",
    "serve_metrics",
    "spool_flushed",
    "spool_room",
    "store_refused",
    "taken_for_dead",
    "window",
]

_process = "unconfigured"
_active: dict[str, set[str]] = {}
_spool_low = False
_not_ready: dict[str, bool] = {}


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
        registry.drop_series(gone, registry.instances_received, registry.received_bytes, registry.stores_refused)
    if destinations is not None:
        gone = DESTINATIONS.declare(destinations)
        registry.drop_series(
            gone,
            registry.deliveries,
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


# ── anything else ─────────────────────────────────────────────────────────────────────────────────────────────────


def event(name: str, /, **fields: object) -> None:
    """A line of level info for what has no function of its own."""
    log.emit("info", name, fields)


def problem(name: str, /, error: BaseException | None = None, **fields: object) -> None:
    """A line of level warning. Of `error` only what cannot hold patient data is written (see `log.describe`)."""
    registry.problems.inc()
    log.emit("warning", name, fields if error is None else fields | log.describe(error))


# ── associations ──────────────────────────────────────────────────────────────────────────────────────────────────


def association_accepted(
    *, role: str, association_id: str, peer_host: str, calling: str, called: str, source: str = "", contexts: int = 0
) -> None:
    """An association is established. `source` is the name of the `sources` entry."""
    active = _active.setdefault(_role(role), set())
    active.add(association_id)
    registry.associations_active.labels(_role(role)).set(len(active))
    fields = _peer(role, association_id, peer_host, calling, called)
    log.emit("info", "association_accepted", fields | {"source": source, "contexts": contexts})


def association_rejected(
    *,
    role: str,
    association_id: str,
    peer_host: str,
    calling: str,
    called: str,
    text: str,
    result: int = 1,
    source: int = 1,
    reason: int = 1,
    label: str = "rejected",
) -> None:
    """An association was rejected, by us (acceptor) or by the peer (requestor).

    `result`, `source`, `reason` are those of PS3.8 Table 9-21, `text` says it in words; `label` is the metric's
    result, one of `registry.ASSOCIATION_RESULTS`.
    """
    registry.associations.labels(_role(role), _one_of(label, registry.ASSOCIATION_RESULTS)).inc()
    fields = _peer(role, association_id, peer_host, calling, called)
    problem("association_rejected", None, **fields, result=result, source=source, reason=reason, text=escape(text, 200))


def association_closed(
    *, role: str, association_id: str, result: str, seconds: float, instances: int = 0, text: str = ""
) -> None:
    """An association is over (or was never established). `result` is one of `registry.ASSOCIATION_RESULTS`."""
    registry.associations.labels(_role(role), _one_of(result, registry.ASSOCIATION_RESULTS)).inc()
    active = _active.setdefault(_role(role), set())
    active.discard(association_id)
    registry.associations_active.labels(_role(role)).set(len(active))
    fields: dict[str, object] = {"role": role, "association_id": association_id, "result": result}
    fields |= {"seconds": round(seconds, 3), "instances": instances}
    log.emit("info", "association_closed", fields | ({"text": escape(text, 200)} if text else {}))


# ── hosts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def taken_for_dead(*, host: str, role: str, pid: int, silent_s: float, instances: int, deliveries: int) -> None:
    """A process of another host was heard of no more: its session is voided, and others have what it held."""
    registry.sessions_voided.labels(_one_of(role, registry.ROLES)).inc()
    fields: dict[str, object] = {"host": escape(host), "role": str(role), "dead_pid": pid}
    fields |= {"silent_s": round(silent_s, 1), "instances": instances, "deliveries": deliveries}
    problem("taken_for_dead", None, **fields)


# ── receiving ─────────────────────────────────────────────────────────────────────────────────────────────────────


def instance_received(*, source: str, size_bytes: int, seconds: float, association_id: str, instance_id: str) -> None:
    """A C-STORE was answered with Success. `seconds` from its first byte to the response."""
    name = SOURCES.value(source)
    series(registry.instances_received, name).inc()
    series(registry.received_bytes, name).inc(size_bytes)
    registry.store_seconds.observe(seconds)
    log.emit(
        "info",
        "instance_received",
        {
            "association_id": association_id,
            "instance_id": instance_id,
            "source": source,
            "bytes": size_bytes,
            "ms": round(seconds * 1000, 1),
        },
    )


def store_refused(*, source: str, status: int, reason: str, association_id: str) -> None:
    """A C-STORE was answered with a failure status."""
    label = f"0x{status:04X}" if status in registry.STORE_STATUSES else OTHER
    registry.stores_refused.labels(SOURCES.value(source), label).inc()
    problem("store_refused", association_id=association_id, source=source, status=f"0x{status:04X}", reason=reason)


def spool_flushed(*, seconds: float) -> None:
    """An instance was flushed, or could not be. No line: there are too many."""
    registry.spool_flush_seconds.observe(seconds)


def ledger_committed(commits: int = 1) -> None:
    """This process committed to the ledger. No line."""
    registry.ledger_commits.inc(commits)


def spool_room(*, free_bytes: int, total_bytes: int, low: bool) -> None:
    """The spool's room was looked at. A line only when it crosses the watermark."""
    global _spool_low
    if low == _spool_low:
        return
    _spool_low = low
    if low:
        problem("spool_low", free_bytes=free_bytes, total_bytes=total_bytes)
    else:
        event("spool_has_room", free_bytes=free_bytes, total_bytes=total_bytes)
    not_ready("spool_low", low)


def not_ready(reason: str, active: bool, detail: str = "") -> None:
    """Something keeps the host from being ready, or no longer does; /readyz shows it. A line when it changes.

    `reason` is one of `registry.NOT_READY_REASONS`.
    """
    reason = _one_of(reason, registry.NOT_READY_REASONS)
    before = _not_ready.get(reason)
    if before == active:
        return
    _not_ready[reason] = active
    registry.not_ready.labels(reason).set(int(active))
    if active:
        problem("not_ready", reason=reason, detail=detail)
    elif before is not None:
        event("ready_again", reason=reason)


def adopted(*, count: int) -> None:
    """Complete spool files that the ledger did not know were recorded."""
    registry.instances_adopted.inc(count)
    event("instances_adopted", count=count)


def duplicate(*, kind: str, instance_id: str) -> None:
    """An instance's SOP Instance UID had arrived before. `kind` is exact or changed (`model.DuplicateKind`)."""
    registry.duplicates.labels(_one_of(kind, frozenset({"exact", "changed"}))).inc()
    event("duplicate", instance_id=instance_id, kind=kind)


# ── routing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def instance_routed(
    *, instance_id: str, rules: Sequence[str], destinations: Sequence[str], revision: str = "", association_id: str = ""
) -> None:
    """Rules matched, and the instance goes to `destinations`."""
    _count_rules(rules)
    fields: dict[str, object] = {"instance_id": instance_id, "association_id": association_id, "revision": revision}
    log.emit("info", "instance_routed", fields | {"rules": tuple(rules), "destinations": tuple(destinations)})


def copy_made(*, instance_id: str, made: Derivation) -> None:
    """A chain of transforms made a copy, or could not: then its deliveries are held, or it is tried again."""
    result = "made" if made.payload is not None else "waits" if made.again else "failed"
    registry.copies.labels(result).inc()
    if made.payload is None:
        problem("copy_not_made", instance_id=instance_id, chain=made.chain, reason=made.reason)


def instance_held(*, instance_id: str, reason: str, rules: Sequence[str] = (), association_id: str = "") -> None:
    """An instance was held at routing; empty `rules` means that none matched."""
    _count_rules(rules)
    registry.instances_held.inc()
    if not rules:
        registry.instances_unmatched.inc()
    fields = {"instance_id": instance_id, "association_id": association_id, "reason": reason}
    problem("instance_held", None, **fields, rules=tuple(rules))


def instance_discarded(*, instance_id: str, reason: str, rules: Sequence[str], association_id: str = "") -> None:
    """A rule discarded an instance: a person's recorded order."""
    _count_rules(rules)
    registry.instances_discarded.inc()
    fields: dict[str, object] = {"instance_id": instance_id, "association_id": association_id, "reason": reason}
    log.emit("info", "instance_discarded", fields | {"rules": tuple(rules)})


def quarantined(*, instance_id: str, reason: str, association_id: str = "") -> None:
    """An instance must not be sent: its header or its file cannot be trusted."""
    registry.instances_quarantined.inc()
    problem("quarantined", instance_id=instance_id, association_id=association_id, reason=reason)


def rules_reloaded(*, result: str, revision: str = "", problems: Sequence[object] = ()) -> None:
    """The rule files were read. `result` is loaded, unchanged or refused; `problems` have file, line and column."""
    registry.rules_reloads.labels(_one_of(result, registry.RELOAD_RESULTS)).inc()
    if result == "refused":
        problem("rules_refused", revision_in_force=revision, problems=tuple(str(item) for item in problems))
    elif result == "loaded":
        event("rules_loaded", revision=revision)


# ── Redis ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def redis_link(*, link: str, up: bool, reason: str = "") -> None:
    """A connection to Redis was lost, which costs wake-ups and nothing else, or is there again.

    `link` is one of `registry.REDIS_LINKS`.
    """
    link = _one_of(link, registry.REDIS_LINKS)
    registry.redis_up.labels(link).set(int(up))
    if up:
        event("redis_found", link=link)
    else:
        problem("redis_lost", link=link, reason=reason)


def job_done() -> None:
    """This worker ran a job. No line."""
    registry.jobs.inc()


def job_refused(*, reason: str, count: int) -> None:
    """A job in Redis was none of ours, and was not run. `reason` is one of `registry.JOB_REFUSALS`.

    `count`: how many are to be told of now; 0 where the next line tells of this one too.
    """
    reason = _one_of(reason, registry.JOB_REFUSALS)
    registry.jobs_refused.labels(reason).inc()
    if count:
        problem("job_refused", reason=reason, count=count)


# ── delivering ────────────────────────────────────────────────────────────────────────────────────────────────────


def delivery_outcome(
    *,
    destination: str,
    code: str,
    state: str,
    instance_id: str,
    size_bytes: int,
    attempt: int,
    seconds: float | None = None,
    status: int | None = None,
    reason: str = "",
    association_id: str = "",
) -> None:
    """A try to deliver came to an end. `code` and `state` as in `model.Outcome`.

    `seconds` is the time from received to now, given when `state` is delivered.
    """
    name = DESTINATIONS.value(destination)
    series(registry.deliveries, name, registry.CODES.value(code)).inc()
    fields: dict[str, object] = {"instance_id": instance_id, "association_id": association_id}
    fields |= {"destination": destination, "state": str(state), "code": code, "attempt": attempt}
    if status is not None:
        fields["status"] = f"0x{status:04X}"
    if reason:
        fields["reason"] = reason
    if state == "delivered":
        series(registry.delivered_bytes, name).inc(size_bytes)
        if seconds is not None:
            series(registry.delivery_seconds, name).observe(seconds)
            fields["ms"] = round(seconds * 1000)
        log.emit("info", "delivered", fields)
    elif state == "deferred":
        log.emit("info", "delivery_deferred", fields)
    else:
        problem(f"delivery_{state}", None, **fields)


def destination_changed(*, name: str, breaker: str, reason: str = "") -> None:
    """A destination's breaker changed: up, down or half_open (`model.Breaker`)."""
    registry.destination_up.labels(DESTINATIONS.value(name)).set(int(breaker == "up"))
    fields = {"destination": name, "breaker": str(breaker), "reason": reason}
    if breaker == "down":
        problem("destination_down", None, **fields)
    else:
        event("destination_changed", **fields)


def destination_given_up(*, name: str) -> None:
    """This process serves a destination no more; its metrics of how that is doing are another's now."""
    registry.drop_series([DESTINATIONS.value(name)], registry.destination_up, registry.destination_window)
    event("destination_given_up", destination=name)


def window(*, destination: str, value: float) -> None:
    """A destination's concurrency window is `value` now. No line."""
    series(registry.destination_window, DESTINATIONS.value(destination)).set(value)


# ── the spool's end ───────────────────────────────────────────────────────────────────────────────────────────────


def purged(*, count: int) -> None:
    """Settled instances were purged from the spool."""
    registry.instances_purged.inc(count)
    event("instances_purged", count=count)


def _role(role: str) -> str:
    return role if role in ("acceptor", "requestor") else OTHER


def _one_of(word: str, words: frozenset[str]) -> str:
    return str(word) if word in words else OTHER


def _count_rules(rules: Sequence[str]) -> None:
    for rule in rules:
        series(registry.instances_routed, RULES.value(rule)).inc()


def _peer(role: str, association_id: str, peer_host: str, calling: str, called: str) -> dict[str, object]:
    return {
        "role": role,
        "association_id": association_id,
        "peer_host": escape(peer_host),
        "calling": escape(calling),
        "called": escape(called),
    }
