"""What the steps of a transform do to a tree; `gateway.transform.schema` makes them from what a person wrote.

Rules that all of them keep:
  - `set`, `copy` and templates see the data set as it was before their step, whatever else the step sets;
  - `set`, and `map` with a default text, make an attribute that was absent; every other step leaves what is absent;
  - an empty value is not edited: a prefix alone would be no Accession Number;
  - where an attribute has several values, each is edited;
  - a path into a sequence that has no such item leads nowhere, and nothing is done;
  - a private attribute by its creator is looked for in each data set or item (`gateway.transform.blocks`).

:raises ValueRefused: with the attribute and the reason, never a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.model import AssociationFacts
from gateway.rules.subject import Received
from gateway.rules.tables import TableData
from gateway.transform.blocks import creators_of
from gateway.transform.edit import (
    creator_tag,
    data_sets,
    is_creator,
    places,
    read,
    read_all,
    read_at,
    vr_of,
    walk,
    write,
    write_at,
)
from gateway.transform.names import Path, Wild, is_private
from gateway.transform.tree import DataSet, Element, Tree
from gateway.transform.values import ValueRefused, joined, splits

Change = Callable[[str, str], str]  # value and VR to new value


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an instance came from: the facts of its association, and what the C-STORE command said of it."""

    facts: AssociationFacts
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    received_at_ms: int
    received: Received | None = None  # what windows of time look at, where that is not `received_at_ms`


class Action(Protocol):
    """What one step does."""

    def run(self, tree: Tree, origin: Origin) -> None:
        """Change the tree. :raises ValueRefused: it cannot be done."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of the association or of the C-STORE command, by the name that rules have for it."""

    name: str

    def of(self, origin: Origin) -> str:
        """Its text; of the SOP class and the transfer syntax the UID."""
        if self.name == "sop_class":
            return origin.sop_class_uid
        if self.name == "transfer_syntax":
            return origin.transfer_syntax_uid
        return str(getattr(origin.facts, "peer_host" if self.name == "host" else self.name))


@dataclass(frozen=True, slots=True)
class Lookup:
    """A text of a table, from the row whose key an attribute or fact has."""

    table: TableData
    of: Path | Fact
    column: str

    def find(self, tree: Tree, origin: Origin) -> str:
        """The text. :raises ValueRefused: there is no such row."""
        key = joined(read_all(tree, self.of) or ()) if isinstance(self.of, Path) else self.of.of(origin)
        row = self.table.rows.get(key)
        if row is None:
            what = str(self.of) if isinstance(self.of, Path) else self.of.name
            raise ValueRefused(f"{what}: the table {self.table.name!r} has no such row")
        return row[self.column]


Part = str | Path | Fact | Lookup


@dataclass(frozen=True, slots=True)
class Template:
    """Text with attributes and facts in it; a `Path` or the name of a fact stands for its values."""

    parts: tuple[Part, ...]

    def fill(self, tree: Tree, origin: Origin) -> str:
        """The text; what is absent or empty gives none."""
        texts = []
        for part in self.parts:
            if isinstance(part, Path):
                texts.append(joined(read_all(tree, part) or ()))
            elif isinstance(part, Lookup):
                texts.append(part.find(tree, origin))
            else:
                texts.append(part.of(origin) if isinstance(part, Fact) else part)
        return "".join(texts)

    @property
    def literal(self) -> str | None:
        """The text where nothing is to be filled in."""
        return "".join(map(str, self.parts)) if all(isinstance(part, str) for part in self.parts) else None


@dataclass(frozen=True, slots=True)
class Set:
    """`set`: give attributes a value."""

    values: tuple[tuple[Path, Template], ...]

    def run(self, tree: Tree, origin: Origin) -> None:
        texts = [template.fill(tree, origin) for _, template in self.values]
        for (path, _), text in zip(self.values, texts, strict=True):
            for data in data_sets(tree, path):
                write_at(data, path, text)


