"""The ledger's self-examination: recounted counters, and what must never be.

Reads everything; minutes for a large ledger. Writers go on meanwhile: it looks at one consistent view.
"""

from __future__ import annotations

from gateway.ledger import queries
from gateway.ledger.logic.transaction import Transaction

_SQL = queries.load("check")


def problems(tx: Transaction) -> list[str]:
    """See `Ledger.check`: what each statement of `check.sql` finds, in words."""
    counts = ((name, tx.value(statement)) for name, statement in _SQL.items())
    return [f"{count} {name.replace('_', ' ')}" for name, count in counts if count]
