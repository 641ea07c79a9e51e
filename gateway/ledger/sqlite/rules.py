"""Rule sets: stored under their revision, one of them current. A stored set never changes."""

from __future__ import annotations

import json

from gateway.errors import LedgerError
from gateway.ledger import queries
from gateway.ledger.base import RuleSet
from gateway.ledger.sqlite.database import Transaction

SQL = queries.load("sqlite", "rules")


def store(tx: Transaction, rules: RuleSet, now_ms: int) -> bool:
    """See `Ledger.store_rules`."""
    if current(tx) == rules.revision:
        return False
    tx.execute(SQL["clear_current"])
    tx.execute(SQL["make_current"], (rules.revision, json.dumps(dict(rules.files)), now_ms))
    return True


def current(tx: Transaction) -> str:
    """See `Ledger.current_revision`."""
    return tx.value(SQL["current"]) or ""


def load(tx: Transaction, revision: str) -> RuleSet:
    """See `Ledger.load_rules`."""
    files = tx.value(SQL["files"], (revision,))
    if files is None:
        raise LedgerError(f"no rules are stored under revision {revision!r}")
    return RuleSet(revision, json.loads(files))
