"""The users file: text that a person may have written → users and their API tokens, or every problem at once.

    users:
      mia:
        role: operator                    # observer, viewer, operator, administrator
        password: $argon2id$v=19$…        # left out: nobody logs in by this name, its tokens are all there is
        tokens:
          scripts: {role: viewer, id: 3f…, digest: 9c…, made: 2026-11-26T20:00:00Z, expires: 2027-02-24T20:00:00Z}

Names are those of the configuration. Passwords and tokens are kept as hashes: from the file alone nobody can log in.
Pure: no file is read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypeVar

import yaml

from gateway.config.kinds import did_you_mean, name_complaint
from gateway.console.access.roles import Role
from gateway.document import Node, Place, Scalar, Table, parse, quoted
from gateway.errors import ConfigurationError, Problem

HEAD = """\
# The console's users and their API tokens (docs/console.md). `gateway user` and `gateway token` write this file; a
# change by hand counts as soon as it is saved. Passwords and tokens are hashes: make them with these commands.
"""
_ROLES = tuple(role.value for role in Role)
_USER_KEYS = ("role", "password", "tokens")
_TOKEN_KEYS = ("role", "id", "digest", "made", "expires")
_HASH = re.compile(r"\$argon2id\$v=19\$m=\d{1,8},t=\d{1,4},p=\d{1,3}\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_ID = re.compile(r"[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Token:
    """An API token, without what would let anybody use it. `digest` is the SHA-256 of its secret part."""

    name: str
    role: Role
    token_id: str
    digest: str
    made_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class User:
    """Who may log in, or use a token. `password` is an argon2 hash; "": nobody logs in by this name."""

    name: str
    role: Role
    password: str = field(default="", repr=False)
    tokens: Mapping[str, Token] = field(default_factory=lambda: MappingProxyType({}))


Users = Mapping[str, User]


def read_users(text: str, file: str) -> Users:
    """The users in a file's text. :raises ConfigurationError: with every problem, by file, line and column."""
    root = parse(text, file)
    problems: list[Problem] = []
    users = _Reader(problems).users(root)
    if problems:
        raise ConfigurationError(problems)
    return MappingProxyType(users)


def text_of(users: Users) -> str:
    """The file of these users."""
    document = {user.name: _user_document(user) for user in users.values()}
    return HEAD + yaml.safe_dump({"users": document}, sort_keys=False, width=1000)


def _user_document(user: User) -> dict[str, object]:
    document: dict[str, object] = {"role": user.role.value}
    if user.password:
        document["password"] = user.password
    if user.tokens:
        document["tokens"] = {
            token.name: {
                "role": token.role.value,
                "id": token.token_id,
                "digest": token.digest,
                "made": _instant(token.made_ms),
                "expires": _instant(token.expires_ms),
            }
            for token in user.tokens.values()
        }
    return document


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class _Reader:
    problems: list[Problem]
    ids: dict[str, Place] = field(default_factory=dict)

    def users(self, root: Node) -> dict[str, User]:
        if isinstance(root, Scalar) and root.is_null:
            return {}
        if not isinstance(root, Table):
            self.problems.append(root.place.problem("must be a mapping: `users:`, and below it one name a line"))
            return {}
        self._unknown(root, ("users",), "the file")
        users = root.get("users")
        if users is None or (isinstance(users, Scalar) and users.is_null):
            return {}
        return self._named(users, "users", self._user)

    def _user(self, name: str, where: str, table: Table, place: Place) -> User | None:
        self._unknown(table, _USER_KEYS, where)
        role = self._role(table, where, place)
        password = self._text(
            table, "password", where, _HASH, f"is no argon2id hash: set it by `gateway user password {name}`"
        )
        tokens: dict[str, Token] = {}
        node = table.get("tokens")
        if node is not None and not (isinstance(node, Scalar) and node.is_null):
            tokens = self._named(node, f"{where}.tokens", self._token)
        for token in tokens.values():
            if role is not None and not token.role.within(role):
                at = node.keys[token.name] if isinstance(node, Table) else place
                self.problems.append(
                    at.problem(f"{where}.tokens.{token.name}: its role {token.role} may more than {name}, {role}")
                )
        return User(name, role, password or "", MappingProxyType(tokens)) if role is not None else None

    def _token(self, name: str, where: str, table: Table, place: Place) -> Token | None:
        before = len(self.problems)
        remedy = "was not made by `gateway token add`: remove it and make another"
        self._unknown(table, _TOKEN_KEYS, where)
        role = self._role(table, where, place)
        token_id = self._text(table, "id", where, _ID, remedy, place)
        digest = self._text(table, "digest", where, _DIGEST, remedy, place)
        made, expires = (self._instant(table, key, where, place) for key in ("made", "expires"))
        if token_id in self.ids:
            first = self.ids[token_id].line
            self.problems.append(
                place.problem(f"{where}: the id stands here twice (first in line {first}): remove one")
            )
        if len(self.problems) > before or role is None or not token_id or not digest:
            return None
        self.ids[token_id] = place
        return Token(name, role, token_id, digest, made, expires)

    def _named(self, node: Node, where: str, read: Callable[[str, str, Table, Place], T | None]) -> dict[str, T]:
        if not isinstance(node, Table):
            self.problems.append(node.place.problem(f"{where}: must be a mapping, one name a line"))
            return {}
        found: dict[str, T] = {}
        for name, child in node:
            place = node.keys[name]
            if complaint := name_complaint(name):
                self.problems.append(place.problem(f"{where}: the name {quoted(name)} {complaint}"))
            elif not isinstance(child, Table):
                self.problems.append(child.place.problem(f"{where}.{name}: must be a mapping with at least a role"))
            elif (value := read(name, f"{where}.{name}", child, place)) is not None:
                found[name] = value
        return found

    def _role(self, table: Table, where: str, place: Place) -> Role | None:
        node = table.get("role")
        if node is None:
            self.problems.append(place.problem(f"{where}: role is missing; there are: {', '.join(_ROLES)}"))
            return None
        if isinstance(node, Scalar) and node.text in _ROLES:
            return Role(node.text)
        shown = node.shown if isinstance(node, Scalar) else "this"
        hint = did_you_mean(node.text if isinstance(node, Scalar) else "", _ROLES)
        self.problems.append(node.place.problem(f"{where}.role: {shown} is no role{hint}"))
        return None

    def _text(
        self, table: Table, key: str, where: str, form: re.Pattern[str], remedy: str, needed: Place | None = None
    ) -> str | None:
        """The text under a key, never shown: it may be a secret."""
        node = table.get(key)
        if isinstance(node, Scalar) and form.fullmatch(node.text):
            return node.text
        place = needed if node is None else node.place
        if place is not None:
            self.problems.append(place.problem(f"{where}: {key} {remedy}"))
        return None

    def _instant(self, table: Table, key: str, where: str, place: Place) -> int:
        node = table.get(key)
        try:
            at = datetime.fromisoformat(node.text) if isinstance(node, Scalar) else None
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            at_place = node.place if node is not None else place
            self.problems.append(at_place.problem(f"{where}: {key} must be a time such as 2027-01-31T12:00:00Z"))
            return 0
        return int(at.timestamp() * 1000)

    def _unknown(self, table: Table, known: tuple[str, ...], where: str) -> None:
        for key, _ in table:
            if key not in known:
                self.problems.append(
                    table.keys[key].problem(f"{where}: unknown key {quoted(key)}{did_you_mean(key, known)}")
                )
