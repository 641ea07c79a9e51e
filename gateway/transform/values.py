"""Text to the encoded value of an element and back, with nothing replaced and nothing invalid (PS3.5 6).

`decode` reads a value that a step wants to change and `encode` writes one. Where `gateway.dicom.text` shows what can
be shown, these refuse: bytes that the Specific Character Set does not explain, text that it cannot hold, a value that
its VR does not allow (PS3.5 6.2: repertoire, form, length) or too many or too few of them (PS3.6: VM).

:raises ValueRefused: with the reason, free of the value.
"""

from __future__ import annotations

import math
import re
import warnings
from datetime import date
from functools import lru_cache
from struct import calcsize, pack
from struct import error as StructError

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import TEXT_VR_DELIMS, validate_value

from gateway.dicom.text import decode_value
from gateway.transform.charsets import DEFAULT, CannotEncode, encode_text

TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # in the Specific Character Set
DEFAULT_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_SINGLE = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is a character, leading spaces count
_INTEGERS = {"SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_FLOATS = {"FD": "d", "FL": "f"}
SETTABLE = TEXT | DEFAULT_TEXT | frozenset(_INTEGERS) | frozenset(_FLOATS) | {"AT"}

_NAME_DELIMITERS = TEXT_VR_DELIMS | {ord("^"), ord("=")}  # PS3.5 6.1.2.5.3
_GB_2312 = "\x1b$)A"
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?")
_DATE_TIME = re.compile(
    r"[0-9]{4}((0[1-9]|1[0-2])((0[1-9]|[12][0-9]|3[01])(([01][0-9]|2[0-3])"
    r"([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?)?)?)?([+-](0[0-9]|1[0-4])[0-5][0-9])?"
)
_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)|([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})")
_PN_COMPONENTS = 5
_INTEGER_RANGE = range(-(2**31), 2**31)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROLS_OF_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")  # PS3.5 6.1.3: TAB, LF, FF and CR may stand there
_FORMS = {
    "AE": "an AE title of 1 to 16 ASCII characters",
    "AS": "an age such as 045Y",
    "CS": "a code of at most 16 of A-Z, 0-9, space and underscore",
    "DS": "a decimal number of at most 16 characters",
    "IS": "an integer of at most 12 characters",
    "UI": "a UID of at most 64 characters",
    "UR": "a URI",
}


class ValueRefused(Exception):
    """A value cannot be read, or must not be written; the text says why and holds nothing of it."""


def splits(vr: str) -> bool:
    """Whether a backslash divides the values of a VR."""
    return vr not in _SINGLE


def joined(values: tuple[str, ...]) -> str:
    """Several values as one text."""
    return "\\".join(values)


def decode(vr: str, value: bytes, big_endian: bool, character_set: bytes) -> tuple[str, ...]:
    """The values of an element, padding taken off: () where it is empty."""
    if vr not in SETTABLE:
        raise ValueRefused(f"an attribute of VR {vr or 'UN'} has no text")
    if vr in TEXT:
        text = decode_text(value, character_set, is_name=vr == "PN")
        return decode_value(vr, text.encode("utf-8"), big_endian, len(value), b"ISO_IR 192")
    if vr in DEFAULT_TEXT and not value.isascii():
        raise ValueRefused(f"what stands there is not ASCII, as VR {vr} asks for")
    return decode_value(vr, value, big_endian, len(value), b"")


