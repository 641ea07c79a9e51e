"""YAML text that a person wrote, as a tree that remembers where everything stands.

Rules:
  - scalars are text: `NO`, `0123` and `1.20` stay what they are; whoever reads a value gives it a type;
  - duplicate keys, aliases (a few lines of them can unfold to gigabytes) and tags such as `!!python/…` are errors;
  - text that no file can hold (half of a surrogate pair, written as an escape) is an error;
  - every node knows its file, line and column, so that a complaint can name them.

Pure: text in, nodes or `ConfigurationError` out. `gateway.config` and `gateway.rules` read from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from gateway.errors import ConfigurationError, Problem

MAX_DEPTH = 64
MAX_SHOWN = 64

# What plain values resolve to by themselves. A tag that a person writes may say the same; any other is refused.
_TAGS = frozenset(
    "tag:yaml.org,2002:" + name
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq")
)


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def problem(self, message: str) -> Problem:
        """A complaint about this place."""
        return Problem(self.file, self.line, self.column, message)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A piece of text; `plain` is False where it was quoted or a block."""

    text: str
    place: Place
    plain: bool = True
    secret: bool = False  # came from a file that holds a secret: its text is never shown

    def __repr__(self) -> str:
        return f"Scalar({self.shown}, {self.place})"

    @property
    def shown(self) -> str:
        """The text as a complaint may show it: quoted, escaped, at most 64 characters, never a secret."""
        return "the value" if self.secret else quoted(self.text)

    @property
    def is_null(self) -> bool:
        """An empty plain scalar, `~` or `null`: the key is there and has no value."""
        return self.plain and self.text in {"", "~", "null"}


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    nodes: tuple[Node, ...]
    place: Place

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping, in the order of the file."""

    entries: dict[str, Node]
    keys: dict[str, Place]
    place: Place

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        return iter(self.entries.items())

    def get(self, key: str) -> Node | None:
        """The value under a key, or None."""
        return self.entries.get(key)


Node = Scalar | Items | Table


def quoted(text: str) -> str:
    """Text as a complaint may show it: in quotes, escaped, cut after 64 characters."""
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…")


def legible(text: str) -> str:
    """A name as a complaint may show it: as it is where it is short and printable, else quoted."""
    return text if text.isprintable() and 0 < len(text) <= MAX_SHOWN else quoted(text)


def parse(text: str, file: str) -> Node:
    """Read one YAML document.

    :param text: the file's text.
    :param file: the name to show in complaints.
    :raises ConfigurationError: with every problem found (syntax errors end the reading at the first).
    """
    problems: list[Problem] = []
    root = _compose(text, file)
    if root is None:
        return Table({}, {}, Place(file, 1, 1))
    node = _convert(root, file, problems, 0, set())
    if problems:
        raise ConfigurationError(problems)
    return node


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        # str(error) has several lines; the position counts characters of the whole text.
        before = text[: error.position]
        place = Place(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        code = error.character if isinstance(error.character, int) else ord(error.character)
        problem = place.problem(f"not valid YAML: the character U+{code:04X} is not allowed")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = " ".join(part for part in (error.context, error.problem) if part)
        problem = Problem(file, line, column, f"not valid YAML: {what}")
    except (ValueError, OverflowError):
        # PyYAML converts escapes (\UFFFFFFFF) and version numbers (%YAML 1.999…) without looking at their size.
        problem = Problem(file, 1, 1, "not valid YAML: an escape or a version number is out of range")
    except RecursionError:
        problem = Problem(file, 1, 1, "nested too deep to be read")
    raise ConfigurationError([problem])


def _convert(node: yaml.Node, file: str, problems: list[Problem], depth: int, seen: set[int]) -> Node:
    place = Place(file, node.start_mark.line + 1, node.start_mark.column + 1)
    if id(node) in seen:
        problems.append(place.problem("used again by an alias (*name): write it out where it is needed"))
        return Scalar("", place)
    seen.add(id(node))
    if depth > MAX_DEPTH:
        problems.append(place.problem(f"nested deeper than {MAX_DEPTH} levels"))
        return Scalar("", place)
    if node.tag not in _TAGS:
        problems.append(place.problem(f"the tag {node.tag!r} is not allowed: write plain values"))
    if isinstance(node, yaml.ScalarNode):
        if not _is_text(node.value):
            problems.append(place.problem("half of a surrogate pair (\\uD800 to \\uDFFF) is not a character"))
        return Scalar(node.value, place, plain=node.style is None)
    if isinstance(node, yaml.SequenceNode):
        return Items(tuple(_convert(child, file, problems, depth + 1, seen) for child in node.value), place)
    return _convert_table(node, place, problems, depth, seen)


def _convert_table(node: yaml.Node, place: Place, problems: list[Problem], depth: int, seen: set[int]) -> Table:
    entries: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for key_node, value_node in node.value:
        key = _convert(key_node, place.file, problems, depth + 1, seen)
        if not isinstance(key, Scalar):
            problems.append(key.place.problem("a key must be plain text"))
            continue
        if key.text in entries:
            first = keys[key.text].line
            problems.append(key.place.problem(f"the key {key.shown} stands here twice (first in line {first})"))
            continue
        entries[key.text] = _convert(value_node, place.file, problems, depth + 1, seen)
        keys[key.text] = key.place
    return Table(entries, keys, place)


def _is_text(text: str) -> bool:
    """False where the text cannot be written as UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
