"""The first page: within ten seconds what is wrong, whose fault it is, what is at risk, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.pages.filters import bins_of_all
from gateway.console.pages.site import Site, person_of
from gateway.console.services.advice import ITEMS, advise
from gateway.console.services.overview import Overview, overview
from gateway.errors import LedgerError
from gateway.model import InstanceState

HISTORY = "/api/v1/live"
EVENTS = "/api/v1/events"
MOST = 8  # things to look after: more would hide the rest of the page
REFRESH_S = 30  # for browsers without scripts


@dataclass(frozen=True, slots=True)
class Figures:
    """The row of numbers."""

    received: int
    unrouted: int
    waiting: int
    oldest_ms: int | None
    stopped: int
    quarantined: int
    spool_bytes: int
    free_bytes: int | None


def routes(site: Site) -> list[Route]:
    """The overview."""

    @needs(Right.STATE)
    async def page(request: Request) -> Response:
        try:
            seen = await overview(site.context, person_of(request))
        except LedgerError:
            return await _without_ledger(site, request)
        troubles = [view.trouble for view in seen.trouble]
        advice = advise(seen.not_ready, seen.notices, seen.destinations, troubles, seen.at_ms)
        if not person_of(request).may(Right.PATIENTS):  # which instances they are is not for him
            advice = [replace(each, href="/attention") if each.href.startswith(ITEMS) else each for each in advice]
        return await site.renderer.page(
            request,
            "overview.html",
            advice=advice,
            figures=_figures(seen),
            queues=seen.destinations,
            bins=bins_of_all(seen.destinations),
            most=MOST,
            history_href=HISTORY,
            events_href=EVENTS,
            refresh_s=REFRESH_S,
        )

    return [Route("/", page)]


async def _without_ledger(site: Site, request: Request) -> Response:
    """What there is to say while the ledger does not answer: why, and what to do."""
    health = await site.context.host.health()
    reasons = sorted({*health.not_ready, "ledger_unreachable"})
    return await site.renderer.page(
        request,
        "overview.html",
        advice=advise(reasons, health.notices, (), (), site.context.clock_ms()),
        figures=None,
        queues=(),
        bins=(),
        most=MOST,
        history_href=HISTORY,
        events_href=EVENTS,
        refresh_s=REFRESH_S,
    )


def _figures(seen: Overview) -> Figures:
    oldest = [each.oldest_ms for each in seen.destinations if each.oldest_ms is not None]
    held = seen.instances.get(InstanceState.HELD, 0)
    return Figures(
        received=sum(seen.instances.values()),
        unrouted=seen.instances.get(InstanceState.RECEIVED, 0),
        waiting=seen.waiting,
        oldest_ms=min(oldest, default=None),
        stopped=sum(each.stopped for each in seen.destinations) + held,
        quarantined=seen.instances.get(InstanceState.QUARANTINED, 0),
        spool_bytes=seen.spool_bytes,
        free_bytes=seen.spool_free_bytes,
    )
