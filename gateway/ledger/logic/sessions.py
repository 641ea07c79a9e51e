"""Sessions: the processes that hold leases. Whoever is voided has lost everything it claimed, and what it owned."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.errors import LeaseLost
from gateway.ledger import queries
from gateway.ledger.base import OpenSession, Voided
from gateway.ledger.logic.hosts import is_draining
from gateway.ledger.logic.transaction import Transaction
from gateway.model import Beat, Role, Session

_SQL = queries.load("sessions")
_OWNERS = queries.load("owners")


def open_session(tx: Transaction, role: Role, host: str, pid: int, now_ms: int, generation: str, home: str) -> Session:
    """See `Ledger.open_session`."""
    arguments = {
        "role": role.value,
        "host": host,
        "pid": pid,
        "now_ms": now_ms,
        "generation": generation,
        "home": home,
    }
    return Session(int(tx.value(_SQL["open_session"], arguments)), role, host, pid, now_ms)


def beat(tx: Transaction, session: Session, now_ms: int, in_hand: int | None) -> Beat:
    """See `Ledger.beat`."""
    arguments = {"session_id": session.session_id, "now_ms": now_ms, "in_hand": in_hand}
    if tx.execute(_SQL["beat"], arguments).rowcount != 1:
        return Beat.VOIDED
    return Beat.DRAIN if is_draining(tx, session.host, session.role) else Beat.GO_ON


def require_open(tx: Transaction, session: Session) -> None:
    """Raise `LeaseLost` when the session was voided: nothing may be leased to it, for nobody would free that."""
    if not is_open(tx, session.session_id):
        raise LeaseLost(f"session {session.session_id} ({session.role.value}) was voided: the process must stop")


def is_open(tx: Transaction, session_id: int) -> bool:
    """Whether the session may still work."""
    return tx.value(_SQL["is_open"], (session_id,)) is not None


def beats_of(tx: Transaction, session_id: int) -> int | None:
    """How often a session has beaten; it does not beat again before this transaction has ended."""
    beats: int | None = tx.value(_SQL["beats_of"], (session_id,))
    return beats


def opened_at(tx: Transaction, session_id: int) -> int | None:
    """When a session was opened, in milliseconds; None where there is none of this number."""
    at_ms: int | None = tx.value(_SQL["opened_at"], (session_id,))
    return at_ms


def void(tx: Transaction, session_id: int, now_ms: int) -> Voided:
    """See `Ledger.void_session`. What it had is claimed again one by one: `alone`, or by its counted attempt."""
    arguments = {"session_id": session_id, "now_ms": now_ms}
    if tx.execute(_SQL["void"], arguments).rowcount == 0:
        return Voided(0, 0)
    instances = tx.execute(_SQL["free_instances"], arguments).rowcount
    tx.execute(_SQL["free_derivations"], arguments)
    tx.execute(_OWNERS["free_owned"], arguments)
    tx.execute(_OWNERS["forget_wishes"], arguments)
    for destination_key, count in tx.execute(_SQL["count_leased"], arguments).fetchall():
        tx.count_deliveries(destination_key, "leased", -count)
        tx.count_deliveries(destination_key, "ready", count)
    return Voided(instances, tx.execute(_SQL["free_deliveries"], arguments).rowcount)


def open_sessions(tx: Transaction) -> list[OpenSession]:
    """See `Ledger.sessions`."""
    return [
        OpenSession(Session(session_id, Role(role), host, pid, opened_at_ms), generation, home, beats, beat_at_ms)
        for session_id, role, host, pid, opened_at_ms, generation, home, beats, beat_at_ms in tx.execute(_SQL["open"])
    ]


def dead_generations(tx: Transaction, home: str) -> list[str]:
    """See `Ledger.dead_generations`."""
    return [generation for (generation,) in tx.execute(_SQL["generations_of"], (home,))]


def unknown_generations(tx: Transaction, generations: Iterable[str]) -> set[str]:
    """See `Ledger.unknown_generations`."""
    return {each for each in generations if tx.value(_SQL["knows_generation"], (each,)) is None}


def void_all(tx: Transaction, now_ms: int, home: str | None, own: Session | None) -> Voided:
    """See `Ledger.void_all`. Whatever host a session names: the machine may have another name since."""
    ours = [each for each in open_sessions(tx) if home is None or each.home in ("", home)]
    dead = [each for each in ours if own is None or each.session.session_id != own.session_id]
    voided = [void(tx, each.session.session_id, now_ms) for each in dead]
    return Voided(sum(each.instances for each in voided), sum(each.deliveries for each in voided))
