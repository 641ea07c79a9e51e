"""What a person takes out of the spool, and the audit row that says so."""

from __future__ import annotations

from gateway.ledger import queries
from gateway.ledger.logic import audit, trail
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.transaction import Transaction
from gateway.model import PayloadFile

_SQL = queries.load("downloads")
DOWNLOAD = "download"  # the action in the audit trail


def payload(
    tx: Transaction, instance_id: str, chain: str, actor: str, reason: str, now_ms: int, address: str
) -> PayloadFile | None:
    """See `Ledger.payload_for`."""
    which = {"instance_ids": [text(instance_id)], "chain": text(chain)}
    row = tx.execute(_SQL["payload"], {"instance_id": text(instance_id), "chain": text(chain)}).fetchone()
    studies = trail.study_of(tx, instance_id) if row is not None else {}
    audit.write(tx, actor, DOWNLOAD, which, reason, int(row is not None), now_ms, studies, text(address))
    if row is None:
        return None
    path, offset, length, checksum, *uids = row
    return PayloadFile(path, offset, length, bytes(checksum), *uids)
