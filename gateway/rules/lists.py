"""Named lists that many rules share: `lists: {ct_rooms: [CT1, CT2]}` in a rule file, `{list: ct_rooms}` in a condition.

A list means what it would mean if it stood there. Every list can be used in every file of the set, whichever holds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gateway.document import Items, Node, Scalar, Table
from gateway.rules.nodes import NodeReader

KEY = "list"
Lists = Mapping[str, Items]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


class ListReader(NodeReader):
    """Reads the lists of the files of a set; those that hold are in `lists`."""

    def read(self, root: Node, lists: dict[str, Items]) -> None:
        """Add the lists of one file."""
        node = root.get("lists") if isinstance(root, Table) else None
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return
        if not isinstance(node, Table):
            self._problem(node.place, "lists maps names to lists of texts")
            return
        for name, items in node:
            if not _NAME.fullmatch(name):
                self._problem(node.keys[name], "a list is named by at most 63 small letters, digits, - and _")
            elif name in lists:
                first = lists[name].place
                self._problem(node.keys[name], f"the list {name!r} exists already, at {first.file}:{first.line}")
            elif not isinstance(items, Items) or not items.nodes:
                self._problem(items.place, "a list holds texts: [CT1, CT2]")
            elif bad := next((each for each in items if not isinstance(each, Scalar) or each.is_null), None):
                self._problem(bad.place, "a list holds texts only")
            else:
                lists[name] = items


def names_in(node: Node) -> Iterator[str]:
    """The names of the lists that conditions below a node use."""
    if isinstance(node, Table):
        for key, value in node:
            if key == KEY and isinstance(value, Scalar):
                yield value.text
            yield from names_in(value)
    elif isinstance(node, Items):
        for each in node:
            yield from names_in(each)
