"""A data set walked through, and every element of it kept, emptied, replaced, mapped, moved, cleaned or taken out.

The rules, from the outside in:
  - private attributes (odd groups) go, but for safe ones where that option was chosen, and the creators of those;
  - an even-numbered attribute that PS3.6 does not know goes, as nobody can say what it holds;
  - what Table E.1-1 names gets its action; beside the table, every UID that names no class or registered object is
    mapped like the others (frames of reference stay linked), and names and dates without a row go as X/Z/D;
  - everything else stays, and sequences are walked through, whatever they are called.

In the items of a sequence that is replaced (D) all text becomes dummies; of one that is cleaned (C) all text is
cleaned. Overlays and curves go as whole groups. An overlay in unused bits of the pixels cannot be taken out: refused.

Nothing of it is recorded in Original Attributes Sequence.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from gateway.transform.deidentify.actions import dummy_bytes, dummy_text, resolved
from gateway.transform.deidentify.cleaning import parts_of
from gateway.transform.deidentify.codes import clean_code
from gateway.transform.deidentify.dates import capped, moved
from gateway.transform.deidentify.private import without_block
from gateway.transform.deidentify.profile import Profile
from gateway.transform.deidentify.table import Option
from gateway.transform.deidentify.types import type_of
from gateway.transform.deidentify.uids import is_class, is_registered
from gateway.transform.edit import creator_tag, is_creator, walk_items
from gateway.transform.names import is_private, label, standard_vr
from gateway.transform.parse import expand, has_items
from gateway.transform.tree import DataSet, Element
from gateway.transform.values import TEXT, ValueRefused, decode, encode, joined

_DATES = frozenset({"DA", "DT", "TM"})
_AGE = 0x00101010
_PATIENT_ID, _PATIENT_NAME = 0x00100020, 0x00100010
_CODE_MEANING = 0x00080104
_OVERLAY_TYPE, _OVERLAY_BITS, _OVERLAY_DATA = 0x60000040, 0x60000100, 0x60003000
_TEXT_OR_NAME = TEXT | {"AE", "UR"}


class Mode(Enum):
    """What happens to text that the table does not name."""

    KEEP = "keep"
    DUMMY = "dummy"
    CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of the patient before anything is changed; `names`: words that cleaned text must not have."""

    sop_class_uid: str
    days: int
    names: Collection[str]


