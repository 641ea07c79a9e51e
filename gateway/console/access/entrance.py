"""The pages of the door: /login, /logout, /setup.

What somebody types wrong is said without saying more: a name that there is not and a password that does not fit look
alike. After a log-in the browser goes on to the page that was asked for, which is one of ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.console.access.asks import Endpoint, public
from gateway.console.access.door import Door, NotLoggedIn
from gateway.console.access.identity import drop_session_cookie, session_cookie, set_session_cookie
from gateway.console.access.passwords import SHORTEST

if TYPE_CHECKING:
    from gateway.console.pages.render import Renderer

_OURS = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
SIGN_ON = "Single sign-on"
SMALL_BYTES = 16 << 10


def entrance_routes(door: Door, renderer: Renderer, *, sign_on: bool) -> Sequence[Route]:
    """The routes. `sign_on`: there is a provider of single sign-on."""
    return [
        *_login(door, renderer, SIGN_ON if sign_on else ""),
        *_setup(door, renderer),
        _logout(door),
    ]


def inside(way: str) -> str:
    """Where a browser goes after the log-in: `way` where it is a path of ours, else the first page."""
    return way if _OURS.fullmatch(way) else "/"


def _login(door: Door, renderer: Renderer, sign_on: str) -> Sequence[Route]:
    async def page(request: Request, mistake: str, name: str, way: str, status: int) -> Response:
        return await renderer.page(
            request, "login.html", status, mistake=mistake, name=name, next=way, oidc=sign_on, setup=door.setup.is_open
        )

    @public
    async def show(request: Request) -> Response:
        way = inside(request.query_params.get("next", "/"))
        if request.state.session is not None:
            return RedirectResponse(way, 303)
        return await page(request, "", "", way, 200)

    @_form
    async def log_in(request: Request) -> Response:
        form: FormData = request.state.form
        name, password, way = (text_of_field(form, key) for key in ("name", "password", "next"))
        came = await door.log_in(name, password, request.state.address, session_cookie(request))
        if isinstance(came, NotLoggedIn):
            status = 429 if came.wait_s else 401
            answer = await page(request, sentence(came), name, inside(way), status)
            if came.wait_s:
                answer.headers["retry-after"] = str(math.ceil(came.wait_s))
            return answer
        return _in(request, came.cookie, inside(way))

    return [Route("/login", show, methods=["GET"]), Route("/login", log_in, methods=["POST"])]


def _setup(door: Door, renderer: Renderer) -> Sequence[Route]:
    async def page(request: Request, mistake: str, name: str, token: str, status: int) -> Response:
        return await renderer.page(
            request, "setup.html", status, mistake=mistake, name=name, token=token, password_min=SHORTEST
        )

    @public
    async def show(request: Request) -> Response:
        if not door.setup.is_open:
            return RedirectResponse("/login", 303)
        return await page(request, "", "", "", 200)

    @_form
    async def set_up(request: Request) -> Response:
        form: FormData = request.state.form
        token, name, password = (text_of_field(form, key) for key in ("token", "name", "password"))
        came = await door.set_up(token, name.strip(), password, request.state.address)
        if isinstance(came, NotLoggedIn):
            return await page(request, sentence(came), name, token, 422)
        return _in(request, came.cookie, "/")

    return [Route("/setup", show, methods=["GET"]), Route("/setup", set_up, methods=["POST"])]


def _logout(door: Door) -> Route:
    @_form  # for anybody: who is out already is out
    async def log_out(request: Request) -> Response:
        door.log_out(session_cookie(request), request.state.address)
        answer = RedirectResponse("/login", 303)
        drop_session_cookie(request, answer)
        return answer

    return Route("/logout", log_out, methods=["POST"])


def _form(endpoint: Endpoint) -> Endpoint:
    """What takes a small form of anybody."""
    return public(endpoint, SMALL_BYTES)


def _in(request: Request, cookie: str, way: str) -> Response:
    answer = RedirectResponse(way, 303)
    set_session_cookie(request, answer, cookie)
    return answer


def sentence(came: NotLoggedIn) -> str:
    """Why not, for a page."""
    text = came.reason[:1].upper() + came.reason[1:]
    return f"{text}. Try again in {math.ceil(came.wait_s)} s." if came.wait_s else f"{text}."


def text_of_field(form: FormData, key: str) -> str:
    """What was typed; "" where nothing was, or where a file came."""
    value = form.get(key, "")
    return value if isinstance(value, str) else ""
