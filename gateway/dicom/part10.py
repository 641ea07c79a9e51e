"""The beginning of a DICOM Part 10 file: what it holds and where its data set begins (PS3.10 7.1).

Pure: the first bytes of a file in, a value out. `gateway send`, `gateway rules explain` and the demo use it; the spool
has a record of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from gateway.errors import HeaderError

FIRST_READ_BYTES = 64 * 1024

_PREAMBLE_BYTES = 128
_SHORT = Struct("<HH2sH").unpack_from
_LONG = Struct("<I").unpack_from
_LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"})
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True, slots=True)
class Part10:
    """What the file meta information says. `offset` is the position of the data set's first byte."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int


def read_part10(first: bytes) -> Part10:
    """Read preamble and file meta information.

    :param first: the file's first bytes, FIRST_READ_BYTES or all of them.
    :raises HeaderError: it is not a Part 10 file, or its file meta information is not whole.
    """
    if first[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] != b"DICM":
        raise HeaderError("not a DICOM Part 10 file: there is no DICM after the preamble")
    found: dict[int, str] = {}
    at = _PREAMBLE_BYTES + 4
    while at + 8 <= len(first):
        group, element, vr, length = _SHORT(first, at)
        if group != 0x0002:
            break
        start = at + 8
        if vr in _LONG_VRS:
            if at + 12 > len(first):
                break
            length, start = int(_LONG(first, at + 8)[0]), at + 12
        if start + length > len(first):
            raise HeaderError("the file meta information is cut short or too long")
        if element in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX):
            found[element] = first[start : start + length].decode("ascii", "replace").rstrip("\0 ")
        at = start + length
    if not all(found.get(element) for element in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX)):
        raise HeaderError("the file meta information names no SOP class, SOP instance or transfer syntax")
    return Part10(found[_SOP_CLASS], found[_SOP_INSTANCE], found[_TRANSFER_SYNTAX], at)
