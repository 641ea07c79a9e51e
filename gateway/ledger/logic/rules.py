"""Rule sets: stored under their revision, one of them current. A stored set never changes; it may be forgotten."""

from __future__ import annotations

import json

from gateway.errors import LedgerError
from gateway.ledger import queries
from gateway.ledger.base import RevisionsSeen, RuleSet
from gateway.ledger.logic import trail
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.trail import Note, NoteKind

SQL = queries.load("rules")


def store(tx: Transaction, rules: RuleSet, now_ms: int) -> bool:
    """See `Ledger.store_rules`."""
    if current(tx) == rules.revision:
        return False
    tx.execute(SQL["clear_current"])
    tx.execute(SQL["make_current"], (rules.revision, json.dumps(dict(rules.files)), now_ms))
    told = f"revision {rules.revision} is in force: {', '.join(sorted(rules.files))}"
    trail.note(tx, Note(NoteKind.ALERT, now_ms, what="rules changed", subject="rules", text=text(told)))
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


def superseded(tx: Transaction, before_ms: int) -> list[str]:
    """See `Ledger.superseded_rules`."""
    return [revision for (revision,) in tx.execute(SQL["superseded"], {"before_ms": before_ms})]


def revisions_of(tx: Transaction, after_seq: int, limit: int) -> RevisionsSeen:
    """See `Ledger.revisions_of`."""
    last_seq = tx.value(SQL["last_seq"], {"after_seq": after_seq, "limit": limit})
    if last_seq is None:
        return RevisionsSeen(frozenset(), None)
    rows = tx.execute(SQL["revisions_of"], {"after_seq": after_seq, "last_seq": last_seq})
    return RevisionsSeen(frozenset(revision for (revision,) in rows), last_seq)


def forget(tx: Transaction, revision: str) -> bool:
    """See `Ledger.forget_rules`."""
    return tx.execute(SQL["forget"], (revision,)).rowcount > 0
