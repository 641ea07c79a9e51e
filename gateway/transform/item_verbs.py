"""The verbs on items of sequences, `add_item` and `remove_item`: what a person wrote, to the action it stands for."""

from __future__ import annotations

from typing import TypeGuard

from gateway.document import Items, Node, Place, Scalar
from gateway.transform.items import AddItem, NewItem, RemoveItem
from gateway.transform.names import Path
from gateway.transform.reader import Reader
from gateway.transform.steps import Action, Template

_MAX_ITEM = 1_000_000


def add_item(reader: Reader, node: Node) -> Action | None:
    """Read an `add_item` step."""
    table = reader.table(node, "add_item", ("to", "item"))
    to = reader.sequence_path(table.get("to"), table.place, "to")
    item = table.get("item")
    if item is None and table.entries:
        reader.problem(table.place, "add_item needs an item: a map of attributes")
    new = _new_item(reader, item) if item is not None else NewItem(())
    return None if to is None else AddItem(to, new)


def _new_item(reader: Reader, node: Node) -> NewItem:
    attributes: list[tuple[Path, Template | tuple[NewItem, ...]]] = []
    table = reader.table(node, "item")
    for name, value in table:
        place = table.keys[name]
        made: Template | tuple[NewItem, ...]
        if isinstance(value, Scalar):
            path = reader.text_path(name, place, of_sequences="a list of items stands behind it")
            made = reader.template(value, path, f"the value of {name}")
        else:
            path = reader.sequence_path(Scalar(name, place), place, name)
            made = _new_items(reader, value, name)
        if _is_of_item(path, reader, place):
            attributes.append((path, made))
    return NewItem(tuple(attributes))


def _new_items(reader: Reader, node: Node, name: str) -> tuple[NewItem, ...]:
    """The items of a sequence; none are an empty sequence. YAML ends at a depth that no sequence minds."""
    if isinstance(node, Items):
        return tuple(_new_item(reader, each) for each in node)
    reader.problem(node.place, f"behind {name} stands a list of items: begin each with a dash")
    return ()


def _is_of_item(path: Path | None, reader: Reader, place: Place) -> TypeGuard[Path]:
    """Whether there is a path, and nothing but an attribute in it."""
    if path is not None and path.within:
        reader.problem(place, "an attribute of the item itself is meant here, without a sequence in front")
        return False
    return path is not None


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
    table = reader.table(node, "where")
    found = []
    for name, value in table:
        path = reader.text_path(name, table.keys[name])
        text = reader.text(value, table.keys[name], f"the value of {name}")
        if _is_of_item(path, reader, table.keys[name]):
            found.append((path, text))
    return tuple(found)
