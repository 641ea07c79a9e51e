"""What is to be told to the audit trail, counted and noted by the transactions that do it. The contract is
`gateway.ledger.trail`; `trail_batches.py` has it taken and forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from gateway.ledger import queries
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.trail import Movement, Note
from gateway.model import DeliveryState, Outcome

_SQL = queries.load("trail")
_ENDS = frozenset({DeliveryState.DELIVERED, DeliveryState.HELD, DeliveryState.DEAD})
_FIELDS = ("actor", "address", "what", "subject", "text", "which", "count", "failed")


# ── counting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def count_ended(tx: Transaction, outcomes: Sequence[Outcome], recorded: Sequence[int], now_ms: int) -> None:
    """Count what was delivered, held or given up, of outcomes that were recorded."""
    ended = {each.delivery_id for each in outcomes if each.state in _ENDS}
    ids = [delivery_id for delivery_id in recorded if delivery_id in ended]
    if ids:
        for *key, count in tx.execute(_SQL["movements_of"], (json.dumps(ids),)).fetchall():
            tx.count_transfer(tuple(key), count, now_ms)


def count_begun(tx: Transaction, seq: int, destination_key: int, now_ms: int) -> None:
    """Count one instance that is to be sent to a destination, where it was not routing that decided so."""
    association_key, series_key, sop_class_uid = tx.execute(_SQL["instance"], (seq,)).fetchone()
    key = (Movement.BEGIN.value, association_key, series_key, destination_key, sop_class_uid, 0)
    tx.count_transfer(key, 1, now_ms)


def count_quarantined(tx: Transaction, seq: int, now_ms: int) -> None:
    """Count one instance that came in and is not to be trusted."""
    association_key, _, sop_class_uid = tx.execute(_SQL["instance"], (seq,)).fetchone()
    tx.count_transfer((Movement.QUARANTINED.value, association_key, 0, 0, sop_class_uid, 0), 1, now_ms)


def studies_of_picked(tx: Transaction, what: str) -> dict[int, int]:
    """How many instances of which studies were picked; `what` is deliveries or instances."""
    return dict(tx.execute(_SQL[f"studies_of_picked_{what}"]).fetchall())


def study_of(tx: Transaction, instance_id: str) -> dict[int, int]:
    """The study of one instance, as `studies_of_picked` has it."""
    return dict(tx.execute(_SQL["study_of"], (text(instance_id),)).fetchall())


# ── notes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def note(tx: Transaction, told: Note) -> None:
    """Keep a note."""
    body = {name: value for name in _FIELDS if (value := getattr(told, name))}
    key = tx.value(_SQL["note"], (told.at_ms, told.kind.value, text(json.dumps(body, sort_keys=True))))
    about = dict(told.studies) or {0: 0}
    tx.executemany(_SQL["about"], [(key, study_key, count) for study_key, count in sorted(about.items())])
