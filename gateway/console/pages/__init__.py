"""The HTML pages: one module a subject, each with routes that render a template with what the services give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.access.guard import needs
from gateway.console.access.roles import Right
from gateway.console.pages.render import Renderer, Standing
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


def page_routes(context: Context) -> list[Route]:
    """All pages but those of `gateway.console.access`."""
    renderer = renderer_of(context)

    @needs(Right.STATE)
    async def overview(request: Request) -> Response:
        return await renderer.problem(request, 200, "Overview", "Nothing to see yet.")

    return [Route("/", overview)]
