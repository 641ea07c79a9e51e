"""Environment variables that override gateway.yaml: `GATEWAY__SPOOL__MIN_FREE=1 GiB`.

Rules:
  - `GATEWAY__` and the way to the value, parted by `__`; capital and small letters are the same, and a `-` in a name
    is written `_`; a name that is not in the file yet is added;
  - a single value is taken as it is; for a list, a mapping or a whole section the text is YAML
    (`GATEWAY__SOURCES__CT1__HOSTS=[10.0.0.0/8]`);
  - `…_FILE` names a file that holds the value (a secret); its end of line is dropped and its text never shown;
  - the shorter way is applied first, so that `GATEWAY__DESTINATIONS__PACS` and `…__PACS__PORT` go together;
  - what is wrong is reported as file `environment NAME`; unknown keys are found by the loader, as in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config.files import read_text
from gateway.config.sections import Key, Section
from gateway.config.tables import DESTINATION_DEFAULTS, DESTINATIONS, ROOT, SECTIONS
from gateway.document import Node, Place, Scalar, Table, legible, parse
from gateway.errors import ConfigurationError, Problem

PREFIX = "GATEWAY__"
FILE_SUFFIX = "_FILE"


@dataclass(frozen=True, slots=True)
class _Override:
    variable: str
    path: tuple[str, ...]
    value: str
    from_file: bool

    @property
    def place(self) -> Place:
        return _place(self.variable)


def _place(variable: str) -> Place:
    return Place(f"environment {legible(variable)}", 1, 1)


def apply(root: Table, env: Mapping[str, str], folder: Path, problems: list[Problem]) -> Table:
    """The document with the overrides of the environment in it.

    :param folder: what the paths in `…_FILE` are relative to.
    :param problems: takes what is wrong with the variables themselves.
    """
    overrides = [
        override
        for variable in sorted(env)
        if variable.upper().startswith(PREFIX)
        for override in _override(variable, env[variable], root, problems)
    ]
    taken: dict[tuple[str, ...], str] = {}
    for override in sorted(overrides, key=lambda override: (len(override.path), override.path)):
        if override.path in taken:
            other = legible(taken[override.path])
            problems.append(override.place.problem(f"{other} sets the same value: unset one of them"))
            continue
        taken[override.path] = override.variable
        node = _node(override, folder, problems)
        if node is not None:
            root = _put(root, override.path, node, override.place)
    return root


def _override(variable: str, value: str, root: Table, problems: list[Problem]) -> list[_Override]:
    place = _place(variable)
    segments = variable[len(PREFIX) :].split("__")
    if not all(segments):
        problems.append(place.problem("the parts between two __ must not be empty"))
        return []
    from_file = False
    path = _canonical(segments, root)
    if segments[-1].upper().endswith(FILE_SUFFIX) and not _known(path, root):
        segments[-1] = segments[-1][: -len(FILE_SUFFIX)]
        path, from_file = _canonical(segments, root), True
    if not path[-1]:
        problems.append(place.problem("names no value"))
        return []
    return [_Override(variable, path, value, from_file)]


def _canonical(segments: Sequence[str], root: Table) -> tuple[str, ...]:
    """The way in the file's own spelling: each part as it stands there already, else in small letters."""
    path: list[str] = []
    node: Node | None = root
    for segment in segments:
        folded = _folded(segment)
        known = [key for key, _ in node if _folded(key) == folded] if isinstance(node, Table) else []
        path.append(known[0] if known else segment.lower())
        node = node.get(path[-1]) if isinstance(node, Table) else None
    return tuple(path)


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _known(path: tuple[str, ...], root: Table) -> bool:
    """Whether the way leads to a key or section that there is, or to a name that stands in the file."""
    section, key = _target(path)
    if key is not None or (len(path) == 1 and section is not None):
        return True
    names = root.get(path[0])
    return len(path) == 2 and isinstance(names, Table) and path[1] in names.entries


def _target(path: tuple[str, ...]) -> tuple[Section | None, Key | None]:
    """The section and the key that a way leads to, None where it does not lead so far."""
    if path[0] == DESTINATION_DEFAULTS:
        return DESTINATIONS, DESTINATIONS.key(path[1]) if len(path) == 2 else None
    section = SECTIONS.get(path[0])
    if section is None:
        return None, ROOT.key(path[0]) if len(path) == 1 else None
    depth = 3 if section.named else 2
    return section, section.key(path[-1]) if len(path) == depth else None


def _node(override: _Override, folder: Path, problems: list[Problem]) -> Node | None:
    text = override.value
    if override.from_file:
        try:
            text = read_text(folder / override.value)
        except ConfigurationError as error:
            reasons = "; ".join(problem.message for problem in error.problems)
            named = override.value if override.value.isprintable() else repr(override.value)
            problems.append(override.place.problem(f"the file {named} {reasons}"))
            return None
        text = text.removesuffix("\n").removesuffix("\r")
    section, key = _target(override.path)
    is_leaf_of_map = key is None and len(override.path) > (3 if section is not None and section.named else 2)
    if (key is not None and not key.kind.structured) or is_leaf_of_map:
        return Scalar(text, override.place, plain=False, secret=override.from_file)
    try:
        return parse(text, override.place.file)
    except ConfigurationError as error:
        problems.extend(error.problems)
        return None


def _put(table: Table, path: tuple[str, ...], node: Node, place: Place) -> Table:
    """The table with `node` at the end of `path`; what stands in the way and is not a mapping is replaced."""
    head, rest = path[0], path[1:]
    if rest:
        inner = table.get(head)
        inner = inner if isinstance(inner, Table) else Table({}, {}, place)
        node = _put(inner, rest, node, place)
    key_place = table.keys[head] if rest and head in table.keys else place
    return Table({**table.entries, head: node}, {**table.keys, head: key_place}, table.place)
