"""Quarantine: an instance whose bytes must not be sent. What was delivered stays delivered; the rest is held.

A delivery that was in flight when its instance was quarantined keeps its session and token, so that the outcome
`delivered`, if that is the truth, can still be written. Exact duplicates that this instance's deliveries stood for
get deliveries of their own: their files are another copy.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ledger import queries
from gateway.ledger.sqlite.arrivals import text
from gateway.ledger.sqlite.database import Transaction
from gateway.ledger.sqlite.moves import QUARANTINED, pick, stop_picked
from gateway.ledger.sqlite.routing import insert_delivery
from gateway.ledger.sqlite.sessions import is_open
from gateway.model import DeliveryState, InstanceState, Quarantine, Session

_SQL = queries.load("sqlite", "routing")


def quarantine(tx: Transaction, session: Session, verdicts: Sequence[Quarantine], now_ms: int) -> int:
    """See `Ledger.quarantine`. A worker's verdict needs its lease; a routed instance may be judged by any session."""
    if not is_open(tx, session):
        return 0
    count = 0
    for verdict in verdicts:
        reason = text(verdict.reason)
        arguments = {"instance_id": verdict.instance_id, "reason": reason, "session_id": session.session_id}
        row = tx.execute(_SQL["quarantine"], arguments).fetchone()
        if row is None:
            continue
        seq, routed = row
        count += 1
        tx.count_instances(InstanceState.QUARANTINED.value, 1)
        tx.count_instances((InstanceState.ROUTED if routed else InstanceState.RECEIVED).value, -1)
        if routed:
            pick(tx, _SQL["pick_open_of"], {"seq": seq})
            stop_picked(tx, DeliveryState.HELD, QUARANTINED, f"quarantined: {reason}", now_ms)
            _deliver_duplicates(tx, seq, now_ms)
    return count


def _deliver_duplicates(tx: Transaction, seq: int, now_ms: int) -> None:
    standing: dict[int, int] = {}  # the quarantined instance's delivery -> the one that stands now
    for row in tx.execute(_SQL["stood_for"], {"seq": seq}).fetchall():
        duplicate_seq, destination_key, delivery_id, priority, first_seq, state = row
        if delivery_id in standing:
            continue
        tx.execute(_SQL["forget_skipped"], (duplicate_seq, destination_key))
        made = insert_delivery(tx, duplicate_seq, destination_key, True, priority, first_seq, now_ms)
        tx.execute(_SQL["move_skipped"], (made, delivery_id))
        standing[delivery_id] = made
        if state == InstanceState.SETTLED.value and tx.execute(_SQL["route_again"], (duplicate_seq,)).rowcount:
            tx.count_instances(InstanceState.SETTLED.value, -1)
            tx.count_instances(InstanceState.ROUTED.value, 1)
