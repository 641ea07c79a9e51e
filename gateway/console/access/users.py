"""The users of the console: the file they are kept in, and what may be changed about them.

The file is read again whenever it has changed. It is replaced whole: written beside it (0600), made durable, renamed.
Who changes it holds a lock beside it, so that of two who change it at once none is lost. What root writes belongs to
whom the file or its folder belongs to. A file that is broken, or that others may write, changes nothing for a console
that has read a good one before; it is told, once for each change.

Called by `gateway.console.access` for every request, and by `gateway user` and `gateway token`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from gateway.config.files import read_text
from gateway.config.kinds import did_you_mean, name_complaint
from gateway.console.access.roles import Role
from gateway.console.access.tokens import LONGEST_DAYS, make_token
from gateway.console.access.userfile import User, Users, read_users, text_of
from gateway.errors import ConfigurationError, GatewayError, Problem, UsageError
from gateway.spool.directory import fsync_folder

Signature = tuple[int, int, int, int]
NOBODY: Users = MappingProxyType({})


class UsersFile:
    """See the module's docstring."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: Signature | None = None
        self._users: Users = NOBODY

    def read(self) -> Users:
        """The users as the file has them now; nobody where there is none. :raises ConfigurationError: it is broken."""
        if _signature(self.path) is None:
            return NOBODY
        try:
            _refuse_open(self.path)
        except OSError as error:
            raise ConfigurationError([Problem(str(self.path), 0, 0, f"cannot be read: {error.strerror}")]) from None
        return read_users(read_text(self.path), str(self.path))

    def current(self, told: Callable[[ConfigurationError], None]) -> Users:
        """The users in force: the last good file. `told` is called once for each change that cannot be used."""
        signature = _signature(self.path)
        if signature == self._seen:
            return self._users
        self._seen = signature
        try:
            self._users = self.read()
        except ConfigurationError as error:
            told(error)
        return self._users

    def change(self, by: Callable[[Users], Users]) -> Users:
        """Replace the file by what `by` makes of it.

        :raises ConfigurationError: it is broken. UsageError: `by` refuses. GatewayError: it cannot be written.
        """
        try:
            with self._locked():
                users = by(self.read())
                _replace(self.path, text_of(users))
        except OSError as error:
            raise GatewayError(f"{self.path}: cannot be written: {error.strerror}") from error
        return users

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _opened(self.path.with_name(f".{self.path.name}.lock"), self.path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


# ── what may be changed ───────────────────────────────────────────────────────────────────────────────────────────


def with_user(users: Users, user: User) -> Users:
    """One more user. :raises UsageError: the name is taken, or cannot be one."""
    _refuse_name(user.name)
    if user.name in users:
        raise UsageError(f"there is a user {user.name} already: `gateway user role` and `password` change one")
    return MappingProxyType({**users, user.name: user})


def without_user(users: Users, name: str) -> Users:
    """One user less, and his tokens. :raises UsageError: there is none of this name."""
    _known(users, name)
    return MappingProxyType({other: user for other, user in users.items() if other != name})


def with_role(users: Users, name: str, role: Role) -> Users:
    """Another role; tokens that may more than it may no more than it from now on. :raises UsageError: as above."""
    user = _known(users, name)
    tokens = {
        token.name: token if token.role.within(role) else replace(token, role=role) for token in user.tokens.values()
    }
    return MappingProxyType({**users, name: replace(user, role=role, tokens=MappingProxyType(tokens))})


def with_password(users: Users, name: str, hashed: str) -> Users:
    """Another password. :raises UsageError: as above."""
    return MappingProxyType({**users, name: replace(_known(users, name), password=hashed)})


def with_token(users: Users, owner: str, name: str, role: Role, now_ms: int, days: int) -> tuple[Users, str]:
    """One more API token, and the text that is shown once.

    :raises UsageError: the name is taken, the role may more than the owner, or it would live for too long.
    """
    user = _known(users, owner)
    _refuse_name(name)
    if name in user.tokens:
        raise UsageError(f"{owner} has a token {name} already: remove it, or choose another name")
    if not role.within(user.role):
        raise UsageError(f"the token would be {role} and may more than {owner}, who is {user.role}")
    if not 1 <= days <= LONGEST_DAYS:
        raise UsageError(f"a token lives for 1 to {LONGEST_DAYS} days")
    token, text = make_token(name, role, now_ms, days)
    tokens = MappingProxyType({**user.tokens, name: token})
    return MappingProxyType({**users, owner: replace(user, tokens=tokens)}), text


def without_token(users: Users, owner: str, name: str) -> Users:
    """One API token less. :raises UsageError: there is none of this name."""
    user = _known(users, owner)
    if name not in user.tokens:
        known = did_you_mean(name, tuple(user.tokens)) if user.tokens else ""
        raise UsageError(f"{owner} has no token {name!r}{known}")
    tokens = MappingProxyType({other: token for other, token in user.tokens.items() if other != name})
    return MappingProxyType({**users, owner: replace(user, tokens=tokens)})


def _known(users: Users, name: str) -> User:
    if name not in users:
        raise UsageError(f"there is no user {name!r}{did_you_mean(name, tuple(users)) if users else ''}")
    return users[name]


def _refuse_name(name: str) -> None:
    if complaint := name_complaint(name):
        raise UsageError(f"the name {name!r} {complaint}")


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _signature(path: Path) -> Signature | None:
    """What changes with the file; None where there is none. One that cannot be looked at now is no missing one."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return -(error.errno or 1), 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns, stat.S_IMODE(found.st_mode)


def _refuse_open(path: Path) -> None:
    """Whoever may write the file could make himself an administrator."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022:
        raise ConfigurationError(
            [Problem(str(path), 0, 0, f"others than its owner may write it ({mode:04o}): chmod 600 {path}")]
        )


def _opened(lock: Path, path: Path) -> int:
    """The lock beside the users file, made where there is none. The folder may be another user's, who could have put
    a link there: no link is followed, and what was there before is given to nobody."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    _give(fd, path)
    return fd


def _give(fd: int, path: Path) -> None:
    """What root has just made belongs to whom the users file does, or else its folder: the console must be able to
    read it."""
    if os.geteuid() == 0:
        owner = path.lstat() if os.path.lexists(path) else path.parent.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            _give(fd, path)
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(fd)
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    fsync_folder(str(path.parent))
