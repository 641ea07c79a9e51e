"""Who asks: looked up once, before any route, and put into `request.state`.

    person      a `Person`, or None
    session     the session he is known by, or None
    csrf_token  the CSRF token for forms and for the header X-CSRF-Token; "" without a session
    tell        tells of an `Access` event
    address     where he comes from (`gateway.console.access.front` has put it there)

The cookie is `__Host-gateway-8443` where the connection is one of TLS (then it goes to this host alone, over TLS
alone), and `gateway-8080` where it is not: a browser sends cookies to all ports of a host, which may have several
consoles. An `Authorization` header that shows no token is somebody else's: a proxy may ask for a password of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import Request

from gateway.console.access.door import Door, Known

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_BEARER = "bearer "
_PORT = re.compile(r":[0-9]{1,5}$")
FRESH_PART = "live"  # the part of a page that asks for itself again every few seconds
FRESH_PATHS = ("/api/v1/events",)  # what a page asks for again by itself where the stream is cut


class Identity:
    """See the module's docstring."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope)
        known = self._known(request)
        state = {
            **scope.get("state", {}),
            "person": known.person,
            "session": known.session,
            "csrf_token": known.session.csrf if known.session is not None else "",
            "tell": self._door.tell,
        }
        await self._app({**scope, "state": state}, receive, send)

    def _known(self, request: Request) -> Known:
        if request.headers.get("authorization", "").lower().startswith(_BEARER.strip()):
            return self._door.by_token(shown_token(request), request.state.address)
        cookie = session_cookie(request)
        if not cookie:
            return Known()
        by_itself = request.headers.get("hx-target") == FRESH_PART or request.scope["path"] in FRESH_PATHS
        return self._door.by_cookie(cookie, is_use=not by_itself)


def shown_token(request: Request) -> str:
    """The API token that a request shows; "" where there is none."""
    shown = request.headers.get("authorization", "")
    return shown[len(_BEARER) :].strip() if shown.lower().startswith(_BEARER) else ""


def session_cookie(request: Request) -> str:
    """The value of the session's cookie; "" where there is none."""
    return request.cookies.get(cookie_name(request), "")


def set_session_cookie(request: Request, response: Response, value: str) -> None:
    """Give a browser its session; it forgets it when it is closed."""
    secure = request.url.scheme == "https"
    response.set_cookie(cookie_name(request), value, path="/", secure=secure, httponly=True, samesite="lax")


def drop_session_cookie(request: Request, response: Response) -> None:
    """Have a browser forget its session."""
    secure = request.url.scheme == "https"
    response.delete_cookie(cookie_name(request), path="/", secure=secure, httponly=True, samesite="lax")


def cookie_name(request: Request, what: str = "") -> str:
    """What a cookie of this console is called; see the module's docstring."""
    port = _PORT.search(request.headers.get("host", ""))
    name = f"gateway{what}{port[0].replace(':', '-') if port is not None else ''}"
    return f"__Host-{name}" if request.url.scheme == "https" else name
