"""Rights, the roles that have them, and the person who has a role.

A right is what a route asks for; a role is what a person is given. Each role has the rights of the one before it, and
one more.

    observer        STATE        numbers, destinations, queue, hosts, names of rules and of their files; no patient data
    viewer          PATIENTS     studies, instances, downloads, rules and tables, explanations, the audit trail
    operator        OPERATE      hold, release, resend, cancel, pause, resume, drain, probe, discard
    administrator   ADMINISTER   configuration, verification of the audit trail
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Right(StrEnum):
    """What a route may ask for."""

    STATE = "state"
    PATIENTS = "patients"
    OPERATE = "operate"
    ADMINISTER = "administer"


class Role(StrEnum):
    """What a person is given, the least first."""

    OBSERVER = "observer"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"

    @property
    def rights(self) -> frozenset[Right]:
        """All that the role may."""
        return _RIGHTS[self]

    def within(self, other: Role) -> bool:
        """Whether this role may nothing that `other` may not."""
        return self.rights <= other.rights


_RIGHTS = MappingProxyType({role: frozenset(list(Right)[: number + 1]) for number, role in enumerate(Role)})


class How(StrEnum):
    """By what a person is known."""

    SESSION = "session"
    OIDC = "oidc"
    TOKEN = "token"  # noqa: S105 - a word


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. `name` is the user's, `token` the name of the API token where one was shown."""

    name: str
    role: Role
    how: How
    token: str = ""

    @property
    def rights(self) -> frozenset[Right]:
        """All that this person may."""
        return self.role.rights

    def may(self, right: Right) -> bool:
        """Whether this person has a right."""
        return right in self.role.rights

    @property
    def actor(self) -> str:
        """Who it is in the ledger's audit rows: `console:<user>`, `oidc:<name>` or `api:<user>/<token>`."""
        if self.how is How.TOKEN:
            return f"api:{self.name}/{self.token}"
        return f"oidc:{self.name}" if self.how is How.OIDC else f"console:{self.name}"
