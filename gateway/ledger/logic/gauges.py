"""Counters and oldest ages, for metrics. The statements and what is made of their rows; no scan of rows anywhere.

`SqliteLedger.gauges` and `gateway.ledger.reader` run the same statements, each in its own way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.ledger import queries
from gateway.ledger.logic import destinations, rules
from gateway.ledger.logic.transaction import Transaction
from gateway.model import DeliveryState, InstanceState, LedgerGauges, ProcessCount, Role

_SQL = queries.load("gauges")

STATEMENTS = (
    _SQL["queue_depth"],
    _SQL["queue_oldest"],
    destinations.SQL["all"],
    _SQL["sessions"],
    _SQL["instances"],
    _SQL["spool_bytes"],
    rules.SQL["current"],
)

Rows = Iterable[Sequence[Any]]


def assemble(
    depth: Rows,
    oldest: Rows,
    destination_rows: Rows,
    sessions: Rows,
    instances: Rows,
    spool_bytes: Rows,
    current: Rows,
) -> LedgerGauges:
    """The gauges from the rows of `STATEMENTS`, in their order."""
    return LedgerGauges(
        queue_depth={(name, DeliveryState(state)): n for name, state, n in depth},
        queue_oldest_ms={name: queued_at_ms for name, queued_at_ms in oldest if queued_at_ms is not None},
        destinations=tuple(destinations.state_of(row) for row in destination_rows),
        processes=tuple(ProcessCount(host, Role(role), n, bool(draining)) for host, role, n, draining in sessions),
        instances={InstanceState(state): n for state, n in instances},
        spool_bytes=next((int(count) for (count,) in spool_bytes), 0),
        rules_revision=next((revision for (revision,) in current), ""),
    )


def read(tx: Transaction) -> LedgerGauges:
    """See `Ledger.gauges`."""
    return assemble(*(tx.execute(statement).fetchall() for statement in STATEMENTS))
