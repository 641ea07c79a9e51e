"""Which forwarder has which destination. Of two that send to one destination neither would keep its bounds.

A session owns a destination from when it takes it until it gives it up or is voided (`sessions.void`), in the same
transaction: an owner's session is always an open one, so that nothing here has to ask whether it is.
"""

from __future__ import annotations

from collections.abc import Collection

from gateway.ledger import queries
from gateway.ledger.base import Forwarding
from gateway.ledger.logic import destinations
from gateway.ledger.logic.sessions import require_open
from gateway.ledger.logic.transaction import Transaction
from gateway.model import Session

_SQL = queries.load("owners")


def forwarding(tx: Transaction) -> Forwarding:
    """See `Ledger.forwarding`."""
    forwarders = tuple(session_id for (session_id,) in tx.execute(_SQL["forwarders"]).fetchall())
    return Forwarding(tuple(destinations.states(tx)), forwarders)


def own(tx: Transaction, session: Session, names: Collection[str]) -> frozenset[str]:
    """See `Ledger.own_destinations`."""
    require_open(tx, session)
    tx.executemany(_SQL["own"], [{"session_id": session.session_id, "name": name} for name in names])
    return frozenset(name for (name,) in tx.execute(_SQL["owned"], (session.session_id,)).fetchall())


def ask_for(tx: Transaction, session: Session, names: Collection[str]) -> None:
    """See `Ledger.ask_for_destinations`."""
    require_open(tx, session)
    tx.executemany(_SQL["ask_for"], [{"session_id": session.session_id, "name": name} for name in names])


def disown(tx: Transaction, session: Session, names: Collection[str]) -> None:
    """See `Ledger.disown_destinations`."""
    tx.executemany(_SQL["disown"], [{"session_id": session.session_id, "name": name} for name in names])


def free_leases(
    tx: Transaction, session: Session, names: Collection[str], pending: Collection[int], now_ms: int
) -> int:
    """See `Ledger.free_leases`."""
    freed = 0
    for name in names:
        found = tx.execute(_SQL["leased_to"], {"session_id": session.session_id, "name": name}).fetchall()
        left = [(delivery_id, key) for delivery_id, key in found if delivery_id not in pending]
        for delivery_id, key in left:
            tx.execute(
                _SQL["free_leased"],
                {"delivery_id": delivery_id, "session_id": session.session_id, "now_ms": now_ms},
            )
            tx.count_deliveries(key, "leased", -1)
            tx.count_deliveries(key, "ready", 1)
        freed += len(left)
    return freed