def decode_text(value: bytes, character_set: bytes, *, is_name: bool) -> str:
    """Text in a Specific Character Set, undivided; nothing is replaced. `is_name`: of VR PN."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    encodings = encodings_of(character_set)
    if encodings == (DEFAULT,):
        raise ValueRefused(
            "what stands there is not ASCII, and Specific Character Set (0008,0005) does not say what it is"
        )
    text = _decoded(value, encodings, is_name)
    if "\ufffd" in text or "\x1b" in text:
        raise ValueRefused("what stands there is not in the Specific Character Set (0008,0005) of the data set")
    return text


@lru_cache(maxsize=64)
def encodings_of(character_set: bytes) -> tuple[str, ...]:
    """Python's names for the terms of an encoded Specific Character Set (PS3.3 C.12.1.1.2)."""
    terms = [term.strip(" \0") for term in character_set.decode("iso8859_1").split("\\")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pydicom puts the default for what it does not know, and warns
            names = tuple(str(name) for name in convert_encodings(terms))
    except (LookupError, ValueError, UserWarning):
        names = ()
    if not names:
        raise ValueRefused("Specific Character Set (0008,0005) is none that the gateway knows")
    return names


def encode(vr: str, text: str, big_endian: bool, character_set: bytes, vm: str = "1-n") -> bytes:
    """The encoded value of a text, several values divided by backslashes; padded to an even length.

    :param vm: the value multiplicity as PS3.6 writes it.
    """
    if not text:
        return b""
    values = text.split("\\") if splits(vr) else [text]
    if not _allows(vm, len(values)):
        raise ValueRefused(f"{len(values)} values, where there can be {vm}")
    for value in values:
        check(vr, value)
    if vr in _INTEGERS or vr in _FLOATS or vr == "AT":
        return b"".join(_number(vr, value, big_endian) for value in values)
    data = _encoded(vr, text, character_set)
    if len(data) % 2:
        data += b"\0" if vr == "UI" else b" "
    return data


def check(vr: str, value: str) -> None:
    """Check one value against PS3.5 6.2."""
    if not value:
        return
    if vr in TEXT:
        _check_text(vr, value)
    elif vr in ("DA", "TM", "DT"):
        _check_time(vr, value)
    elif vr in _INTEGERS or vr in _FLOATS or vr == "AT":
        _number(vr, value, False)
    elif not _is_form(vr, value):
        raise ValueRefused(f"not {_FORMS.get(vr, f'a value of VR {vr}')}")


def _is_form(vr: str, value: str) -> bool:
    if vr == "AE" and not value.strip():
        return False
    if vr == "IS" and value.strip().lstrip("+-").isdecimal() and int(value) not in _INTEGER_RANGE:
        return False
    try:
        validate_value(vr, value, config.RAISE)
    except ValueError:  # its text holds the value
        return False
    return value.isascii()


def _check_text(vr: str, value: str) -> None:
    controls = _CONTROLS_OF_TEXT if vr in ("LT", "ST", "UT") else _CONTROLS
    if controls.search(value):
        raise ValueRefused(f"a control character, which VR {vr} does not allow")
    if vr == "PN":
        # PS3.5 6.2.1: three component groups of five components, each group of 64 characters.
        groups = value.split("=")
        if len(groups) > 3 or any(group.count("^") >= _PN_COMPONENTS for group in groups):
            raise ValueRefused("not a person's name: three groups of five components at most")
    try:
        validate_value(vr, value, config.RAISE)
    except ValueError:
        raise ValueRefused(f"longer than VR {vr} allows") from None


def _check_time(vr: str, value: str) -> None:
    value = value.rstrip(" ")
    if vr == "TM":
        if not _TIME.fullmatch(value):
            raise ValueRefused("not a time such as 235959.123")
        return
    if vr == "DT":
        if not _DATE_TIME.fullmatch(value):
            raise ValueRefused("not a date and time such as 20241231235959.123+0100")
        if len(found := value[:8]) < 8 or not found.isdecimal():
            return
    found_date = _DATE.fullmatch(value[:8] if vr == "DT" else value)
    try:
        date(*(int(part) for part in (found_date.groups() if found_date else ("0", "0", "0"))))
    except ValueError:
        raise ValueRefused("not a date such as 20241231") from None


def _number(vr: str, value: str, big_endian: bool) -> bytes:
    order = ">" if big_endian else "<"
    value = value.strip()
    if vr == "AT":
        found = _TAG.fullmatch(value)
        if not found:
            raise ValueRefused("not a tag such as (0010,0020)")
        group, number = (int(part, 16) for part in found.groups() if part)
        return pack(order + "HH", group, number)
    code = _INTEGERS.get(vr) or _FLOATS[vr]
    try:
        number_found = int(value) if vr in _INTEGERS else float(value)
        if not math.isfinite(number_found):
            raise ValueRefused(f"not a finite number, which VR {vr} asks for here")
        return pack(order + code, number_found)
    except (ValueError, OverflowError, StructError):
        raise ValueRefused(f"not a number of VR {vr}, of {calcsize('=' + code)} bytes") from None


def _encoded(vr: str, text: str, character_set: bytes) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    encodings = encodings_of(character_set)
    try:
        data = encode_text(text, encodings, is_name=vr == "PN", splits=splits(vr))
    except CannotEncode:
        data = b""
    # A second look, as a wrong name on an image is worse than none: what a reader makes of it must be the same.
    if not data or _decoded(data, encodings, vr == "PN") != text:
        raise ValueRefused(
            "the Specific Character Set (0008,0005) of the data set has not all of its characters: "
            "put `charset: ISO_IR 192` in front"
        )
    return data


def _decoded(value: bytes, encodings: tuple[str, ...], is_name: bool) -> str:
    """Text as pydicom decodes it; what it cannot has a U+FFFD or an ESC in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = str(decode_bytes(value, encodings, _NAME_DELIMITERS if is_name else TEXT_VR_DELIMS))
    # pydicom leaves the escape sequence of GB 2312 (PS3.5 Annex K) where it stands.
    return text.replace(_GB_2312, "") if "iso_ir_58" in encodings else text


def _allows(vm: str, count: int) -> bool:
    """Whether a VM such as `1`, `1-3`, `2-2n` or `1-n` allows so many values."""
    for choice in vm.split(" or "):
        least, _, most = choice.partition("-")
        if not most and least.isdecimal() and count == int(least):
            return True
        if most.endswith("n") and count >= int(least) and count % int(most[:-1] or 1) == 0:
            return True
        if most.isdecimal() and int(least) <= count <= int(most):
            return True
    return False
