"""What people ordered, as the ledger keeps it; and this host's audit trail by PS3.15 A.5. Both may name patients.

Who looks for what was done with one patient's images gets the trail behind a random word, as with a search for studies:
a patient's ID stands in no address.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.audit.codes import KINDS
from gateway.audit.read import TrailFilter
from gateway.audit.verify import Verdict
from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.pages.searches import Searches
from gateway.console.pages.site import LIMIT, Site, asked, href, person_of, sent, viewer_of
from gateway.console.services import audit as service
from gateway.console.services.seen import trail_read
from gateway.ledger.look import AuditFilter

ACTIONS = ("hold", "release", "resend", "cancel", "pause", "resume", "probe", "retry", "drain", "undrain", "download")
_FIELDS = ("actor", "action", "since", "until")
_TRAIL_FIELDS = ("who", "kind", "since", "until", "failed")
_OF_PATIENTS = ("patient_id", "accession", "study")  # which stand in no address


def routes(site: Site) -> list[Route]:
    """Orders, the trail, and whether that is as it was written."""
    return [
        Route("/audit", needs(Right.PATIENTS)(partial(_orders, site))),
        Route("/audit/trail", needs(Right.PATIENTS)(partial(_trail, site, Searches())), methods=["GET", "POST"]),
        Route("/audit/verify", needs(Right.ADMINISTER)(partial(_verify, site)), methods=["POST"]),
    ]


async def _orders(site: Site, request: Request) -> Response:
    typed = {name: asked(request, name) for name in _FIELDS}
    since, until = _day_ms(typed["since"], 0), _day_ms(typed["until"], 1)
    which = AuditFilter(actor=typed["actor"], action=typed["action"], since_ms=since, until_ms=until)
    found = await service.orders(site.context, which, LIMIT, asked(request, "after"))
    trail_read(site.context, viewer_of(request))
    return await site.renderer.page(
        request,
        "audit.html",
        rows=found.rows,
        typed=typed,
        actions=ACTIONS,
        next_href=href("/audit", **typed, after=found.next) if found.next else "",
    )


async def _trail(site: Site, searches: Searches[dict[str, str]], request: Request) -> Response:
    name = person_of(request).name
    if request.method == "POST":
        typed = {field: sent(request, field) for field in (*_TRAIL_FIELDS, *_OF_PATIENTS)}
        if any(typed[field] for field in _OF_PATIENTS):
            return RedirectResponse(href("/audit/trail", q=searches.keep(name, typed)), 303)
        return RedirectResponse(href("/audit/trail", **typed), 303)
    word, after = asked(request, "q"), asked(request, "after")
    typed = searches.find(name, word) or {field: asked(request, field) for field in _TRAIL_FIELDS}
    return await _show_trail(site, request, typed, word, after, None)


async def _verify(site: Site, request: Request) -> Response:
    verdict = await service.verified(site.context)
    return await _show_trail(site, request, {}, "", "", verdict)


async def _show_trail(
    site: Site, request: Request, typed: Mapping[str, str], word: str, after: str, verdict: Verdict | None
) -> Response:
    typed = {**dict.fromkeys((*_TRAIL_FIELDS, *_OF_PATIENTS), ""), **typed}
    which = TrailFilter(
        kinds=(typed["kind"],) if typed["kind"] else (),
        who=typed["who"],
        patient_id=typed["patient_id"],
        study_instance_uid=typed["study"],
        accession_number=typed["accession"],
        from_ms=_day_ms(typed["since"], 0),
        to_ms=_day_ms(typed["until"], 1),
        failed=bool(typed["failed"]),
    )
    if after and not (after.isascii() and after.isdigit()):
        raise HTTPException(400, "this is not where a page of the trail ends")
    found = await service.trail(site.context, which, LIMIT, after)
    trail_read(site.context, viewer_of(request))
    fields = {"q": word} if word else {field: typed[field] for field in _TRAIL_FIELDS}
    return await site.renderer.page(
        request,
        "trail.html",
        rows=found.rows,
        typed=typed,
        kinds=tuple(KINDS.values()),
        verdict=verdict,
        next_href=href("/audit/trail", **fields, after=found.next) if found.next else "",
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
