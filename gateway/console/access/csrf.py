"""Requests that another site has a person's browser send: how they are told from his own.

A request that changes something, and is known by a cookie, must
  - come from a page of ours, as far as the browser says: `Sec-Fetch-Site`, which scripts cannot set, must be
    `same-origin`; `Origin` must name the host that the request names;
  - carry the CSRF token of the session, in the header `X-CSRF-Token` or the form field `csrf_token`.

Log-in and set-up have no session yet: for them the first holds. A request with an API token needs neither: no browser
adds one by itself. Pure.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

HEADER = "x-csrf-token"
FIELD = "csrf_token"
SAFE = ("GET", "HEAD")


def comes_from_elsewhere(headers: Headers) -> str:
    """Why a request is another site's; "" where nothing says so."""
    site = headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return "sec-fetch-site"
    origin = headers.get("origin")
    if origin is not None and _host_of(origin) != headers.get("host", "").lower():
        return "origin"
    return ""


def _host_of(origin: str) -> str | None:
    """The host and port that an Origin header names; None for `null`, and for what is none."""
    try:
        found = urlsplit(origin)
    except ValueError:
        return None
    return found.netloc.lower() if found.scheme in ("http", "https") and found.netloc else None
