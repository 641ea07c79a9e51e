"""Compiled conditions: does an instance, with the way it came here, match?

A condition looks at the values that a `gateway.rules.subject.Subject` has for one key, and holds when **any** of them
fits:

  - `Literals`   text without wildcards, whole value, upper and lower case alike;
  - `Glob`       `*` any characters, `?` one character, whole value, upper and lower case alike;
  - `Regex`      RE2 syntax, found anywhere in a value, case-sensitive (`(?i)` changes that);
  - `Equals`     exactly this text;
  - `Present`    there is a value: an empty attribute counts as absent, as type 2 attributes are empty when unknown;
  - `Networks`   the host's address lies in one of these networks;
  - `OneOf`      any of several conditions.

Bounds: patterns are RE2 (no backtracking), compile to at most 1,000 instructions, and look at no more than the
first 16 KiB of an attribute's values, each value counted with 4 bytes more, so that the worst pattern takes tens of
milliseconds, also on a value that is nothing but separators. The regular-expression
engine's own log is off, since it may quote what it looked at.

`describe` says in words what a condition wants; with what it met is told only when asked. `gateway.rules.schema` makes
matchers, `gateway.rules.plan` runs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

import re2

from gateway.rules.subject import Key, Subject, Values

MAX_PROGRAM_SIZE = 1000
MAX_SEARCHED_BYTES = 16 * 1024
VALUE_COST_BYTES = 4
_MAX_PATTERN_MEMORY_BYTES = 1 << 20


class PatternError(ValueError):
    """A pattern cannot be compiled; the text says why."""


# ── conditions on the values of one key ───────────────────────────────────────────────────────────────────────


class Condition(Protocol):
    """A question about the values of one key."""

    def holds(self, values: Values) -> bool:
        """Whether the values fit."""

    def describe(self) -> str:
        """What the condition wants, to be put behind the name of the attribute: `is "CT"`."""


class Literals:
    """Any value is one of some texts, upper and lower case alike."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)
        self._folded = frozenset(text.casefold() for text in self._texts)

    def holds(self, values: Values) -> bool:
        if not values:
            return False
        if len(values) == 1:
            return values[0].casefold() in self._folded
        return any(value.casefold() in self._folded for value in values)

    def describe(self) -> str:
        return "is " + " or ".join(repr(text) for text in self._texts)


class Glob:
    """Any value fits a text with wildcards, upper and lower case alike. :raises PatternError: too large."""

    def __init__(self, text: str) -> None:
        self._text = text
        wildcards = {"*": ".*", "?": "."}
        parts = [wildcards.get(character) or re2.escape(character) for character in text.casefold()]
        self._pattern = _compile("(?s)" + "".join(parts))

    def holds(self, values: Values) -> bool:
        return any(self._pattern.fullmatch(part) is not None for part in _searched(values, folded=True))

    def describe(self) -> str:
        return f"is like {self._text!r}"


class Regex:
    """A regular expression is found in any value. :raises PatternError: not RE2 syntax, or too large."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._pattern = _compile(text)

    def holds(self, values: Values) -> bool:
        return any(self._pattern.search(part) is not None for part in _searched(values, folded=False))

    def describe(self) -> str:
        return f"has the regular expression {self._text!r}"


class Equals:
    """Any value is exactly one of some texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)

    def holds(self, values: Values) -> bool:
        return values is not None and any(value in self._texts for value in values)

    def describe(self) -> str:
        return "is exactly " + " or ".join(repr(text) for text in self._texts)


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
        self._conditions = tuple(conditions)

    def holds(self, values: Values) -> bool:
        return any(condition.holds(values) for condition in self._conditions)

    def describe(self) -> str:
        return " or ".join(condition.describe() for condition in self._conditions)


def _compile(pattern: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_PATTERN_MEMORY_BYTES
    try:
        compiled = re2.compile(pattern.encode(), options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else "not a regular expression"
        raise PatternError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
    if compiled.programsize > MAX_PROGRAM_SIZE:
        raise PatternError("the pattern is too large: write a shorter one, or smaller repetitions")
    return compiled


def _searched(values: Values, *, folded: bool) -> Iterator[bytes]:
    """The values as a pattern sees them, up to the bound."""
    left = MAX_SEARCHED_BYTES
    for value in values or ():
        part = (value[:left].casefold() if folded else value[:left]).encode("utf-8", "replace")[:left]
        yield part
        left -= len(part) + VALUE_COST_BYTES
        if left <= 0:
            return


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
        self._key = key
        self._condition = condition

    def holds(self, subject: Subject) -> bool:
        return self._condition.holds(subject[self._key])

    def failing(self, subject: Subject, show_values: bool) -> str | None:
        if self.holds(subject):
            return None
        text = f"not: {self._name} {self._condition.describe()}"
        return f"{text} (it is {_shown(subject[self._key])})" if show_values else text

    def looks_at(self) -> Iterator[Key]:
        yield self._key


class All:
    """Every part holds."""

    def __init__(self, parts: Iterable[Matcher]) -> None:
        self._parts = tuple(parts)

    def holds(self, subject: Subject) -> bool:
        for part in self._parts:  # noqa: SIM110 - a plain loop: this is the hot path of routing
            if not part.holds(subject):
                return False
        return True

    def failing(self, subject: Subject, show_values: bool) -> str | None:
        return next((text for part in self._parts if (text := part.failing(subject, show_values))), None)

    def looks_at(self) -> Iterator[Key]:
        return (key for part in self._parts for key in part.looks_at())


class Any:
    """At least one part holds."""

    def __init__(self, parts: Iterable[Matcher]) -> None:
        self._parts = tuple(parts)

    def holds(self, subject: Subject) -> bool:
        return any(part.holds(subject) for part in self._parts)

    def failing(self, subject: Subject, show_values: bool) -> str | None:
        if self.holds(subject):
            return None
        return "none of any: " + "; ".join(part.failing(subject, show_values) or "" for part in self._parts)

    def looks_at(self) -> Iterator[Key]:
        return (key for part in self._parts for key in part.looks_at())


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
