"""What people look at: instances, their deliveries, and how old the queues are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gateway.ledger import queries
from gateway.ledger.base import AgeBucket, DeliveryRow, InstanceFilter, InstanceRow
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.logic.which import Which
from gateway.model import DeliveryState, DuplicateKind, InstanceState, StepRun

_SQL = queries.load("people")
_EVER_MS = 1 << 62


def instances(tx: Transaction, which: InstanceFilter, limit: int, offset: int) -> list[InstanceRow]:
    """See `Ledger.list_instances`."""
    wanted = Which(which)
    statement = f"{_SQL['list']} WHERE {wanted.instance_with_delivery()} {_SQL['newest']}"
    cursor = tx.execute(statement, {**wanted.arguments, "limit": limit, "offset": offset})
    return [_instance_row(row) for row in cursor]


def deliveries(tx: Transaction, instance_ids: Sequence[str]) -> list[DeliveryRow]:
    """See `Ledger.deliveries_of`."""
    cursor = tx.execute(_SQL["deliveries"], (json.dumps(list(instance_ids)),))
    return [_delivery_row(row) for row in cursor]


def queue_ages(tx: Transaction, bounds_s: Sequence[int], now_ms: int) -> list[AgeBucket]:
    """See `Ledger.queue_ages`. Each open delivery is in exactly one bucket; reads one index, no row."""
    buckets: list[AgeBucket] = []
    for destination_key, name in tx.execute(_SQL["destinations"]).fetchall():
        until_ms = _EVER_MS  # whatever the clock did, what seems to be of the future is young
        for bound_s in (*sorted(bounds_s), 0):
            after_ms = now_ms - bound_s * 1000 - 1 if bound_s else -_EVER_MS
            arguments = {"destination_key": destination_key, "after_ms": after_ms, "until_ms": until_ms}
            buckets.append(AgeBucket(name, bound_s, tx.value(_SQL["waiting_between"], arguments)))
            until_ms = after_ms
    return buckets


def _instance_row(row: Sequence[Any]) -> InstanceRow:
    return InstanceRow(
        instance_id=row[0],
        state=InstanceState(row[1]),
        reason=row[2],
        source=row[3],
        calling_ae_title=row[4],
        received_at_ms=row[5],
        sop_class_uid=row[6],
        sop_instance_uid=row[7],
        transfer_syntax_uid=row[8],
        length=row[9],
        duplicate=DuplicateKind(row[10]),
        patient_id=row[11],
        patient_name=row[12],
        accession_number=row[13],
        study_instance_uid=row[14],
        study_date=row[15],
        study_description=row[16],
        series_instance_uid=row[17],
        modality=row[18],
        rules=tuple(json.loads(row[19])),
        revision=row[20],
    )


def _delivery_row(row: Sequence[Any]) -> DeliveryRow:
    return DeliveryRow(
        delivery_id=row[0],
        instance_id=row[1],
        destination=row[2],
        state=DeliveryState(row[3]),
        code=row[4],
        reason=row[5],
        status=row[6],
        attempts=row[7],
        created_at_ms=row[8],
        due_at_ms=row[9],
        updated_at_ms=row[10],
        chain=row[11],
        steps=steps_of(row[12]),
    )


def steps_of(told: str) -> tuple[StepRun, ...]:
    """What made a payload, as it stands in its row."""
    return tuple(StepRun(name, number, verb, bool(done)) for name, number, verb, done in json.loads(told))