@dataclass(frozen=True, slots=True)
class Copy:
    """`copy`: give attributes the value of others; where those have none, nothing is done."""

    pairs: tuple[tuple[Path, Path], ...]

    def run(self, tree: Tree, origin: Origin) -> None:
        found = [read_all(tree, source) for _, source in self.pairs]
        for (target, _), values in zip(self.pairs, found, strict=True):
            if values:
                for data in data_sets(tree, target):
                    write_at(data, target, joined(values))


@dataclass(frozen=True, slots=True)
class Edit:
    """`prefix`, `suffix`, `replace`, `case`, `truncate`, `pad`, `strip`: change each value of attributes."""

    changes: tuple[tuple[Path, Change], ...]
    always: bool = False  # also where the text is the same: its padding may not be

    def run(self, tree: Tree, origin: Origin) -> None:
        for path, change in self.changes:
            for data, tag in places(tree, path):
                values = read(data, tag)
                if not values:
                    continue
                vr = vr_of(data, tag)
                changed = tuple(_one_value(path, vr, change(value, vr)) if value else value for value in values)
                if changed != values or self.always:
                    write(data, tag, joined(changed))


def _one_value(path: Path, vr: str, text: str) -> str:
    if splits(vr) and "\\" in text:
        raise ValueRefused(f"{path}: one value would become several")
    return text


@dataclass(frozen=True, slots=True)
class Map:
    """`map`: put in place of each value what a table says. `default` None keeps what is not in it, or holds."""

    path: Path
    table: Mapping[str, str]
    default: str | None
    hold: bool

    def run(self, tree: Tree, origin: Origin) -> None:
        for data in data_sets(tree, self.path):
            values = read_at(data, self.path) or ("",)
            changed = tuple(self._mapped(value) for value in values)
            if changed != values:
                write_at(data, self.path, joined(changed))

    def _mapped(self, value: str) -> str:
        if value in self.table:
            return self.table[value]
        if self.hold:
            raise ValueRefused(f"{self.path}: its value is not in the table, and the default is to hold")
        return value if self.default is None else self.default


@dataclass(frozen=True, slots=True)
class Remove:
    """`remove`: take attributes out. With a Private Creator goes its block, which would belong to nobody."""

    paths: tuple[Path, ...]
    wilds: tuple[Wild, ...]
    blocks: tuple[Path, ...]  # all that a creator has, and he himself
    private: bool  # all private attributes, also in sequences

    def run(self, tree: Tree, origin: Origin) -> None:
        for path in self.paths:
            for data, tag in places(tree, path, in_all_blocks=True):
                _drop(data, {tag})
        for block in self.blocks:
            for data in data_sets(tree, block, in_all_blocks=True):
                _drop(data, set(creators_of(data, block)))
        if self.wilds:
            tags = {element.tag for element in tree if any(wild.fits(element.tag) for wild in self.wilds)}
            _drop(tree.root, tags)
        if self.private:
            walk(tree.root, _drop_private)


def _drop_private(data: DataSet) -> None:
    _drop(data, {element.tag for element in data.elements if is_private(element.tag)})


def _drop(data: DataSet, tags: set[int]) -> None:
    """Take those of the tags out that are there, and the blocks of those that are Private Creators."""
    found = {element.tag for element in data.elements if element.tag in tags}
    creators = {tag for tag in found if is_creator(tag)}
    if creators:
        found |= {each.tag for each in data.elements if is_private(each.tag) and creator_tag(each.tag) in creators}
    if found:
        data.drop(found)


@dataclass(frozen=True, slots=True)
class Empty:
    """`empty`: leave attributes that are there without a value (PS3.5 7.4.3, type 2)."""

    paths: tuple[Path, ...]

    def run(self, tree: Tree, origin: Origin) -> None:
        for path in self.paths:
            for data, tag in places(tree, path, in_all_blocks=True):
                element = data.get(tag)
                if element is not None and (element.value_bytes or element.items):
                    data.put(data.make(tag, _vr_when_empty(element), b""))


def _vr_when_empty(element: Element) -> str:
    return "SQ" if element.is_sequence and element.vr != "UN" else element.vr or "UN"
