"""Exact duplicates whose delivery stops standing for them: each was acknowledged, so it is not given up with it.

An exact duplicate that a destination skips is written down in `skipped`, with the delivery that stands for it. When
that delivery comes to nothing (its instance is quarantined, or a person cancels it), the duplicate is another copy,
and goes instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.ledger import queries
from gateway.ledger.logic.routing import insert_delivery
from gateway.ledger.logic.transaction import Transaction
from gateway.model import InstanceState

_SQL = queries.load("duplicates")


def deliver_instead(
    tx: Transaction, now_ms: int, unless: str = "FALSE", arguments: Mapping[str, Any] | None = None
) -> None:
    """Duplicates that picked deliveries stood for: the first of each gets one of its own, which stands for the rest.

    :param unless: a condition on a duplicate `i` that ends with what stood for it, with its `arguments`.
    """
    standing: dict[int, int] = {}  # what stood for them -> what stands now
    rows = tx.execute(f"{_SQL['stood_for']} AND NOT ({unless}) {_SQL['in_order']}", arguments or {}).fetchall()
    for seq, destination_key, delivery_id, priority, first_seq, state, chain, held in rows:
        if delivery_id in standing:
            tx.execute(_SQL["move"], (standing[delivery_id], seq, destination_key))
            continue
        tx.execute(_SQL["forget"], (seq, destination_key))
        made = insert_delivery(tx, seq, destination_key, chain, held, priority, first_seq, now_ms)
        standing[delivery_id] = made
        if state == InstanceState.SETTLED.value and tx.execute(_SQL["route_again"], (seq,)).rowcount:
            tx.count_instances(InstanceState.SETTLED.value, -1)
            tx.count_instances(InstanceState.ROUTED.value, 1)
