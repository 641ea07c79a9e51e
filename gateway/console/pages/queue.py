"""What waits, by destination and age; each destination as it is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.pages.filters import bins_of_all
from gateway.console.pages.site import Site
from gateway.console.services.queue import destinations
from gateway.model import DeliveryState

REFRESH_S = 30


def routes(site: Site) -> list[Route]:
    """The queue."""

    @needs(Right.STATE)
    async def page(request: Request) -> Response:
        views = await destinations(site.context)
        return await site.renderer.page(
            request,
            "queue.html",
            queues=views,
            bins=bins_of_all(views),
            stopped={
                str(state): sum(view.states.get(state, 0) for view in views)
                for state in (DeliveryState.HELD, DeliveryState.DEAD)
            },
            refresh_s=REFRESH_S,
        )

    return [Route("/queue", page)]
