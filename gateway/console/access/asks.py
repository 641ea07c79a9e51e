"""What a route asks for, said where its endpoint is written; `gateway.console.access.guard` sees to it.

@needs(Right.STATE)                     # on an endpoint of a page, or of the API
async def overview(request): …

@public                                 # health, log-in, static files: anybody
async def login(request): …
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.console.access.roles import Right

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
BODY_BYTES = 1 << 20
_MARK = "__asks_for__"


@dataclass(frozen=True, slots=True)
class Asks:
    """What a route asks for; no right: anybody may have it. `body_bytes` is how large a body it takes."""

    right: Right | None
    body_bytes: int = BODY_BYTES


class UndeclaredRoute(TypeError):
    """A route that does not say what it asks for: a bug, found when the application is built."""


def needs(right: Right, body_bytes: int = BODY_BYTES) -> Callable[[Endpoint], Endpoint]:
    """Declare that an endpoint asks for a right, and how large a body it takes."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, Asks(right, body_bytes))
        return endpoint

    return declare


def public(endpoint: Endpoint, body_bytes: int = BODY_BYTES) -> Endpoint:
    """Declare that an endpoint, or a mounted application, is for anybody."""
    setattr(endpoint, _MARK, Asks(None, body_bytes))
    return endpoint


def declared(endpoint: object, path: str) -> Asks:
    """What an endpoint asks for. :raises UndeclaredRoute: it does not say."""
    asks = getattr(endpoint, _MARK, None)
    if not isinstance(asks, Asks):
        raise UndeclaredRoute(f"{path}: say what it asks for, with @needs(Right.…) or @public")
    return asks
