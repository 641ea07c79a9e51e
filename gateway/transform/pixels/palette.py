"""The palette of a PALETTE COLOR image: its Palette Color Lookup Tables (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6).

Those that are segmented (PS3.3 C.7.9.2) are written out; of the kinds of segments, discrete and linear ones.

:raises ValueRefused: there is no palette, or none that can be read.
"""

from __future__ import annotations

from struct import unpack_from

from gateway.transform.names import label
from gateway.transform.tree import DataSet, Element
from gateway.transform.values import ValueRefused

_DESCRIPTOR, _DATA, _SEGMENTED = 0x00281101, 0x00281201, 0x00281221  # red; green and blue behind it
_MOST = 0x10000
_DISCRETE, _LINEAR = 0, 1


def palette(root: DataSet) -> tuple[list[int], list[int], list[int]]:
    """The entries of red, green and blue."""
    red, green, blue = (_column(root, number) for number in range(3))
    return red, green, blue


def first_mapped(root: DataSet, is_signed: bool) -> int:
    """The stored value that the first entry stands for."""
    value = _held(root, _DESCRIPTOR)
    return int(unpack_from(_order(root) + ("h" if is_signed else "H"), value, 2)[0])


def _column(root: DataSet, number: int) -> list[int]:
    count, _, bits = unpack_from(_order(root) + "HHH", _held(root, _DESCRIPTOR + number))
    count = count or _MOST
    element = root.get(_DATA + number)
    if element is not None and element.value_bytes:
        return _entries(root, element, count, bits)
    element = root.get(_SEGMENTED + number)
    if element is None:
        raise ValueRefused(f"{label(_DATA + number)}: there is no palette")
    value = _value(root, element)
    if bits == 8:
        return _written_out(_bytes_of_words(root, value), count, element.tag)
    words = unpack_from(f"{_order(root)}{len(value) // 2}H", value)
    return _written_out(words, count, element.tag)


def _entries(root: DataSet, element: Element, count: int, bits: int) -> list[int]:
    value = _value(root, element)
    if bits == 8 and count <= len(value) < 2 * count:  # PS3.3 C.7.6.3.1.6: two entries a word
        return list(_bytes_of_words(root, value)[:count])
    if len(value) < 2 * count:
        raise ValueRefused(f"{label(element.tag)}: shorter than its descriptor says")
    return list(unpack_from(f"{_order(root)}{count}H", value))


def _written_out(words: bytes | tuple[int, ...], count: int, tag: int) -> list[int]:
    found: list[int] = []
    at = 0
    while len(found) < count and at + 2 < len(words):
        kind, length = words[at], words[at + 1]
        if kind == _DISCRETE:
            found += words[at + 2 : at + 2 + length]
            at += 2 + length
        elif kind == _LINEAR and found:
            begin, end = found[-1], words[at + 2]
            found += [begin + (end - begin) * step // length for step in range(1, length + 1)]
            at += 3
        else:
            raise ValueRefused(f"{label(tag)}: of segments only discrete and linear ones are known here: give a fill")
    if len(found) < count:
        raise ValueRefused(f"{label(tag)}: shorter than its descriptor says")
    return found[:count]


def _held(root: DataSet, tag: int) -> bytes:
    element = root.get(tag)
    value = element.value if element is not None and element.bulk is None else b""
    if len(value) < 6:
        raise ValueRefused(f"{label(tag)}: there is no palette")
    return value


def _value(root: DataSet, element: Element) -> bytes:
    if element.bulk is None:
        return element.value
    if element.bulk[1] > 2 * (2 * _MOST + 2):
        raise ValueRefused(f"{label(element.tag)}: longer than a palette can be")
    return root.tree.source.read(*element.bulk)


def _bytes_of_words(root: DataSet, value: bytes) -> bytes:
    if not root.big_endian:
        return value
    turned = bytearray(value)
    turned[0::2], turned[1::2] = value[1::2], value[0::2]
    return bytes(turned)


def _order(root: DataSet) -> str:
    return ">" if root.big_endian else "<"
