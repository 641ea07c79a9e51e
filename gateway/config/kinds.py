"""What a value of the configuration may look like: one class a kind, text in, typed value or complaint out.

A kind has
  - `read(node, where, problems)`: the value, or `INVALID` after adding what is wrong to `problems`;
  - `words`: what the reference table says about it;
  - `show(value)`: the value as a person would write it, for the defaults in the reference table;
  - `schema`: what JSON Schema can say of it (`gateway.schemas`): all that `read` takes, and little else;
  - `structured`: whether an environment variable for it is read as YAML rather than as plain text.

Kinds know nothing of each other's keys: what depends on two values is checked in `gateway.config.check`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from gateway.config.units import SIZE_UNITS, TIME_UNITS_MS, format_duration, format_size, parse_duration, parse_size
from gateway.document import Items, Node, Scalar, Table, quoted
from gateway.errors import Problem

INVALID: Final = object()
"""What `read` returns for a value that cannot be used; the reason is in `problems`."""

_NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")
MAX_NAME = 63
NAME_PATTERN = f"^{_NAME.pattern}$"

TEXT_SCHEMA: Mapping[str, Any] = MappingProxyType({"type": ["string", "number", "boolean"]})


def name_complaint(name: str) -> str | None:
    """What is wrong with a name of a listener, source, destination or transform; None when nothing is.

    One separator at a time, so that `__` in the name of an environment variable always parts two names.
    """
    if _NAME.fullmatch(name) and len(name) <= MAX_NAME:
        return None
    return f"must be at most {MAX_NAME} small letters and digits, with single - or _ between them"


def name_of(text: str) -> str:
    """A name that is as close to the text as names can be; `host` where nothing of it is left."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:MAX_NAME].rstrip("-") or "host"


