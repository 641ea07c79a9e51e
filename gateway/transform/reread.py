"""A second look at a changed data set in which an element has a VR that nobody knows.

What such an element's length means is seen from what stands behind it (`gateway.transform.parse`), and so it may be
seen otherwise once something else stands there. A data set that would then be taken for another one is not sent.
"""

from __future__ import annotations

from bisect import bisect_right

from gateway.dicom.window import ByteSource
from gateway.errors import HeaderError
from gateway.transform.edit import takes_items
from gateway.transform.parse import expand, parse_plain
from gateway.transform.tree import DataSet, Part, Tree
from gateway.transform.write import parts_of


def check_reading(tree: Tree) -> None:
    """Check that what will be written is read as what it is.

    :raises HeaderError: it is not.
    """
    if not tree.is_changed or not tree.budget.has_odd_vrs:
        return
    try:
        again = parse_plain(_Written(tree), tree.root.implicit, tree.root.big_endian)
        is_alike = _is_alike(tree.root, again.root)
    except HeaderError:
        is_alike = False
    if not is_alike:
        raise HeaderError("an element has an unknown VR, and would be read otherwise beside what was changed")


def _is_alike(one: DataSet, other: DataSet) -> bool:
    if [(each.tag, each.encoded_bytes()) for each in one.elements] != [
        (each.tag, each.encoded_bytes()) for each in other.elements
    ]:
        return False
    for ours, theirs in zip(one.elements, other.elements, strict=True):
        if ours.items is None:
            continue
        items = expand(other, theirs) if takes_items(other, theirs) else []
        if len(items) != len(ours.items):
            return False
        if not all(_is_alike(mine.data, its.data) for mine, its in zip(ours.items, items, strict=True)):
            return False
    return True


_EMPTY_ENCAPSULATED = b"\xfe\xff\x00\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)


class _Written:
    """What a tree will be written as, as a source; what is produced is not made for it, zeros stand in its place."""

    def __init__(self, tree: Tree) -> None:
        self._source: ByteSource = tree.source
        self._parts: list[Part] = []
        self._starts: list[int] = []
        at = 0
        for part in parts_of(tree):
            stands_in = _EMPTY_ENCAPSULATED if _has_no_length(part) else part
            self._starts.append(at)
            self._parts.append(stands_in)
            at += _length_of(stands_in)

    def read(self, offset: int, length: int) -> bytes:
        found = []
        index = max(0, bisect_right(self._starts, offset) - 1)
        while length > 0 and index < len(self._parts):
            part, skip = self._parts[index], offset - self._starts[index]
            if isinstance(part, bytes):
                data = part[skip : skip + length]
            else:
                left = max(0, min(length, _length_of(part) - skip))
                if isinstance(part, tuple) and left:
                    data = self._source.read(part[0] + skip, left)
                else:
                    data = bytes(left)
            found.append(data)
            offset += len(data)
            length -= len(data)
            index += 1
        return b"".join(found)


def _has_no_length(part: Part) -> bool:
    return not isinstance(part, bytes | tuple) and part.length is None


def _length_of(part: Part) -> int:
    if isinstance(part, bytes):
        return len(part)
    return part[1] if isinstance(part, tuple) else part.length or 0
