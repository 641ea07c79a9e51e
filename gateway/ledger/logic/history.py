"""What is remembered of instances that were routed, so that rules of a later day can be tried on them.

Rows age out by themselves, whatever becomes of their instances: by the time of the last one that was routed alike, and
the oldest first where the headers hold more than they may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.ledger import queries
from gateway.ledger.base import HistoryKeys, HistoryRow
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.routing import decision_key
from gateway.ledger.logic.transaction import Transaction
from gateway.model import AssociationFacts, Remembered

DECIDED_MS = 31 * 86_400_000  # for how much longer it is known how often something was decided

_SQL = queries.load("history")


def record(tx: Transaction, new: Sequence[Remembered], more: Mapping[int, tuple[int, int]]) -> HistoryKeys:
    """See `Ledger.record_history`."""
    gone = {
        key
        for key, (count, last_at_ms) in more.items()
        if not tx.execute(_SQL["count"], {"n": count, "last_at_ms": last_at_ms, "history_key": key}).rowcount
    }
    keys: list[int] = []
    added_bytes = 0
    for each in new:
        facts = [text(value) for value in each.facts[1:]]
        uids = text(each.series_instance_uid), text(each.sop_class_uid), text(each.transfer_syntax_uid)
        row = (
            uids[0],
            decision_key(tx, each.decision),
            *facts,
            *uids[1:],
            each.instance_id,
            each.received_at_ms,
            max(each.last_at_ms, each.received_at_ms),
            each.instances,
            each.header,
        )
        key, count = tx.execute(_SQL["add"], row).fetchone()
        keys.append(int(key))
        added_bytes += len(each.header) if count == each.instances else 0  # else there was a row already
    if added_bytes:
        tx.execute(_SQL["move_bytes"], (added_bytes,))
    return HistoryKeys(tuple(keys), frozenset(gone))


def since(tx: Transaction, since_ms: int, after_key: int, limit: int) -> list[HistoryRow]:
    """See `Ledger.history`."""
    arguments = {"since_ms": since_ms, "after_key": after_key, "limit": limit}
    return [
        HistoryRow(key, series, instance_id, AssociationFacts("", *row[:5]), *row[5:])
        for key, series, instance_id, *row in tx.execute(_SQL["since"], arguments)
    ]


def trim(tx: Transaction, before_ms: int, most_bytes: int, limit: int) -> int:
    """See `Ledger.trim_history`."""
    tx.execute(_SQL["forget_decided"], (before_ms - DECIDED_MS,))
    left_bytes = tx.value(_SQL["bytes"])
    gone: list[tuple[int]] = []
    freed_bytes = 0
    for key, last_at_ms, header_bytes in tx.execute(_SQL["oldest"], (limit,)).fetchall():
        if last_at_ms >= before_ms and left_bytes - freed_bytes <= most_bytes:
            break
        gone.append((key,))
        freed_bytes += header_bytes
    if gone:
        tx.executemany(_SQL["forget"], gone)
        tx.execute(_SQL["move_bytes"], (-freed_bytes,))
    return len(gone)
