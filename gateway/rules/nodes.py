"""What every reader of a part of a rule file does with its nodes: complain at a place, and take texts, lists and maps.

Readers share one list of problems, so that everything wrong with a file is told at once, and nothing twice. Called by
`gateway.rules.schema` and `gateway.rules.conditions`.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from gateway.document import Items, Node, Place, Scalar, Table
from gateway.errors import Problem


class NodeReader:
    """A reader of nodes; what is wrong goes to `problems`."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def _problem(self, place: Place, message: str) -> None:
        problem = place.problem(message)
        if problem not in self.problems:
            self.problems.append(problem)

    def _table(self, node: Node, keys: Collection[str], what: str) -> Table | None:
        if not isinstance(node, Table):
            self._problem(node.place, f"{what} is a map with {', '.join(keys)}")
            return None
        for key in node.entries:
            if key not in keys:
                self._problem(node.keys[key], f"{what} has no key {key!r}{suggestion(key, keys)}")
        return node

    def _items(self, node: Node | None, what: str, *, must_hold: bool = False) -> tuple[Node, ...]:
        if node is None or (isinstance(node, Scalar) and node.is_null and not must_hold):
            return ()
        if not isinstance(node, Items):
            self._problem(node.place, f"{what} is a list")
            return ()
        if must_hold and not node.nodes:
            self._problem(node.place, f"{what} has an empty list")
        return node.nodes

    def _texts(self, node: Node | None, what: str, *, may_be_empty: bool = False) -> tuple[Scalar, ...]:
        """A text or a list of texts."""
        if node is None:
            return ()
        nodes = node.nodes if isinstance(node, Items) else (node,)
        texts = tuple(each for each in nodes if isinstance(each, Scalar) and (may_be_empty or not each.is_null))
        if len(texts) != len(nodes) or not (nodes or may_be_empty):
            bad = next((each for each in nodes if each not in texts), node)
            self._problem(bad.place, f"{what} is a text or a list of texts")
        return texts

    def _flag(self, table: Table, key: str) -> bool:
        node = table.get(key)
        if node is not None and not (isinstance(node, Scalar) and node.text in {"true", "false"}):
            self._problem(node.place, f"{key} is true or false")
        return isinstance(node, Scalar) and node.text == "true"


def suggestion(word: str, known: Collection[str]) -> str:
    """What to append to a complaint about an unknown word: the known one that is meant, or nothing."""
    close = get_close_matches(word, known, n=1)
    return f"; is {close[0]!r} meant?" if close else ""
