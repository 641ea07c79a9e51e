"""The queue, rules, orders, hosts and counters."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.ledger import queries
from gateway.ledger.base import AuditRow, DrainRow, ProcessRow, RuleSet
from gateway.ledger.logic import destinations, hosts, rules
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.look.paging import EVER, anywhere, cursor, numbers, require_limit
from gateway.ledger.logic.transaction import HOUR_MS, Transaction
from gateway.ledger.look import (
    COUNT_MAX,
    NO_RULE,
    OPEN,
    AgeCell,
    AuditFilter,
    AuditPage,
    DestinationQueue,
    HostRow,
    RevisionRow,
    Totals,
)
from gateway.model import DeliveryState, InstanceState

SQL = queries.load("look")
GAUGES = queries.load("gauges")
TOTALS = (GAUGES["instances"], SQL["delivery_counts"], GAUGES["spool_bytes"])

_STOPPED = (DeliveryState.HELD, DeliveryState.DEAD)


def totals(tx: Transaction) -> Totals:
    """See `LedgerLook.totals`."""
    instances = {InstanceState(state): n for state, n in tx.execute(GAUGES["instances"]).fetchall()}
    _, states = _counts(tx)
    return Totals(
        received=sum(instances.values()),
        instances=instances,
        delivered={name: each.get(DeliveryState.DELIVERED, 0) for name, each in states.items()},
        waiting={name: _sum(each, OPEN) for name, each in states.items()},
        stopped={name: _sum(each, _STOPPED) for name, each in states.items()},
        spool_bytes=int(tx.value(GAUGES["spool_bytes"]) or 0),
    )


def _counts(tx: Transaction) -> tuple[dict[str, int], dict[str, dict[DeliveryState, int]]]:
    """The keys of the destinations, and their deliveries by state."""
    keys: dict[str, int] = {}
    states: dict[str, dict[DeliveryState, int]] = {}
    for name, key, state, count in tx.execute(SQL["delivery_counts"]).fetchall():
        keys[name] = key
        of_it = states.setdefault(name, {})
        if state is not None:
            of_it[DeliveryState(state)] = count
    return keys, states


def _sum(states: Mapping[DeliveryState, int], wanted: Sequence[DeliveryState]) -> int:
    return sum(states.get(state, 0) for state in wanted)


def queue(tx: Transaction, bounds_s: Sequence[int], now_ms: int) -> list[DestinationQueue]:
    """See `LedgerLook.queue`."""
    keys, states = _counts(tx)
    oldest = dict(tx.execute(GAUGES["queue_oldest"]).fetchall())
    return [
        DestinationQueue(
            destination=destination,
            states=states[destination.name],
            oldest_ms=oldest.get(destination.name),
            cells=_cells(tx, keys[destination.name], _sum(states[destination.name], OPEN), bounds_s, now_ms),
        )
        for destination in destinations.states(tx)
    ]


def _cells(
    tx: Transaction, destination_key: int, waiting: int, bounds_s: Sequence[int], now_ms: int
) -> tuple[AgeCell, ...]:
    """What waits, by age: each counted up to a bound. Where only one has more, the counter knows how many."""
    counts: list[tuple[int, int]] = []
    until_ms = EVER  # whatever the clock did, what seems to be of the future is young
    left = waiting
    for bound_s in (*sorted(bounds_s), 0):
        after_ms = now_ms - bound_s * 1000 - 1 if bound_s else -EVER
        arguments = {"destination_key": destination_key, "after_ms": after_ms, "until_ms": until_ms}
        count = tx.value(SQL["waiting_at_most"], {**arguments, "most": COUNT_MAX + 1}) if left > 0 else 0
        counts.append((bound_s, count))
        left -= count
        until_ms = after_ms
    full = [bound_s for bound_s, count in counts if count > COUNT_MAX]
    rest = waiting - sum(count for bound_s, count in counts if bound_s not in full)
    if len(full) == 1:
        return tuple(AgeCell(bound_s, rest if bound_s in full else count, more=False) for bound_s, count in counts)
    return tuple(AgeCell(bound_s, min(count, COUNT_MAX), count > COUNT_MAX) for bound_s, count in counts)


def rule_matches(tx: Transaction, since_ms: int) -> dict[str, int]:
    """See `LedgerLook.rule_matches`."""
    found: Counter[str] = Counter()
    rows = tx.execute(SQL["decided_since"], {"since_ms": since_ms - since_ms % HOUR_MS}).fetchall()
    for matched, count in rows:
        for name in json.loads(matched) or (NO_RULE,):
            found[name] += int(count)
    return dict(found)


def revisions(tx: Transaction, limit: int) -> list[RevisionRow]:
    """See `LedgerLook.revisions`."""
    rows = tx.execute(SQL["revisions"], (require_limit(limit),)).fetchall()
    return [
        RevisionRow(revision, stored_at_ms, bool(current), tuple(sorted(json.loads(files))))
        for revision, files, stored_at_ms, current in rows
    ]


def rule_files(tx: Transaction, revision: str) -> RuleSet | None:
    """See `LedgerLook.rule_files`."""
    revision = text(revision) or rules.current(tx)
    files = tx.value(rules.SQL["files"], (revision,))
    return None if files is None else RuleSet(revision, json.loads(files))


def audit(tx: Transaction, which: AuditFilter, limit: int, after: str) -> AuditPage:
    """See `LedgerLook.audit`."""
    require_limit(limit)
    (before_key,) = numbers(after, EVER)
    arguments: dict[str, Any] = {"before_key": before_key, "limit": limit + 1}
    parts: list[str] = []
    for statement, name, value in (
        ("by_actor", "actor", text(which.actor)),
        ("of_action", "action", text(which.action)),
        ("about", "about", which.about and anywhere(json.dumps(text(which.about))[1:-1])),
        ("since", "since_ms", which.since_ms),
        ("until", "until_ms", which.until_ms),
    ):
        if value:
            parts.append(SQL[statement])
            arguments[name] = value
    statement = SQL["orders"].replace("{where}", " AND ".join(parts) or "TRUE")
    rows = tx.execute(statement, arguments).fetchall()
    shown = rows[:limit]
    return AuditPage(tuple(_order(row) for row in shown), cursor(shown[-1][0]) if shown != rows else "")


def _order(row: Sequence[Any]) -> AuditRow:
    _, at_ms, actor, action, which, reason, count = row
    return AuditRow(at_ms, actor, action, json.loads(which), reason, count)


def hosts_of(tx: Transaction) -> list[HostRow]:
    """See `LedgerLook.hosts`."""
    processes: defaultdict[str, list[ProcessRow]] = defaultdict(list)
    draining: defaultdict[str, list[DrainRow]] = defaultdict(list)
    for process in hosts.processes(tx):
        processes[process.host].append(process)
    for drained in hosts.draining(tx):
        draining[drained.host].append(drained)
    names = sorted({*processes, *draining})
    return [HostRow(name, tuple(processes[name]), tuple(draining[name])) for name in names]
