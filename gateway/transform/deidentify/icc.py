"""ICC Profile (0028,2000) without what it tells of a device: colours stay what they were.

A profile (ICC.1) names the device that it was measured on, its maker, when that was, and may hold anything in private
tags. It is type 1 where it stands, so it is made anew: the header says of what kind it is, and numbers of known tags
(white point, primaries, curves, lookup tables) are copied, as long as such numbers are.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import error as StructError
from struct import pack, unpack_from

ICC_PROFILE = 0x00282000
MAX_PROFILE_BYTES = 8 * 1024 * 1024
_HEADER_BYTES, _ENTRY_BYTES, _MOST_TAGS = 128, 12, 100
_CLASSES = frozenset({b"scnr", b"mntr", b"prtr", b"spac", b"link", b"abst"})
_SPACES = frozenset({b"RGB ", b"GRAY", b"XYZ ", b"Lab ", b"CMYK", b"YCbr", b"Yxy ", b"HSV ", b"HLS ", b"CMY ", b"Luv "})
_POINTS = frozenset({b"wtpt", b"bkpt", b"lumi", b"rXYZ", b"gXYZ", b"bXYZ"})
_CURVES = frozenset({b"rTRC", b"gTRC", b"bTRC", b"kTRC"})
_TABLES = frozenset(
    {b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2", b"gamt", b"pre0", b"pre1", b"pre2"}
)  # fmt: skip
_LUTS = frozenset({b"mft1", b"mft2", b"mAB ", b"mBA "})
_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
_WHITE = bytes.fromhex("0000f6d6000100000000d32d")  # the D50 that every profile has
_MADE_ON = pack(">6H", 1900, 1, 1, 0, 0, 0)
_NAME = "Anonymized"


def without_device(profile: bytes) -> bytes | None:
    """The profile made anew, of an even length; None for what is none, or has no numbers that are known."""
    try:
        header = _header(profile)
        tags = list(_numbers(profile))
    except StructError:
        return None
    if not header or not any(name in _CURVES or name in _TABLES for name, _ in tags):
        return None
    tags = [*_texts(header[8] >= 4), *tags]
    start = _HEADER_BYTES + 4 + _ENTRY_BYTES * len(tags)
    table, data = pack(">I", len(tags)), b""
    places: dict[bytes, int] = {}  # curves are often the same, and written once
    for name, value in tags:
        if value not in places:
            places[value] = start + len(data)
            data += value + bytes(-len(value) % 4)
        table += name + pack(">II", places[value], len(value))
    return pack(">I", start + len(data)) + header[4:] + table + data


def _header(profile: bytes) -> bytes:
    """The header that stays, its length to be filled in; b"" where it is none."""
    kind, space, connection = profile[12:16], profile[16:20], profile[20:24]
    known = kind in _CLASSES and space in _SPACES and connection in _SPACES
    if profile[36:40] != b"acsp" or not known or profile[8] not in (2, 4, 5):
        return b""
    intent = unpack_from(">I", profile, 64)[0] & 3
    version = profile[8:10] + b"\0\0"
    head = bytes(8) + version + kind + space + connection + _MADE_ON + b"acsp" + bytes(24)
    return head + pack(">I", intent) + _WHITE + bytes(48)


def _numbers(profile: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and values of the tags that hold numbers and nothing else."""
    (count,) = unpack_from(">I", profile, _HEADER_BYTES)
    for index in range(min(count, _MOST_TAGS)):
        name, start, length = unpack_from(">4sII", profile, _HEADER_BYTES + 4 + _ENTRY_BYTES * index)
        value = profile[start : start + length]
        count = _length_of_numbers(name, value)
        if 0 < count <= len(value) == length:
            yield name, value[:4] + bytes(4) + value[8:count]


def _length_of_numbers(name: bytes, value: bytes) -> int:
    """As far as a value has the numbers of its tag, as some writers count padding too; 0 for all else."""
    kind = value[:4]
    if name in _POINTS:
        return 20 if kind == b"XYZ " else 0
    if name == b"chad":
        return 44 if kind == b"sf32" else 0
    if name in _CURVES and kind == b"curv":
        return 12 + 2 * int(unpack_from(">I", value, 8)[0])
    if name in _CURVES and kind == b"para":
        function, reserved = unpack_from(">HH", value, 8)
        return 0 if reserved or function not in _PARAMETERS else 12 + 4 * _PARAMETERS[function]
    return len(value) if name in _TABLES and kind in _LUTS and len(value) > 32 else 0


def _texts(is_new: bool) -> Iterator[tuple[bytes, bytes]]:
    """The texts that every profile must have: multi-localized since version 4, a description and a text before."""
    if is_new:
        text = _NAME.encode("utf-16-be")
        value = b"mluc" + bytes(4) + pack(">II4sII", 1, 12, b"enUS", len(text), 28) + text
        yield b"desc", value
        yield b"cprt", value
        return
    ascii_text = _NAME.encode("ascii") + b"\0"
    yield b"desc", b"desc" + bytes(4) + pack(">I", len(ascii_text)) + ascii_text + bytes(8 + 3 + 67)
    yield b"cprt", b"text" + bytes(4) + ascii_text
