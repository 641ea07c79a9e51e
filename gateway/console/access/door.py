"""The console's door: who somebody is, by what he shows, and how he logs in and out.

    an API token   `Authorization: Bearer gwt_…`; counts alone where it is shown, also against a cookie
    a session      the cookie of a log-in by name and password, or by single sign-on

Users are those of the file as it is now: a change of it counts with the next request. The first administrator of a
gateway without users is made by whoever reads its log (`gateway.console.access.setup`).

Called by `gateway.console.access.identity` for every request, and by the pages that log in and out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway import telemetry
from gateway.console.access.passwords import Passwords, TooManyChecks
from gateway.console.access.roles import How, Person, Role
from gateway.console.access.sessions import Session, Sessions, stamp_of
from gateway.console.access.setup import Setup
from gateway.console.access.throttle import Throttle
from gateway.console.access.tokens import expired_token, person_of_token
from gateway.console.access.told import Access, AccessEvent, Audit, Teller
from gateway.console.access.userfile import User, Users
from gateway.console.access.users import UsersFile, with_password, with_user
from gateway.errors import ConfigurationError, GatewayError, UsageError

BY_PROVIDER = "oidc"  # the stamp of a session whose user is no user of the file
NAME_MAX = 64


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """It was he. `cookie` is the value for his browser."""

    cookie: str
    session: Session


@dataclass(frozen=True, slots=True)
class NotLoggedIn:
    """It was not, or not now. `wait_s` is 0.0 where he may try again at once."""

    reason: str
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Known:
    """Who asks: nobody, or a person, with his session where it is by one."""

    person: Person | None = None
    session: Session | None = None


class Door:
    """See the module's docstring. `clock_ms` is the wall clock, `now_s` one that only goes forward."""

    def __init__(
        self,
        users: UsersFile,
        sessions: Sessions,
        audit: Audit,
        clock_ms: Callable[[], int],
        now_s: Callable[[], float],
        passwords: Passwords | None = None,
    ) -> None:
        self.file = users
        self.setup = Setup(now_s)
        self._sessions = sessions
        self._teller = Teller(audit)
        self._clock_ms = clock_ms
        self._now_s = now_s
        self._passwords = passwords or Passwords()
        self._throttle = Throttle()
        self._users: Users | None = None

    # ── who somebody is ───────────────────────────────────────────────────────────────────────────────────────────

    def users(self) -> Users:
        """The users in force. A change is told."""
        users = self.file.current(_tell_broken)
        before, self._users = self._users, users
        if before is not None and users is not before and (difference := _difference(before, users)):
            self.tell(Access(AccessEvent.USERS_CHANGED, reason=difference))
        return users

    def by_token(self, text: str, address: str) -> Known:
        """Whose an API token is."""
        person = person_of_token(self.users(), text, self._clock_ms())
        if person is None:
            owner, name = expired_token(self.users(), text, self._clock_ms())
            reason = f"the token {name} has expired" if name else ""
            actor = f"api:{owner}/{name}" if name else ""
            self.tell(
                Access(AccessEvent.TOKEN_REFUSED, owner, how=How.TOKEN, address=address, reason=reason, actor=actor)
            )
        return Known(person)

    def by_cookie(self, cookie: str, *, is_use: bool = True) -> Known:
        """Whose a session is. What a page asks for by itself is no use of it: who has gone away goes idle."""
        look = self._sessions.find if is_use else self._sessions.peek
        session = look(cookie, self._now_s())
        if session is None:
            return Known()
        if session.stamp != BY_PROVIDER and session.stamp != _stamp(self.users().get(session.person.name)):
            self._sessions.end(cookie)
            return Known()
        return Known(session.person, session)

    def still_knows(self, cookie: str, token: str) -> bool:
        """Whether a session, or a token, is as good as it was: for who listens for long. It is no use of either."""
        if token:
            return person_of_token(self.users(), token, self._clock_ms()) is not None
        session = self._sessions.peek(cookie, self._now_s())
        if session is None:
            return False
        return session.stamp in (BY_PROVIDER, _stamp(self.users().get(session.person.name)))

    # ── in and out ────────────────────────────────────────────────────────────────────────────────────────────────

    async def log_in(self, name: str, password: str, address: str, old_cookie: str = "") -> LoggedIn | NotLoggedIn:
        """Log in by name and password. An unknown name takes as long as a wrong password, and is told alike."""
        user = await self._proven(name.strip()[:NAME_MAX], password, address)
        if isinstance(user, NotLoggedIn):
            return user
        return self._begin(Person(user.name, user.role, How.SESSION), _stamp(user), address, old_cookie)

    async def change_password(
        self, person: Person, old: str, new: str, address: str, old_cookie: str
    ) -> LoggedIn | NotLoggedIn:
        """Another password for who knows the old one; his sessions end, and this one begins anew."""
        user = await self._proven(person.name, old, address)
        if isinstance(user, NotLoggedIn):
            return NotLoggedIn("the old password is another one") if not user.wait_s else user
        try:
            hashed = await asyncio.to_thread(self._passwords.hash, user.name, new)
            await asyncio.to_thread(self.file.change, lambda users: with_password(users, user.name, hashed))
        except GatewayError as error:
            return NotLoggedIn(str(error))
        changed = self.users().get(user.name)
        if changed is None:
            return NotLoggedIn("the user was removed")
        return self._begin(Person(user.name, changed.role, How.SESSION), _stamp(changed), address, old_cookie)

    async def _proven(self, name: str, password: str, address: str) -> User | NotLoggedIn:
        """The user whose name and password these are, where this address may try it now."""
        wait_s = self._throttle.wait_s(address, name, self._now_s())
        if wait_s > 0:
            self.tell(Access(AccessEvent.LOG_IN_THROTTLED, self._if_known(name), address=address))
            return NotLoggedIn("too many tries", wait_s)
        self._throttle.take(address, name, self._now_s())
        user = self.users().get(name)
        try:
            fits = await self._passwords.fits(password, user.password if user is not None else "")
        except TooManyChecks as error:
            self._throttle.give_back(address, name, self._now_s())
            return NotLoggedIn(str(error), 5.0)
        if user is None or not fits or self.users().get(name) != user:  # it may be another one meanwhile
            self.tell(Access(AccessEvent.LOG_IN_FAILED, self._if_known(name), how=How.SESSION, address=address))
            return NotLoggedIn("name and password do not belong together")
        self._throttle.succeeded(address, name, self._now_s())
        return user

    def _if_known(self, name: str) -> str:
        """The name of a user; of nobody "": people type passwords there, and those go to no log."""
        return name if name in self.users() else ""

    def log_in_by_provider(self, person: Person, address: str, old_cookie: str = "") -> LoggedIn:
        """Log in whom the provider of single sign-on knows."""
        return self._begin(person, BY_PROVIDER, address, old_cookie)

    def refused_by_provider(self, reason: str, address: str, name: str = "") -> None:
        """The provider said no, or nothing that can be believed, or gives no role."""
        actor = f"oidc:{name}" if name else ""
        self.tell(Access(AccessEvent.LOG_IN_FAILED, name, how=How.OIDC, address=address, reason=reason, actor=actor))

    def log_out(self, cookie: str, address: str) -> None:
        """End a session."""
        session = self._sessions.end(cookie)
        if session is not None:
            person = session.person
            self._tell_of(AccessEvent.LOGGED_OUT, person, address)

    async def set_up(self, token: str, name: str, password: str, address: str) -> LoggedIn | NotLoggedIn:
        """Make the first administrator, who shows the token from the log."""
        if self.users() or not self.setup.accepts(token):
            self.tell(Access(AccessEvent.SET_UP_FAILED, address=address))
            return NotLoggedIn("this is not the set-up token, or it is no longer good: see the gateway's log")
        try:
            hashed = await asyncio.to_thread(self._passwords.hash, name, password)
            await asyncio.to_thread(
                self.file.change, lambda users: _first(users, User(name, Role.ADMINISTRATOR, hashed))
            )
        except GatewayError as error:  # a weak password, or a file that cannot be written
            return NotLoggedIn(str(error))
        self.setup.end()
        self.tell(Access(AccessEvent.SET_UP, name, Role.ADMINISTRATOR, How.SESSION, address))
        user = self.users()[name]
        return self._begin(Person(name, user.role, How.SESSION), _stamp(user), address)

    def tell(self, access: Access) -> None:
        """Tell of what happened."""
        self._teller.tell(access, self._now_s())

    def _begin(self, person: Person, stamp: str, address: str, old_cookie: str = "") -> LoggedIn:
        if old_cookie:
            self._sessions.end(old_cookie)
        cookie, session = self._sessions.begin(person, stamp, self._now_s())
        self._tell_of(AccessEvent.LOGGED_IN, person, address)
        return LoggedIn(cookie, session)

    def _tell_of(self, event: AccessEvent, person: Person, address: str) -> None:
        self.tell(Access(event, person.name, person.role, person.how, address, actor=person.actor))


def _stamp(user: User | None) -> str:
    return stamp_of(user.role, user.password) if user is not None else ""


def _first(users: Users, user: User) -> Users:
    if users:
        raise UsageError("there are users already: log in")
    return with_user(users, user)


def _difference(old: Users, new: Users) -> str:
    """Which users came, went and changed, by name."""
    found = {
        "added": sorted(set(new) - set(old)),
        "removed": sorted(set(old) - set(new)),
        "changed": sorted(name for name in set(old) & set(new) if old[name] != new[name]),
    }
    return "; ".join(f"{what} {', '.join(names)}" for what, names in found.items() if names)


def _tell_broken(error: ConfigurationError) -> None:
    telemetry.problem(
        "console_users_refused",
        problems=[str(problem) for problem in error.problems],
        reason="the users that were read before stay in force",
    )
