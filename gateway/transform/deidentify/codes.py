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
# PS3.16 chapter 8: terminologies that are published.
_PUBLIC = frozenset(
    {"DCM", "FMA", "I10", "I9", "I9C", "LN", "MA", "NCIt", "RADELEMENT", "RADLEX", "RFC3066", "RFC5646", "SCT", "SNM3"}
    | {"SRT", "UCUM", "UMLS", "ICD10", "ICD11", "ISO3166_1", "ISO639_1", "ISO639_2", "BI", "CD8", "ATC", "99SDM"}
)


# How the codes look that are in no list here: a text in the place of a code is none.
_FORM = re.compile(r"[A-Z]{0,3}-?(?=[0-9A-F.-]*[0-9])[0-9A-F.-]{1,17}", re.ASCII)
_UNIT = re.compile(r"(?!.*[A-Za-z]{5})[A-Za-z0-9%*^./'(){}\[\]-]{1,12}", re.ASCII)


def clean_code(data: DataSet, tag: int, text: str, profile: Profile, names: Collection[str]) -> str:
    """What becomes of one attribute of a coded entry.

    :param data: the item that holds the entry, with its scheme and value as they came.
    """
    if tag == _SCHEME:
        return text if is_public(data) else _LOCAL
    if tag in _VALUES:
        return text if is_public(data) else "A" + profile.key.pseudonym("code", f"{_text(data, _SCHEME)}\0{text}")[:15]
    if meaning := _meanings().get(_code(data), ""):
        return meaning
    return profile.cleaner.clean(text, names) or DUMMY_TEXT


def is_public(data: DataSet) -> bool:
    """Whether a coded entry, as it came, is one of a public terminology."""
    scheme, value = _code(data)
    if scheme not in _PUBLIC:
        return False
    return (scheme, value) in _meanings() or (_UNIT if scheme == "UCUM" else _FORM).fullmatch(value) is not None


def _code(data: DataSet) -> tuple[str, str]:
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
