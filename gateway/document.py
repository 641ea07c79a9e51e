"""YAML text that a person wrote, as a tree that remembers where everything stands.

Rules:
  - scalars are text: `NO`, `0123` and `1.20` stay what they are; whoever reads a value gives it a type;
  - duplicate keys, aliases (a few lines of them can unfold to gigabytes) and tags such as `!!python/…` are errors;
  - every node knows its file, line and column, so that a complaint can name them.

Pure: text in, nodes or `ConfigurationError` out. `gateway.config` and `gateway.rules` read from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from gateway.errors import ConfigurationError, Problem

MAX_DEPTH = 64


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


def parse(text: str, file: str) -> Node:
    """Read one YAML document.

    :param text: the file's text.
    :param file: the name to show in complaints.
    :raises ConfigurationError: with every problem found (syntax errors end the reading at the first).
    """
    problems: list[Problem] = []
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigurationError([Problem(file, line, column, f"not valid YAML: {what}")]) from None
    except yaml.YAMLError as error:
        raise ConfigurationError([Problem(file, 1, 1, f"not valid YAML: {error}")]) from None
    except RecursionError:
        raise ConfigurationError([Problem(file, 1, 1, "nested too deep to be read")]) from None
    if root is None:
        return Table({}, {}, Place(file, 1, 1))
    node = _convert(root, file, problems, 0, set())
    if problems:
        raise ConfigurationError(problems)
    return node


def _convert(node: yaml.Node, file: str, problems: list[Problem], depth: int, seen: set[int]) -> Node:
    place = Place(file, node.start_mark.line + 1, node.start_mark.column + 1)
    if id(node) in seen:
        problems.append(place.problem("used again by an alias (*name): write it out where it is needed"))
        return Scalar("", place)
    seen.add(id(node))
    if depth > MAX_DEPTH:
        problems.append(place.problem(f"nested deeper than {MAX_DEPTH} levels"))
        return Scalar("", place)
    if not str(node.tag).startswith("tag:yaml.org,2002:"):
        problems.append(place.problem(f"the tag {node.tag} is not allowed: write plain values"))
    if isinstance(node, yaml.ScalarNode):
        return Scalar(node.value, place, plain=node.style is None)
    if isinstance(node, yaml.SequenceNode):
        return Items(tuple(_convert(child, file, problems, depth + 1, seen) for child in node.value), place)
    entries: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for key_node, value_node in node.value:
        key_place = Place(file, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(key_place.problem("a key must be plain text"))
            continue
        key = str(key_node.value)
        if key in entries:
            problems.append(key_place.problem(f"the key {key!r} stands here twice (first in line {keys[key].line})"))
            continue
        entries[key] = _convert(value_node, file, problems, depth + 1, seen)
        keys[key] = key_place
    return Table(entries, keys, place)
