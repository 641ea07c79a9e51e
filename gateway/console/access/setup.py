"""The first administrator of a gateway without users.

There is no account to begin with. When a console starts and finds no user, it makes a token and writes it to the log:
who can read the log of the gateway may make its first administrator, on /setup. The token is good once, for an hour
after the start, and for this process.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

GOOD_FOR_S = 3600.0


class Setup:
    """The token, once there is one."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._token = ""
        self._until_s = 0.0

    def begin(self) -> str:
        """Make the token."""
        self._token = secrets.token_urlsafe(24)
        self._until_s = self._now_s() + GOOD_FOR_S
        return self._token

    def end(self) -> None:
        """It was used."""
        self._token = ""

    @property
    def is_open(self) -> bool:
        """Whether there is a token that is good."""
        return bool(self._token) and self._now_s() < self._until_s

    def accepts(self, token: str) -> bool:
        """Whether this is the token."""
        return self.is_open and hmac.compare_digest(self._token.encode(), token.strip().encode("utf-8", "replace"))
