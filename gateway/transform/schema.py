"""The `transforms:` of a rule file as people write them to typed transforms, with every mistake found and placed.

A transform is a named list of steps; a step is a map with one verb, beside which `when:` may stand with the conditions
that rules use. `record: false` stands as a step of its own. What the verbs do is written in `gateway.transform.steps`
and docs/transforms.md. Values without anything to fill in are checked against their VR here, so that most mistakes are
found before an instance is.

Nothing raises here, problems are collected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from json import dumps

from gateway.dicom.recoding import RECODINGS
from gateway.document import Items, Node, Place, Scalar, Table, quoted
from gateway.errors import Problem
from gateway.rules import lists, match, tables
from gateway.rules.shared import NOTHING, Shared
from gateway.transform.conditions import read_conditions
from gateway.transform.deidentify.pseudonyms import NO_KEYS, Keys
from gateway.transform.deidentify.step import Deidentify
from gateway.transform.reader import Reader
from gateway.transform.steps import Action
from gateway.transform.verbs import VERBS

_NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")  # that of all names in gateway.yaml, where `require_transform` is
_MAX_NAME = 63
_DIGEST_DIGITS = 16
DEIDENTIFY = "deidentify"
_VERSION = 1  # of what the steps do: a higher one makes every transform another


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it does, and when; `when` None is always. `number` counts from 1, as people do."""

    number: int
    verb: str
    action: Action
    when: match.Matcher | None = None


@dataclass(frozen=True, slots=True)
class Transform:
    """A named list of steps. `digest` tells definitions apart, whatever their name; `is_recorded`: see `record`."""

    name: str
    steps: tuple[Step, ...]
    digest: str
    is_recorded: bool = True
    place: Place = field(default=Place("", 0, 0), compare=False)

    @property
    def deidentifies(self) -> bool:
        """Whether it is meant to take a patient's identity out."""
        return any(step.verb == DEIDENTIFY for step in self.steps)


def read_transforms(
    root: Node, problems: list[Problem], known: dict[str, Transform], shared: Shared = NOTHING, keys: Keys = NO_KEYS
) -> None:
    """Read the transforms of one rule file.

    :param root: the file's document.
    :param problems: what is wrong is added here.
    :param known: the transforms of the files before; those of this one are added.
    :param shared: what conditions and steps can name.
    :param keys: those that pseudonyms can be made with.
    """
    node = root.get("transforms") if isinstance(root, Table) else None
    if node is None or (isinstance(node, Scalar) and node.is_null):
        return
    if not isinstance(node, Table):
        problems.append(node.place.problem("transforms maps names to lists of steps"))
        return
    for name, steps in node:
        before = len(problems)
        place = node.keys[name]
        _check_name(name, place, problems, known)
        transform = _transform(name, place, steps, Reader(problems, shared, keys))
        if len(problems) == before:
            known[name] = transform


def _check_name(name: str, place: Place, problems: list[Problem], known: Mapping[str, Transform]) -> None:
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        problems.append(
            place.problem(
                f"a name is of small letters and digits, with single - or _ between them, at most {_MAX_NAME}"
            )
        )
    elif name in RECODINGS:
        problems.append(place.problem(f"{name!r} is the name of a built-in transform: take another"))
    elif name in known:
        first = known[name].place
        problems.append(place.problem(f"the transform {name!r} exists already, at {first.file}:{first.line}"))


def _transform(name: str, place: Place, node: Node, reader: Reader) -> Transform:
    problems = reader.problems
    steps: list[Step] = []
    is_recorded = True
    if not isinstance(node, Items):
        problems.append(node.place.problem("a transform is a list of steps"))
    elif not node.nodes:
        problems.append(node.place.problem("a transform without steps does nothing: take it out"))
    else:
        for number, each in enumerate(node, 1):
            if isinstance(each, Table) and "record" in each.entries:
                is_recorded = _record(each, problems)
            elif (step := _step(number, each, reader)) is not None:
                steps.append(step)
        if not steps and not problems:
            problems.append(node.place.problem("a transform without steps does nothing: take it out"))
    return Transform(name, tuple(steps), _digest(node, reader.shared, steps), is_recorded, place)


def _record(table: Table, problems: list[Problem]) -> bool:
    node = table.entries["record"]
    if len(table.entries) != 1:
        problems.append(table.place.problem("record holds for the whole transform: write it as a step of its own"))
    if not isinstance(node, Scalar) or node.text not in {"true", "false"}:
        problems.append(node.place.problem("record is true or false"))
        return True
    return node.text == "true"


def _step(number: int, node: Node, reader: Reader) -> Step | None:
    problems = reader.problems
    if not isinstance(node, Table):
        problems.append(node.place.problem("a step is a map with one verb, and when"))
        return None
    found = [key for key in node.entries if key in VERBS]
    for key in node.entries:
        if key not in VERBS and key != "when":
            close = get_close_matches(key, [*VERBS, "when", "record"], n=1)
            hint = f"; is {close[0]!r} meant?" if close else ""
            problems.append(node.keys[key].problem(f"there is no step {quoted(key)}{hint}"))
    if len(found) != 1:
        told = f"this one has {', '.join(found)}" if found else f"one of {', '.join(VERBS)}"
        problems.append(node.place.problem(f"a step has one verb: {told}"))
        return None
    when = None
    if "when" in node.entries:
        when = read_conditions(node.entries["when"], problems, reader.shared)
    action = VERBS[found[0]](reader, node.entries[found[0]])
    return None if action is None else Step(number, found[0], action, when)


def _digest(node: Node, shared: Shared, steps: list[Step]) -> str:
    """What tells definitions apart: the steps, and what stands in the lists, tables and keys that they name."""
    known = shared.lists
    named: dict[str, object] = {name: _canonical(known[name]) for name in set(lists.names_in(node)) if name in known}
    for name in set(tables.names_in(node)) & shared.tables.keys():
        named[f"table:{name}"] = shared.tables[name].digest
    for step in steps:
        if isinstance(step.action, Deidentify):
            named[f"step:{step.number}"] = step.action.fingerprint
    text = dumps([_VERSION, _canonical(node), dict(sorted(named.items()))], ensure_ascii=True, separators=(",", ":"))
    return sha256(text.encode("ascii")).hexdigest()[:_DIGEST_DIGITS]


def _canonical(node: Node) -> object:
    """A node without places: what two definitions of the same meaning have in common."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Items):
        return [_canonical(each) for each in node]
    return {key: _canonical(value) for key, value in sorted(node.entries.items())}
