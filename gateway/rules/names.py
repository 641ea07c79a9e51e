"""The names by which rules call attributes, facts, SOP classes and transfer syntaxes.

An attribute goes by its keyword (PS3.6), as `(gggg,eeee)` or `ggggeeee`; one of a sequence's items as
`Sequence.Attribute`. Lower-case names are facts of the association. Called by `gateway.rules.schema`.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache

from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.uid import UID_dictionary

from gateway.dicom.paths import tag_of
from gateway.rules.match import FACTS, Key, PatternError

_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),\s*([0-9A-Fa-f]{4})\)|([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_BULK_VRS = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "OB or OW"})


def resolve(name: str) -> Key | PatternError:
    """The key that a name stands for, or (returned, not raised) what is wrong with the name."""
    if name in FACTS:
        return name
    parts = name.split(".")
    if len(parts) > 2:
        return PatternError(f"{name!r} goes too deep: one level of sequence can be looked into")
    tags = []
    for part in parts:
        tag = _tag(part)
        if tag is None:
            return PatternError(f"there is no attribute or fact {part!r}{_suggestion(part)}")
        if tag >> 16 in (0x0000, 0x0002, 0xFFFE):
            return PatternError(f"{part!r} is no part of a data set: use sop_class, transfer_syntax or an attribute")
        tags.append(tag)
    if len(tags) == 2 and _vr(tags[0]) not in {"SQ", ""}:
        return PatternError(f"{parts[0]!r} is no sequence")
    if len(tags) == 2 and _vr(tags[1]) == "SQ":
        return PatternError(f"{parts[1]!r} is a sequence: one level of sequence can be looked into")
    return tuple(tags)


def is_bulk(key: Key) -> bool:
    """Whether the key is an attribute without text: a sequence, or bulk data such as Pixel Data."""
    return not isinstance(key, str) and bool(key) and _vr(tag_of(key[-1])) in _BULK_VRS


def uid_of(text: str) -> str:
    """The UID of a UID's keyword or name; other text as it is."""
    return _uids().get(text.casefold(), text)


def is_known_uid_text(text: str) -> str | None:
    """None when the text is a UID, or the keyword or name of one; otherwise a suggestion ("" when there is none)."""
    if _UID.fullmatch(text) or text.casefold() in _uids():
        return None
    keywords = [str(entry[4]) for entry in UID_dictionary.values() if entry[4]]
    close = get_close_matches(text, keywords, n=1)
    return f"; is {close[0]!r} meant?" if close else ""


def _tag(part: str) -> int | None:
    found = _TAG.fullmatch(part)
    if found:
        return int("".join(digits for digits in found.groups() if digits), 16)
    tag = tag_for_keyword(part) if part else None
    return None if tag is None else int(tag)


def _vr(tag: int) -> str:
    """The VR that PS3.6 gives a tag; "" for private and unknown ones."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


def _suggestion(part: str) -> str:
    known = [*FACTS, *(str(entry[4]) for entry in DicomDictionary.values() if entry[4])]
    by_folded = {name.casefold(): name for name in known}
    close = get_close_matches(part.casefold(), by_folded, n=1, cutoff=0.7)
    return f"; is {by_folded[close[0]]!r} meant?" if close else ""


@lru_cache(maxsize=1)
def _uids() -> dict[str, str]:
    names = {}
    for uid, entry in UID_dictionary.items():
        for text in (str(entry[0]), str(entry[4])):
            if text:
                names[text.casefold()] = str(uid)
    return names
