"""What is told of receiving, of the spool's room, and of what keeps a host from being ready."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from gateway.telemetry import log, registry
from gateway.telemetry.lines import event, problem
from gateway.telemetry.registry import OTHER, SOURCES, one_of, series

_spool_low = False
_not_ready: dict[str, bool] = {}
_received_at: dict[str, float] = {}


def listening(*, silent_after_s: Mapping[str, float | None]) -> None:
    """This process listens, or its sources changed: source → after how long without an instance it is taken for silent,
    None for never. Who has sent nothing yet counts from now. No line.
    """
    for gone in _received_at.keys() - silent_after_s.keys():
        del _received_at[gone]
    for source, seconds in silent_after_s.items():
        name = SOURCES.value(source)
        _received_at.setdefault(name, time.time())
        # Read with each scrape: to set a gauge would take longer than all else that is told of an instance.
        series(registry.source_received_at, name).set_function(partial(_last_received_at, name))
        if seconds is None:
            registry.drop_series([name], registry.source_silent_after)
        else:
            series(registry.source_silent_after, name).set(seconds)


def _last_received_at(name: str) -> float:
    return _received_at.get(name, 0.0)


def instance_received(*, source: str, size_bytes: int, seconds: float, association_id: str, instance_id: str) -> None:
    """A C-STORE was answered with Success. `seconds` from its first byte to the response."""
    name = SOURCES.value(source)
    series(registry.instances_received, name).inc()
    series(registry.received_bytes, name).inc(size_bytes)
    registry.store_seconds.observe(seconds)
    _received_at[name] = time.time()
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
    reason = one_of(reason, registry.NOT_READY_REASONS)
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
    registry.duplicates.labels(one_of(kind, frozenset({"exact", "changed"}))).inc()
    event("duplicate", instance_id=instance_id, kind=kind)


def purged(*, count: int) -> None:
    """Settled instances were purged from the spool."""
    registry.instances_purged.inc(count)
    event("instances_purged", count=count)
