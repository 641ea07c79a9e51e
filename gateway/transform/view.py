"""A tree as rules look at it: what `gateway.dicom.header.Header` is to a scan, for `gateway.rules.match.Subject`.

The values are those that `read_header` would give after the steps so far: shown, not strictly decoded, as a condition
must hold or not hold for every instance.
"""

from __future__ import annotations

from gateway.dicom.kept import MAX_VALUE_BYTES, private_vr
from gateway.dicom.paths import AttributePath, PathStep, Step
from gateway.dicom.text import decode_value
from gateway.transform.blocks import tag_in
from gateway.transform.edit import takes_items
from gateway.transform.names import standard_vr
from gateway.transform.parse import expand, has_items
from gateway.transform.tree import DataSet, Element, Tree

_BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})


class View:
    """The attributes of a tree as text. Patient data: never log or print one."""

    __slots__ = ("_tree",)

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def get(self, path: AttributePath) -> tuple[str, ...] | None:
        """The values of an attribute, by its path (`gateway.dicom.paths`): None when absent, () when it is empty."""
        places = [self._tree.root]
        for one in path[:-1]:
            places = [inner for data in places for inner in self._items(data, one)]
        last = path[-1]
        elements = [(data, found) for data in places if (found := self._element(data, last)) is not None]
        if not elements:
            return None
        if any(element.is_sequence for _, element in elements):
            items = sum(len(expand(data, each)) for data, each in elements if each.is_sequence and has_items(each))
            return (f"[{items} items]",) if items else ()
        vr = private_vr(last) if isinstance(last, Step) and last.creator else ""
        return tuple(value for data, element in elements for value in self._values(data, element, vr))

    def _element(self, data: DataSet, one: PathStep) -> Element | None:
        """The element that a step names in a data set; a private one in the block of its creator (PS3.5 7.8.1)."""
        tag = tag_in(data, one) if isinstance(one, Step) else one
        return None if tag is None else data.get(tag)

    def _items(self, data: DataSet, one: PathStep) -> list[DataSet]:
        element = self._element(data, one)
        if element is None or not (takes_items(data, element) and has_items(element)):
            return []
        wanted = one.item if isinstance(one, Step) else 0
        return [item.data for number, item in enumerate(expand(data, element), 1) if wanted in (0, number)]

    def text(self, tag: int) -> str:
        """The values of an attribute of the top level, joined by backslashes; "" when absent or empty."""
        return "\\".join(self.get((tag,)) or ())

    def _values(self, data: DataSet, element: Element, known_vr: str = "") -> tuple[str, ...]:
        vr = known_vr if known_vr and element.vr in ("", "UN") else shown_vr(element)
        if vr in _BYTES:
            value = b""
        elif element.bulk is not None:
            value = self._tree.source.read(element.bulk[0], min(element.bulk[1], MAX_VALUE_BYTES))
        else:
            value = element.value
        return decode_value(vr, value, data.big_endian, element.value_bytes, data.character_set())

    def __repr__(self) -> str:
        return f"<View of {len(self._tree.root.elements)} attributes>"


def shown_vr(element: Element) -> str:
    """The VR to show a value by, as `gateway.dicom.scan` chooses it: "UN" when not known."""
    if element.vr and element.vr != "UN":
        return element.vr
    vr = standard_vr(element.tag)
    if vr == "US or SS":
        return "US"
    return "OW" if " or " in vr else vr or "UN"
