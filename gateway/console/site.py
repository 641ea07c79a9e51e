"""The console's application: health, API, pages and static files, and what stands before all of them.

    /livez /readyz /version    for anybody: nothing of a patient, nothing of the configuration
    /static                    for anybody: style sheets, scripts, pictures
    /login /logout /setup      `gateway.console.access`
    /api/v1                    `gateway.console.api`
    everything else            `gateway.console.pages`

Each route says what right it asks for (`gateway.console.access.guard`), or the application is not built.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from gateway.console.access.guard import Guarded, guarded, public
from gateway.console.api import api_app
from gateway.console.app import Guard, health_routes
from gateway.console.pages import page_routes

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from gateway.console.context import Context

STATIC = Path(__file__).parent / "static"


def site(context: Context) -> ASGIApp:
    """The application. :raises UndeclaredRoute: a route does not say what it asks for."""
    app, _ = built(context)
    return Guard(app)


def built(context: Context) -> tuple[Starlette, list[Guarded]]:
    """The application without what stands before it, and all its routes."""
    routes = [
        *health_routes(context.host.reasons_not_ready),
        Mount("/api/v1", api_app(context)),
        Mount("/static", public(StaticFiles(directory=STATIC)), name="static"),
        *page_routes(context),
    ]
    found = guarded(routes)
    return Starlette(routes=routes), found
