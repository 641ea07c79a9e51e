"""The audit trail: one row for each order a person gave, written in the order's own transaction. Append-only.

A look at what stands behind a pseudonym is such an order (`gateway.ledger.logic.pseudonyms`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from gateway.ledger import queries
from gateway.ledger.base import AuditRow
from gateway.ledger.logic import trail
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.trail import Note, NoteKind

_SQL = queries.load("audit")
_NONE: Mapping[int, int] = MappingProxyType({})


def write(
    tx: Transaction,
    actor: str,
    action: str,
    which: Mapping[str, Any],
    reason: str,
    count: int,
    now_ms: int,
    studies: Mapping[int, int] = _NONE,
    address: str = "",
) -> None:
    """Append a row: who ordered what for which rows, why, and how many there were; and keep it for the trail's files.

    :param studies: how many instances of which studies it touched.
    :param address: where the actor is; kept for the files alone.
    """
    tx.execute(_SQL["write"], (now_ms, text(actor), action, json.dumps(which, sort_keys=True), text(reason), count))
    told = Note(NoteKind.ORDER, now_ms, actor, address, what=action, text=reason, which=which, count=count)
    trail.note(tx, replace(told, studies=tuple(studies.items())))


def of_action(tx: Transaction, action: str, limit: int) -> list[AuditRow]:
    """See `Ledger.audited`."""
    rows = tx.execute(_SQL["of_action"], (action, limit)).fetchall()
    return [
        AuditRow(at_ms, actor, action, json.loads(which), reason, count)
        for at_ms, actor, action, which, reason, count in rows
    ]
