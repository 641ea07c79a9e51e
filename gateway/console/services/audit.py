"""The audit trail: orders, as the ledger keeps them in the order's own transaction; and this host's files of PS3.15
messages, with what was sent and received, who logged in and who was shown what. Both name patients.

Reading the files takes a processor for as long as somebody asks for more: pages have one thread in all, and a page
looks at no more than PAGE_BYTES.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.audit.read import TrailFilter, TrailPage, page
from gateway.audit.verify import Verdict
from gateway.console.lane import Lane, LaneFull
from gateway.errors import TrailBusy
from gateway.ledger.look import AuditFilter, AuditPage

if TYPE_CHECKING:
    from gateway.console.context import Context

PAGE_BYTES = 8 << 20
_BUSY = "the audit trail is read by too many people at once: try again in a moment"
_reading, _verifying = Lane("trail pages"), Lane("trail verification")


async def orders(context: Context, which: AuditFilter, limit: int, after: str = "") -> AuditPage:
    """Orders, the newest first. :raises LookTooWide, LookRefused, LedgerError."""
    return await context.look.audit(which, limit, after)


async def trail(context: Context, which: TrailFilter, limit: int, after: str = "") -> TrailPage:
    """Records of this host's files, the newest first. :raises TrailError: TrailBusy is one."""
    try:
        return await _reading.run(partial(page, context.config().audit.dir, which, limit, after, PAGE_BYTES))
    except LaneFull:
        raise TrailBusy(_BUSY) from None


async def verified(context: Context) -> Verdict:
    """Whether the files are as they were written: all of them are read, one look at a time. :raises TrailError."""
    try:
        return await _verifying.run(context.verify_trail)
    except LaneFull:
        raise TrailBusy(_BUSY) from None
