"""gateway.yaml and the environment → `Config`, or every problem at once.

In this order: read the file, put the environment's overrides in, read every section by its table
(`gateway.config.tables`), merge `destination_defaults` under each destination, then check what no single value shows
(`gateway.config.check`). A value that cannot be read hides only what depends on it, and a file that is no YAML at all
is only that.

Paths in the file and in the environment are relative to the folder of the file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.config import environment
from gateway.config.check import check
from gateway.config.files import read_text
from gateway.config.kinds import INVALID, did_you_mean, name_complaint, name_of
from gateway.config.sections import REQUIRED, Nested, Section
from gateway.config.tables import DESTINATION_DEFAULTS, DESTINATIONS, ROOT, SECTIONS, TOP_KEYS
from gateway.config.values import UNKNOWN_SOURCE, Config
from gateway.document import Node, Place, Scalar, Table, legible, parse, quoted
from gateway.errors import ConfigurationError, Problem


def load(path: Path, env: Mapping[str, str], text: str | None = None) -> Config:
    """Read and check the configuration.

    :param path: gateway.yaml.
    :param env: the environment; only names that begin with `GATEWAY__` are looked at.
    :param text: what the file said when it was read before; None reads it now.
    :raises ConfigurationError: with every problem found, each with file, line and column.
    """
    root = parse(read_text(path) if text is None else text, str(path))
    problems: list[Problem] = []
    if isinstance(root, Scalar) and root.is_null:
        root = Table({}, {}, Place(str(path), 1, 1))
    if not isinstance(root, Table):
        raise ConfigurationError([root.place.problem("must be a mapping: `ae_title: …`, `listeners: …`")])
    folder = _absolute(path).parent
    root = environment.apply(root, env, folder, problems)
    config = _Loader(folder, problems).config(root)
    if problems or config is None:
        raise ConfigurationError(problems)
    return config


def _absolute(path: Path) -> Path:
    # abspath, not resolve: a folder reached by a link (as Kubernetes mounts files) stays the folder that was named.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _is_shared(root: Table) -> bool:
    """Whether the ledger is one that several hosts can have; what is wrong with it is told where it is read."""
    ledger = root.get("ledger")
    url = ledger.get("url") if isinstance(ledger, Table) else None
    return isinstance(url, Scalar) and url.text.startswith("postgresql:")


@dataclass(slots=True)
class _Values:
    """What was read of one mapping: fields that hold, and the keys that were there, good or bad."""

    fields: dict[str, Any] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Loader:
    folder: Path
    problems: list[Problem]
    places: dict[str, Place] = field(default_factory=dict)  # dotted way → where it stands
    computed: dict[str, Any] = field(default_factory=dict)  # dotted key → default that depends on other values

    def config(self, root: Table) -> Config | None:
        """The whole file; None when there are problems."""
        self._unknown_keys(root, TOP_KEYS, "")
        self.places[""] = root.place
        own = self._read(ROOT, root, "")
        ae_title = own.fields.get("ae_title", "GATEWAY")
        state_dir = own.fields.get("state_dir", self.folder / "state")
        self.computed = {
            "spool.dir": state_dir / "spool",
            "rules.dir": self.folder / "rules",
            "console.users": state_dir / "users.yaml",
            "spool.shared": _is_shared(root),
            "listeners.ae_titles": (ae_title,),
            "destinations.calling_ae_title": ae_title,
        }
        host = own.fields.get("host", name_of(socket.gethostname()))
        self.computed |= {"audit.dir": state_dir / "audit", "audit.source_id": host}
        defaults = self._read(DESTINATIONS, self._mapping(root, DESTINATION_DEFAULTS), DESTINATION_DEFAULTS)
        parts: dict[str, Any] = {}
        for name, section in SECTIONS.items():
            table = self._mapping(root, name)
            if section.named:
                under = defaults if section is DESTINATIONS else _Values()
                parts[name] = self._named(section, table, under)
            else:
                parts[name] = self._build(section, self._read(section, table, name), name)
        self.problems.extend(check(ae_title, state_dir, parts, self.places))
        if self.problems:
            return None
        return Config(ae_title=ae_title, state_dir=state_dir, host=host, **parts)

    def _mapping(self, root: Table, name: str) -> Table:
        """The mapping under a top-level key; an empty one where there is none, or something else."""
        node = root.get(name)
        place = root.keys.get(name, root.place)
        self.places[name] = place
        return self._table(node, name, place)

    def _table(self, node: Node | None, where: str, place: Place) -> Table:
        if isinstance(node, Table):
            return node
        if node is not None and not (isinstance(node, Scalar) and node.is_null):
            self.problems.append(node.place.problem(f"{where}: must be a mapping, one `key: value` a line"))
        return Table({}, {}, place)

    def _named(self, section: Section, table: Table, under: _Values) -> Mapping[str, Any]:
        """One value of the section's model a name."""
        result: dict[str, Any] = {}
        for name, node in table:
            place = table.keys[name]
            where = f"{section.name}.{legible(name)}"
            complaint = name_complaint(name)
            if complaint is None and section.name == "sources" and name == UNKNOWN_SOURCE:
                complaint = "is what senders without an entry are called: choose another name"
            if complaint:
                self.problems.append(place.problem(f"{section.name}: the name {quoted(name)} {complaint}"))
            self.places[where] = place
            if not isinstance(node, Table) and not (isinstance(node, Scalar) and node.is_null):
                self._table(node, where, place)  # which complains; its missing keys would be noise
                continue
            own = self._read(section, self._table(node, where, place), where)
            merged = _Values({**under.fields, **own.fields}, under.present | own.present)
            for key, value in under.fields.items():
                if isinstance(value, Mapping) and key in own.fields:
                    merged.fields[key] = MappingProxyType({**value, **own.fields[key]})
            built = self._build(section, merged, where, name=name)
            if built is not None and complaint is None:
                result[name] = built
        return MappingProxyType(result)

    def _read(self, section: Section, table: Table, where: str) -> _Values:
        """The fields that the mapping gives, without defaults."""
        if where:
            self._unknown_keys(table, tuple(key.name for key in section.keys), where)
        values = _Values()
        for key in section.keys:
            node = table.get(key.name)
            if node is None:
                continue
            dotted = f"{where}.{key.name}".lstrip(".")
            self.places[dotted] = table.keys[key.name]
            values.present.add(key.name)
            if isinstance(key.kind, Nested):
                value = self._nested(key.kind.section, node, dotted)
            else:
                value = key.kind.read(node, dotted, self.problems)
            if isinstance(value, Path):
                value = _absolute(self.folder / value)
            if value is not INVALID:
                values.fields[section.field_of(key)] = value
        return values

    def _nested(self, section: Section, node: Node, where: str) -> Any:
        """The value of a mapping below a key, None where nothing stands there, or INVALID."""
        if not isinstance(node, Table):
            before = len(self.problems)
            self._table(node, where, node.place)
            return INVALID if len(self.problems) > before else None
        built = self._build(section, self._read(section, node, where), where)
        return INVALID if built is None else built

    def _build(self, section: Section, values: _Values, where: str, **more: str) -> Any:
        """The section's model with its defaults; None when a value is missing or bad."""
        complete = True
        arguments: dict[str, Any] = dict(more)
        for key in section.keys:
            name = section.field_of(key)
            if name in values.fields:
                arguments[name] = values.fields[name]
            elif key.name in values.present:
                complete = False
            elif key.computed is not None:
                arguments[name] = self.computed[f"{section.name}.{key.name}"]
            elif (default := section.default(key)) is not REQUIRED:
                arguments[name] = default
            else:
                complete = False
                self.problems.append(self.places[where].problem(f"{where}: {key.name} is missing"))
        return section.model(**arguments) if complete else None

    def _unknown_keys(self, table: Table, known: tuple[str, ...], where: str) -> None:
        for key, _ in table:
            if key not in known:
                place = table.keys[key]
                told = f"{where}: " if where else ""
                self.problems.append(place.problem(f"{told}unknown key {quoted(key)}{did_you_mean(key, known)}"))
