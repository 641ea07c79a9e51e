"""Routing: received instances are claimed by workers, and what they decide becomes deliveries.

Claims go by order of arrival. An instance with an earlier attempt is claimed alone, and only when nothing fresh waits
or it has waited long enough: what ends its workers must not stand before all others. An instance with an earlier twin
that is still received comes in the same batch after it, or waits.

An exact duplicate that is not sent, because an earlier arrival's delivery stands for it, is written down in
`skipped`: it stays in the spool until that delivery is settled, and is delivered after all when that comes to nothing
(see `gateway.ledger.logic.duplicates`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.dicom.recoding import alike
from gateway.ledger import queries
from gateway.ledger.base import MAX_ROUTING_ATTEMPTS, RETRY_PATIENCE_MS, RoutedInstance
from gateway.ledger.logic import pseudonyms, rules, trail
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.sessions import require_open
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.trail import Movement
from gateway.model import (
    AssociationFacts,
    Decision,
    DeliveryState,
    Derivation,
    DuplicateKind,
    InstanceLease,
    InstanceState,
    PayloadFile,
    Routing,
    Session,
    StudyFacts,
)
from gateway.reasons import OVERTAKEN_REASON, UNCONFIGURED_REASON, Held

_SQL = queries.load("routing")
_HELD_REASONS = {"": "", Held.UNCONFIGURED.value: UNCONFIGURED_REASON, Held.OVERTAKEN.value: OVERTAKEN_REASON}
_NO_RULE = "discarded without a reason"
_Moved = tuple[Any, ...]  # association, SOP class, first routing, series, destinations: alike for many of a batch


def claim(
    tx: Transaction, session: Session, limit: int, now_ms: int, revision: str | None = None
) -> list[InstanceLease]:
    """See `Ledger.claim_instances`."""
    require_open(tx, session)
    if limit < 1:
        return []
    if revision is not None and rules.current(tx) != revision:
        return []
    chosen: list[InstanceLease] = []
    lone: InstanceLease | None = None  # the oldest with an earlier attempt
    taken: set[int] = set()  # first_seq of twins that are all in this batch so far
    behind: set[int] = set()  # first_seq of twins of which an earlier one is not
    for row in _received(tx, limit):
        seq, instance_id, attempts, received_at_ms, first_seq = row[:5]
        if first_seq in behind:
            continue
        if first_seq is not None and first_seq not in taken:
            waits = tx.value(_SQL["has_earlier_received"], (first_seq, seq)) is not None
            (behind if waits else taken).add(first_seq)
            if waits:
                continue
        if attempts and (chosen or lone is not None):
            behind.add(first_seq or 0)
            continue
        payload, facts = PayloadFile(*row[5:12]), AssociationFacts(*row[12:])
        lease = InstanceLease(instance_id, seq, attempts + 1, received_at_ms, payload, facts)
        if not attempts:
            chosen.append(lease)
            if len(chosen) == limit:
                break
        elif _has_its_turn(attempts, now_ms - received_at_ms):
            chosen = [lease]
            break
        else:
            lone = lease
            behind.add(first_seq or 0)
    if not chosen and lone is not None:
        chosen = [lone]
    tx.executemany(_SQL["lease"], [(session.session_id, lease.seq) for lease in chosen])
    return chosen


def _received(tx: Transaction, limit: int) -> Iterator[Sequence[Any]]:
    """What is received and nobody's, in order of arrival: so many at a time, for as long as somebody asks."""
    after_seq = 0
    while rows := tx.execute(_SQL["received"], {"after_seq": after_seq, "limit": limit}).fetchall():
        yield from rows
        if len(rows) < limit:
            return
        after_seq = rows[-1][0]


def _has_its_turn(attempts: int, age_ms: int) -> bool:
    """Whether an instance with earlier attempts goes before fresh ones. To give it up at last takes no time."""
    return attempts >= MAX_ROUTING_ATTEMPTS or age_ms >= attempts * attempts * RETRY_PATIENCE_MS


