"""Bytes that PS3.5 says are zero, and that nobody reads: what may stand there is not handed on of the de-identified.

They are the length of delimiters (7.5.2), the two bytes between a VR and a length of 32 bits (7.1.2), and letters that
are no VR: they become UN. Elements are changed in place where they have such bytes, which is rare.
"""

from __future__ import annotations

from gateway.transform.tree import LONG_VRS, DataSet, Element, Item

_DELIMITER_BYTES = 8
_ZEROS = bytes(4)
_LONG_HEADER_BYTES = 12


def cleared(data: DataSet, element: Element) -> Element:
    """An element of a data set without such bytes of its own: itself, but for one of an unknown VR."""
    vr, encoded = element.vr, element.encoded
    if vr not in LONG_VRS:
        return element
    if element.header_bytes != _LONG_HEADER_BYTES:
        data.tree.is_changed = True
        return data.make(element.tag, vr, element.value)
    if encoded[6:8] != b"\0\0" or (vr == "UN" and not element.is_sequence and encoded[4:6] != b"UN"):
        name = encoded[4:6] if element.is_sequence else vr.encode("ascii")
        element.encoded = encoded[:4] + name + b"\0\0" + encoded[8:]
        data.tree.is_changed = True
    if element.of_undefined_length and not element.is_sequence and element.produced is None:
        _clear_last_delimiter(data, element)
    return element


def _clear_last_delimiter(data: DataSet, element: Element) -> None:
    """The length of the delimiter behind encapsulated pixel data."""
    if element.bulk is None:
        if element.encoded[-4:] != _ZEROS:
            element.encoded = element.encoded[:-4] + _ZEROS
            data.tree.is_changed = True
        return
    start, length = element.bulk
    if not element.tail and data.tree.source.read(start + length - 4, 4) != _ZEROS:
        element.bulk, element.tail = (start, length - 4), _ZEROS
        data.tree.is_changed = True


def clear_delimiters(element: Element, items: list[Item]) -> bool:
    """Clear those of a sequence that is open and of its items; whether there was something."""
    is_changed = False
    owners: list[Element | Item] = [element, *items]
    for owner in owners:
        if owner.tail[4:] not in (b"", _ZEROS):
            owner.tail = _cleared(owner.tail)
            is_changed = True
    for item in items:
        if item.after and item.after != (after := _cleared(item.after)):
            item.after = after
            is_changed = True
    return is_changed


def _cleared(delimiters: bytes) -> bytes:
    starts = range(0, len(delimiters), _DELIMITER_BYTES)
    return b"".join(delimiters[at : at + 4] + _ZEROS for at in starts)
