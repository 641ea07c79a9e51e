"""Hosts: which processes there are and what they hold, and which roles of which hosts take no more work."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from gateway.ledger import queries
from gateway.ledger.base import DrainRow, ProcessRow
from gateway.ledger.logic import audit
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.transaction import Transaction
from gateway.model import Role

SQL = queries.load("hosts")


def is_draining(tx: Transaction, host: str, role: Role) -> bool:
    """Whether this role takes no more work on this host."""
    return tx.value(SQL["is_draining"], (host, role.value)) is not None


def set_draining(
    tx: Transaction, host: str, roles: Collection[Role], draining: bool, actor: str, now_ms: int, reason: str = ""
) -> int:
    """See `Ledger.set_draining`."""
    statement = SQL["drain" if draining else "undrain"]
    changed = 0
    for role in roles:
        arguments = {"host": text(host), "role": role.value, "actor": text(actor), "now_ms": now_ms}
        if not draining:
            arguments = {"host": text(host), "role": role.value}
        changed += tx.execute(statement, arguments).rowcount
    which = {"host": text(host), "roles": sorted(role.value for role in roles)}
    audit.write(tx, actor, "drain" if draining else "undrain", which, reason, changed, now_ms)
    return changed


def draining(tx: Transaction) -> list[DrainRow]:
    """See `Ledger.draining`."""
    rows = tx.execute(SQL["draining"]).fetchall()
    return [DrainRow(host, Role(role), actor, since_ms) for host, role, actor, since_ms in rows]


def processes(tx: Transaction) -> list[ProcessRow]:
    """See `Ledger.processes`."""
    instances: Counter[int] = Counter()
    for statement in ("instances_held", "copies_held"):
        for session_id, count in tx.execute(SQL[statement]).fetchall():
            instances[session_id] += count
    deliveries = dict(tx.execute(SQL["deliveries_held"]).fetchall())
    owned: defaultdict[int, list[str]] = defaultdict(list)
    for session_id, name in tx.execute(SQL["destinations_owned"]).fetchall():
        owned[session_id].append(name)
    return [
        ProcessRow(
            session_id=session_id,
            role=Role(role),
            host=host,
            pid=pid,
            opened_at_ms=opened_at_ms,
            beat_at_ms=beat_at_ms,
            instances=instances[session_id],
            deliveries=deliveries.get(session_id, 0),
            destinations=tuple(owned[session_id]),
            draining=bool(is_drained),
            in_hand=in_hand,
        )
        for session_id, role, host, pid, opened_at_ms, beat_at_ms, in_hand, is_drained in tx.execute(SQL["processes"])
    ]
