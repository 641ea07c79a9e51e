"""The console's application, built when somebody first asks for a page: what it is made of takes 0.6 s of CPU and
20 MB, which a host at which nobody looks does not pay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

from gateway.console.app import Guard
from gateway.console.headers import of_pages

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.console.context import Context

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def late_site(context: Context) -> ASGIApp:
    """`gateway.console.site` behind the security headers; the first request waits until it is built."""

    def build() -> ASGIApp:
        from gateway.console.site import site

        return site(context)

    return guarded_site(Late(build))


def guarded_site(app: ASGIApp) -> ASGIApp:
    """The application behind methods and security headers."""
    return Guard(app, METHODS, of_pages)


class Late:
    """An application that is built in a thread, so that the event loop goes on meanwhile."""

    def __init__(self, build: Callable[[], ASGIApp]) -> None:
        self._build = build
        self._app: ASGIApp | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            app = await self._built()
        except Exception:  # it is told by `Guard`; the next who asks has it tried again
            await PlainTextResponse("Internal Server Error", 500)(scope, receive, send)
            raise
        await app(scope, receive, send)

    async def _built(self) -> ASGIApp:
        async with self._one_at_a_time:
            if self._app is None:
                self._app = await asyncio.to_thread(self._build)
        return self._app
