"""What a walk over a data set keeps: wanted elements by path, within a bound, and the VR of those that bring none.

`gateway.dicom.scan` fills a `Scan`, `gateway.dicom.header` makes text of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from gateway.dicom.paths import FIRST_BLOCK, SPECIFIC_CHARACTER_SET, AttributePath, Branch, Step
from gateway.errors import HeaderError

MAX_VALUE_BYTES = 64 * 1024
MAX_KEPT_BYTES = 32 * 1024 * 1024
# What keeping a value costs beside its bytes: many empty ones are no cheaper than a few long ones.
KEPT_COST_BYTES = 256
TOO_MUCH = f"the attributes that rules look at hold more than {MAX_KEPT_BYTES} bytes"


class Kept(NamedTuple):
    """A wanted element: its VR ("UN" when not known), its value as encoded, and what is needed to decode it.

    `length_bytes` is the element's own length (the value may be kept cut, and of bulk data not at all);
    `character_set` is the encoded Specific Character Set of the item it stands in, None for that of the data set.
    """

    vr: str
    value: bytes
    length_bytes: int
    big_endian: bool
    character_set: bytes | None


@dataclass(slots=True)
class Scan:
    """What a walk has found: the kept elements by path, and the number of items of the wanted sequences."""

    elements: dict[AttributePath, list[Kept]] = field(default_factory=dict)
    items: dict[AttributePath, int] = field(default_factory=dict)
    kept_bytes: int = 0

    @property
    def character_set(self) -> bytes:
        """The encoded Specific Character Set of the data set, as far as the walk has come; b"" for the default."""
        found = self.elements.get((SPECIFIC_CHARACTER_SET,))
        return found[0].value if found else b""

    def charge(self, value: bytes) -> None:
        """Count a value that is kept. :raises HeaderError: too much is kept."""
        self.kept_bytes += len(value) + KEPT_COST_BYTES
        if self.kept_bytes > MAX_KEPT_BYTES:
            raise HeaderError(TOO_MUCH)

    def note(self, tag: int, kept: Kept, branches: tuple[Branch, ...], at_top: bool) -> None:
        """Keep an element under every path that leads to it; of a repeated element of the data set the last counts."""
        for branch in branches:
            path = branch.values.get(tag)
            if path is None:
                continue
            self.kept_bytes += len(kept.value) + KEPT_COST_BYTES
            if self.kept_bytes > MAX_KEPT_BYTES:
                raise HeaderError(TOO_MUCH)
            if at_top:
                self.elements[path] = [kept]
            else:
                self.elements.setdefault(path, []).append(kept)


def vr_of_unknown(tag: int, branches: tuple[Branch, ...]) -> str:
    """The VR of an element that brings none: from PS3.6, or what is known of its creator's attributes; "UN" else."""
    if tag >> 16 & 1:
        for branch in branches:
            path = branch.values.get(tag)
            if path is not None and isinstance(path[-1], Step) and path[-1].creator:
                return private_vr(path[-1]) or "UN"
    return dictionary_vr(tag)


def dictionary_vr(tag: int) -> str:
    """The VR that PS3.6 gives an attribute; where it leaves a choice the one that suits a reader of text."""
    try:
        vr = str(dictionary_VR(tag))
    except KeyError:
        return "UN"
    if vr == "US or SS":
        return "US"
    return "OW" if " or " in vr else vr


def private_vr(step: Step) -> str:
    """The VR that pydicom's dictionary of private attributes gives one of a creator; "" where it does not know it."""
    try:
        return str(private_dictionary_VR(step.tag | FIRST_BLOCK << 8, step.creator))
    except KeyError:
        return ""
