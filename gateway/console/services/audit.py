"""The audit trail: orders, as the ledger keeps them in the order's own transaction; and this host's files of PS3.15
messages, with what was sent and received, who logged in and who was shown what. Both name patients."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway.audit.read import TrailFilter, TrailPage, page
from gateway.audit.verify import Verdict
from gateway.ledger.look import AuditFilter, AuditPage

if TYPE_CHECKING:
    from gateway.console.context import Context

_verifying = asyncio.Lock()


async def orders(context: Context, which: AuditFilter, limit: int, after: str = "") -> AuditPage:
    """Orders, the newest first. :raises LookTooWide, LookRefused, LedgerError."""
    return await context.look.audit(which, limit, after)


async def trail(context: Context, which: TrailFilter, limit: int, after: str = "") -> TrailPage:
    """Records of this host's files, the newest first. :raises TrailError."""
    return await asyncio.to_thread(partial(page, context.config().audit.dir, which, limit, after))


async def verified(context: Context) -> Verdict:
    """Whether the files are as they were written: all of them are read, one look at a time. :raises TrailError."""
    async with _verifying:
        return await asyncio.to_thread(context.verify_trail)
