"""Text to bytes in a Specific Character Set, also with code extensions, strictly (PS3.3 C.12.1.1.2, PS3.5 6.1.2).

pydicom's own encoder puts a question mark for what it cannot hold, and takes the default repertoire for Latin-1;
a name must not change like that on its way, so this one raises instead.

With code extensions a text is written run by run: an escape sequence (PS3.3 Tables C.12-3 and C.12-4) wherever a
character is in none but another of the named sets. At every delimiter (PS3.5 6.1.2.5.3) the first set is in force
again, so a multi-byte set in G0 is left by an escape sequence in front of one, and at the end.
"""

from __future__ import annotations

import re

from pydicom.charset import ENCODINGS_TO_CODES, STAND_ALONE_ENCODINGS, default_encoding, python_encoding

DEFAULT = str(default_encoding)
_STAND_ALONE = frozenset(str(python_encoding[term]) for term in STAND_ALONE_ENCODINGS)
_IN_G0 = frozenset({"iso2022_jp", "iso2022_jp_2"})  # the others leave ASCII where it is
_TO_ASCII, _TO_JIS_X_0201 = b"\x1b(B", b"\x1b(J"


class CannotEncode(ValueError):
    """A character is in none of the sets; which one is not told."""


def encode_text(text: str, encodings: tuple[str, ...], *, is_name: bool, splits: bool) -> bytes:
    """Encode a text.

    :param encodings: Python's names of the terms, the first one in force at the beginning.
    :param is_name: of VR PN, whose `^` and `=` are delimiters.
    :param splits: whether a backslash divides values.
    :raises CannotEncode: a character is in none of the sets.
    """
    if len(encodings) == 1 and encodings[0] in _STAND_ALONE:
        try:
            return text.encode(encodings[0])
        except UnicodeEncodeError:
            raise CannotEncode from None
    delimiters = "\r\n\t\f" + ("^=" if is_name else "") + ("\\\\" if splits else "")
    parts = re.split(f"([{delimiters}])", text)
    return b"".join(_component(part, encodings) for part in parts)


def _component(text: str, encodings: tuple[str, ...]) -> bytes:
    written = b""
    current = encodings[0]
    for character in text:
        found = _character(character, current)
        if found is None:
            current, found = _other(character, encodings)
            written += _escape(current, found, encodings[0])
        written += found
    if current in _IN_G0:
        written += _to_g0(encodings[0])
    return written


def _other(character: str, encodings: tuple[str, ...]) -> tuple[str, bytes]:
    """The first set that has a character, and its bytes in it."""
    for encoding in encodings:
        found = _character(character, encoding)
        if found is not None:
            return encoding, found
    raise CannotEncode


def _character(character: str, encoding: str) -> bytes | None:
    """The bytes of one character in one set, without escape sequences; None where it is not in it."""
    if encoding == DEFAULT:
        return character.encode("ascii") if character.isascii() else None
    if encoding in _IN_G0 and character.isascii():
        return None
    try:
        data = character.encode(encoding)
    except UnicodeEncodeError:
        return None
    if encoding == "shift_jis":  # stands for JIS X 0201, the part of it that has one byte
        return data if len(data) == 1 else None
    if encoding in _IN_G0:
        escape = ENCODINGS_TO_CODES[encoding]
        return data[len(escape) : -3] if data.startswith(escape) and data.endswith(_TO_ASCII) else None
    return data


def _escape(encoding: str, data: bytes, first: str) -> bytes:
    """What designates a set, in front of these bytes in it."""
    if data.isascii() and encoding not in _IN_G0:
        return _to_g0(first)
    return bytes(ENCODINGS_TO_CODES.get(encoding, b""))


def _to_g0(first: str) -> bytes:
    """The way back from a multi-byte set in G0."""
    return _TO_JIS_X_0201 if first == "shift_jis" else _TO_ASCII
