"""What people ordered: who, when, what for which instances, and why. Patient data may stand in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.access.guard import needs
from gateway.console.access.roles import Right
from gateway.console.pages.site import LIMIT, Site, asked, href
from gateway.console.services.audit import orders
from gateway.ledger.look import AuditFilter

ACTIONS = ("hold", "release", "resend", "cancel", "pause", "unpause", "probe", "retry", "drain", "undrain", "download")
_FIELDS = ("actor", "action", "since", "until")


def routes(site: Site) -> list[Route]:
    """The audit page."""
    return [Route("/audit", needs(Right.PATIENTS)(partial(_page, site)))]


async def _page(site: Site, request: Request) -> Response:
    typed = {name: asked(request, name) for name in _FIELDS}
    since, until = _day_ms(typed["since"], 0), _day_ms(typed["until"], 1)
    which = AuditFilter(actor=typed["actor"], action=typed["action"], since_ms=since, until_ms=until)
    found = await orders(site.context, which, LIMIT, asked(request, "after"))
    return await site.renderer.page(
        request,
        "audit.html",
        rows=found.rows,
        typed=typed,
        actions=ACTIONS,
        next_href=href("/audit", **typed, after=found.next) if found.next else "",
    )


def _day_ms(text: str, days_more: int) -> int:
    """The beginning of a day, or of the day after, in UTC; 0 where none is given."""
    if not text:
        return 0
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=days_more)
    except (ValueError, OverflowError):
        raise HTTPException(400, "write a day as 2026-11-26") from None
    return round(day.timestamp() * 1000)
