"""Counters and oldest ages, for metrics: no scan of rows anywhere. `Ledger.gauges` and `LedgerLook.gauges` are this."""

from __future__ import annotations

from gateway.ledger import queries
from gateway.ledger.logic import destinations, rules
from gateway.ledger.logic.transaction import Transaction
from gateway.model import DeliveryState, InstanceState, LedgerGauges, ProcessCount, Role

_SQL = queries.load("gauges")
STATEMENTS = tuple(
    _SQL[name]
    for name in (
        "queue_depth",
        "queue_oldest",
        "sessions",
        "instances",
        "spool_bytes",
        "routing_since",
        "source_arrivals",
    )
)


def read(tx: Transaction) -> LedgerGauges:
    """See `Ledger.gauges`."""
    depth = tx.execute(_SQL["queue_depth"]).fetchall()
    oldest = tx.execute(_SQL["queue_oldest"]).fetchall()
    sessions = tx.execute(_SQL["sessions"]).fetchall()
    return LedgerGauges(
        queue_depth={(name, DeliveryState(state)): n for name, state, n in depth},
        queue_oldest_ms={name: queued_at_ms for name, queued_at_ms in oldest if queued_at_ms is not None},
        destinations=tuple(destinations.states(tx)),
        processes=tuple(ProcessCount(host, Role(role), n, bool(draining)) for host, role, n, draining in sessions),
        instances={InstanceState(state): n for state, n in tx.execute(_SQL["instances"]).fetchall()},
        spool_bytes=int(tx.value(_SQL["spool_bytes"]) or 0),
        rules_revision=rules.current(tx),
        source_arrivals_ms=dict(tx.execute(_SQL["source_arrivals"]).fetchall()),
        routing_since_ms=tx.value(_SQL["routing_since"]),
    )
