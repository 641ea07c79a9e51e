"""Arrivals: instances that are complete in the spool become rows, once, and duplicates are recognised.

Arrivals of one SOP Instance UID are twins: they share `first_seq`, the sequence number of the first of them. An
instance without twins (nearly all) has none, and nothing that looks after their order costs it anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice

from gateway.ledger import queries
from gateway.ledger.base import RecordedArrival
from gateway.ledger.logic.transaction import Transaction
from gateway.model import Arrival, AssociationFacts, DuplicateKind, InstanceState

_SQL = queries.load("arrivals")
_KNOWN_CHUNK = 1000


def record(
    tx: Transaction, arrivals: Sequence[Arrival], state: InstanceState, reason: str, now_ms: int
) -> list[RecordedArrival]:
    """Insert unknown instances in `state`. See `Ledger.record_arrivals` and `Ledger.record_recovered`."""
    seq = tx.value(_SQL["next_seq"])
    known_ids = known(tx, [arrival.instance_id for arrival in arrivals])
    uids = _uids_there(tx, arrivals)
    rows = _Rows(tx, state.value, reason, now_ms)
    recorded: list[RecordedArrival] = []
    for arrival in arrivals:
        if arrival.instance_id in known_ids:
            recorded.append(RecordedArrival(arrival.instance_id, False, DuplicateKind.NONE))
            continue
        known_ids.add(arrival.instance_id)
        duplicate, first_seq = DuplicateKind.NONE, None
        uid = text(arrival.sop_instance_uid)
        if uid in uids:
            rows.insert()  # those before it may be its twins
            duplicate, first_seq = _relate(tx, arrival)
        uids.add(uid)
        rows.add(seq, arrival, duplicate, first_seq)
        recorded.append(RecordedArrival(arrival.instance_id, True, duplicate))
        seq += 1
    rows.insert()
    new = [arrival for arrival, each in zip(arrivals, recorded, strict=True) if each.new]
    _see_sources(tx, new, now_ms)
    tx.count_instances(state.value, len(new))
    tx.count_spool_bytes(sum(arrival.length for arrival in new))
    return recorded


def _see_sources(tx: Transaction, new: Sequence[Arrival], now_ms: int) -> None:
    """Note when the newest of each source arrived: one statement a source, whatever number of instances."""
    newest: dict[str, int] = {}
    for arrival in new:
        source = arrival.facts.source
        newest[source] = max(newest.get(source, 0), arrival.received_at_ms)
    for source, at_ms in sorted(newest.items()):
        tx.execute(_SQL["source_seen"], (text(source), at_ms, now_ms))


def known(tx: Transaction, instance_ids: Iterable[str]) -> set[str]:
    """See `Ledger.known_instances`."""
    found: set[str] = set()
    remaining = iter(instance_ids)
    while chunk := list(islice(remaining, _KNOWN_CHUNK)):
        found.update(row[0] for row in tx.execute(_SQL["known_of"], (json.dumps(chunk),)))
    return found


def text(value: str) -> str:
    """Text as any database can store it: NUL, and what is not Unicode (lone surrogates, from a peer's odd bytes), is
    written escaped."""
    if "\0" in value:
        value = value.replace("\0", "\\x00")
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")


def association_key(tx: Transaction, facts: AssociationFacts) -> int:
    """The row of an association, made at its first instance."""

    def find_or_insert() -> int:
        row = tuple(
            text(value)
            for value in (
                facts.association_id,
                facts.listener,
                facts.source,
                facts.calling_ae_title,
                facts.called_ae_title,
                facts.peer_host,
            )
        )
        return int(tx.value(_SQL["find_association"], row) or tx.value(_SQL["insert_association"], row))

    return tx.intern(facts, find_or_insert)


def _relate(tx: Transaction, arrival: Arrival) -> tuple[DuplicateKind, int | None]:
    uid = text(arrival.sop_instance_uid)
    twin = tx.execute(_SQL["newest_twin"], (uid,)).fetchone()
    if twin is None:
        return DuplicateKind.NONE, None
    twin_seq, first_seq = twin
    if first_seq is None:
        first_seq = twin_seq
        tx.execute(_SQL["begin_twins_instance"], (twin_seq,))
        tx.execute(_SQL["begin_twins_deliveries"], (twin_seq,))
    equal = tx.value(
        _SQL["has_equal_twin"],
        {
            "sop_instance_uid": uid,
            "checksum": arrival.checksum,
            "length": arrival.length,
            "transfer_syntax_uid": text(arrival.transfer_syntax_uid),
            "calling_ae_title": text(arrival.facts.calling_ae_title),
            "called_ae_title": text(arrival.facts.called_ae_title),
            "source": text(arrival.facts.source),
        },
    )
    return (DuplicateKind.CHANGED if equal is None else DuplicateKind.EXACT), first_seq


def _uids_there(tx: Transaction, arrivals: Sequence[Arrival]) -> set[str]:
    """Which of the arrivals' SOP Instance UIDs may have arrived before: nearly all that are here have."""
    uids = [text(arrival.sop_instance_uid) for arrival in arrivals]
    return {uid for (uid,) in tx.execute(_SQL["uids_there"], (json.dumps(uids),))}


class _Rows:
    """Rows of instances and of their payloads, inserted many at a time: each call into SQLite gives other threads of
    the process the interpreter, and gets it back when they let it go."""

    def __init__(self, tx: Transaction, state: str, reason: str, now_ms: int) -> None:
        self._tx = tx
        self._state, self._reason, self._now_ms = state, reason, now_ms
        self._instances: list[tuple[object, ...]] = []
        self._payloads: list[tuple[object, ...]] = []

    def add(self, seq: int, arrival: Arrival, duplicate: DuplicateKind, first_seq: int | None) -> None:
        """Have an arrival inserted as `seq`."""
        sop_class_uid, sop_instance_uid = text(arrival.sop_class_uid), text(arrival.sop_instance_uid)
        self._instances.append(
            (
                seq,
                arrival.instance_id,
                self._state,
                self._reason,
                association_key(self._tx, arrival.facts),
                sop_class_uid,
                sop_instance_uid,
                arrival.received_at_ms,
                self._now_ms,
                duplicate.value,
                first_seq,
            )
        )
        self._payloads.append(
            (
                seq,
                arrival.path,
                arrival.offset,
                arrival.length,
                arrival.checksum,
                sop_class_uid,
                sop_instance_uid,
                text(arrival.transfer_syntax_uid),
            )
        )

    def insert(self) -> None:
        """Insert what was added."""
        if self._instances:
            self._tx.executemany(_SQL["insert_instance"], self._instances)
            self._tx.executemany(_SQL["insert_payload"], self._payloads)
            self._instances, self._payloads = [], []


def none(tx: Transaction) -> bool:
    """See `Ledger.is_empty`."""
    return tx.value(_SQL["any"]) is None