def did_you_mean(word: str, known: Mapping[str, Any] | tuple[str, ...] | list[str]) -> str:
    """`; did you mean 'x'?` or, where nothing is close, the list of what there is."""
    close = get_close_matches(word.replace("-", "_"), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"


class Kind(ABC):
    """See the module's docstring."""

    words: str
    schema: Mapping[str, Any] = MappingProxyType({})
    structured = False

    @abstractmethod
    def read(self, node: Node, where: str, problems: list[Problem]) -> Any:
        """The value of a node, or INVALID."""

    def show(self, value: Any) -> str:
        """The value as a person would write it."""
        return str(value)


class Text(Kind):
    """One scalar. `convert` raises ValueError with a sentence that goes on from the quoted value.

    :param secret: the text may carry a password and is never shown.
    :param schema: editors read 104 as a number and true as a truth value, where the gateway reads text.
    """

    def __init__(
        self,
        words: str,
        convert: Callable[[str], Any],
        show: Callable[[Any], str] = str,
        *,
        secret: bool = False,
        schema: Mapping[str, Any] = TEXT_SCHEMA,
    ) -> None:
        self.words = words
        self.schema = schema
        self._convert = convert
        self._show = show
        self._secret = secret

    def read(self, node: Node, where: str, problems: list[Problem]) -> Any:
        if not isinstance(node, Scalar):
            problems.append(node.place.problem(f"{where}: must be one value ({self.words})"))
            return INVALID
        if node.is_null or not node.text.strip():
            problems.append(node.place.problem(f"{where}: has no value; leave the line out to get the default"))
            return INVALID
        try:
            return self._convert(node.text.strip())
        except ValueError as error:
            shown = "the value" if self._secret else node.shown
            problems.append(node.place.problem(f"{where}: {shown} {error}"))
            return INVALID

    def show(self, value: Any) -> str:
        return self._show(value)


class ListOf(Kind):
    """A list of one kind; a single value stands for a list of one. The result is a tuple without repetitions.

    :param empty: what an empty list means, for the reference table; also what `None` is shown as.
    :param none: make the result None when the list is empty.
    """

    structured = True

    def __init__(self, item: Kind, empty: str, *, none: bool = False) -> None:
        self.words = f"list of: {item.words} (`[]`: {empty})"
        self.schema = {"anyOf": [item.schema, {"type": "array", "items": item.schema}]}
        self._item = item
        self._none = none

    def read(self, node: Node, where: str, problems: list[Problem]) -> Any:
        if isinstance(node, Table):
            problems.append(node.place.problem(f"{where}: must be a list"))
            return INVALID
        if isinstance(node, Items):
            values = [self._item.read(child, where, problems) for child in node]
        else:
            values = [self._item.read(node, where, problems)]
        if any(value is INVALID for value in values):
            return INVALID
        return tuple(dict.fromkeys(values)) or (None if self._none else ())

    def show(self, value: Any) -> str:
        return f"[{', '.join(self._item.show(item) for item in value or ())}]"


class MapOf(Kind):
    """A mapping whose keys are normalised by `key`, which raises ValueError like `Text`'s `convert`.

    :param pattern: the keys as a regular expression, for the schema.
    """

    structured = True

    def __init__(self, words: str, key: Callable[[str], str], value: Kind, pattern: str = "") -> None:
        self.words = words
        self.schema = {
            "type": "object",
            "patternProperties": {pattern: value.schema},
            "additionalProperties": False,
        }
        self._key = key
        self._value = value

    def read(self, node: Node, where: str, problems: list[Problem]) -> Any:
        if not isinstance(node, Table):
            problems.append(node.place.problem(f"{where}: must be a mapping ({self.words})"))
            return INVALID
        before = len(problems)
        result: dict[str, Any] = {}
        for written, child in node:
            place = node.keys[written]
            try:
                key = self._key(written)
            except ValueError as error:
                problems.append(place.problem(f"{where}: {quoted(written)} {error}"))
                continue
            if key in result:
                problems.append(place.problem(f"{where}: {key} stands here twice"))
            result[key] = self._value.read(child, f"{where}.{key}", problems)
        return INVALID if len(problems) > before else MappingProxyType(result)

    def show(self, value: Any) -> str:
        return "{" + ", ".join(f"{key}: {self._value.show(item)}" for key, item in value.items()) + "}"


def size(minimum: int, maximum: int) -> Text:
    """Bytes, from `minimum` to `maximum`."""
    bounds = f"{format_size(minimum)} to {format_size(maximum)}"
    schema = _quantity(SIZE_UNITS, minimum)
    return Text(f"size, {bounds}", _within(parse_size, minimum, maximum, bounds), format_size, schema=schema)


def duration(minimum_s: float, maximum_s: float) -> Text:
    """Seconds, from `minimum_s` to `maximum_s`."""
    bounds = f"{format_duration(minimum_s)} to {format_duration(maximum_s)}"
    schema = _quantity(TIME_UNITS_MS, minimum_s)
    return Text(
        f"time, {bounds}", _within(parse_duration, minimum_s, maximum_s, bounds), format_duration, schema=schema
    )


def _quantity(units: Mapping[str, int], minimum: float) -> Mapping[str, Any]:
    """A number with a unit; 0 needs none, where that is not too little."""
    pattern = rf"[0-9]{{1,19}}(\.[0-9]{{1,9}})? *({'|'.join(units)})"
    if minimum > 0:
        return {"type": "string", "pattern": f"^ *{pattern} *$"}
    return {"type": ["string", "number"], "pattern": rf"^ *({pattern}|0+(\.0+)?) *$", "minimum": 0, "maximum": 0}


def number(minimum: int, maximum: int) -> Text:
    """A whole number, from `minimum` to `maximum`."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError("is not a whole number")
        return int(text)

    bounds = f"{minimum} to {maximum}"
    digits = {"type": ["integer", "string"], "minimum": minimum, "maximum": maximum, "pattern": "^ *-?[0-9]+ *$"}
    return Text(f"number, {bounds}", _within(convert, minimum, maximum, bounds), schema=digits)


def _within(convert: Callable[[str], Any], minimum: float, maximum: float, bounds: str) -> Callable[[str], Any]:
    def checked(text: str) -> Any:
        value = convert(text)
        if not minimum <= value <= maximum:
            raise ValueError(f"is out of bounds: {bounds}")
        return value

    return checked


def choice(members: type[StrEnum], later: Mapping[str, str] = MappingProxyType({})) -> Text:
    """One of a fixed set of words; `later` names words that a later release will know, with a sentence."""
    known = tuple(member.value for member in members)

    def convert(text: str) -> StrEnum:
        if text in known:
            return members(text)
        if text in later:
            raise ValueError(later[text])
        raise ValueError(f"is not known here{did_you_mean(text, known)}")

    return Text(" \\| ".join(f"`{word}`" for word in known), convert, schema={"enum": list(known)})


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


def _path(text: str) -> Path:
    if not text.isprintable():
        raise ValueError("is not a path: it has control characters")
    if text.startswith("~"):
        raise ValueError("is not expanded: write the path out")
    return Path(text)


def _name(text: str) -> str:
    complaint = name_complaint(text)
    if complaint:
        raise ValueError(complaint)
    return text


_FLAG = {"enum": [True, False, "true", "false"]}
BOOLEAN = Text("`true` \\| `false`", _boolean, lambda value: "true" if value else "false", schema=_FLAG)
PATH = Text("path", _path)
NAME = Text("name", _name, schema={"type": ["string", "number"], "pattern": NAME_PATTERN, "maxLength": MAX_NAME})
