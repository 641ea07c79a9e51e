"""Deliveries: claimed by forwarders, given back, concluded by outcomes.

Claims read one index: (destination, alone, priority, arrival) of what is ready and not parked. Deferred deliveries
that have come due are made ready first, at most DUE_CHUNK a claim.

Twins (deliveries of one SOP Instance UID to one destination) go one at a time, in order of arrival. A claim that
meets one whose turn has not come parks it: it leaves the index, so that thousands of them cost the next claim
nothing. A trigger unparks the first of them whenever a twin changes state; whether its turn has come is judged anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.dicom.recoding import split
from gateway.ledger import queries
from gateway.ledger.base import DERIVE, LONE_PATIENCE_MS
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.derivations import turn_to, want
from gateway.ledger.logic.moves import end_waits, pick, settle
from gateway.ledger.logic.sessions import is_open, require_open
from gateway.ledger.logic.trail import count_ended
from gateway.ledger.logic.transaction import Transaction
from gateway.model import DeliveryLease, DeliveryState, Outcome, PayloadFile, Session

DUE_CHUNK = 1000

_SQL = queries.load("deliveries")
_RESULTS = frozenset({DeliveryState.DELIVERED, DeliveryState.DEFERRED, DeliveryState.HELD, DeliveryState.DEAD})
_READY, _LEASED, _DEFERRED = DeliveryState.READY.value, DeliveryState.LEASED.value, DeliveryState.DEFERRED.value


def claim(tx: Transaction, session: Session, destination: str, limit: int, now_ms: int) -> list[DeliveryLease]:
    """See `Ledger.claim_deliveries`."""
    require_open(tx, session)
    key = tx.value(_SQL["claimable"], (destination, session.session_id))
    if key is None or limit < 1:
        return []
    tx.lock_destination(key)
    _make_due_ready(tx, key, now_ms)
    leases: list[DeliveryLease] = []
    if tx.value(_SQL["lone_turn"], {"destination_key": key, "before_ms": now_ms - LONE_PATIENCE_MS}) is None:
        leases = _lease(tx, session, key, destination, limit, False, now_ms)
    if not leases:
        leases = _lease(tx, session, key, destination, 1, True, now_ms)
    tx.count_deliveries(key, _READY, -len(leases))
    tx.count_deliveries(key, _LEASED, len(leases))
    return leases


def release(tx: Transaction, session: Session, leases: Sequence[DeliveryLease], now_ms: int) -> int:
    """See `Ledger.release_deliveries`."""
    count = 0
    tx.lock_destinations_of([lease.delivery_id for lease in leases])
    for lease in leases:
        arguments = {
            "delivery_id": lease.delivery_id,
            "session_id": session.session_id,
            "token": lease.token,
            "now_ms": now_ms,
        }
        for (key,) in tx.execute(_SQL["give_back"], arguments).fetchall():
            tx.count_deliveries(key, _LEASED, -1)
            tx.count_deliveries(key, _READY, 1)
            count += 1
    return count


def record(tx: Transaction, session_id: int, outcomes: Sequence[Outcome], now_ms: int) -> list[int]:
    """See `Ledger.record_outcomes`."""
    if not is_open(tx, session_id):
        return []
    delivery_ids = [outcome.delivery_id for outcome in outcomes]
    tx.lock_destinations_of(delivery_ids)
    tx.lock_instances_of(delivery_ids)
    recorded: list[int] = []
    delivered: dict[int, int] = {}  # delivery → instance
    rows = [_arguments(outcome, session_id, now_ms) for outcome in outcomes]
    for outcome, arguments, row in zip(outcomes, rows, tx.each(_SQL["conclude"], rows), strict=True):
        before = _LEASED
        if row is None and outcome.state is DeliveryState.DELIVERED:
            row, before = tx.execute(_SQL["conclude_stopped"], arguments).fetchone(), DeliveryState.HELD.value
        if row is None:
            continue  # the lease is lost: whoever has it now concludes it
        key, instance_seq = row
        tx.count_deliveries(key, before, -1)
        tx.count_deliveries(key, outcome.state.value, 1)
        recorded.append(outcome.delivery_id)
        if outcome.code == DERIVE and outcome.chain is not None:
            turn_to(tx, outcome.delivery_id, instance_seq, outcome.chain)
        elif outcome.code == DERIVE:
            want(tx, outcome.delivery_id)
        if outcome.state is DeliveryState.DELIVERED:
            delivered[outcome.delivery_id] = instance_seq
    if delivered:
        settle(tx, list(delivered.values()), now_ms)
        end_waits(tx, list(delivered), now_ms)
    count_ended(tx, outcomes, recorded, now_ms)
    return recorded


def _make_due_ready(tx: Transaction, key: int, now_ms: int) -> None:
    due = pick(tx, _SQL["pick_due"], {"destination_key": key, "now_ms": now_ms, "limit": DUE_CHUNK})
    if due:
        tx.execute(_SQL["make_ready"])
        tx.count_deliveries(key, _DEFERRED, -due)
        tx.count_deliveries(key, _READY, due)


def _lease(
    tx: Transaction, session: Session, key: int, destination: str, limit: int, alone: bool, now_ms: int
) -> list[DeliveryLease]:
    leases: list[DeliveryLease] = []
    parked = True
    while parked and len(leases) < limit:  # as long as parking made room for others
        parked = False
        without_twins: list[tuple[int, int, int]] = []
        arguments = {"destination_key": key, "alone": alone, "limit": limit - len(leases)}
        for row in tx.execute(_SQL["ready"], arguments).fetchall():
            lease = (session.session_id, now_ms, row[0])
            if row[2] is None:
                without_twins.append(lease)
            elif _must_wait(tx, key, row):
                tx.execute(_SQL["park"], (row[0],))
                parked = True
                continue
            else:
                tx.execute(_SQL["lease"], lease)  # at once: its later twins in this batch must see it
            leases.append(_lease_of(tx, row, destination, alone))
        tx.executemany(_SQL["lease"], without_twins)
    return leases


def _must_wait(tx: Transaction, key: int, row: Sequence[Any]) -> bool:
    arguments = {"first_seq": row[2], "destination_key": key, "instance_seq": row[3], "delivery_id": row[0]}
    return (
        tx.value(_SQL["has_leased_twin"], arguments) is not None
        or tx.value(_SQL["has_earlier_twin"], arguments) is not None
    )


def _is_uncertain(tx: Transaction, row: Sequence[Any]) -> bool:
    # A peer that has this SOP Instance UID already may have another version of it: that says nothing of our try.
    if not row[6] or row[2] is None:
        return bool(row[6])
    return tx.value(_SQL["has_other_version"], {"first_seq": row[2], "instance_seq": row[3]}) is None


def _lease_of(tx: Transaction, row: Sequence[Any], destination: str, alone: bool) -> DeliveryLease:
    delivery_id, token, _, seq, instance_id, attempts, _, queued_at_ms, received_at_ms, chain, calling = row[:11]
    return DeliveryLease(
        delivery_id,
        token + 1,
        destination,
        instance_id,
        attempts + 1,
        _is_uncertain(tx, row),
        queued_at_ms,
        received_at_ms,
        chain,
        PayloadFile(*row[12:]),
        calling,
        row[11],
        alone,
        *_syntaxes_behind(tx, seq, chain),
    )


def _syntaxes_behind(tx: Transaction, seq: int, chain: str) -> tuple[str, str]:
    """The transfer syntaxes of the original, and of what a built-in transform at the chain's end was given."""
    if not chain:
        return "", ""
    original = tx.value(_SQL["syntax_of"], (seq, "")) or ""
    before, recoding = split(chain)
    if recoding is None or not before:
        return original, "" if recoding is None else original
    return original, tx.value(_SQL["syntax_of"], (seq, before)) or ""


def _arguments(outcome: Outcome, session_id: int, now_ms: int) -> dict[str, Any]:
    if outcome.state not in _RESULTS:
        raise ValueError(f"{outcome.state.value} is not an outcome of a delivery")
    return {
        "delivery_id": outcome.delivery_id,
        "session_id": session_id,
        "token": outcome.token,
        "state": outcome.state.value,
        "code": outcome.code,
        "reason": text(outcome.reason),
        "status": outcome.status,
        "due_at_ms": outcome.due_at_ms if outcome.state is DeliveryState.DEFERRED else 0,
        "uncertain": outcome.uncertain,
        "alone": outcome.alone,
        "uncounted": not outcome.counted,
        "now_ms": now_ms,
    }
