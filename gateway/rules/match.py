"""Compiled conditions: does an instance, with the way it came here, match?

A condition looks at the values that a `gateway.rules.subject.Subject` has for one key, and holds when **any** of them
fits: those of `gateway.rules.patterns` and `gateway.rules.compare`, and here

  - `Present`    there is a value: an empty attribute counts as absent, as type 2 attributes are empty when unknown;
  - `Networks`   the host's address lies in one of these networks;
  - `OneOf`      any of several conditions;
  - `Every`      each value fits.

Matchers join conditions to a question about a subject. `describe` says in words what a condition wants; with what it
met is told only when asked. `gateway.rules.conditions` makes matchers, `gateway.rules.plan` runs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

from gateway.rules.patterns import bounded
from gateway.rules.subject import Key, Subject, Values

# ── conditions on the values of one key ───────────────────────────────────────────────────────────────────────


class Condition(Protocol):
    """A question about the values of one key."""

    def holds(self, values: Values) -> bool:
        """Whether the values fit."""

    def describe(self) -> str:
        """What the condition wants, to be put behind the name of the attribute: `is "CT"`."""


class Present:
    """There is a value (or, for `present=False`, there is none)."""

    def __init__(self, present: bool) -> None:
        self._present = present

    def holds(self, values: Values) -> bool:
        return (values is not None and any(values)) == self._present

    def describe(self) -> str:
        return "is present" if self._present else "is absent or empty"


class Networks:
    """Any value is an address in one of some networks; what is not an address is in none."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)

    def holds(self, values: Values) -> bool:
        return any(self._contains(value) for value in values or ())

    def _contains(self, value: str) -> bool:
        try:
            address = ip_address(value)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def describe(self) -> str:
        return "is in " + " or ".join(str(network) for network in self._networks)


class OneOf:
    """Any of several conditions holds."""

    def __init__(self, conditions: Iterable[Condition]) -> None:
        self.conditions = tuple(conditions)

    def holds(self, values: Values) -> bool:
        return any(condition.holds(values) for condition in self.conditions)

    def describe(self) -> str:
        return " or ".join(condition.describe() for condition in self.conditions)


class Every:
    """There are values, and each of them alone fits a condition; of very many the first ones are looked at."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    def holds(self, values: Values) -> bool:
        return bool(values) and all(self._condition.holds((value,)) for value in bounded(values))

    def describe(self) -> str:
        return f"in every value {self._condition.describe()}"


# ── conditions on a subject ───────────────────────────────────────────────────────────────────────────────────


class Matcher(Protocol):
    """A question about a subject."""

    def holds(self, subject: Subject) -> bool:
        """Whether the subject matches."""

    def failing(self, subject: Subject, show_values: bool) -> str | None:
        """The first condition that does not hold, in words; None when the subject matches."""

    def looks_at(self) -> Iterator[Key]:
        """Everything it may look at."""


class Attribute:
    """A condition on the values of one key, which people call `name`."""

    def __init__(self, name: str, key: Key, condition: Condition) -> None:
        self._name = name
        self.key = key
        self.condition = condition

    def holds(self, subject: Subject) -> bool:
        return self.condition.holds(subject[self.key])

    def failing(self, subject: Subject, show_values: bool) -> str | None:
        if self.holds(subject):
            return None
        text = f"not: {self._name} {self.condition.describe()}"
        return f"{text} (it is {_shown(subject[self.key])})" if show_values else text

    def looks_at(self) -> Iterator[Key]:
        yield self.key


class All:
    """Every part holds."""

    def __init__(self, parts: Iterable[Matcher]) -> None:
        self.parts = tuple(parts)

    def holds(self, subject: Subject) -> bool:
        for part in self.parts:  # noqa: SIM110 - a plain loop: this is the hot path of routing
            if not part.holds(subject):
                return False
        return True

    def failing(self, subject: Subject, show_values: bool) -> str | None:
        return next((text for part in self.parts if (text := part.failing(subject, show_values))), None)

    def looks_at(self) -> Iterator[Key]:
        return (key for part in self.parts for key in part.looks_at())


class Any:
    """At least one part holds."""

    def __init__(self, parts: Iterable[Matcher]) -> None:
        self.parts = tuple(parts)

    def holds(self, subject: Subject) -> bool:
        return any(part.holds(subject) for part in self.parts)

    def failing(self, subject: Subject, show_values: bool) -> str | None:
        if self.holds(subject):
            return None
        return "none of any: " + "; ".join(part.failing(subject, show_values) or "" for part in self.parts)

    def looks_at(self) -> Iterator[Key]:
        return (key for part in self.parts for key in part.looks_at())


class Not:
    """The part does not hold. `text` describes it for people."""

    def __init__(self, part: Matcher, text: str) -> None:
        self._part = part
        self._text = text

    def holds(self, subject: Subject) -> bool:
        return not self._part.holds(subject)

    def failing(self, subject: Subject, show_values: bool) -> str | None:
        return None if self.holds(subject) else f"excluded by not: {self._text}"

    def looks_at(self) -> Iterator[Key]:
        return self._part.looks_at()


def _shown(values: Values) -> str:
    if values is None:
        return "absent"
    return ", ".join(repr(value[:64]) for value in values[:8]) or "empty"
