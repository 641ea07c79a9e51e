"""The HTML pages: one module a subject, each with routes that render a template with what the services give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.console.access.guard import needs
from gateway.console.access.roles import Right

if TYPE_CHECKING:
    from gateway.console.context import Context


def page_routes(context: Context) -> list[Route]:
    """All pages but those of `gateway.console.access`."""

    @needs(Right.STATE)
    async def overview(_request: Request) -> Response:
        return PlainTextResponse(f"{context.config().host}\n")

    return [Route("/", overview)]
