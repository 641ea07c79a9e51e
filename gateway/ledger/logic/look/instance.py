"""An instance's page: where it came from, how it was decided, what was made of it and where it went."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import LookRefused
from gateway.ledger import queries
from gateway.ledger.base import DeliveryRow, InstanceFilter
from gateway.ledger.logic import people
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.look.study import decision_of
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.look import LIMIT_MAX, Cell, InstanceDetail, PayloadRow, Twin
from gateway.model import AssociationFacts, DuplicateKind, InstanceState, PayloadFile

SQL = queries.load("look")
TWINS_MAX = 50


def matrix(tx: Transaction, instance_ids: Sequence[str]) -> Mapping[str, Mapping[str, Cell]]:
    """See `LedgerLook.matrix`."""
    if len(instance_ids) > LIMIT_MAX:
        raise LookRefused(f"the deliveries of {LIMIT_MAX} instances at most are looked at in one go")
    ids = [text(each) for each in instance_ids]
    deliveries: defaultdict[tuple[str, str], list[DeliveryRow]] = defaultdict(list)
    for row in people.deliveries(tx, ids):
        deliveries[row.instance_id, row.destination].append(row)
    skipped = {(own, name): other for own, name, other in tx.execute(SQL["skipped"], (json.dumps(ids),)).fetchall()}
    found: defaultdict[str, dict[str, Cell]] = defaultdict(dict)
    for instance_id, name in sorted({*deliveries, *skipped}):
        key = (instance_id, name)
        found[instance_id][name] = Cell(tuple(deliveries.get(key, ())), skipped.get(key, ""))
    return dict(found)


def find(tx: Transaction, uid: str) -> list[Twin]:
    """See `LedgerLook.find_instances`."""
    arguments = {"uid": text(uid)}
    rows = tx.execute(SQL["twins"], arguments).fetchall() or tx.execute(SQL["by_id"], arguments).fetchall()
    return [_twin(row) for row in rows[:TWINS_MAX]]


def instance(tx: Transaction, instance_id: str) -> InstanceDetail | None:
    """See `LedgerLook.instance`."""
    instance_id = text(instance_id)
    found = tx.execute(SQL["instance"], (instance_id,)).fetchone()
    if found is None:
        return None
    seq, study_key, number, uid, attempts, recorded_at_ms, settled_at_ms = found[:7]
    (row,) = people.instances(tx, InstanceFilter(instance_ids=(instance_id,)), 1, 0)
    twins = tx.execute(SQL["twins"], {"uid": uid}).fetchall()
    return InstanceDetail(
        row=row,
        study_key=study_key,
        instance_number=number,
        facts=AssociationFacts(*found[7:13]),
        decision=None if found[13] is None else decision_of(found[13:]),
        attempts=attempts,
        recorded_at_ms=recorded_at_ms,
        settled_at_ms=settled_at_ms,
        payloads=tuple(_payload(each) for each in tx.execute(SQL["payloads"], (seq,)).fetchall()),
        cells=matrix(tx, [instance_id]).get(instance_id, {}),
        twins=tuple(_twin(each) for each in twins if each[0] != instance_id)[:TWINS_MAX],
    )


def _payload(row: Sequence[Any]) -> PayloadRow:
    chain, steps, path, offset, length, checksum, *uids = row
    file = PayloadFile(path, offset, length, bytes(checksum), *uids)
    return PayloadRow(chain, file, people.steps_of(steps))


def _twin(row: Sequence[Any]) -> Twin:
    instance_id, state, duplicate, received_at_ms = row
    return Twin(instance_id, InstanceState(state), DuplicateKind(duplicate), received_at_ms)
