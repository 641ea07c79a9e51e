"""What people ordered, as the ledger keeps it: each order's row is of the order's own transaction. Holds what a person
named: a patient ID, an accession number, a UID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ledger.look import AuditFilter, AuditPage

if TYPE_CHECKING:
    from gateway.console.context import Context


async def orders(context: Context, which: AuditFilter, limit: int, after: str = "") -> AuditPage:
    """Orders, the newest first. :raises LookTooWide, LookRefused, LedgerError."""
    return await context.look.audit(which, limit, after)
