"""The spool's end: settled → purging (durable; then files may be unlinked) → purged.

What is checked again for each instance: it has its original payload, each of its deliveries is delivered or
cancelled, and so is each delivery that stands for it where it was skipped as an exact duplicate. While one of these is
not, the instance is settled without a time, and costs those that look for what can be purged nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ledger import queries
from gateway.ledger.base import PurgeItem
from gateway.ledger.logic.transaction import Transaction
from gateway.model import InstanceState

_SQL = queries.load("purge")


def begin(tx: Transaction, settled_before_ms: int, limit: int) -> list[PurgeItem]:
    """See `Ledger.begin_purge`."""
    # Half of the batch at most: files that cannot be removed must not keep others from being purged.
    left = tx.execute(_SQL["purging"], (max(1, limit // 2),)).fetchall()
    arguments = {"settled_before_ms": settled_before_ms, "limit": limit - len(left)}
    fresh = tx.execute(_SQL["purgeable"], arguments).fetchall() if len(left) < limit else []
    tx.executemany(_SQL["begin"], [(seq,) for seq, _ in fresh])
    tx.count_instances(InstanceState.SETTLED.value, -len(fresh))
    tx.count_instances(InstanceState.PURGING.value, len(fresh))
    return [
        PurgeItem(instance_id, tuple(path for (path,) in tx.execute(_SQL["paths"], (seq,))))
        for seq, instance_id in left + fresh
    ]


def finish(tx: Transaction, instance_ids: Sequence[str]) -> int:
    """See `Ledger.finish_purge`."""
    rows = [row for instance_id in instance_ids for row in tx.execute(_SQL["finish"], (instance_id,)).fetchall()]
    tx.count_instances(InstanceState.PURGING.value, -len(rows))
    tx.count_instances(InstanceState.PURGED.value, len(rows))
    tx.count_spool_bytes(-sum(length for (length,) in rows))
    return len(rows)
