"""What a value must look like to be what its attribute says: numbers, dates and UIDs that are to stay, and codes.

Where a number should be somebody may have written a name. What has other characters than those of its kind is not kept.
Values that are too long to be held are looked at in pieces.
"""

from __future__ import annotations

import re

from gateway.transform.names import standard_vr
from gateway.transform.tree import DataSet, Element
from gateway.transform.values import TEXT

TEXT_OR_NAME = TEXT | {"AE", "UR"}
NUMBERS = frozenset({"AS", "DS", "IS"})
_BINARY = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"})
_WRITTEN = TEXT_OR_NAME | {"CS"}
_DECIMAL = b"0123456789Ee+-. \\\0"
_CHARACTERS = {
    "AS": b"0123456789DMWY \\\0",
    "UI": b"0123456789. \\\0",
    **dict.fromkeys(("DS", "IS"), _DECIMAL),
    **dict.fromkeys(("DA", "DT", "TM"), b"0123456789:+-. \\\0"),
}
_CODE = re.compile(rb"[A-Z0-9_ ]{0,16}\0?")
_PIECE_BYTES = 1024 * 1024
_UID = re.compile(rb"[0-2](\.(0|[1-9][0-9]*)){4,}\0?")
_DATE = re.compile(rb"(1[6-9]|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")
_DATE_TIME = re.compile(rb"%b([01][0-9]|2[0-3])[0-5][0-9]([0-5][0-9])?[0-9.+-]* ?" % _DATE.pattern)


def is_number(element: Element, vr: str) -> bool:
    """Whether a number in text should stand there: by its VR, or by PS3.6 where that says so of what is text."""
    known = standard_vr(element.tag)
    return vr in NUMBERS or known in NUMBERS or (known in _BINARY and vr in _WRITTEN)


def is_of_its_kind(data: DataSet, element: Element, vr: str) -> bool:
    """Whether a number, a date or a UID that is to stay has the characters of one: else it may be a name."""
    known = standard_vr(element.tag)
    allowed = _CHARACTERS.get(known) or (_DECIMAL if known in _BINARY and vr in _WRITTEN else _CHARACTERS.get(vr))
    if allowed is None:
        return True
    if element.bulk is None:
        return not element.value.translate(None, allowed)
    if vr not in ("DS", "IS"):
        return False  # of all others none is that long
    start, length = element.bulk
    pieces = (
        data.tree.source.read(start + at, min(_PIECE_BYTES, length - at)) for at in range(0, length, _PIECE_BYTES)
    )
    return not any(piece.translate(None, allowed) for piece in pieces)


def is_code_string(element: Element) -> bool:
    """Whether every value of a CS is one: capitals, digits, spaces and underscores, at most 16 (PS3.5 6.2)."""
    return element.bulk is None and all(_CODE.fullmatch(value.strip(b" ")) for value in element.value.split(b"\\"))


def looks_like(value: bytes) -> str:
    """UI, DA or DT for a value of which nothing says what it is, but which looks like one; else ""."""
    if _UID.fullmatch(value):
        return "UI"
    return "DA" if _DATE.fullmatch(value) else "DT" if _DATE_TIME.fullmatch(value) else ""
