"""Where a step works: attributes, paths into sequences, wild cards over tags.

An attribute goes by the names that rules use (`gateway.rules.names`). `Sequence.Attribute` is the attribute in every
item of a sequence, `Sequence[2].Attribute` in its second; paths go as deep as they are written. In `(60xx,3000)` and
`(0009,xxxx)` an x stands for any hexadecimal digit; `(0009,xxxx,ACME 1.1)` is all that a creator has in a group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import DicomDictionary, dictionary_VM, dictionary_VR, keyword_for_tag, private_dictionary_VR

from gateway.dicom.header import SOP_CLASS_UID, SOP_INSTANCE_UID
from gateway.dicom.paths import FIRST_BLOCK, SPECIFIC_CHARACTER_SET, Step
from gateway.rules.names import resolve
from gateway.rules.patterns import PatternError
from gateway.rules.subject import Clock, NamePart
from gateway.transform.values import ValueRefused, check

_SEQUENCE_TAGS = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
_BLOCK = re.compile(r"\(([0-9A-Fa-f]{4}),\s*[xX]{4},")
_WILD = re.compile(r"\(([0-9A-Fa-fxX]{4}),\s*([0-9A-Fa-fxX]{4})\)|([0-9A-Fa-fxX]{4})([0-9A-Fa-fxX]{4})")
# What an instance cannot be without, or what its text cannot be read without.
KEPT = frozenset({SPECIFIC_CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID})
_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})


@dataclass(frozen=True, slots=True)
class Path:
    """An attribute, with the sequences that lead to it: each with the number of an item, or 0 for all of them.

    With a `creator` the tag is (gggg,00ee), as in `gateway.dicom.paths.Step`: `gateway.transform.blocks` finds it.
    """

    text: str
    tag: int
    within: tuple[Step, ...] = ()
    creator: str = ""

    def __str__(self) -> str:
        return ".".join([*map(label_of, self.within), label_of(self)])


@dataclass(frozen=True, slots=True)
class Wild:
    """Tags of the top level by some of their digits. Never the tags in `KEPT`, nor group lengths' own rules."""

    text: str
    value: int
    mask: int

    def fits(self, tag: int) -> bool:
        """Whether a tag is meant."""
        return tag & self.mask == self.value and tag not in KEPT


def parse_path(text: str) -> Path | PatternError:
    """The path that a text stands for, or (returned, not raised) what is wrong with it."""
    key = resolve(text)
    if isinstance(key, PatternError):
        return key
    if isinstance(key, str | Clock):
        return PatternError(f"{text!r} is a fact of the association, not an attribute")
    if isinstance(key, NamePart):
        return PatternError(f"{text!r} is a part of an attribute: a step changes the whole")
    steps = [one if isinstance(one, Step) else Step(one) for one in key]
    for one in steps:
        if one.creator and (refused := _refused_creator(one.creator)):
            return PatternError(f"{text!r}: its creator is no name that a creator can have: {refused}")
        if one.tag & 0xFFFF == 0 and not one.creator:
            return PatternError(f"{text!r} is a group length: the gateway sees to those")
    return Path(text, steps[-1].tag, tuple(steps[:-1]), steps[-1].creator)


def _refused_creator(creator: str) -> str:
    """What is wrong with the name of a Private Creator (PS3.5 7.8.1: one LO); "" for nothing."""
    if "\\" in creator:
        return "a backslash divides values"
    try:
        check("LO", creator)
    except ValueRefused as refused:
        return str(refused)
    return ""


def parse_block(text: str) -> Path | PatternError | None:
    """All attributes of a creator in a group, `(gggg,xxxx,CREATOR)`, perhaps in sequences; None for something else.

    The path that is given back is that of the creator: its number is 00.
    """
    for found in _BLOCK.finditer(text):
        path = parse_path(f"{text[: found.start()]}({found[1]},xx00,{text[found.end() :]}")
        # What looks alike may stand inside of a creator, or before the last step.
        if isinstance(path, PatternError) or text[found.end() :].removesuffix(")").strip() == path.creator:
            return path
    return None


def parse_wild(text: str) -> Wild | None:
    """Tags with an x among their digits; None where the text is something else."""
    found = _WILD.fullmatch(text)
    if not found or "x" not in text.lower():
        return None
    digits = "".join(part for part in found.groups() if part).lower()
    mask = int("".join("0" if digit == "x" else "f" for digit in digits), 16)
    return Wild(text, int(digits.replace("x", "0"), 16), mask)


def is_sequence_tag(tag: int) -> bool:
    """Whether PS3.6 makes the attribute a sequence."""
    return tag in _SEQUENCE_TAGS


@lru_cache(maxsize=4096)
def standard_vr(tag: int) -> str:
    """The VR that PS3.6 gives a tag ("US or SS" where it leaves a choice); "" for private and unknown ones."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


def private_vr(tag: int, creator: str) -> str:
    """The VR of a private attribute that pydicom's dictionary knows; "" otherwise."""
    try:
        vr = str(private_dictionary_VR(tag, creator))
    except KeyError:
        return ""
    return "" if vr == "UN" else vr


def known_vr(path: Path) -> str:
    """The VR that PS3.6, or the dictionary of its creator, gives an attribute; "" where neither knows it."""
    return private_vr(path.tag | FIRST_BLOCK << 8, path.creator) if path.creator else standard_vr(path.tag)


@lru_cache(maxsize=4096)
def multiplicity(tag: int) -> str:
    """The VM that PS3.6 gives a tag; "1-n" for private and unknown ones."""
    try:
        return str(dictionary_VM(tag))
    except KeyError:
        return "1-n"


def is_private(tag: int) -> bool:
    """Whether the group is odd (PS3.5 7.8)."""
    return bool(tag >> 16 & 1)


def is_pixel_data(tag: int) -> bool:
    """Whether the attribute is Pixel Data, or its float or double float kind."""
    return tag in _PIXEL_DATA


def label(tag: int) -> str:
    """An attribute as messages call it: `PatientID (0010,0020)`."""
    keyword = keyword_for_tag(tag)
    number = f"({tag >> 16:04x},{tag & 0xFFFF:04x})"
    return f"{keyword} {number}" if keyword else number


def label_of(one: Path | Step) -> str:
    """As `label`; a private attribute by its creator as people write it: `(0029,xx08,SIEMENS CSA HEADER)`."""
    if not one.creator:
        return label(one.tag)
    return f"({one.tag >> 16:04x},xx{one.tag & 0xFF:02x},{one.creator})"
