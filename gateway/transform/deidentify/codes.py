"""Coded entries (PS3.3 8.8) in content that is cleaned.

A code of a public terminology says the same everywhere: it stays, with the meaning that the terminology gives it where
the gateway knows that, or its meaning cleaned. A code that a site made up may say anything: its value becomes one that
stands for it, its meaning is cleaned.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from gateway.transform.deidentify.actions import DUMMY_TEXT
from gateway.transform.deidentify.profile import Profile
from gateway.transform.edit import read
from gateway.transform.tree import DataSet
from gateway.transform.values import ValueRefused, joined

_VALUES = (0x00080100, 0x00080119, 0x00080120)
_SCHEME, _MEANING = 0x00080102, 0x00080104
_LOCAL = "99ANON"
# PS3.16 chapter 8: terminologies that are published, and how their codes look that pydicom's lists do not have. A text
# or a patient's number in the place of a code is none.
_UCUM = r"(?!.*[A-Za-z]{5})[A-Za-z0-9%*^./'(){}\[\]-]{1,12}"
_ICD = r"[A-Z]?[0-9]{2,3}(\.[0-9A-Z]{1,4})?"
_SNOMED_RT = r"[A-Z][0-9A-F]?-[0-9A-F]{5}"
_PUBLIC = {
    scheme: re.compile(form, re.ASCII)
    for scheme, form in {
        "DCM": r"1[0-9]{5}",
        "LN": r"[0-9]{1,5}-[0-9]",
        "SCT": r"[0-9]{3,15}[01]0[0-9]",  # a concept; the last digit is Verhoeff's
        "UCUM": _UCUM,
        "NCIt": r"C[0-9]{3,6}",
        "RADLEX": r"RID[0-9]{1,6}",
        "RADELEMENT": r"RDE[0-9]{1,6}(\.[0-9]{1,3})?",
        "UMLS": r"C[0-9]{7}",
        "FMA": r"[0-9]{4,6}",
        "ATC": r"[A-Z][0-9]{2}[A-Z]{2}[0-9]{2}",
        "ISO3166_1": r"[A-Z]{2,3}",
        **dict.fromkeys(("I9", "I9C", "I10", "ICD10", "ICD11"), _ICD),
        **dict.fromkeys(("SRT", "SNM3", "99SDM"), _SNOMED_RT),
        **dict.fromkeys(("RFC3066", "RFC5646", "ISO639_1", "ISO639_2"), r"[a-z]{2,3}(-[A-Z]{2})?"),
    }.items()
}


def clean_code(data: DataSet, tag: int, text: str, profile: Profile, names: Collection[str]) -> str:
    """What becomes of one attribute of a coded entry.

    :param data: the item that holds the entry, with its scheme and value as they came.
    """
    if tag == _SCHEME:
        return text if is_public(data) else _LOCAL
    if tag in _VALUES:
        return text if is_public(data) else "A" + profile.key.pseudonym("code", f"{_text(data, _SCHEME)}\0{text}")[:15]
    if meaning := _meanings().get(code_of(data), ""):
        return meaning
    return profile.cleaner.clean(text, names) or DUMMY_TEXT


def is_public(data: DataSet) -> bool:
    """Whether a coded entry, as it came, is one of a public terminology."""
    scheme, value = code_of(data)
    if (scheme, value) in _meanings():
        return True
    form = _PUBLIC.get(scheme)
    return form is not None and form.fullmatch(value) is not None and (scheme != "SCT" or _is_verhoeff(value))


def _is_verhoeff(digits: str) -> bool:
    """Whether the last digit is the check digit of the others: of numbers taken at will one in ten has it.

    J. Verhoeff, Error detecting decimal codes, 1969: the dihedral group of ten, and a permutation by place.
    """
    check = 0
    for place, digit in enumerate(reversed(digits)):
        found = int(digit)
        for _ in range(place % 8):
            found = _PERMUTED[found]
        check = _product(check, found)
    return check == 0


_PERMUTED = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _product(one: int, other: int) -> int:
    """In the dihedral group of ten: 0 to 4 are rotations, 5 to 9 reflections."""
    if one < 5:
        return (one + other) % 5 if other < 5 else 5 + (one + other) % 5
    return 5 + (one - other) % 5 if other < 5 else (one - other) % 5


def code_of(data: DataSet) -> tuple[str, str]:
    """Scheme and value of a coded entry; "" for what is not there or cannot be read."""
    return _text(data, _SCHEME), next((found for each in _VALUES if (found := _text(data, each))), "")


def _text(data: DataSet, tag: int) -> str:
    try:
        return joined(read(data, tag) or ())
    except ValueRefused:
        return ""


@lru_cache(maxsize=1)
def _meanings() -> dict[tuple[str, str], str]:
    """Code meanings by scheme and value, as pydicom has them from PS3.16; loaded when first asked for."""
    from pydicom.sr._concepts_dict import concepts

    found = {}
    for scheme, entries in concepts.items():
        for values in entries.values():
            for value, (meaning, *_) in values.items():
                found[(scheme, value)] = meaning
    return found