def record(tx: Transaction, session: Session, routings: Sequence[Routing], now_ms: int) -> list[RoutedInstance]:
    """See `Ledger.record_routings`."""
    destinations, batch = _Destinations(tx, now_ms), _Batch(tx)
    results: list[RoutedInstance] = []
    moved: dict[_Moved, int] = {}
    once: dict[str, Routing] = {}
    for routing in routings:
        once.setdefault(routing.instance_id, routing)
    leases = [{"instance_id": routing.instance_id, "session_id": session.session_id} for routing in once.values()]
    for routing, row in zip(once.values(), tx.each(_SQL["leased_by"], leases), strict=True):
        if row is None:
            continue  # the lease is lost: whoever has it now decides
        seq, first_seq, duplicate, *what = row
        pseudonyms.remember(tx, routing.derived, now_ms)
        names, skipped = _deliver(
            tx, batch, destinations, seq, first_seq, duplicate == DuplicateKind.EXACT.value, routing, now_ms
        )
        state, reason = _state(routing.decision, names)
        series_key = _finish(tx, batch, seq, routing, state, reason, now_ms)
        alike = (*what, series_key, names)
        moved[alike] = moved.get(alike, 0) + 1
        if skipped:
            batch.write()
            tx.execute(_SQL["finish_waiting"], {"seq": seq})
        tx.count_instances(InstanceState.RECEIVED.value, -1)
        tx.count_instances(state.value, 1)
        results.append(RoutedInstance(routing.instance_id, state, names, skipped))
    batch.write()
    _count_moved(tx, destinations, moved, now_ms)
    return results


class _Batch:
    """What a batch of routings writes, kept until somebody looks at it: the fewer ways to the database the better."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.deliveries: list[dict[str, Any]] = []
        self.finished: list[tuple[Any, ...]] = []

    def write(self) -> None:
        """Write what there is."""
        if self.deliveries:
            self._tx.executemany(_SQL["insert_deliveries"], self.deliveries)
        if self.finished:
            self._tx.executemany(_SQL["finish"], self.finished)
        self.deliveries, self.finished = [], []


def insert_delivery(
    tx: Transaction,
    seq: int,
    destination_key: int,
    chain: str,
    held: str,
    priority: int,
    first_seq: int | None,
    now_ms: int,
) -> int:
    """A new delivery of one of an instance's payloads: ready, or held by the given code. Returns its id."""
    row = _new_delivery(tx, seq, destination_key, chain, held, priority, first_seq, now_ms)
    trail.count_begun(tx, seq, destination_key, now_ms)
    return int(tx.value(_SQL["insert_delivery"], row))


def _new_delivery(
    tx: Transaction,
    seq: int,
    destination_key: int,
    chain: str,
    held: str,
    priority: int,
    first_seq: int | None,
    now_ms: int,
    reason: str = "",
) -> dict[str, Any]:
    """The row of a new delivery, counted. `reason`: for a code that has none in `_HELD_REASONS`."""
    state = DeliveryState.HELD if held else DeliveryState.READY
    tx.count_deliveries(destination_key, state.value, 1)
    return {
        "seq": seq,
        "destination_key": destination_key,
        "chain": chain,
        "state": state.value,
        "priority": priority,
        "first_seq": first_seq,
        "now_ms": now_ms,
        "code": held,
        "reason": reason or _HELD_REASONS[held],
    }


class _Destinations:
    """The destination rows that one batch names, each looked up once."""

    def __init__(self, tx: Transaction, now_ms: int) -> None:
        self._tx = tx
        self._now_ms = now_ms
        self._rows: dict[str, tuple[int, bool, bool]] = {}

    def get(self, name: str) -> tuple[int, bool, bool]:
        """(key, configured, skip duplicates); an unknown name gets a row, unconfigured."""
        found = self._rows.get(name)
        if found is None:
            row = self._tx.execute(_SQL["destination"], (name,)).fetchone()
            if row is None:
                row = (self._tx.value(_SQL["insert_unconfigured"], (name, self._now_ms)), 0, 0)
            found = self._rows[name] = (int(row[0]), bool(row[1]), bool(row[2]))
        return found


