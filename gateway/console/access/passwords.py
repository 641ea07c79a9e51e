"""Passwords: argon2id hashes, made and checked in a thread, one after the other.

One check takes some 64 MiB and 50 ms, on purpose (RFC 9106, second recommended parameters); so no more than one runs at
a time, and no more than WAITING_MAX wait: who comes then is told to come again. A name that there is not, or that has
no password, is checked against a hash that nobody has the password of, so that an answer takes as long.
"""

from __future__ import annotations

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from gateway.errors import GatewayError, UsageError

SHORTEST, LONGEST = 12, 1024
WAITING_MAX = 8


class TooManyChecks(GatewayError):
    """So many log-ins are being checked that another one would wait too long."""


class Passwords:
    """See the module's docstring. `checks` counts what was checked."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._one_at_a_time = asyncio.Semaphore(1)
        self._waiting = 0
        self._nobodys = ""
        self.checks = 0

    async def fits(self, password: str, known: str) -> bool:
        """Whether a password is the one of a hash; never, where the hash is "".

        :raises TooManyChecks: so many wait already.
        """
        if self._waiting >= WAITING_MAX:
            raise TooManyChecks("too many people log in at once: try again in a few seconds")
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                return await asyncio.to_thread(self._check, password, known)
        finally:
            self._waiting -= 1

    def _check(self, password: str, known: str) -> bool:
        if not self._nobodys:
            self._nobodys = self._hasher.hash(secrets.token_urlsafe(32))
        self.checks += 1
        try:
            return self._hasher.verify(known or self._nobodys, password[:LONGEST]) and known != ""
        except (Argon2Error, InvalidHashError):
            return False

    def hash(self, name: str, password: str) -> str:
        """The hash to keep of a new password. :raises UsageError: it is too weak."""
        refuse_weak(name, password)
        return self._hasher.hash(password)


def refuse_weak(name: str, password: str) -> None:
    """:raises UsageError: a password is too short or too long, or says what everybody knows."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"a password has {SHORTEST} to {LONGEST} characters: a few words that do not belong together")
    if name and name in password.lower() and len(password) < len(name) + SHORTEST:
        raise UsageError("the password is little more than the name: choose another one")
    if len(set(password)) < 5:
        raise UsageError("the password repeats a few characters: choose another one")
