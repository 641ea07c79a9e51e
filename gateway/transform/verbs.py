"""The verbs of steps: what a person wrote behind each of them, to the action it stands for.

`VERBS` is the table of them. Nothing raises here; what is wrong is collected with its place, and the action that is
given back then is of no use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol

import re2

from gateway.document import Node, Place, Scalar, Table
from gateway.rules.patterns import MAX_PROGRAM_SIZE, PatternError
from gateway.rules.tables import COLUMN
from gateway.rules.tables import KEY as TABLE
from gateway.transform.deidentify.read import read_deidentify
from gateway.transform.item_verbs import add_item, remove_item
from gateway.transform.items import UTF_8, Charset
from gateway.transform.names import Path, Wild, is_pixel_data, parse_block, parse_wild
from gateway.transform.pixels.mask_reader import read_mask
from gateway.transform.reader import Reader
from gateway.transform.steps import Action, Change, Copy, Edit, Empty, Map, Remove, Set
from gateway.transform.transcode_verb import transcode

_MAX_PATTERN_MEMORY_BYTES = 1 << 20
_MAX_REPLACEMENT = 1024
MAX_LENGTH = 10_240  # PS3.5 6.2: that of an LT, the longest text with a bound
_REFERENCE = re.compile(r"\\(.?)")


class _NodeToChange(Protocol):
    def __call__(self, reader: Reader, node: Node, path: Path | None) -> Change | None:
        """What is done to each value, from what stands behind the attribute."""


def _set(reader: Reader, node: Node) -> Action:
    values = []
    table = reader.table(node, "set")
    for name, value in table:
        path = reader.text_path(name, table.keys[name])
        template = reader.template(value, path, f"the value of {name}")
        if path is not None:
            values.append((path, template))
    return Set(tuple(values))


def _copy(reader: Reader, node: Node) -> Action:
    pairs = []
    table = reader.table(node, "copy")
    for name, value in table:
        target = reader.text_path(name, table.keys[name])
        text = reader.name(value, table.keys[name], "what is copied")
        source = reader.source(text, value.place) if text else None
        if target is not None and source is not None:
            pairs.append((target, source))
    return Copy(tuple(pairs))


def _remove(reader: Reader, node: Node) -> Action:
    paths: list[Path] = []
    wilds: list[Wild] = []
    blocks: list[Path] = []
    private = False
    for each in reader.texts(node, "remove"):
        wild, block = parse_wild(each.text), parse_block(each.text)
        if each.text == "private":
            private = True
        elif wild is not None:
            wilds.append(wild)
        elif isinstance(block, PatternError):
            reader.problem(each.place, str(block))
        elif block is not None:
            blocks.append(block)
        else:
            path = reader.removable_path(each.text, each.place)
            paths += [path] if path is not None else []
    return Remove(tuple(paths), tuple(wilds), tuple(blocks), private)


def _empty(reader: Reader, node: Node) -> Action:
    paths = []
    for each in reader.texts(node, "empty"):
        path = reader.removable_path(each.text, each.place)
        if path is not None and is_pixel_data(path.tag):
            reader.problem(each.place, f"{each.text} without a value makes no sense: remove it")
        elif path is not None:
            paths.append(path)
    return Empty(tuple(paths))


# ── edits of each value ───────────────────────────────────────────────────────────────────────────────────────


def _edits(what: str, change_of: _NodeToChange) -> Callable[[Reader, Node], Action]:
    """A verb that maps attributes to what is done to each of their values."""

    def read(reader: Reader, node: Node) -> Action:
        changes = []
        table = reader.table(node, what)
        for name, value in table:
            path = reader.text_path(name, table.keys[name])
            change = change_of(reader, value, path)
            if path is not None and change is not None:
                changes.append((path, change))
        return Edit(tuple(changes))

    return read


def _prefix(reader: Reader, node: Node, path: Path | None) -> Change:
    text = reader.text(node, node.place, "a prefix")
    return lambda value, vr: text + value


def _suffix(reader: Reader, node: Node, path: Path | None) -> Change:
    text = reader.text(node, node.place, "a suffix")
    return lambda value, vr: value + text


def _replace(reader: Reader, node: Node, path: Path | None) -> Change | None:
    table = reader.table(node, "what is replaced", ("regex", "with"))
    regex = table.get("regex")
    pattern = _compiled(reader, reader.text(regex, table.place, "regex"), regex.place if regex else table.place)
    replacement = reader.text(table.get("with"), table.place, "with")
    if pattern is None:
        return None
    for found in _REFERENCE.finditer(replacement):
        if not (found[1].isdecimal() and int(found[1]) <= pattern.groups) and found[1] != "\\":
            reader.problem(
                table.place, f"with: \\{found[1]} is no group of the regular expression (\\\\ is a backslash)"
            )
            return None
    if len(replacement) > _MAX_REPLACEMENT:
        reader.problem(table.place, f"with has more than {_MAX_REPLACEMENT} characters")
    return lambda value, vr: str(pattern.sub(replacement, value))


def _compiled(reader: Reader, text: str, place: Place) -> re2._Regexp | None:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_PATTERN_MEMORY_BYTES
    try:
        pattern = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not a regular expression"
        told = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        reader.problem(place, f"not a usable pattern: {told}")
        return None
    if pattern.programsize > MAX_PROGRAM_SIZE:
        reader.problem(place, "the pattern is too large: write a shorter one, or smaller repetitions")
        return None
    return pattern


def _case(reader: Reader, node: Node, path: Path | None) -> Change | None:
    changes: dict[str, Change] = {"upper": lambda value, vr: value.upper(), "lower": lambda value, vr: value.lower()}
    change = changes.get(node.text) if isinstance(node, Scalar) else None
    if change is None:
        reader.problem(node.place, "case is upper or lower")
    return change


def _truncate(reader: Reader, node: Node, path: Path | None) -> Change:
    length = reader.number(node, node.place, "a length", MAX_LENGTH)

    def cut(value: str, vr: str) -> str:
        # PS3.5 6.2.1: the length of a name counts in each of its component groups.
        return "=".join(part[:length] for part in value.split("=")) if vr == "PN" else value[:length]

    return cut


def _pad(reader: Reader, node: Node, path: Path | None) -> Change:
    table = reader.table(node, "what is padded", ("to", "with", "side"))
    length = reader.number(table.get("to"), table.place, "to", MAX_LENGTH)
    fill = reader.text(table.get("with"), table.place, "with")
    side = reader.text(table.get("side"), table.place, "side") if table.get("side") else "left"
    if len(fill) != 1 or fill == "\\":
        reader.problem(table.place, "with is one character")
        fill = "0"
    if side not in ("left", "right"):
        reader.problem(table.place, "side is left or right")
    if side == "right":
        return lambda value, vr: value.ljust(length, fill)
    return lambda value, vr: value.rjust(length, fill)


def _strip(reader: Reader, node: Node) -> Action:
    changes: list[tuple[Path, Change]] = []
    for each in reader.texts(node, "strip"):
        path = reader.text_path(each.text, each.place)
        if path is not None:
            changes.append((path, lambda value, vr: value.strip()))
    return Edit(tuple(changes), always=True)


def _map(reader: Reader, node: Node) -> Action | None:
    keys = ("attribute", "table", "default")
    table = reader.table(node, "map", keys)
    if any(key not in table.entries for key in keys):
        if table.entries:
            reader.problem(table.place, "map needs attribute, table and default (keep, hold or a text)")
        return None
    attribute = reader.name(table.entries["attribute"], table.place, "attribute")
    path = reader.text_path(attribute, table.entries["attribute"].place) if attribute else None
    mapping = _mapping(reader, table.entries["table"], path)
    default = reader.text(table.entries["default"], table.place, "default")
    if path is None:
        return None
    if default not in ("keep", "hold"):
        reader.check(default, path, table.entries["default"].place)
    return Map(path, mapping, None if default in ("keep", "hold") else default, default == "hold")


def _mapping(reader: Reader, node: Node, path: Path | None) -> Mapping[str, str]:
    """What each text becomes: written there, or from the key to a column of a table that all files share."""
    if isinstance(node, Table) and set(node.entries) == {TABLE, COLUMN}:
        found = reader.table_of(node.entries[TABLE], node.entries[COLUMN])
        return reader.column(*found, path) if found is not None else {}
    entries = reader.table(node, "table")
    mapping = {key: reader.text(value, node.place, f"what {key!r} becomes") for key, value in entries}
    for key, value in entries:
        if path is not None:
            reader.check(mapping[key], path, value.place)
    return mapping


def _charset(reader: Reader, node: Node) -> Action | None:
    if isinstance(node, Scalar) and node.text == UTF_8:
        return Charset()
    reader.problem(node.place, f"charset is {UTF_8}: every character of every other set is in it")
    return None


VERBS: Mapping[str, Callable[[Reader, Node], Action | None]] = {
    "set": _set,
    "copy": _copy,
    "remove": _remove,
    "empty": _empty,
    "prefix": _edits("prefix", _prefix),
    "suffix": _edits("suffix", _suffix),
    "replace": _edits("replace", _replace),
    "map": _map,
    "case": _edits("case", _case),
    "truncate": _edits("truncate", _truncate),
    "pad": _edits("pad", _pad),
    "strip": _strip,
    "add_item": add_item,
    "remove_item": remove_item,
    "charset": _charset,
    "deidentify": read_deidentify,
    "mask": read_mask,
    "transcode": transcode,
}
