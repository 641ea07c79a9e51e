"""/account: what somebody who is logged in sees of himself, and his new password.

Who knows a password may change it: the old one is asked for, as often as a log-in may be tried. Each of his sessions
ends by it, and this browser gets a new one. People of a provider have no password here, and scripts see no page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.door import Door, NotLoggedIn
from gateway.console.access.entrance import SMALL_BYTES, sentence, text_of_field
from gateway.console.access.identity import session_cookie, set_session_cookie
from gateway.console.access.passwords import SHORTEST
from gateway.console.access.roles import How, Person, Right
from gateway.console.pages.render import told

if TYPE_CHECKING:
    from gateway.console.pages.render import Renderer


def account_routes(door: Door, renderer: Renderer) -> Sequence[Route]:
    """The routes."""

    async def page(request: Request, mistake: str, status: int) -> Response:
        person: Person = request.state.person
        user = door.users().get(person.name) if person.how is not How.OIDC else None
        return await renderer.page(
            request,
            "account.html",
            status,
            mistake=mistake,
            tokens=tuple(user.tokens.values()) if user is not None else (),
            has_password=person.how is How.SESSION,
            password_min=SHORTEST,
        )

    @needs(Right.STATE)
    async def show(request: Request) -> Response:
        return await page(request, "", 200)

    @needs(Right.STATE, SMALL_BYTES)
    async def change(request: Request) -> Response:
        person: Person = request.state.person
        if person.how is not How.SESSION:
            raise HTTPException(403, "only who logged in by name and password has a password here")
        old, new, again = (text_of_field(request.state.form, key) for key in ("old", "new", "again"))
        if new != again:
            return await page(request, "The two new passwords are not the same.", 422)
        came = await door.change_password(person, old, new, request.state.address, session_cookie(request))
        if isinstance(came, NotLoggedIn):
            answer = await page(request, sentence(came), 429 if came.wait_s else 422)
            if came.wait_s:
                answer.headers["retry-after"] = str(math.ceil(came.wait_s))
            return answer
        done = RedirectResponse("/account", 303)
        set_session_cookie(request, done, came.cookie)
        return told(done, "password", secure=request.url.scheme == "https")

    return [Route("/account", show, methods=["GET"]), Route("/account", change, methods=["POST"])]
