"""Batches for the audit trail: taken by the host that writes them, and forgotten when they are written.

Batches are taken one after the other (`Turn.TRAIL`): all that belongs to one message goes into one batch. The contract
is `gateway.ledger.trail`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from gateway.ledger import queries
from gateway.ledger.logic.sessions import is_open, require_open
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.trail import (
    ADOPT_MS,
    UNKNOWN,
    Movement,
    Note,
    NoteKind,
    NoteTold,
    StudyTold,
    TrailHead,
    TransferTold,
    Untold,
)
from gateway.model import AssociationFacts, Session

_SQL = queries.load("trail")


def anything(tx: Transaction, quiet_ms: int, late_ms: int) -> bool:
    """Whether there may be something to take."""
    return tx.value(_SQL["anything"], {"quiet_ms": quiet_ms, "late_ms": late_ms}) is not None


def take(tx: Transaction, session: Session, now_ms: int, quiet_ms: int, late_ms: int, limit: int) -> Untold | None:
    """See `TrailLedger.take_untold`."""
    require_open(tx, session)
    home = tx.value(_SQL["home_of"], (session.session_id,))
    arguments = {"session_id": session.session_id, "home": home, "before_ms": now_ms - ADOPT_MS}
    batch: str | None = tx.value(_SQL["left"], arguments)
    if batch is not None:
        tx.execute(_SQL["adopt"], (session.session_id, batch))
        return Untold(batch, _read_batch(tx, batch))
    batch = secrets.token_hex(8)
    if not _fill(tx, batch, now_ms - quiet_ms, now_ms - late_ms, limit):
        return None
    tx.execute(_SQL["begin_batch"], (batch, session.session_id))
    return Untold(batch, _read_batch(tx, batch))


def _fill(tx: Transaction, batch: str, quiet_ms: int, late_ms: int, limit: int) -> bool:
    ripe = tx.execute(_SQL["ripe"], {"quiet_ms": quiet_ms, "late_ms": late_ms, "limit": limit}).fetchall()
    for movement, association_key, study_key, destination_key, anonymised in ripe:
        arguments = {
            "batch": batch,
            "movement": movement,
            "association_key": association_key,
            "study_key": study_key,
            "destination_key": destination_key,
            "anonymised": anonymised,
        }
        if study_key:
            tx.execute(_SQL["take_of_study"], arguments)
        else:
            del arguments["study_key"]
            tx.execute(_SQL["take_of_none"], arguments)
    notes = tx.execute(_SQL["notes_that_wait"], (limit,)).fetchall()
    rows = [{"batch": batch, "note_key": note_key, "study_key": study_key} for note_key, study_key in notes]
    if rows:
        tx.executemany(_SQL["take_note"], rows)
    return bool(ripe or rows)


def _read_batch(tx: Transaction, batch: str) -> tuple[TransferTold | NoteTold, ...]:
    told: list[TransferTold | NoteTold] = []
    rows = tx.execute(_SQL["transfers"], (batch,)).fetchall()
    for _, group in groupby(rows, key=lambda row: (row[0], row[1], *row[6:9])):
        told.append(_transfer(list(group)))
    for _, at_ms, kind, body, instances, *study in tx.execute(_SQL["notes"], (batch,)).fetchall():
        about = None if study[0] is None else StudyTold(*study)
        told.append(NoteTold(_read(kind, at_ms, json.loads(body)), about, instances))
    return tuple(told)


def _read(kind: str, at_ms: int, body: Mapping[str, Any]) -> Note:
    try:
        return Note(NoteKind(kind), at_ms, **body)
    except (ValueError, TypeError):  # of a newer version, on a ledger that it shares with this one
        known = {name: body[name] for name in ("actor", "address", "text") if isinstance(body.get(name), str)}
        return Note(NoteKind.ALERT, at_ms, what=UNKNOWN, subject=f"note {kind}", which=body, failed=True, **known)


def _transfer(rows: Sequence[Sequence[Any]]) -> TransferTold | NoteTold:
    first = rows[0]
    instances: dict[str, int] = {}
    for row in rows:
        instances[row[2]] = instances.get(row[2], 0) + row[3]
    study = StudyTold() if first[16] is None else StudyTold(*first[16:22])
    if first[0] not in set(Movement):
        which = {"association": first[9], "destination": first[15]}
        note = Note(NoteKind.ALERT, first[5], what=UNKNOWN, subject=f"movement {first[0]}", which=which, failed=True)
        return NoteTold(note, study, sum(instances.values()))
    return TransferTold(
        movement=Movement(first[0]),
        facts=AssociationFacts(*first[9:15]),
        destination=first[15],
        anonymised=bool(first[1]),
        study=study,
        instances=instances,
        first_at_ms=min(row[4] for row in rows),
        last_at_ms=max(row[5] for row in rows),
    )


def told(tx: Transaction, session: Session, batch: str, head: TrailHead) -> bool:
    """See `TrailLedger.told`."""
    home = tx.value(_SQL["home_of"], (session.session_id,))
    if home is not None:
        tx.execute(_SQL["raise_head" if batch else "set_head"], (home, head.seq, head.hash, head.at_ms))
    if not batch or not is_open(tx, session.session_id):
        return not batch
    if tx.execute(_SQL["end_batch"], (batch, session.session_id)).rowcount != 1:
        return False
    tx.execute(_SQL["forget_transfers"], (batch,))
    keys = [note_key for (note_key,) in tx.execute(_SQL["noted_in"], (batch,)).fetchall()]
    tx.execute(_SQL["forget_about"], (batch,))
    if keys:
        tx.executemany(_SQL["forget_note"], [{"note_key": key} for key in keys])
    return True


def heads(tx: Transaction) -> dict[str, TrailHead]:
    """See `TrailLedger.trail_heads`."""
    return {home: TrailHead(seq, digest, at_ms) for home, seq, digest, at_ms in tx.execute(_SQL["heads"])}
