"""The verbs on items of sequences, `add_item` and `remove_item`: what a person wrote, to the action it stands for."""

from __future__ import annotations

from gateway.document import Node, Place, Scalar, Table
from gateway.transform.items import AddItem, RemoveItem
from gateway.transform.names import Path
from gateway.transform.reader import Reader
from gateway.transform.steps import Action

_MAX_ITEM = 1_000_000


def add_item(reader: Reader, node: Node) -> Action | None:
    """Read an `add_item` step."""
    table = reader.table(node, "add_item", ("to", "item"))
    to = reader.sequence_path(table.get("to"), table.place, "to")
    item = reader.table(table.get("item") or table, "item")
    attributes = []
    for name, value in item if "item" in table.entries else ():
        path = _of_item(reader.text_path(name, item.keys[name]), reader, item.keys[name])
        template = reader.template(value, path, f"the value of {name}")
        if path is not None:
            attributes.append((path, template))
    if "item" not in table.entries and table.entries:
        reader.problem(table.place, "add_item needs an item: a map of attributes")
    return None if to is None else AddItem(to, tuple(attributes))


def _of_item(path: Path | None, reader: Reader, place: Place) -> Path | None:
    if path is not None and path.within:
        reader.problem(place, "an attribute of the item itself is meant here, without a sequence in front")
        return None
    return path


def remove_item(reader: Reader, node: Node) -> Action | None:
    """Read a `remove_item` step."""
    table = reader.table(node, "remove_item", ("from", "item", "where"))
    of = reader.sequence_path(table.get("from"), table.place, "from")
    item, where = table.get("item"), table.get("where")
    if (item is None) == (where is None):
        reader.problem(table.place, "remove_item needs item (all, or a number from 1) or where")
        return None
    number = 0
    if item is not None and not (isinstance(item, Scalar) and item.text == "all"):
        number = reader.number(item, table.place, "item (all, or a number)", _MAX_ITEM)
    conditions = _where(reader, where) if where is not None else ()
    if where is not None and not conditions:
        return None
    return None if of is None else RemoveItem(of, number, conditions)


def _where(reader: Reader, node: Node) -> tuple[tuple[Path, str], ...]:
    table: Table = reader.table(node, "where")
    found = []
    for name, value in table:
        path = _of_item(reader.text_path(name, table.keys[name]), reader, table.keys[name])
        text = reader.text(value, table.keys[name], f"the value of {name}")
        if path is not None:
            found.append((path, text))
    return tuple(found)
