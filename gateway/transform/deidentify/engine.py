"""A data set walked through, and every element of it kept, emptied, replaced, mapped, moved, cleaned or taken out.

The rules, from the outside in:
  - private attributes (odd groups) go, but for safe ones where that option was chosen, and the creators of those;
  - an even-numbered attribute that PS3.6 does not know goes, as nobody can say what it holds;
  - what Table E.1-1 names gets its action; beside the table, every UID that names no class or registered object is
    mapped like the others (frames of reference stay linked), and names and dates without a row go as X/Z/D;
  - a few attributes that the table leaves out go too (`beyond`);
  - everything else stays, and sequences are walked through, whatever they are called.

In the items of a sequence that is replaced (D) all text, numbers and bytes become dummies, but for codes of PS3.3 (CS)
and what is counted in binary; of one that is cleaned (C) all text is cleaned. Overlays and curves go as whole groups,
but for regions of interest with Clean Graphics. An overlay in unused bits of the pixels cannot be taken out: refused.
Pixel data stays at the top of the data set alone: nobody has looked at that of items and of the retired groups (7Fxx).

Nobody is taken at their word: what PS3.6 says of a tag holds beside the VR that stands there, and what is no sequence
where there should be one, or holds no items, is emptied.

Nothing of it is recorded in Original Attributes Sequence.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from gateway.transform.deidentify.actions import dummy_bytes, dummy_text, resolved
from gateway.transform.deidentify.beyond import code_beyond
from gateway.transform.deidentify.birth import Birth
from gateway.transform.deidentify.codes import clean_code, is_public
from gateway.transform.deidentify.content import About, about, capped_number, code_about
from gateway.transform.deidentify.dates import capped, moved
from gateway.transform.deidentify.icc import ICC_PROFILE, MAX_PROFILE_BYTES, without_device
from gateway.transform.deidentify.kinds import TEXT_OR_NAME, is_code_string, is_number, is_of_its_kind, looks_like
from gateway.transform.deidentify.private import without_block
from gateway.transform.deidentify.profile import Profile
from gateway.transform.deidentify.table import Option
from gateway.transform.deidentify.types import type_of
from gateway.transform.deidentify.uids import is_class, mapped
from gateway.transform.edit import creator_tag, is_creator, walk_items
from gateway.transform.names import is_pixel_data, is_private, is_sequence_tag, label, private_vr, standard_vr
from gateway.transform.overlay import overlay_in_pixels
from gateway.transform.parse import expand, has_items
from gateway.transform.tree import LONG_VRS, DataSet, Element
from gateway.transform.unused import cleared
from gateway.transform.values import ValueRefused, decode, encode, joined

_DATES = frozenset({"DA", "DT", "TM"})
_CODE_MEANING, _TIME_ZONE = 0x00080104, 0x00080201
_SCHEME_UIDS = frozenset({0x0008010C, 0x0008010D})  # those of a site's own scheme tell the site
_OVERLAY_TYPE, _OVERLAY_BITS, _OVERLAY_DATA = 0x60000040, 0x60000100, 0x60003000
_REPLACED = TEXT_OR_NAME | {"AS", "DS", "FD", "FL", "IS", "OB", "OD", "OF", "OL", "OV", "OW", "SV", "UN", "UV"}
_TELLING = _DATES | {"PN", "UI"}  # such a value is none where another VR stands
_ITEM_BYTES = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")


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
    birth: Birth


class Engine:
    """Walks one data set."""

    __slots__ = ("_about", "_keeps_private", "_profile", "_subject")

    def __init__(self, profile: Profile, subject: Subject) -> None:
        self._profile = profile
        self._subject = subject
        self._about = About.NOTHING  # of the patient, in the content item that is walked through
        self._keeps_private = profile.has(Option.RETAIN_SAFE_PRIVATE)

    def walk(self, data: DataSet, mode: Mode = Mode.KEEP) -> None:
        """Do to every element of a data set or item, and those within, what its row of the table says.

        :raises ValueRefused: what cannot be made safe.
        """
        outside = self._about
        if data.parent is not None:
            self._about = about(data) or outside
        kept: list[Element] = []
        has_private = False
        is_plain = mode is Mode.KEEP and self._about is About.NOTHING
        plain = self._profile.actions.plain if is_plain else frozenset()
        for element in data.elements:
            tag = element.tag
            if (tag, element.vr) in plain and not element.is_sequence:
                kept.append(element)
                continue
            if not tag & 0xFFFF:
                continue
            if tag >> 16 & 1:
                if not self._keeps_private:
                    continue
                has_private = True
                new = self._private(data, element)
            elif tag >> 24 == 0x60:
                new = self._overlay(data, element, mode)
            else:
                new = self._standard(data, element, mode)
            if new is not None:
                kept.append(cleared(data, new) if new.vr in LONG_VRS else new)
        self._about = outside
        data.rewrite(_with_creators_in_use(kept) if has_private else kept)

    # ── private attributes ────────────────────────────────────────────────────────────────────────────────────

    def _private(self, data: DataSet, element: Element) -> Element | None:
        if is_creator(element.tag):
            return element if element is data.get(element.tag) else None
        creator = data.get(creator_tag(element.tag))
        name = "" if creator is None else _creator_name(data, creator)
        if creator is None or (name, without_block(element.tag)) not in self._profile.safe_private:
            return None
        if not element.is_sequence and element.vr in ("", "UN") and _begin(data, element) in _ITEM_BYTES:
            # A sequence that does not say so. If it is none after all, the object is held.
            element.is_sequence = True
        if element.is_sequence:
            return self._within(data, element, Mode.KEEP)
        known = private_vr(element.tag, name)
        vr = element.vr if element.vr not in ("", "UN") else known or looks_like(element.value) or "UN"
        code = self._telling(vr, known) or "K"
        return self._value(data, element, vr, "X" if code == "X/Z/D" else code, "3")

    # ── overlays ──────────────────────────────────────────────────────────────────────────────────────────────

    def _overlay(self, data: DataSet, element: Element, mode: Mode) -> Element | None:
        """An attribute of an overlay: all go, but with Clean Graphics those of regions, whose text is cleaned."""
        offset = element.tag & 0x00FF0000
        pixels = data.get(_OVERLAY_DATA + offset)
        if overlay_in_pixels(data, element.tag):
            raise ValueRefused(f"{label(_OVERLAY_BITS + offset)}: the overlay lies in bits of the pixels")
        kind = data.get(_OVERLAY_TYPE + offset)
        if self._profile.actions.of(_OVERLAY_DATA + offset) != "C" or kind is None or kind.value.strip() != b"R":
            return None
        if element is pixels:
            return element
        return self._standard(data, element, Mode.CLEAN if mode is Mode.KEEP else mode)

    # ── standard attributes ───────────────────────────────────────────────────────────────────────────────────

    def _standard(self, data: DataSet, element: Element, mode: Mode) -> Element | None:
        if self._about is About.AGE and self._profile.caps_age:
            capped_age = capped_number(data, element)
            if capped_age is None:
                return None
            element = capped_age
        tag = element.tag
        if tag >> 24 == 0x7F:
            return element if is_pixel_data(tag) and data.parent is None else None
        vr = _vr(element)
        code = (
            code_about(self._about, data, element, self._subject.birth, self._profile.caps_age)
            or self._profile.actions.of(tag)
            or self._unlisted(data, element, vr, mode)
        )
        if tag == ICC_PROFILE and not code:
            return self._colours(data, element)
        if not code:
            # In front of a long value may be bytes that mean nothing.
            is_leaf = not element.is_sequence and not is_sequence_tag(tag)
            if mode is Mode.KEEP and is_leaf and element.vr not in LONG_VRS:
                self._profile.actions.plain.add((tag, element.vr))
            return self._within(data, element, mode)
        if code == "C" and vr in _DATES and not self._profile.moves_dates:
            code = "X/Z/D"
        within = data.sequence if data.parent is not None else 0
        kind = type_of(self._subject.sop_class_uid, within, tag) if len(code) > 1 or code in "XZ" else ""
        action = resolved(code, kind)
        if action == "X" == code and kind in ("1", "2"):
            action = "Z"
        if action == "Z" and kind == "1":
            action = "D"
        if element.is_sequence or standard_vr(tag) == "SQ":
            return self._sequence(data, element, action, mode)
        return self._value(data, element, vr, action, kind)

    def _colours(self, data: DataSet, element: Element) -> Element | None:
        """An ICC profile, without what it tells of a device unless that is retained; None for what is none."""
        is_long = element.value_bytes > MAX_PROFILE_BYTES or element.is_sequence
        value = element.value if element.bulk is None or is_long else data.tree.source.read(*element.bulk)
        new = None if is_long else without_device(value)
        if new is None or self._profile.has(Option.RETAIN_DEVICE_IDENTITY):
            return element if new is not None else None
        return data.make(element.tag, "OB", new)

    def _unlisted(self, data: DataSet, element: Element, vr: str, mode: Mode) -> str:
        """The code for an attribute that the table does not have; "" to keep it, and walk through it."""
        tag = element.tag
        known = standard_vr(tag)
        if not known or tag >> 16 in _NO_DATA_SET:
            return "X"
        if code := code_beyond(tag):
            return code
        if tag in _SCHEME_UIDS and mode is not Mode.KEEP:
            return "" if mode is Mode.CLEAN and is_public(data) else "X"
        if "UI" in (vr, known) and is_class(tag):
            return "K"
        if code := self._telling(vr, known):
            return code
        if mode is Mode.CLEAN and not TEXT_OR_NAME.isdisjoint((vr, known)):
            return "C"
        if mode is Mode.DUMMY and not _REPLACED.isdisjoint((vr, known)):
            return "D"
        if vr == "CS" and mode is not Mode.KEEP and not is_code_string(element):
            return "D"
        return "K" if is_number(element, vr) and not element.is_sequence else ""

    def _telling(self, vr: str, known: str) -> str:
        """The code for a UID, a date or a name of no row; "" for all others."""
        if "UI" in (vr, known):
            return "K" if self._profile.has(Option.RETAIN_UIDS) else "U"
        if vr in _DATES or known in _DATES:
            if self._profile.has(Option.RETAIN_LONGITUDINAL_FULL_DATES):
                return "K"
            return "C" if self._profile.moves_dates else "X/Z/D"
        return "X/Z/D" if "PN" in (vr, known) else ""

    def _sequence(self, data: DataSet, element: Element, action: str, mode: Mode) -> Element | None:
        if action == "X":
            return None
        if action == "Z" or not has_items(element):
            return _emptied(data, element)
        if action == "D":
            items = expand(data, element)
            element.items = items[:1]
            data.tree.is_changed = True
            return self._within(data, element, Mode.DUMMY)
        if action == "C":
            mode = Mode.CLEAN if mode is Mode.KEEP else mode
        return self._within(data, element, Mode.KEEP if action == "K" else mode)

    def _within(self, data: DataSet, element: Element, mode: Mode) -> Element | None:
        """An element that stays; a sequence with everything in it walked through."""
        if not element.is_sequence:
            return _emptied(data, element) if is_sequence_tag(element.tag) else element
        if not has_items(element):
            return _emptied(data, element)
        walk_items(data, element, lambda inner: self.walk(inner, mode))
        return element

    # ── values ────────────────────────────────────────────────────────────────────────────────────────────────

    def _value(self, data: DataSet, element: Element, vr: str, action: str, kind: str) -> Element | None:
        if action == "X":
            return None
        if action == "K" and is_of_its_kind(data, element, vr):
            return self._aged(data, element) if vr == "AS" and self._profile.caps_age else element
        if not element.value_bytes:
            return element if action in "ZCU" else data.make(element.tag, _made_vr(vr), _dummy(data, element, vr))
        if action in "KUC":
            made = self._cleaned(data, element, vr) if action == "C" else self._mapped(data, element, vr)
            if made is not None:
                return made
            # It cannot be read as what it should be, or nothing of it may stay: it goes as far as its type lets it.
            action = {"1": "D", "2": "Z"}.get(kind or self._type(data, element), "X")
            if action == "X" and vr in TEXT_OR_NAME and data.parent is not None:
                action = "D"  # content that says of itself that it is text has some
            if action == "X":
                return None
        value = b"" if action == "Z" else _dummy(data, element, vr)
        return data.make(element.tag, _made_vr(vr), value)

    def _type(self, data: DataSet, element: Element) -> str:
        within = data.sequence if data.parent is not None else 0
        return type_of(self._subject.sop_class_uid, within, element.tag)

    def _mapped(self, data: DataSet, element: Element, vr: str) -> Element | None:
        """UIDs by those that stand for them. What is registered (a well-known frame of reference) stays."""
        if vr != "UI" or element.bulk is not None:
            return None
        value = element.value
        new = mapped(self._profile.key, value)
        return element if new == value else data.make(element.tag, _made_vr(vr), new) if data.fits(vr, new) else None

    def _cleaned(self, data: DataSet, element: Element, vr: str) -> Element | None:
        values = _values(data, element, vr)
        known = standard_vr(element.tag)
        if values is None or (known in _TELLING and known != vr):
            return None
        if vr in _DATES:
            days = self._subject.days
            dates = [moved(vr, value, days) for value in values]
            return None if None in dates else _made(data, element, vr, tuple(each or "" for each in dates))
        if vr not in TEXT_OR_NAME or vr == "PN":
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
_NO_DATA_SET = frozenset({0x0000, 0x0002, 0x0004, 0x0006})  # PS3.5 7.1: commands, file meta information, directories


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


def _dummy(data: DataSet, element: Element, vr: str) -> bytes:
    """A value that says nothing, of numbers as many as there were."""
    dummy = _one_dummy(vr, data.big_endian)
    if element.tag == _TIME_ZONE and vr == "SH":
        return b"+0000 "
    if vr in ("DS", "IS"):
        return encode(vr, joined((dummy_text(vr),) * (element.value.count(b"\\") + 1)), data.big_endian, b"")
    return dummy * (len(element.value) // len(dummy) or 1) if vr in ("FD", "FL") else dummy


@lru_cache(maxsize=128)
def _one_dummy(vr: str, big_endian: bool) -> bytes:
    text = dummy_text(vr)
    return encode(vr, text, big_endian, b"") if text else dummy_bytes(vr)


def _emptied(data: DataSet, element: Element) -> Element:
    """A sequence without items: bytes that are none, under its name, are nothing that anybody can look into."""
    return data.make(element.tag, "SQ", b"") if element.value_bytes else element


def _begin(data: DataSet, element: Element) -> bytes:
    return element.value[:4] if element.bulk is None else data.tree.source.read(element.bulk[0], 4)


def _made_vr(vr: str) -> str:
    return vr or "UN"


def _creator_name(data: DataSet, creator: Element) -> str:
    values = _values(data, creator, "LO")
    return joined(values) if values else ""


def _with_creators_in_use(elements: list[Element]) -> list[Element]:
    """Without the Private Creators of blocks of which nothing stays."""
    used = {creator_tag(each.tag) for each in elements if is_private(each.tag) and not is_creator(each.tag)}
    return [each for each in elements if not is_creator(each.tag) or each.tag in used]
