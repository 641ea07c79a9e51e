"""The console's application: health, API, pages and static files, and what stands before all of them.

    /livez /readyz /version    for anybody: nothing of a patient, nothing of the configuration
    /static                    for anybody: style sheets, scripts, pictures
    /login /logout /setup      `gateway.console.access`, with /account, and /oidc/… where there is single sign-on
    /api/v1                    `gateway.console.api`
    everything else            `gateway.console.pages`

A request passes, in this order: security headers (`Guard`), this being built (`gateway.console.late`), proxies and the
host's name (`Front`), who asks (`Identity`), the route with its right (`gateway.console.access.guard`). A route that
does not say what it asks for has the application not built.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from gateway.console.access.account import account_routes
from gateway.console.access.asks import public
from gateway.console.access.entrance import entrance_routes
from gateway.console.access.front import Front
from gateway.console.access.guard import Guarded, guarded
from gateway.console.access.identity import Identity
from gateway.console.access.sign_on import sign_on_routes
from gateway.console.api import api_app
from gateway.console.app import health_routes
from gateway.console.pages import page_routes, renderer_of
from gateway.console.pages.errors import handlers

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from gateway.console.context import Context

STATIC = Path(__file__).parent / "static"


def site(context: Context) -> ASGIApp:
    """The application. :raises UndeclaredRoute: a route does not say what it asks for."""
    app, _ = built(context)
    return fronted(app, context)


def fronted(app: ASGIApp, context: Context) -> ASGIApp:
    """The application behind who asks, and by which name."""
    settings = context.config().console
    named = (settings.host, *settings.host_names)
    return Front(Identity(app, context.door), named, settings.proxies, context.door.tell)


def built(context: Context) -> tuple[Starlette, list[Guarded]]:
    """The application without what stands before it, and all its routes."""
    renderer = renderer_of(context)
    routes = [
        *health_routes(context.host.reasons_not_ready),
        *entrance_routes(context.door, renderer, sign_on=context.provider is not None),
        *account_routes(context.door, renderer),
        *(sign_on_routes(context.door, context.provider, renderer) if context.provider is not None else ()),
        Mount("/api/v1", api_app(context)),
        Mount("/static", public(StaticFiles(directory=STATIC)), name="static"),
        *page_routes(context, renderer),
    ]
    found = guarded(routes)
    return Starlette(routes=routes, exception_handlers=handlers(renderer)), found
