"""`/events`: live values as Server-Sent Events, for as long as somebody listens.

    event: live         a sample, each EVERY_S (`gateway.console.live`: all listeners share one)
    event: end          why the stream ends: the session has ended, or the gateway stops
    : beat              nothing to say, after HEARTBEAT_S

At most LISTENERS_MAX listen at once, and EACH_MAX by one person or token; who comes then gets 503. Everybody is sent
away after LISTEN_MAX_S: a browser comes again by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from gateway.console.access.asks import needs
from gateway.console.access.guard import api_router
from gateway.console.access.identity import session_cookie, shown_token
from gateway.console.access.roles import Right
from gateway.console.api.answers import actor_of, context_of
from gateway.console.api.overview import Sample
from gateway.console.api.problems import COMMON, problem
from gateway.errors import LedgerError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from gateway.console.context import Context

EVERY_S = 2.0
HEARTBEAT_S = 15.0
LISTENERS_MAX = 32
EACH_MAX = 4
LISTEN_MAX_S = 3600.0

router = api_router(tags=["overview"], responses=COMMON)


class Listeners:
    """How many listen now, by person or token."""

    def __init__(self) -> None:
        self._by_actor: Counter[str] = Counter()

    def refusal(self, actor: str) -> str:
        """Why there is no place for one more; "" where there is."""
        if self._by_actor.total() >= LISTENERS_MAX:
            return f"{LISTENERS_MAX} listen already: later"
        if self._by_actor[actor] >= EACH_MAX:
            return f"{actor} listens {EACH_MAX} times already: close one"
        return ""

    @contextlib.contextmanager
    def place(self, actor: str) -> Iterator[None]:
        """One more, while the context is open."""
        self._by_actor[actor] += 1
        try:
            yield
        finally:
            self._by_actor[actor] -= 1
            self._by_actor += Counter()  # which leaves out who listens no more


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "events, until the listener goes",
        }
    },
)
@needs(Right.STATE)
async def events(request: Request) -> Response:
    """Live values as Server-Sent Events: a `live` event each two seconds."""
    listeners: Listeners = request.app.state.listeners
    if refusal := listeners.refusal(actor_of(request)):
        return problem(request, 503, refusal, headers={"retry-after": "30"})
    return _Listening(request, listeners)


class _Listening(StreamingResponse):
    """A stream that has its place from the moment it is granted, and gives it back however it ends."""

    def __init__(self, request: Request, listeners: Listeners) -> None:
        super().__init__(_stream(request), media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._place = contextlib.ExitStack()
        self._place.enter_context(listeners.place(actor_of(request)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""
        with self._place:
            await super().__call__(scope, receive, send)


async def _stream(request: Request) -> AsyncGenerator[str, None]:
    context = context_of(request)
    began = said = time.monotonic()
    yield "retry: 3000\n\n"
    while time.monotonic() - began < LISTEN_MAX_S:
        if not _still_may(request):
            yield _event("end", {"because": "the session has ended"})
            return
        values = await _values(context)
        if values:
            said = time.monotonic()
            yield values
        elif time.monotonic() - said >= HEARTBEAT_S:
            said = time.monotonic()
            yield ": beat\n\n"
        if await _stopped(context):
            yield _event("end", {"because": "the gateway stops"})
            return


async def _values(context: Context) -> str:
    try:
        sample = await context.live.now()
    except LedgerError:
        return ""
    return _event("live", Sample.model_validate(sample).model_dump(mode="json"))


async def _stopped(context: Context) -> bool:
    """Wait for the next look; True where there is none."""
    try:
        async with asyncio.timeout(EVERY_S):
            await context.stopping.wait()
    except TimeoutError:
        return False
    return True


def _still_may(request: Request) -> bool:
    """Whether who listens is still somebody: a session that ended, or a token that was revoked, ends the stream."""
    return context_of(request).door.still_knows(session_cookie(request), shown_token(request))


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
