"""What stands behind pseudonyms, sealed: kept with the copy that goes out under them, shown to nobody without a trace.

An entry is kept in the transaction that records its copy; there can be no delivery of a copy without it. It stays when
the instance is purged.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.ledger import queries
from gateway.ledger.logic import audit
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.transaction import Transaction
from gateway.model import Derivation

_SQL = queries.load("pseudonyms")
REIDENTIFY = "reidentify"  # the action in the audit trail


def remember(tx: Transaction, made: Iterable[Derivation], now_ms: int) -> None:
    """Keep what these copies have behind their pseudonyms; what is kept already stays as it is."""
    rows = [(text(name), mark, sealed, now_ms) for each in made for name, mark, sealed in each.remembered]
    if rows:
        tx.executemany(_SQL["remember"], rows)


def originals(tx: Transaction, pseudonym: str, actor: str, reason: str, now_ms: int) -> list[bytes]:
    """See `Ledger.originals_of`."""
    found = [bytes(sealed) for (sealed,) in tx.execute(_SQL["behind"], (text(pseudonym),)).fetchall()]
    audit.write(tx, actor, REIDENTIFY, {"pseudonym": text(pseudonym)}, reason, len(found), now_ms)
    return found
