"""The HTTP side of a host: health and version on the console's listener, metrics on their own.

    console   /livez     200 while this process turns
              /readyz    200, or 503 with the reasons why the host should get no work
              /version   name and version; nowhere else is the version told
    metrics   /metrics   the whole host (see `gateway.console.metrics`)
              /livez, /readyz   the same; who restarts what is ill asks here, where no browser can take all places

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
from gateway.console.access.asks import public
from gateway.console.access.throttle import network_of
from gateway.console.headers import AnswerHeaders, of_numbers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CONNECTION_LIMIT = 256  # of each listener; those that stay open for events are bounded besides
ADDRESS_LIMIT = CONNECTION_LIMIT // 2  # of them from one address: no one alone keeps others from asking
REQUEST_TIMEOUT_S = 10.0
HANDSHAKE_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 60.0
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


def metrics_app(
    exposition: Callable[[], Awaitable[bytes]], reasons_not_ready: Callable[[], Awaitable[Sequence[str]]]
) -> ASGIApp:
    """The metrics listener's application. `exposition` gives the text of the whole host; health as `health_routes`."""

    async def metrics(_request: Request) -> Response:
        return Response(await exposition(), headers={"content-type": METRICS_CONTENT_TYPE})

    health = [route for route in health_routes(reasons_not_ready) if route.path != "/version"]
    return Guard(Starlette(routes=[Route("/metrics", metrics), *health]))


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

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = self._headers(scope, message["status"])
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
    holds no place; nor does who asks and does not read the answer. No address, and no /64 of IPv6, holds more than half
    of all places."""

    _seen: RequestResponseCycle | None = None
    _network = ""
    _until_read: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the connection its term, unless this address has too many."""
        super().connection_made(transport)
        self._network = network_of((self.client or ("",))[0])
        if self._of_this_network() > ADDRESS_LIMIT:
            transport.close()
            return
        self.loop.call_later(REQUEST_TIMEOUT_S, self._end_of_term)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget its deadline."""
        super().connection_lost(exc)
        self.resume_writing()

    def pause_writing(self) -> None:
        """More is to be sent than the other side takes: it has its time to take it."""
        super().pause_writing()
        self._until_read = self.loop.call_later(WRITE_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        if self._until_read is not None:
            self._until_read.cancel()
            self._until_read = None

    def _of_this_network(self) -> int:
        """How many connections there are from where this one comes from, itself among them."""
        return sum(isinstance(each, _Http) and each._network == self._network for each in self.connections)

    def _end_of_term(self) -> None:
        """Close it where no request has come since the last term, and none is being answered."""
        if self not in self.connections:
            return
        if self.transport.is_closing():  # once all is sent: who does not take it has his time, too
            self.loop.call_later(WRITE_TIMEOUT_S, self.transport.abort)
            return
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if not is_busy and self.cycle is self._seen:
            self.transport.close()
            self.loop.call_later(WRITE_TIMEOUT_S, self.transport.abort)
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
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    handshake_s = HANDSHAKE_TIMEOUT_S if tls is not None else None

    def connected() -> asyncio.Protocol:
        return _Http(config=config, server_state=server.server_state, app_state={})

    # As `server.startup` does, which has no word for the time that a handshake may take.
    loop = asyncio.get_running_loop()
    server.servers = [
        await loop.create_server(
            connected, sock=listener, ssl=tls, ssl_handshake_timeout=handshake_s, backlog=config.backlog
        )
    ]
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
