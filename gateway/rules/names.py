"""The names by which rules call attributes, facts, SOP classes and transfer syntaxes.

An attribute goes by its keyword (PS3.6), as `(gggg,eeee)` or `ggggeeee`, a private one by its creator as
`(gggg,xxee,CREATOR)`: xx is the block that the creator has reserved, whichever that is (PS3.5 7.8.1). Steps into the
items of sequences are divided by dots: `Sequence.Sequence.Attribute`, with the number of an item, counted from 1, in
brackets where not any of them will do: `Sequence[1].Attribute`. Behind a `#` stands a part of a person's name:
`PatientName#family`, `PatientName#ideographic`, `PatientName#ideographic.family`. Lower-case names are facts of the
association.
`gateway.rules.conditions` and `gateway.rules.schema` call.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache

from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.uid import UID_dictionary

from gateway.dicom.kept import private_vr
from gateway.dicom.paths import MAX_STEPS, AttributePath, PathStep, Step, step
from gateway.rules.patterns import PatternError
from gateway.rules.subject import FACTS, NAME_COMPONENTS, NAME_GROUPS, Key, NamePart, path_of

_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),\s*([0-9A-Fa-f]{4})\)|([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})")
_PRIVATE = re.compile(r"\(([0-9A-Fa-f]{4}),\s*([0-9A-Fa-f]{2}|[xX]{2})([0-9A-Fa-f]{2})(?:,\s*([^,].*?)\s*)?\)")
_WORD = re.compile(r"\(.*?\)(?=\[\d+\]|\.|$)|[^.\[]*", re.DOTALL)
_ITEM = re.compile(r"[1-9][0-9]{0,5}")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
RECEIVED = "received"
_BULK_VRS = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "OB or OW"})


def resolve(name: str) -> Key | PatternError:
    """The key that a name stands for, or (returned, not raised) what is wrong with the name."""
    if name in FACTS:
        return name
    name, mark, part = _divided(name)
    try:
        words = _words(name)
        path = tuple([_step(word, item) for word, item in words])
    except PatternError as error:
        return error
    if len(path) > MAX_STEPS:
        return PatternError(f"{name!r} goes too deep: {MAX_STEPS} steps at most")
    for number, (word, item) in enumerate(words, 1):
        if (number < len(words) or item) and _vr(path[number - 1]) not in {"SQ", ""}:
            return PatternError(f"{word!r} is no sequence")
    if words[-1][1]:
        return PatternError(f"{name!r} is an item: go on with a dot and an attribute of it")
    return _name_part(path, name, part) if mark else path


def _divided(name: str) -> tuple[str, str, str]:
    """A name, `#`, and the part of a person's name behind it; a `#` may also stand in a creator, in brackets."""
    before, mark, part = name.rpartition("#")
    return (before, mark, part) if mark and ")" not in part else (name, "", "")


def _name_part(path: AttributePath, name: str, part: str) -> NamePart | PatternError:
    if _vr(path[-1]) not in {"PN", ""}:
        return PatternError(f"{name!r} is no person's name: it has no part {part!r}")
    group, _, component = part.partition(".")
    if component or group in NAME_GROUPS:
        groups, components = [group], [component] if component else []
    else:
        groups, components = [], [group]
    for word, known in ((groups, NAME_GROUPS), (components, NAME_COMPONENTS)):
        if word and word[0] not in known:
            close = get_close_matches(word[0], (*NAME_GROUPS, *NAME_COMPONENTS), n=1)
            hint = f"; is {close[0]!r} meant?" if close else ""
            return PatternError(
                f"a person's name has no part {part!r}: after # stand {', '.join(NAME_COMPONENTS)}, or one of "
                f"{', '.join(NAME_GROUPS)}, alone or with a dot and one of the others{hint}"
            )
    return NamePart(
        path,
        NAME_GROUPS.index(groups[0]) if groups else None,
        NAME_COMPONENTS.index(components[0]) if components else None,
    )


def vr_of(key: Key) -> str:
    """The VR that PS3.6 or a creator's dictionary gives a key; "" for a fact and where nothing is known."""
    path = path_of(key)
    return _vr(path[-1]) if path else ""


def is_bulk(key: Key) -> bool:
    """Whether the key is an attribute without text: a sequence, or bulk data such as Pixel Data."""
    return vr_of(key) in _BULK_VRS


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


def _words(name: str) -> list[tuple[str, str]]:
    """A name's steps, each with the number of its item ("" for any). :raises PatternError: it cannot be divided."""
    words, at = [], 0
    while True:
        end = _end_of_word(name, at)
        word, item = name[at:end], ""
        if name[end : end + 1] == "[":
            close = name.find("]", end)
            item = name[end + 1 : close]
            if close < 0 or not _ITEM.fullmatch(item):
                raise PatternError(f"{name[end:]!r} numbers no item: write [1] for the first one")
            end = close + 1
        words.append((word, item))
        if end == len(name):
            return words
        if name[end] != ".":
            raise PatternError(f"{name[end:]!r} follows {name[:end]!r}: a dot goes on to an attribute of its items")
        at = end + 1


def _end_of_word(name: str, at: int) -> int:
    """Where a keyword or number ends. What stands in brackets may hold anything: it may be a creator."""
    found = _WORD.match(name, at)
    return found.end() if found else at


def _step(word: str, item: str) -> PathStep:
    """:raises PatternError: there is no such attribute."""
    number = int(item or 0)
    private = _PRIVATE.fullmatch(word)
    if private and (private[4] or private[2] in {"xx", "XX"}):
        group, block, element, creator = private.groups()
        if int(group, 16) % 2 == 0:
            raise PatternError(f"{word!r} is not private: private attributes have an odd group")
        if not creator or block not in {"xx", "XX"}:
            raise PatternError(
                f"{word!r}: the block of a private attribute is its sender's choice: write "
                f"'({group},xx{element},{creator or 'CREATOR'})'"
            )
        return Step(int(group + "00" + element, 16), creator, number)
    tag = _tag(word)
    if tag is None:
        raise PatternError(f"there is no attribute or fact {word!r}{_suggestion(word)}")
    if tag >> 16 in (0x0000, 0x0002, 0xFFFE):
        raise PatternError(f"{word!r} is no part of a data set: use sop_class, transfer_syntax or an attribute")
    return step(tag, item=number)


def _tag(part: str) -> int | None:
    found = _TAG.fullmatch(part)
    if found:
        return int("".join(digits for digits in found.groups() if digits), 16)
    tag = tag_for_keyword(part) if part else None
    return None if tag is None else int(tag)


def _vr(one: PathStep) -> str:
    """The VR that PS3.6 gives a tag, or a private dictionary a creator's; "" for unknown ones."""
    if isinstance(one, Step):
        return private_vr(one) if one.creator else _vr(one.tag)
    try:
        return str(dictionary_VR(one))
    except KeyError:
        return ""


def _suggestion(part: str) -> str:
    known = [*FACTS, RECEIVED, *(str(entry[4]) for entry in DicomDictionary.values() if entry[4])]
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
