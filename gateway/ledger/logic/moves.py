"""Moves of many deliveries at once: a query picks keys into the connection's `picked` table, then all of them move.

Used wherever what moves is told by a condition (operators' orders, configuration, quarantine); claims and outcomes,
which name their rows, have their own way. Counters and settlement follow here, so that no condition can forget them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.ledger import queries
from gateway.ledger.logic.transaction import Transaction
from gateway.model import DeliveryState, InstanceState
from gateway.reasons import Held

_SQL = queries.load("moves")


def pick(tx: Transaction, insert: str, arguments: Mapping[str, Any]) -> int:
    """Fill `picked` by an `INSERT INTO picked SELECT …`; returns how many keys."""
    tx.execute(_SQL["forget"])
    return tx.execute(insert, arguments).rowcount


def stop_picked(tx: Transaction, state: DeliveryState, code: Held, reason: str, now_ms: int) -> int:
    """Picked deliveries → held, dead or cancelled; instances that this settles are settled. Returns how many."""
    moved = _count(tx, state)
    arguments = {"state": state.value, "code": code.value, "reason": reason, "now_ms": now_ms}
    tx.execute(_SQL["stop"], arguments)
    if state is DeliveryState.CANCELLED:
        settled = tx.execute(_SQL["settle_owners"], {"now_ms": now_ms}).rowcount
        _move_instances(tx, InstanceState.ROUTED, InstanceState.SETTLED, settled)
    return moved


def start_picked(tx: Transaction, now_ms: int) -> int:
    """Picked deliveries → ready, as if new (attempts, age); `uncertain` stays. Returns how many."""
    moved = _count(tx, DeliveryState.READY)
    tx.execute(_SQL["start"], {"now_ms": now_ms})
    return moved


def route_owners(tx: Transaction, from_state: InstanceState) -> None:
    """Instances of picked deliveries that are in `from_state` → routed."""
    moved = tx.execute(_SQL["route_owners"], {"from_state": from_state.value}).rowcount
    _move_instances(tx, from_state, InstanceState.ROUTED, moved)


def settle(tx: Transaction, seqs: Sequence[int], now_ms: int) -> None:
    """Settle those of the instances that are routed, and whose last delivery is settled."""
    settled = tx.executemany(_SQL["settle_one"], [{"seq": seq, "now_ms": now_ms} for seq in seqs]).rowcount
    _move_instances(tx, InstanceState.ROUTED, InstanceState.SETTLED, max(0, settled))


def end_waits(tx: Transaction, delivery_ids: Sequence[int], now_ms: int) -> None:
    """Deliveries are settled: duplicates that they stood for can be purged when nothing else stands for them."""
    if tx.value(_SQL["anything_skipped"]) is not None:
        tx.lock_waiting_for(delivery_ids)
        tx.executemany(_SQL["end_waits"], [{"delivery_id": each, "now_ms": now_ms} for each in delivery_ids])


def end_waits_for_picked(tx: Transaction, now_ms: int) -> None:
    """The same for all picked deliveries."""
    end_waits(tx, [delivery_id for (delivery_id,) in tx.execute(_SQL["picked_that_stand"]).fetchall()], now_ms)


def _count(tx: Transaction, state: DeliveryState) -> int:
    total = 0
    for destination_key, from_state, count in tx.execute(_SQL["count_picked"]).fetchall():
        tx.count_deliveries(destination_key, from_state, -count)
        tx.count_deliveries(destination_key, state.value, count)
        total += count
    return total


def _move_instances(tx: Transaction, from_state: InstanceState, to_state: InstanceState, count: int) -> None:
    tx.count_instances(from_state.value, -count)
    tx.count_instances(to_state.value, count)
