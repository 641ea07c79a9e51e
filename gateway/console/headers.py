"""The headers of every answer: what a browser may do with it.

Pages: everything from this host and nothing from elsewhere; no script and no style that is not a file of ours, so that
what a sender wrote can be nothing but text; in no frame; kept by nobody (an answer may hold patient data). Files under
/static with a query (`?<stamp>`) are kept, since another version has another address; an error is not.

Over TLS a browser is told to come to this host by TLS alone, for a year. A console behind a proxy leaves that to the
proxy, whose the host is.

Only the site's pages need `Referrer-Policy: same-origin`: with `no-referrer` a browser would say `Origin: null` of our
own forms, too (Fetch, "append a request Origin header").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

AnswerHeaders = Callable[["Scope", int], Mapping[bytes, bytes]]  # of a request, and the status of its answer

_EVERYWHERE = {
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"cross-origin-resource-policy": b"same-origin",
}
_NUMBERS = {
    **_EVERYWHERE,
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    b"referrer-policy": b"no-referrer",
}
_PAGES = {
    **_EVERYWHERE,
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        b"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_BY_TLS = {b"strict-transport-security": b"max-age=31536000"}
_KEPT = {**_PAGES, b"cache-control": b"public, max-age=31536000, immutable"}
_GOOD = (200, 206, 304)
_ASKED_AGAIN = {**_PAGES, b"cache-control": b"no-cache"}


def of_numbers(_scope: Scope, _status: int) -> Mapping[bytes, bytes]:
    """Where nothing is a page: metrics."""
    return _NUMBERS


def of_pages(scope: Scope, status: int) -> Mapping[bytes, bytes]:
    """The console's."""
    headers = _of_path(scope, status)
    return {**headers, **_BY_TLS} if scope["scheme"] == "https" else headers


def _of_path(scope: Scope, status: int) -> Mapping[bytes, bytes]:
    if not scope["path"].startswith("/static/"):
        return _PAGES
    return _KEPT if scope["query_string"] and status in _GOOD else _ASKED_AGAIN
