"""The ledger's self-examination: SQLite's own integrity, references, recounted counters, and what must never be.

Reads everything; minutes for a large ledger. Writers go on meanwhile: it looks at one consistent view. The quick form
only looks whether each page is what it should be: about a second for a gigabyte.
"""

from __future__ import annotations

import sqlite3

from gateway.ledger import queries
from gateway.ledger.sqlite.database import Transaction, is_damage

_SQL = queries.load("sqlite", "check")
_MAX_WORDS = 20


def problems(tx: Transaction, quick: bool) -> list[str]:
    """See `Ledger.check`."""
    found: list[str] = []
    try:
        if quick:
            return [f"damaged: {row[0]}" for row in tx.execute(f"PRAGMA quick_check({_MAX_WORDS})") if row[0] != "ok"]
        found += [f"damaged: {row[0]}" for row in tx.execute(f"PRAGMA integrity_check({_MAX_WORDS})") if row[0] != "ok"]
        broken = {(row[0], row[2]) for row in tx.execute("PRAGMA foreign_key_check")}
        found += [f"{table}: rows that refer to a missing {parent}" for table, parent in sorted(broken)]
        for name, statement in _SQL.items():
            if count := tx.value(statement):
                found.append(f"{count} {name.replace('_', ' ')}")
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        found.append(f"damaged: {error}")
    return found
