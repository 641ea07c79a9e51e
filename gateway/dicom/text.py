"""The encoded value of an element as text (PS3.5 6): character sets, padding, several values, binary numbers.

Every value comes out as a tuple of texts; an empty element as an empty one. Text is decoded by pydicom's tables of
character sets, characters that do not fit are replaced, padding is taken off both ends (of ST, LT, UT and UR, where
leading spaces count and a backslash is a character, off the right end). Numbers come out in decimals, AT as
(gggg,eeee), bulk data and sequences as their size in brackets. An element of unknown VR is text where it can be.
`gateway.dicom.header` calls.
"""

from __future__ import annotations

import warnings
from codecs import lookup
from functools import lru_cache
from struct import Struct, calcsize, unpack

from pydicom.charset import convert_encodings, decode_bytes, default_encoding, python_encoding
from pydicom.valuerep import TEXT_VR_DELIMS

_SPLIT_TEXT = frozenset({"LO", "SH", "UC"})
_SINGLE_TEXT = frozenset({"LT", "ST", "UT"})
_DEFAULT_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_KNOWN_CODECS = frozenset(lookup(name).name for name in python_encoding.values())
_TO_IR_58 = "\x1b$)A"
_PADDING = " \0"
_TAG = (Struct("<HH"), Struct(">HH"))


def decode_value(vr: str, value: bytes, big_endian: bool, length_bytes: int, character_set: bytes) -> tuple[str, ...]:
    """Decode one element.

    :param vr: of two letters.
    :param value: as encoded; may be kept cut.
    :param length_bytes: the element's own length.
    :param character_set: the encoded value of Specific Character Set that holds here, b"" for the default.
    """
    if vr in _DEFAULT_TEXT:
        return _split(value.decode("iso8859_1"))
    if vr in _SPLIT_TEXT:
        return _split(_decode_text(value, character_set))
    if vr == "PN":
        # PS3.5 6.2.1.2: the delimiters of trailing empty component groups mean nothing.
        return tuple([name.rstrip("=") for name in _split(_decode_text(value, character_set))])
    if vr in _SINGLE_TEXT:
        return _single(_decode_text(value, character_set))
    if vr in _NUMBERS:
        return _numbers(_NUMBERS[vr], value, big_endian)
    if vr == "AT":
        whole = len(value) // 4 * 4
        return tuple(f"({group:04x},{element:04x})" for group, element in _TAG[big_endian].iter_unpack(value[:whole]))
    if vr == "UR":
        return _single(value.decode("iso8859_1"))
    if vr == "UN" and len(value) == length_bytes and _is_text(value):
        return _split(_decode_text(value, character_set))
    return (f"[{length_bytes} bytes]",) if length_bytes else ()


def creator_text(value: bytes, character_set: bytes) -> str:
    """The name in a Private Creator element (an LO, PS3.5 7.8.1), whatever VR it says it has."""
    return "\\".join(_split(_decode_text(value, character_set)))


def _split(text: str) -> tuple[str, ...]:
    if "\\" in text:
        return tuple([part.strip(_PADDING) for part in text.split("\\")])
    text = text.strip(_PADDING)
    return (text,) if text else ()


def _single(text: str) -> tuple[str, ...]:
    text = text.rstrip(_PADDING)
    return (text,) if text else ()


def _numbers(code: str, value: bytes, big_endian: bool) -> tuple[str, ...]:
    count = len(value) // calcsize("=" + code)
    order = ">" if big_endian else "<"
    numbers = unpack(f"{order}{count}{code}", value[: count * calcsize("=" + code)])
    return tuple([str(number) for number in numbers])


def _is_text(value: bytes) -> bool:
    """No control characters but ESC, tab and line ends (PS3.5 6.1.3), and NUL as padding at the end."""
    return not any(byte < 0x20 and byte not in (0x09, 0x0A, 0x0C, 0x0D, 0x1B) for byte in value.rstrip(b"\0"))


def _decode_text(value: bytes, character_set: bytes) -> str:
    if value.isascii() and b"\x1b" not in value:
        # Every character set of PS3.3 C.12.1.1.2 is ASCII there (ISO_IR 13 but for two characters that
        # Python's codec and pydicom read as ASCII too).
        return value.decode("ascii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warnings name what was found in the data set
        text = str(decode_bytes(value, _encodings(character_set), TEXT_VR_DELIMS))
    # PS3.5 K: what designates ISO-IR 58 is no part of the text; pydicom leaves it to a codec that does not know it.
    return text.replace(_TO_IR_58, "") if _TO_IR_58 in text else text


@lru_cache(maxsize=64)
def _encodings(character_set: bytes) -> tuple[str, ...]:
    """Python's names for the terms of a Specific Character Set; what is unknown counts as the default.

    pydicom takes any codec of Python for a term; only those that a term of PS3.3 C.12.1.1.2 stands for are let
    through, since the others are neither safe nor bounded on hostile bytes.
    """
    terms = [*_split(character_set.decode("iso8859_1"))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = convert_encodings(terms)
        return tuple([name if lookup(name).name in _KNOWN_CODECS else default_encoding for name in names])
    except (LookupError, ValueError):
        return (default_encoding,)
