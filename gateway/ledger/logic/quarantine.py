"""Quarantine: an instance whose bytes must not be sent. What was delivered stays delivered; the rest is held.

A delivery that was in flight when its instance was quarantined keeps its session and token, so that the outcome
`delivered`, if that is the truth, can still be written. Exact duplicates that this instance's deliveries stood for
get deliveries of their own: their files are another copy.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ledger import queries
from gateway.ledger.logic import trail
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.duplicates import deliver_instead
from gateway.ledger.logic.moves import pick, stop_picked
from gateway.ledger.logic.sessions import is_open
from gateway.ledger.logic.transaction import Transaction
from gateway.model import DeliveryState, InstanceState, Quarantine, Session
from gateway.reasons import Held

_SQL = queries.load("routing")


def quarantine(tx: Transaction, session: Session, verdicts: Sequence[Quarantine], now_ms: int) -> int:
    """See `Ledger.quarantine`. A worker's verdict needs its lease; a routed instance may be judged by any session."""
    if not is_open(tx, session.session_id):
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
            stop_picked(tx, DeliveryState.HELD, Held.QUARANTINED, f"quarantined: {reason}", now_ms)
            pick(tx, _SQL["pick_unsettled_of"], {"seq": seq})
            deliver_instead(tx, now_ms)
        else:
            trail.count_quarantined(tx, seq, now_ms)
    return count
