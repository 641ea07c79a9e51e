"""Sessions: who has logged in, known by a random id in a cookie, kept in this process alone.

A session ends
  - when the person logs out, or logs in anew;
  - `idle_s` after its last request, `whole_s` after its first, whatever came between;
  - when its user is removed, or gets another password or role (its `stamp` is another one then);
  - with this process: who was logged in has to log in again.

The cookie's value is 256 random bits; kept is its SHA-256, so that neither a memory dump of the table nor the time of a
look-up says anything of it. Each session has a CSRF token of its own. There are at most MOST sessions, and MOST_EACH of
one person: the one that has been silent the longest makes room.

Pure, but for the random bits: time is an argument.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from gateway.console.access.roles import Person

MOST = 1000
MOST_EACH = 20


@dataclass(slots=True)
class Session:
    """One log-in. `stamp` is what was true of the user then (`stamp_of`)."""

    person: Person
    stamp: str
    began_s: float
    last_s: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def accepts(self, csrf: str) -> bool:
        """Whether a CSRF token is this session's."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode("utf-8", "replace"))


class Sessions:
    """See the module's docstring."""

    def __init__(self, idle_s: float, whole_s: float) -> None:
        self._idle_s = idle_s
        self._whole_s = whole_s
        self._known: dict[str, Session] = {}

    def begin(self, person: Person, stamp: str, now_s: float) -> tuple[str, Session]:
        """A new session, and the value of its cookie."""
        self._make_room(person, now_s)
        cookie = secrets.token_urlsafe(32)
        session = Session(person, stamp, now_s, now_s)
        self._known[_key(cookie)] = session
        return cookie, session

    def find(self, cookie: str, now_s: float) -> Session | None:
        """The session of a cookie, which has not ended; it has been used now."""
        session = self._known.get(_key(cookie))
        if session is None:
            return None
        if self._is_over(session, now_s):
            self.end(cookie)
            return None
        session.last_s = now_s
        return session

    def peek(self, cookie: str, now_s: float) -> Session | None:
        """As `find`, but that is no use of it: who only listens goes idle."""
        session = self._known.get(_key(cookie))
        return None if session is None or self._is_over(session, now_s) else session

    def end(self, cookie: str) -> Session | None:
        """End the session of a cookie; what it was."""
        return self._known.pop(_key(cookie), None)

    def count(self, now_s: float) -> int:
        """How many have not ended."""
        self._forget(now_s)
        return len(self._known)

    def _is_over(self, session: Session, now_s: float) -> bool:
        return now_s - session.last_s >= self._idle_s or now_s - session.began_s >= self._whole_s

    def _forget(self, now_s: float) -> None:
        over = [key for key, session in self._known.items() if self._is_over(session, now_s)]
        for key in over:
            del self._known[key]

    def _make_room(self, person: Person, now_s: float) -> None:
        self._forget(now_s)
        own = [key for key, session in self._known.items() if session.person.actor == person.actor]
        if len(own) >= MOST_EACH:
            self._drop_silent(own)
        if len(self._known) >= MOST:
            self._drop_silent(list(self._known))

    def _drop_silent(self, keys: list[str]) -> None:
        del self._known[min(keys, key=lambda key: self._known[key].last_s)]


def stamp_of(role: str, password: str) -> str:
    """What is true of a user while his sessions last."""
    return hashlib.sha256(f"{role}\0{password}".encode()).hexdigest()


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
