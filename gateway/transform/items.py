"""Steps on the items of sequences, and the conversion of a data set's character set."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.dicom.paths import SPECIFIC_CHARACTER_SET
from gateway.transform.blocks import tag_for
from gateway.transform.edit import data_sets, fitting, is_creator, places, read_at, takes_items, walk_items, write_at
from gateway.transform.names import Path, label, standard_vr
from gateway.transform.parse import expand
from gateway.transform.steps import Origin, Template
from gateway.transform.tree import DataSet, Element, Item, Tree
from gateway.transform.values import TEXT, ValueRefused, decode_text

UTF_8 = "ISO_IR 192"

_Filled = list[tuple[Path, "str | list[_Filled]"]]  # an item with its texts, and the items of its sequences


@dataclass(frozen=True, slots=True)
class NewItem:
    """What an item is made of: texts, and items of sequences within it."""

    attributes: tuple[tuple[Path, Template | tuple[NewItem, ...]], ...]

    def fill(self, tree: Tree, origin: Origin) -> _Filled:
        """The texts, as the data set is now."""
        filled: _Filled = []
        for path, value in self.attributes:
            if isinstance(value, Template):
                filled.append((path, value.fill(tree, origin)))
            else:
                filled.append((path, [item.fill(tree, origin) for item in value]))
        return filled


@dataclass(frozen=True, slots=True)
class AddItem:
    """`add_item`: put one more item at the end of a sequence, which is made where it is absent."""

    to: Path
    item: NewItem

    def run(self, tree: Tree, origin: Origin) -> None:
        filled = self.item.fill(tree, origin)
        for data in data_sets(tree, self.to):
            _append(data, sequence_of(data, tag_for(data, self.to)), filled)


def _append(data: DataSet, sequence: Element, filled: _Filled) -> None:
    """Put an item at the end of a sequence of a data set."""
    item = data.make_item(sequence)
    expand(data, sequence).append(item)
    for path, value in filled:
        if isinstance(value, str):
            write_at(item.data, path, value)
            continue
        inner = sequence_of(item.data, tag_for(item.data, path))
        for each in value:
            _append(item.data, inner, each)


def sequence_of(data: DataSet, tag: int) -> Element:
    """The sequence of a tag, made where it is absent, and touched.

    :raises ValueRefused: the attribute is no sequence.
    """
    element = data.get(tag)
    if element is None:
        element = data.make(tag, "SQ", b"")
        data.put(element)
    elif not takes_items(data, element):
        raise ValueRefused(f"{label(tag)}: it is no sequence here")
    else:
        expand(data, element)
        data.touch(tag)
    return element


@dataclass(frozen=True, slots=True)
class RemoveItem:
    """`remove_item`: take items out of a sequence: all (`number` 0), one, or those with certain values."""

    of: Path
    number: int
    where: tuple[tuple[Path, str], ...] = ()

    def run(self, tree: Tree, origin: Origin) -> None:
        for data, tag in places(tree, self.of):
            element = data.get(tag)
            if element is None:
                continue
            if not takes_items(data, element):
                raise ValueRefused(f"{self.of}: it is no sequence here")
            items = expand(data, element)
            kept = [item for index, item in enumerate(items, 1) if not self._is_meant(index, item)]
            if len(kept) < len(items):
                data.touch(tag)
                element.items = kept

    def _is_meant(self, index: int, item: Item) -> bool:
        if self.where:
            return all(text in (read_at(item.data, path) or ("",)) for path, text in self.where)
        return self.number in (0, index)


@dataclass(frozen=True, slots=True)
class Charset:
    """`charset`: write all text in UTF-8, and say so in Specific Character Set (0008,0005).

    Values that are converted are not changed in the sense of Original Attributes Sequence: what is recorded is the
    Specific Character Set, which in that sequence's item also says how the values there are encoded (PS3.5 7.5.3).
    """

    def run(self, tree: Tree, origin: Origin) -> None:
        is_recording = tree.is_recording
        is_recorded = is_recording or bool(tree.previous)
        tree.is_recording = False
        old = tree.root.character_set()
        _convert(tree.root, old, is_recorded)
        tree.is_recording = is_recorded
        _name_utf_8(tree.root)
        tree.is_recording = is_recording


def _convert(data: DataSet, character_set: bytes, is_recorded: bool) -> None:
    tree, is_kept = data.tree, is_recorded and data.parent is None
    replacements: dict[Element, Element] = {}
    for element in list(data.elements):
        before = element.as_it_is(data.big_endian) if is_kept and element.is_sequence else element
        if element.is_sequence:
            if walk_items(data, element, lambda inner: _convert_item(inner, character_set, is_recorded)) and is_kept:
                tree.converted[element.tag] = before
            continue
        vr = element.vr if element.vr not in ("", "UN") else standard_vr(element.tag)
        if not vr and is_creator(element.tag):
            vr = "LO"  # or its attributes would be nobody's
        if vr not in TEXT:
            continue
        value = _value_of(data, element)
        if value.isascii() and b"\x1b" not in value:
            continue
        try:
            converted = _to_utf_8(data, vr, value, character_set)
        except ValueRefused as refused:
            raise ValueRefused(f"{label(element.tag)}: {refused}") from None
        if converted != value:
            if is_kept:
                tree.converted[element.tag] = element
            replacements[element] = data.make(element.tag, vr, converted)
            data.touch(element.tag)
    if replacements:
        data.replace(replacements)


def _to_utf_8(data: DataSet, vr: str, value: bytes, character_set: bytes) -> bytes:
    converted = decode_text(value, character_set, is_name=vr == "PN").rstrip(" \0").encode("utf-8")
    return fitting(data, vr, converted + b" " * (len(converted) % 2))


def _convert_item(data: DataSet, character_set: bytes, is_recorded: bool) -> None:
    own = data.get(SPECIFIC_CHARACTER_SET)
    _convert(data, character_set if own is None else own.value, is_recorded)
    if own is not None:
        _name_utf_8(data)


def _name_utf_8(data: DataSet) -> None:
    found = data.get(SPECIFIC_CHARACTER_SET)
    if found is None or found.value.rstrip(b" \0") != UTF_8.encode("ascii"):
        data.put(data.make(SPECIFIC_CHARACTER_SET, "CS", UTF_8.encode("ascii")))


def _value_of(data: DataSet, element: Element) -> bytes:
    if element.bulk is None:
        return element.value
    data.tree.budget.hold(element.bulk[1])
    return data.tree.source.read(*element.bulk)
