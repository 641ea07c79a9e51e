"""The HTML pages: one module a subject, each with routes that render a template with what the services give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from gateway.console.pages import (
    attention,
    audit,
    downloads,
    help,
    orders,
    overview,
    queue,
    rules,
    studies,
    system,
    trial,
)
from gateway.console.pages.render import Renderer, Standing
from gateway.console.pages.site import Site
from gateway.errors import LedgerError
from gateway.model import InstanceState

if TYPE_CHECKING:
    from gateway.console.context import Context


def renderer_of(context: Context) -> Renderer:
    """What makes pages; those of `gateway.console.access` too."""

    async def standing() -> Standing:
        reasons = await context.host.reasons_not_ready()
        stopped = 0
        if context.look is not None:
            try:
                totals = await context.look.totals()
            except LedgerError:  # which is among the reasons already
                totals = None
            if totals is not None:
                at_rest = (InstanceState.HELD, InstanceState.QUARANTINED)
                stopped = sum(totals.stopped.values()) + sum(totals.instances.get(state, 0) for state in at_rest)
        return Standing(reasons, stopped, context.config().host)

    return Renderer(standing, context.clock_ms)


def page_routes(context: Context, renderer: Renderer | None = None) -> list[Route]:
    """All pages but those of `gateway.console.access`."""
    site = Site(context, renderer or renderer_of(context))
    subjects = (overview, studies, downloads, queue, attention, orders, rules, trial, system, audit, help)
    return [route for subject in subjects for route in subject.routes(site)]