class Engine:
    """Walks one data set."""

    __slots__ = ("_profile", "_subject")

    def __init__(self, profile: Profile, subject: Subject) -> None:
        self._profile = profile
        self._subject = subject

    def walk(self, data: DataSet, mode: Mode = Mode.KEEP) -> None:
        """Do to every element of a data set or item, and those within, what its row of the table says.

        :raises ValueRefused: what cannot be made safe.
        """
        lost_groups = self._lost_overlays(data)
        kept: list[Element] = []
        for element in data.elements:
            group = element.tag >> 16
            if not element.tag & 0xFFFF or group in lost_groups:
                continue
            new = self._private(data, element) if group & 1 else self._standard(data, element, mode)
            if new is not None:
                kept.append(new)
        data.rewrite(_with_creators_in_use(kept))

    # ── private attributes ────────────────────────────────────────────────────────────────────────────────────

    def _private(self, data: DataSet, element: Element) -> Element | None:
        if not self._profile.has(Option.RETAIN_SAFE_PRIVATE):
            return None
        if is_creator(element.tag):
            return element
        creator = data.get(creator_tag(element.tag))
        if creator is None or (_creator_name(data, creator), without_block(element.tag)) not in (
            self._profile.safe_private
        ):
            return None
        if element.is_sequence:
            return self._within(data, element, Mode.KEEP)
        return element

    # ── overlays ──────────────────────────────────────────────────────────────────────────────────────────────

    def _lost_overlays(self, data: DataSet) -> Collection[int]:
        """The groups of overlays that go: all of them, or with Clean Graphics those that are drawings, not regions."""
        groups = {element.tag >> 16 for element in data.elements if element.tag >> 24 == 0x60}
        lost = set()
        for group in groups:
            offset = (group << 16) - 0x60000000
            bits = data.get(_OVERLAY_BITS + offset)
            if data.get(_OVERLAY_DATA + offset) is None and bits is not None and bits.value[:2] not in _ONE_BIT:
                raise ValueRefused(f"{label(_OVERLAY_BITS + offset)}: the overlay lies in bits of the pixels")
            kind = data.get(_OVERLAY_TYPE + offset)
            if self._profile.actions.of(_OVERLAY_DATA + offset) != "C" or kind is None or kind.value.strip() != b"R":
                lost.add(group)
        return lost

    # ── standard attributes ───────────────────────────────────────────────────────────────────────────────────

    def _standard(self, data: DataSet, element: Element, mode: Mode) -> Element | None:
        tag = element.tag
        vr = _vr(element)
        code = self._profile.actions.of(tag) or self._unlisted(data, element, vr, mode)
        if not code:
            return self._within(data, element, mode) if standard_vr(tag) else None
        if code == "C" and vr in _DATES and not self._profile.moves_dates:
            code = "X/Z/D"
        within = data.sequence if data.parent is not None else 0
        kind = type_of(self._subject.sop_class_uid, within, tag) if len(code) > 1 or code == "Z" else ""
        action = resolved(code, kind)
        if action == "Z" and kind == "1":
            action = "D"
        if element.is_sequence and vr == "SQ":
            return self._sequence(data, element, action)
        return self._value(data, element, vr, action, kind)

    def _unlisted(self, data: DataSet, element: Element, vr: str, mode: Mode) -> str:
        """The code for an attribute that the table does not have; "" to keep it, and walk through it."""
        if vr == "UI":
            return "" if is_class(element.tag) or self._profile.has(Option.RETAIN_UIDS) else "U"
        if vr in _DATES:
            if self._profile.has(Option.RETAIN_LONGITUDINAL_FULL_DATES):
                return ""
            return "C" if self._profile.moves_dates else "X/Z/D"
        if vr == "PN":
            return "X/Z/D"
        if mode is Mode.KEEP or vr not in _TEXT_OR_NAME:
            return ""
        return "C" if mode is Mode.CLEAN else "D"

    def _sequence(self, data: DataSet, element: Element, action: str) -> Element | None:
        if action == "X":
            return None
        if action == "Z" or not has_items(element):
            return data.make(element.tag, "SQ", b"") if element.value_bytes else element
        if action == "D":
            items = expand(data, element)
            element.items = items[:1]
            data.tree.is_changed = True
            return self._within(data, element, Mode.DUMMY)
        return self._within(data, element, Mode.CLEAN if action == "C" else Mode.KEEP)

    def _within(self, data: DataSet, element: Element, mode: Mode) -> Element | None:
        """An element that stays; a sequence with everything in it walked through."""
        if not element.is_sequence:
            return element
        if not has_items(element):
            # Bytes that are no items under the name of a sequence: nobody can look into them.
            return data.make(element.tag, "SQ", b"") if element.value_bytes else element
        walk_items(data, element, lambda inner: self.walk(inner, mode))
        return element

    # ── values ────────────────────────────────────────────────────────────────────────────────────────────────

    def _value(self, data: DataSet, element: Element, vr: str, action: str, kind: str) -> Element | None:
        if action == "X":
            return None
        if action == "K":
            return self._aged(data, element) if element.tag == _AGE and self._profile.caps_age else element
        if not element.value_bytes:
            return element if action in "ZCU" else data.make(element.tag, _made_vr(vr), _dummy(data, vr))
        if action in "UC":
            made = self._mapped(data, element, vr) if action == "U" else self._cleaned(data, element, vr)
            if made is not None:
                return made
            # It cannot be read as what it should be: it goes as far as its type lets it.
            action = {"1": "D", "2": "Z"}.get(kind or self._type(data, element), "X")
            if action == "X":
                return None
        value = b"" if action == "Z" else _dummy(data, vr)
        return data.make(element.tag, _made_vr(vr), value)

    def _type(self, data: DataSet, element: Element) -> str:
        within = data.sequence if data.parent is not None else 0
        return type_of(self._subject.sop_class_uid, within, element.tag)

    def _mapped(self, data: DataSet, element: Element, vr: str) -> Element | None:
        """UIDs by those that stand for them. What is registered (a well-known frame of reference) stays."""
        values = _values(data, element, vr)
        if vr != "UI" or values is None:
            return None
        key = self._profile.key
        new = (uid if not uid or is_registered(uid) else key.uid(uid) for uid in values)
        return _made(data, element, vr, tuple(new))

    def _cleaned(self, data: DataSet, element: Element, vr: str) -> Element | None:
        values = _values(data, element, vr)
        if values is None:
            return None
        if vr in _DATES:
            days = self._subject.days
            dates = [moved(vr, value, days) for value in values]
            return None if None in dates else _made(data, element, vr, tuple(each or "" for each in dates))
        if vr not in _TEXT_OR_NAME or vr == "PN":
            return None
        if element.tag in CODES:
            new = clean_code(data, element.tag, joined(values), self._profile, self._subject.names)
            return _made(data, element, vr, (new,)) if new else None
        cleaned = [self._profile.cleaner.clean(value, self._subject.names) for value in values]
        return _made(data, element, vr, tuple(cleaned)) if any(cleaned) else None

    def _aged(self, data: DataSet, element: Element) -> Element | None:
        values = _values(data, element, "AS")
        new = "" if values is None or len(values) != 1 else capped(values[0])
        return _made(data, element, "AS", (new,))


