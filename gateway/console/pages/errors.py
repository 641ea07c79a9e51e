"""Errors as pages, in the same words as the API's problems. No page says more of an error than what to do about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.console.api.problems import problem
from gateway.console.pages.render import Renderer
from gateway.errors import LedgerBusy, LedgerError, LookRefused, LookTooWide, TrailBusy, TrailError

Handler = Callable[[Request, Exception], Awaitable[Response]]

_TITLES = {
    400: "This cannot be asked",
    401: "Log in first",
    403: "This is not for you",
    404: "There is no such page",
    405: "This cannot be asked so",
    413: "This is too large",
    429: "Too many tries",
    503: "Not now",
}
_DETAILS = {
    404: "Nothing is at this address: the study may have left the ledger, or the address is wrong.",
    405: "Pages are read, and forms are sent; this was neither.",
}


def handlers(renderer: Renderer) -> Mapping[Any, Handler]:
    """What the application does with each kind of error."""

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
        status = error.status_code
        if request.url.path.startswith("/api/"):  # with a line break behind it: no application is mounted there
            return problem(request, status, headers=error.headers)
        said = error.detail if error.detail != HTTPStatus(status).phrase else ""
        detail = said or _DETAILS.get(status, "Go back and try another way.")
        return await renderer.problem(request, status, title(status), detail, error.headers)

    async def wide(request: Request, error: Exception) -> Response:
        return await renderer.problem(
            request, 400, "This takes too long", "Narrow the search: more letters, or a date."
        )

    async def refused(request: Request, error: Exception) -> Response:
        return await renderer.problem(request, 400, title(400), str(error))

    async def busy(request: Request, error: Exception) -> Response:
        detail = "The ledger does not answer now. Try again in a moment; if it stays so, see Help: the ledger."
        return await renderer.problem(request, 503, title(503), detail, {"retry-after": "5"})

    async def ledger(request: Request, error: Exception) -> Response:
        return await renderer.problem(request, 500, "The ledger cannot do this", str(error))

    async def trail(request: Request, error: Exception) -> Response:
        detail = "The audit trail cannot be read: its folder or its disk. The log says more."
        if isinstance(error, TrailBusy):
            detail = "Too many people read the audit trail at once. Try again in a moment."
        return await renderer.problem(request, 503, title(503), detail, {"retry-after": "5"})

    async def bug(request: Request, error: Exception) -> Response:
        detail = "An error in the gateway itself. Its log has it as `console_error`; what you ordered may not be done."
        return await renderer.problem(request, 500, "This went wrong", detail)

    return {
        HTTPException: http,
        LookTooWide: wide,
        LookRefused: refused,
        LedgerBusy: busy,
        LedgerError: ledger,
        TrailError: trail,
        Exception: bug,
    }


def title(status: int) -> str:
    """What a status is called for people."""
    return _TITLES.get(status, "This does not work")
