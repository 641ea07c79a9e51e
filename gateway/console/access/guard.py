"""The guard: every route says what it asks for (`gateway.console.access.asks`), and gets nobody who has not got it.

Pages are Starlette routes, which `guarded` wraps when the application is built. The API's are those of an `api_router`,
whose route class asks before FastAPI looks at parameters or body. A route that says nothing, or that is neither, makes
`guarded` raise, and the application is not built.

Who asks is in `request.state.person` (a `Person`, or None), put there by `gateway.console.access.identity`. Nobody:
a page answers with the way to /login, the API with 401. Somebody without the right: 403. A request that changes
something must be no other site's (`gateway.console.access.csrf`), and its body no larger than the route says. A page
finds the fields of its form in `request.state.form`; forms are never written to a file. Of bodies that may be larger
than BODY_BYTES each route has one at a time in memory: others wait, and come again after TURN_TIMEOUT_S.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from gateway.console.access.asks import BODY_BYTES, Asks, UndeclaredRoute, declared
from gateway.console.access.body import NO_FORM, bounded, read_body, read_form, replayed
from gateway.console.access.csrf import FIELD, HEADER, SAFE, comes_from_elsewhere
from gateway.console.access.roles import How, Person
from gateway.console.access.told import Access, AccessEvent

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.console.access.sessions import Session

TURN_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Guarded:
    """A route as the walk over the application finds it."""

    path: str
    methods: tuple[str, ...]
    asks: Asks


def api_router(**options: Any) -> APIRouter:
    """A router of the API, whose routes are guarded. Options are those of `APIRouter`."""
    return APIRouter(route_class=GuardedRoute, **options)


class GuardedRoute(APIRoute):
    """A route of the API that asks before anything of the request is read."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.asks = declared(endpoint, path)
        self._turns = asyncio.Semaphore(1)
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As `APIRoute`."""
        handler = super().get_route_handler()

        async def guarded_handler(request: Request) -> Response:
            check(request, self.asks)
            check_csrf(request, NO_FORM)
            async with _turn(request, self.asks, self._turns):
                receive = _bounded(request, self.asks)
                return await handler(Request(request.scope, receive))

        return guarded_handler


def guarded(routes: Sequence[BaseRoute]) -> list[Guarded]:
    """Put the guard around every route, those of mounted applications too, and list them.

    :raises UndeclaredRoute: one does not say what it asks for.
    """
    return list(_walk(routes, ""))


def _walk(routes: Sequence[BaseRoute], prefix: str) -> Iterator[Guarded]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _mounted(route, prefix)
        elif isinstance(route, Route) and not isinstance(route, APIRoute):
            path = prefix + route.path
            asks = declared(route.endpoint, path)
            route.app = _Page(route.app, asks)
            yield Guarded(path, tuple(sorted(route.methods or ())), asks)
        else:
            raise UndeclaredRoute(f"{prefix}{getattr(route, 'path', route)}: neither a page nor in an api_router")


def _mounted(mount: Mount, prefix: str) -> Iterator[Guarded]:
    path = prefix + mount.path
    if isinstance(mount.app, FastAPI):
        yield from _api(mount.app, path)
    elif mount.routes:
        yield from _walk(mount.routes, path)
    else:
        asks = declared(mount.app, path)
        if asks.right is not None:
            raise UndeclaredRoute(f"{path}: a mounted application without routes can only be public")
        yield Guarded(f"{path}/{{path:path}}", ("GET", "HEAD"), asks)


def _api(app: FastAPI, prefix: str) -> Iterator[Guarded]:
    for found in iter_route_contexts(app.routes):
        path = f"{prefix}{found.path}"
        if not isinstance(found.original_route, GuardedRoute):
            raise UndeclaredRoute(f"{path}: routes of the API are those of an api_router")
        yield Guarded(path, tuple(sorted(found.methods or ())), found.original_route.asks)


class _Page:
    """Around the application of one Starlette route."""

    def __init__(self, app: ASGIApp, asks: Asks) -> None:
        self._app = app
        self._asks = asks
        self._turns = asyncio.Semaphore(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        request = Request(scope, receive)
        try:
            check(request, self._asks)
        except NobodyAsks as error:
            if error.way is None:
                raise
            await error.way(scope, receive, send)
            return
        async with _turn(request, self._asks, self._turns):
            if request.method not in SAFE:
                body = await read_body(_bounded(request, self._asks))
                request.state.form = await read_form(request.headers, body)
                check_csrf(request, request.state.form)
                receive = replayed(body, receive)
            await self._app(scope, receive, send)


def _bounded(request: Request, asks: Asks) -> Receive:
    return bounded(request.receive, request.headers, asks.body_bytes, is_known=asks.right is not None)


@contextlib.asynccontextmanager
async def _turn(request: Request, asks: Asks, turns: asyncio.Semaphore) -> AsyncIterator[None]:
    """Wait for one's turn with a body that may be large; at once with any other. :raises HTTPException: 503."""
    if request.method in SAFE or asks.body_bytes <= BODY_BYTES:
        yield
        return
    try:
        async with asyncio.timeout(TURN_TIMEOUT_S):
            await turns.acquire()
    except TimeoutError:
        raise HTTPException(503, "others upload files: come again", {"retry-after": "10"}) from None
    try:
        yield
    finally:
        turns.release()


