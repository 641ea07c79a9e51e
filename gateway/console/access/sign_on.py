"""The way to the provider of single sign-on, and back: /oidc/login, /oidc/callback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.console.access.asks import public
from gateway.console.access.claims import SignOnRefused
from gateway.console.access.door import Door
from gateway.console.access.entrance import inside
from gateway.console.access.identity import cookie_name, session_cookie, set_session_cookie

if TYPE_CHECKING:
    from gateway.console.access.oidc import Provider
    from gateway.console.pages.render import Renderer

CALLBACK = "/oidc/callback"
_TERM_S = 600


def sign_on_routes(door: Door, provider: Provider, renderer: Renderer) -> Sequence[Route]:
    """The routes. The cookie of a log-in that has begun goes to these two alone."""

    async def refused(request: Request, error: SignOnRefused) -> Response:
        door.refused_by_provider(str(error), request.state.address)
        text = str(error)
        return await renderer.problem(request, 403, "Not logged in", f"{text[:1].upper()}{text[1:]}.")

    @public
    async def begin(request: Request) -> Response:
        back = f"{request.url.scheme}://{request.headers['host']}{CALLBACK}"
        try:
            url, cookie = await provider.begin(back, inside(request.query_params.get("next", "/")))
        except SignOnRefused as error:
            return await refused(request, error)
        answer = RedirectResponse(url, 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            cookie_name(request, "-oidc"), cookie, _TERM_S, path="/", secure=secure, httponly=True, samesite="lax"
        )
        return answer

    @public
    async def come_back(request: Request) -> Response:
        try:
            person, way = await provider.finish(
                request.query_params, request.cookies.get(cookie_name(request, "-oidc"), "")
            )
        except SignOnRefused as error:
            return await refused(request, error)
        came = door.log_in_by_provider(person, request.state.address, session_cookie(request))
        answer = RedirectResponse(way, 303)
        answer.delete_cookie(
            cookie_name(request, "-oidc"), path="/", secure=request.url.scheme == "https", httponly=True
        )
        set_session_cookie(request, answer, came.cookie)
        return answer

    return [
        Route("/oidc/login", begin, methods=["GET"]),
        Route(CALLBACK, come_back, methods=["GET"]),
    ]
