"""The HTTP side of a host: health and version on the console's listener, metrics on their own.

    console   /livez     200 while this process turns
              /readyz    200, or 503 with the reasons why the host should get no work
              /version   name and version; nowhere else is the version told
    metrics   /metrics   the whole host (see `gateway.console.metrics`)

Security headers on every answer; an error is a bare 500, and its kind goes to the log.

uvicorn serves sockets that the supervisor has bound. It is started and stopped through its parts, because its own main
loop wakes up ten times a second and takes the process's signal handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from gateway import __version__, telemetry
from gateway.console.access.guard import public
from gateway.console.headers import AnswerHeaders, of_numbers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CONNECTION_LIMIT = 256  # of each listener; those that stay open for events are bounded besides
ADDRESS_LIMIT = CONNECTION_LIMIT // 2  # of them from one address: no one alone keeps others from health
REQUEST_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3
READING = ("GET", "HEAD")


def health_routes(reasons_not_ready: Callable[[], Awaitable[Sequence[str]]]) -> list[Route]:
    """Health and version. `reasons_not_ready` says why the host is not ready; empty when it is."""

    @public
    async def livez(_request: Request) -> Response:
        return PlainTextResponse("alive\n")

    @public
    async def readyz(_request: Request) -> Response:
        reasons = list(await reasons_not_ready())
        return JSONResponse({"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200)

    @public
    async def version(_request: Request) -> Response:
        return JSONResponse({"name": "dicom-gateway", "version": __version__})

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/version", version)]


def metrics_app(exposition: Callable[[], Awaitable[bytes]]) -> ASGIApp:
    """The metrics listener's application. `exposition` gives the text of the whole host."""

    async def metrics(_request: Request) -> Response:
        return Response(await exposition(), headers={"content-type": METRICS_CONTENT_TYPE})

    return Guard(Starlette(routes=[Route("/metrics", metrics)]))


class Guard:
    """Around an application: methods, security headers, and errors without a word about what they were."""

    def __init__(self, app: ASGIApp, methods: Sequence[str] = READING, headers: AnswerHeaders = of_numbers) -> None:
        self._app = app
        self._methods = methods
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = self._headers(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name, value) for name, value in message["headers"] if name.lower() not in headers]
                message = {**message, "headers": [*own, *headers.items()]}
            await send(message)

        if scope["method"] not in self._methods:
            allowed = {"allow": ", ".join(self._methods)}
            refusal = PlainTextResponse("method not allowed\n", status_code=405, headers=allowed)
            await refusal(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, receive, send_guarded)
        except Exception as error:  # noqa: BLE001 - its text could say anything; it goes no further than here
            # Starlette has answered with a bare 500 before it raised this again.
            telemetry.problem("console_error", error=error, path=scope["path"])


class _Http(H11Protocol):
    """uvicorn's protocol, and a deadline for each request: who connects and says nothing, or says it letter by letter,
    holds no place. No address holds more than half of all places."""

    _seen: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the connection its term, unless this address has too many."""
        super().connection_made(transport)
        if self._of_this_address() > ADDRESS_LIMIT:
            transport.close()
            return
        self.loop.call_later(REQUEST_TIMEOUT_S, self._end_of_term)

    def _of_this_address(self) -> int:
        """How many connections there are from where this one comes from, itself among them."""
        ours = [each for each in self.connections if isinstance(each, _Http)]
        return sum((each.client or ("",))[0] == (self.client or ("",))[0] for each in ours)

    def _end_of_term(self) -> None:
        """Close it where no request has come since the last term, and none is being answered."""
        if self.transport.is_closing():
            return
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if not is_busy and self.cycle is self._seen:
            self.transport.close()
            return
        self._seen = self.cycle
        self.loop.call_later(REQUEST_TIMEOUT_S, self._end_of_term)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Serve `app` on a listening socket while the context is open; then finish what is under way, for 3 s at most.

    The socket is closed at the end.
    """
    config = uvicorn.Config(
        app,
        http=_Http,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTION_LIMIT,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
        h11_max_incomplete_event_size=16 << 10,
    )
    config.load()
    config.ssl = tls
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield
    finally:
        await server.shutdown(sockets=[listener])


@dataclass(frozen=True, slots=True)
class Served:
    """An application and the listening socket that it is served on."""

    app: ASGIApp
    listener: socket.socket
    tls: ssl.SSLContext | None = None


async def serve(served: Sequence[Served], stop: asyncio.Event) -> None:
    """Serve every application on its socket until `stop` is set."""
    async with contextlib.AsyncExitStack() as stack:
        for each in served:
            await stack.enter_async_context(serving(each.app, each.listener, each.tls))
        await stop.wait()