def _deliver(
    tx: Transaction,
    batch: _Batch,
    destinations: _Destinations,
    seq: int,
    first_seq: int | None,
    exact: bool,
    routing: Routing,
    now_ms: int,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make the deliveries of a decision. Returns the destinations, and those skipped."""
    decision = routing.decision
    if decision.hold is not None or decision.discard is not None:
        return (), ()
    failed = derive(tx, seq, routing.derived)
    made: list[str] = []
    skipped: list[str] = []
    wanted = {name: decision.chain_of(index) for index, name in enumerate(decision.destinations)}
    for name, chain in wanted.items():
        key, configured, skip = destinations.get(name)
        standing = None
        if exact and skip and configured:
            batch.write()
            arguments = {"destination_key": key, "seq": seq, "first_seq": first_seq, "chains": json.dumps(alike(chain))}
            standing = tx.value(_SQL["standing_delivery"], arguments)
        if standing is None:
            held = "" if configured else Held.UNCONFIGURED.value
            if chain in failed and not held:
                held = Held.TRANSFORM.value
            reason = failed[chain] if held == Held.TRANSFORM else ""
            row = _new_delivery(tx, seq, key, chain, held, routing.priority, first_seq, now_ms, reason)
            batch.deliveries.append(row)
            made.append(name)
        else:
            tx.execute(_SQL["insert_skipped"], (seq, key, standing, chain))
            skipped.append(name)
    return tuple(made), tuple(skipped)


def derive(tx: Transaction, seq: int, derived: Sequence[Derivation]) -> dict[str, str]:
    """Write down what chains made of an instance. Returns the reason for those that cannot make anything."""
    failed: dict[str, str] = {}
    for chain, payload, reason, again, _, steps in derived:
        if payload is None:
            tx.execute(_SQL["derive_nothing"], {"seq": seq, "chain": chain})
            if not again:  # else who is to send it finds nothing, and has it made
                failed[chain] = text(reason) or Held.TRANSFORM.value
            continue
        before = tx.value(_SQL["derived_length"], (seq, chain)) or 0
        told = json.dumps([[step.transform, step.number, step.verb, int(step.done)] for step in steps])
        tx.execute(_SQL["derive"], (seq, chain, *payload, told))
        tx.count_spool_bytes(payload.length - before)
    return failed


def _state(decision: Decision, destinations: tuple[str, ...]) -> tuple[InstanceState, str]:
    if decision.hold is not None:  # before discard: what is held can still be discarded, not the other way round
        return InstanceState.HELD, text(decision.hold)
    if decision.discard is not None:
        return InstanceState.SETTLED, text(decision.discard) or _NO_RULE
    return (InstanceState.ROUTED if destinations else InstanceState.SETTLED), ""


def _finish(
    tx: Transaction, batch: _Batch, seq: int, routing: Routing, state: InstanceState, reason: str, now_ms: int
) -> int:
    """Returns the key of the series."""
    settled_at_ms = now_ms if state is InstanceState.SETTLED else None
    keys = decision_key(tx, routing.decision), _series_key(tx, routing.study)
    tx.count_decided(keys[0], now_ms)
    number = text(routing.study.instance_number)
    batch.finished.append((state.value, reason, *keys, number, settled_at_ms, seq))
    return keys[1]


def _count_moved(tx: Transaction, destinations: _Destinations, moved: Mapping[_Moved, int], now_ms: int) -> None:
    """Count instances for the audit trail: in, where that was their first routing, and meant for their destinations."""
    for (association_key, sop_class_uid, is_first, series_key, names), count in moved.items():
        if is_first:
            tx.count_transfer((Movement.IN.value, association_key, series_key, 0, sop_class_uid, 0), count, now_ms)
        for name in names:
            key = (Movement.BEGIN.value, association_key, series_key, destinations.get(name)[0], sop_class_uid, 0)
            tx.count_transfer(key, count, now_ms)


def decision_key(tx: Transaction, decision: Decision) -> int:
    """The row of a decision, made at the first instance that was decided so."""

    def find_or_insert() -> int:
        row = (
            decision.revision,
            decision.tried,
            json.dumps(decision.matched),
            json.dumps(decision.destinations),
            decision.hold,
            decision.discard,
        )
        return int(tx.value(_SQL["find_decision"], row) or tx.value(_SQL["insert_decision"], row))

    return tx.intern(decision, find_or_insert)


def _series_key(tx: Transaction, facts: StudyFacts) -> int:
    study = (
        text(facts.study_instance_uid),
        text(facts.patient_id),
        text(facts.patient_name),
        text(facts.issuer_of_patient_id),
        text(facts.accession_number),
        text(facts.study_date),
        text(facts.study_description),
    )
    series = (
        text(facts.series_instance_uid),
        text(facts.series_number),
        text(facts.series_description),
        text(facts.modality),
    )

    def find_or_insert() -> int:
        study_key = tx.value(_SQL["find_study"], study) or tx.value(_SQL["insert_study"], study)
        row = (study_key, *series)
        return int(tx.value(_SQL["find_series"], row) or tx.value(_SQL["insert_series"], row))

    return tx.intern((study, series), find_or_insert)
