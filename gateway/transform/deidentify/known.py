"""What is known of the people of a data set before anything is changed: words that cleaned text must not have.

Names and identifiers are looked for in sequences too (Other Patient IDs Sequence, persons in a report), in each
sequence of the top level up to a bound. Functional groups of frames have none, and there are many of them.
"""

from __future__ import annotations

from gateway.transform.deidentify.cleaning import parts_of
from gateway.transform.names import standard_vr
from gateway.transform.parse import each_item, has_items
from gateway.transform.tree import DataSet, Element
from gateway.transform.values import ValueRefused, decode

MAX_ITEMS = 2000
_IDENTIFIERS = frozenset({0x00100020, 0x00101000, 0x00080050, 0x00200010, 0x00380010, 0x00101005, 0x00101060})
_PER_FRAME = 0x52009230


def names_of(data: DataSet) -> frozenset[str]:
    """The words of every name and identifier of a data set, of at most `MAX_ITEMS` items a sequence."""
    found: set[str] = set()
    for element in data.elements:
        _gather(data, element, found, [MAX_ITEMS])
    return frozenset(found)


def _gather(data: DataSet, element: Element, found: set[str], left: list[int]) -> None:
    """Add the words of one element. `left` holds how many items may still be looked into."""
    if element.is_sequence:
        if element.tag == _PER_FRAME or not has_items(element):
            return
        for item in each_item(data, element):
            if not left[0]:
                return
            left[0] -= 1
            for inner in item.data.elements:
                _gather(item.data, inner, found, left)
    elif element.vr == "PN" or standard_vr(element.tag) == "PN" or element.tag in _IDENTIFIERS:
        for value in _values(data, element):
            found |= parts_of(value)


def _values(data: DataSet, element: Element) -> tuple[str, ...]:
    """The values as text; none where they cannot be read."""
    if element.bulk is not None:
        return ()
    vr = element.vr if element.vr not in ("", "UN") else standard_vr(element.tag)
    try:
        return decode(vr, element.value, data.big_endian, data.character_set())
    except ValueRefused:
        return ()