CODES = frozenset({0x00080100, 0x00080102, _CODE_MEANING, 0x00080119, 0x00080120})
_ONE_BIT = (b"\x01\x00", b"\x00\x01")


def names_of(data: DataSet) -> frozenset[str]:
    """The words of every name and identifier at the top of a data set."""
    found: set[str] = set()
    for element in data.elements:
        if element.vr == "PN" or standard_vr(element.tag) == "PN" or element.tag in _IDENTIFIERS:
            for value in _values(data, element, _vr(element)) or ():
                found |= parts_of(value)
    return frozenset(found)


_IDENTIFIERS = frozenset({_PATIENT_ID, 0x00101000, 0x00080050, 0x00200010, 0x00380010, 0x00101005, 0x00101060})


def _vr(element: Element) -> str:
    """The VR to handle an element by; what stands in the data set wins, but for UN."""
    if element.vr not in ("", "UN"):
        return element.vr
    if element.is_sequence:
        return "SQ"
    vr = standard_vr(element.tag)
    return "UN" if not vr or " or " in vr else vr


def _values(data: DataSet, element: Element, vr: str) -> tuple[str, ...] | None:
    """The values as text, or None where they cannot be read."""
    if element.bulk is not None:
        return None
    try:
        return decode(vr, element.value, data.big_endian, data.character_set())
    except ValueRefused:
        return None


def _made(data: DataSet, element: Element, vr: str, values: tuple[str, ...]) -> Element | None:
    """The element with other values, itself where they are the same; None where they cannot be written."""
    try:
        value = encode(vr, joined(values), data.big_endian, data.character_set())
    except ValueRefused:
        return None
    return element if value == element.value else data.make(element.tag, _made_vr(vr), value)


def _dummy(data: DataSet, vr: str) -> bytes:
    text = dummy_text(vr)
    return encode(vr, text, data.big_endian, b"") if text else dummy_bytes(vr)


def _made_vr(vr: str) -> str:
    return vr or "UN"


def _creator_name(data: DataSet, creator: Element) -> str:
    values = _values(data, creator, "LO")
    return joined(values) if values else ""


def _with_creators_in_use(elements: list[Element]) -> list[Element]:
    """Without the Private Creators of blocks of which nothing stays."""
    used = {creator_tag(each.tag) for each in elements if is_private(each.tag) and not is_creator(each.tag)}
    return [each for each in elements if not is_creator(each.tag) or each.tag in used]