class NobodyAsks(HTTPException):
    """Nobody asks for what only somebody may have. `way` is where a browser goes instead; None: it is the API's."""

    def __init__(self, way: Response | None) -> None:
        super().__init__(401, "log in, or show an API token", {"WWW-Authenticate": 'Bearer realm="gateway"'})
        self.way = way


def check(request: Request, asks: Asks) -> None:
    """Let a request pass that comes from no other site, by somebody who has the right.

    :raises NobodyAsks: nobody is known. HTTPException: 403.
    """
    person: Person | None = request.state.person
    if request.method not in SAFE and (person is None or person.how is not How.TOKEN):
        elsewhere = comes_from_elsewhere(request.headers)
        if elsewhere:
            _tell(request, AccessEvent.CROSS_SITE, elsewhere)
            raise HTTPException(
                403, "this request was sent by a page of another site, or through a proxy that changes Host"
            )
    if asks.right is None:
        return
    if person is None:
        raise NobodyAsks(None if request.scope["path"].startswith("/api/") else _to_login(request))
    if not person.may(asks.right):
        _tell(request, AccessEvent.FORBIDDEN, asks.right)
        raise HTTPException(403, f"this needs the right `{asks.right}`, which the role {person.role} has not")


def check_csrf(request: Request, form: FormData) -> None:
    """Let a request pass that changes nothing, or is by no session, or shows its CSRF token.

    :raises HTTPException: 403.
    """
    session: Session | None = request.state.session
    if request.method in SAFE or session is None:
        return
    field = form.get(FIELD)
    shown = request.headers.get(HEADER) or (field if isinstance(field, str) else "")
    if not session.accepts(shown):
        _tell(request, AccessEvent.CROSS_SITE, "token")
        raise HTTPException(403, "the page that sent this is too old: load it again")


def _tell(request: Request, event: AccessEvent, reason: str) -> None:
    state, person = request.state, request.state.person
    if person is None:
        state.tell(Access(event, address=state.address, reason=reason))
    else:
        state.tell(Access(event, person.name, person.role, person.how, state.address, reason, person.actor))


def _to_login(request: Request) -> Response:
    """The way to the log-in, and back here after it, where that is a page that can be had again."""
    target = "/login"
    if request.method in SAFE:
        way = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = f"/login?next={quote(way, safe='')}"
    if request.headers.get("hx-request") == "true":  # htmx would follow a redirect into a part of the page
        return Response(status_code=401, headers={"hx-redirect": "/login"})
    return RedirectResponse(target, status_code=303)
