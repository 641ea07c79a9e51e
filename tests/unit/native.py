"""YAML as an editor reads it: with the types of YAML 1.2's core schema, where the gateway reads text."""

from __future__ import annotations

import re
from typing import Any

from gateway.document import Items, Node, Scalar, parse

_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def native(text: str) -> Any:
    """The document of a text, of dicts, lists, texts, numbers, truth values and None."""
    return of_node(parse(text, "x.yaml"))


def of_node(node: Node) -> Any:
    """As `native`, of a node."""
    if isinstance(node, Items):
        return [of_node(each) for each in node]
    if not isinstance(node, Scalar):
        return {key: of_node(each) for key, each in node}
    if not node.plain:
        return node.text
    if node.is_null:
        return None
    if node.text in {"true", "false"}:
        return node.text == "true"
    if _NUMBER.fullmatch(node.text):
        number = float(node.text)
        return int(number) if re.fullmatch(r"[-+]?[0-9]+", node.text) else number
    return node.text
