"""What the claims of a provider of single sign-on say: the person's name, and his role. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.config import Oidc
from gateway.console.access.roles import How, Person, Role
from gateway.errors import GatewayError

NAME_MAX = 64


class SignOnRefused(GatewayError):
    """The provider said no, said nothing that can be believed, or gives the person no role."""


def person_of_claims(settings: Oidc, claims: Mapping[str, Any]) -> Person:
    """Who it is. :raises SignOnRefused: there is no name, or no role."""
    name = _at(claims, settings.name_claim)
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > NAME_MAX:
        raise SignOnRefused(f"the provider gives no name that can be used in the claim {settings.name_claim}")
    said = _at(claims, settings.role_claim)
    values = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    given = {settings.roles[value] for value in values if isinstance(value, str) and value in settings.roles}
    roles = [role for role in Role if role.value in given]
    if not roles:
        raise SignOnRefused(
            f"the provider gives none of the values that console.oidc.roles names, in the claim {settings.role_claim}"
        )
    return Person(name.strip(), roles[-1], How.OIDC)


def has_both(settings: Oidc, claims: Mapping[str, Any]) -> bool:
    """Whether the claims say name and role, so that nothing else has to be asked for."""
    return all(_at(claims, name) is not None for name in (settings.name_claim, settings.role_claim))


def _at(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name; `realm_access.roles` may be one inside another."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found
