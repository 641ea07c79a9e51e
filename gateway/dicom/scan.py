"""Walks a data set's elements by their lengths, keeping the few values that are wanted (PS3.5 7).

The walk goes to the end of the data set, so that a data set cut short is found: every length must end where its
container ends, every undefined length must be delimited, nothing but padding may follow the last element. Values that
are not wanted are stepped over without being read; of pixel data only the item headers and the last byte (is it
there?) are touched, beyond what the first read happens to hold.

Read although slightly odd, as long as the lengths add up:
  - the data set is in implicit VR although explicit was announced, or the other way round (seen by its first VR);
  - an item of a sequence in explicit VR is in implicit VR (PS3.5 6.2.2 asks for it in UN of undefined length);
  - a VR that is not known, in lower case or blank: the form of the length is the one after which a next tag stands;
  - a sequence of defined length that does not begin with an item is stepped over as a whole;
  - item and sequence delimiters inside a container of defined length, and delimiters with a length;
  - zeros behind the last element, up to 1 MiB, and Data Set Trailing Padding (FFFC,FFFC).

Not found, because nothing in the data set tells: a cut exactly between two top-level elements (PS3.5 7.1 has no end
mark). Only a data set that ends behind a group length is known to be cut there. That the last fragment of a message
came is the upper layer's knowledge.

Bounds: 64 levels of nesting (a stack, no recursion), 1,000,000 elements, items and fragments, 64 KiB of one value
(longer ones are kept cut), 32 MiB of kept values, each counted with 256 bytes more. `gateway.dicom.header` calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct

from pydicom.datadict import DicomDictionary, dictionary_VR

from gateway.dicom.window import SKIP_WINDOW_BYTES, ByteSource, Window
from gateway.errors import HeaderError

MAX_DEPTH = 64
MAX_ELEMENTS = 1_000_000
MAX_VALUE_BYTES = 64 * 1024
MAX_KEPT_BYTES = 32 * 1024 * 1024
KEPT_COST_BYTES = (
    256  # what keeping a value costs beside its bytes: many empty ones are no cheaper than a few long ones
)
FRAGMENT_WINDOW_BYTES = 16

SPECIFIC_CHARACTER_SET = 0x00080005

_UNDEFINED = 0xFFFFFFFF
_NO_END = 1 << 63
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 Table 7.1-1
_BYTE_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
_BYTE_VRS_RAW = frozenset(vr.encode() for vr in _BYTE_VRS)
_SEQUENCE_TAGS = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
_ITEM_BYTES = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # little, big endian

_EXPLICIT = (Struct("<HH2sH").unpack_from, Struct(">HH2sH").unpack_from)
_IMPLICIT = (Struct("<HHI").unpack_from, Struct(">HHI").unpack_from)
_LENGTH = (Struct("<I").unpack_from, Struct(">I").unpack_from)

AttributePath = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kept:
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
    items: dict[int, int] = field(default_factory=dict)


class _Frame:
    """A container being walked: the data set, a sequence (`lists_items`), or an item."""

    __slots__ = ("big_endian", "character_set", "end", "implicit", "keep", "lists_items", "sequence", "wanted_within")

    def __init__(self, end: int, lists_items: bool, implicit: bool, big_endian: bool) -> None:
        self.end = end
        self.lists_items = lists_items
        self.implicit = implicit
        self.big_endian = big_endian
        self.sequence = 0  # the top-level sequence this belongs to
        self.keep: frozenset[int] = frozenset()
        self.wanted_within: frozenset[int] = frozenset()
        self.character_set: bytes | None = None


_NOTHING: frozenset[int] = frozenset()


class Scanner:
    """One walk over one data set. `top` are wanted top-level tags, `within` the wanted tags by sequence."""

    def __init__(
        self,
        source: ByteSource,
        *,
        implicit: bool,
        big_endian: bool,
        top: frozenset[int],
        within: Mapping[int, frozenset[int]],
    ) -> None:
        self._top = top
        self._within = within
        self._interesting = top | frozenset(within)
        self._found = Scan()
        self._kept_bytes = 0
        self._count = 0
        self._window = Window(source)
        self._stack: list[_Frame] = []
        self._frame = _Frame(_NO_END, False, self._detect_implicit(0, implicit), big_endian)
        self._frame.keep = self._interesting

    def run(self) -> Scan:
        """Walk to the end. :raises HeaderError: the data set does not hold together, or is past a bound."""
        if not self._window.buffer[:8].strip(b"\0"):
            self._window.expect_padding(0)
            raise HeaderError("the data set is empty")
        self._walk()
        return self._found

    def _walk(self) -> None:
        """The loop over elements. One function although long: it is most of the cost of a header."""
        at, last_tag, last_length = 0, 0, 0
        frame, window = self._frame, self._window
        buffer, base, size, count = window.buffer, window.base, len(window.buffer), 0
        while True:
            if at >= frame.end:
                if at > frame.end:
                    raise HeaderError("a length goes past the end of its sequence or item")
                frame = self._frame = self._stack.pop()
                continue
            i = at - base
            if i + 12 > size:
                window.move(at)
                buffer, base, size = window.buffer, window.base, len(window.buffer)
                i = at - base
                if i + 8 > size:
                    self._finish(buffer[i:], last_tag, last_length)
                    return
            count += 1
            if count > MAX_ELEMENTS:
                raise HeaderError(f"more than {MAX_ELEMENTS} elements")
            if frame.lists_items:
                at, frame = self._item(at, frame)
                buffer, base, size = window.buffer, window.base, len(window.buffer)
                continue
            if frame.implicit:
                group, element, length = _IMPLICIT[frame.big_endian](buffer, i)
                vr = b""
                value_at = at + 8
            else:
                group, element, vr, length = _EXPLICIT[frame.big_endian](buffer, i)
                if vr in _SHORT_VRS:
                    value_at = at + 8
                elif vr in _LONG_VRS:
                    if i + 12 > size:
                        raise HeaderError("the data set ends inside an element")
                    length = _LENGTH[frame.big_endian](buffer, i + 8)[0]
                    value_at = at + 12
                elif group != 0xFFFE and (group or element):
                    value_at, length, vr = self._odd_vr(at, group << 16 | element, vr, frame)
                    buffer, base, size = window.buffer, window.base, len(window.buffer)
                else:
                    value_at, length = at + 8, 0
            tag = group << 16 | element
            if group == 0xFFFE:
                at, frame = self._delimiter(at, tag, frame)
                continue
            if not group and not self._stack:
                if tag == 0:
                    window.expect_padding(at)
                    return
                raise HeaderError("command elements (group 0000) stand in the data set")
            last_tag, last_length = tag, length
            if length == _UNDEFINED or vr == b"SQ" or (vr in (b"", b"UN") and tag in _SEQUENCE_TAGS):
                self._count = count
                at, frame = self._open(tag, vr, value_at, length, frame)
                buffer, base, size, count = window.buffer, window.base, len(window.buffer), self._count
                continue
            if tag in frame.keep:
                self._keep(tag, vr, value_at, length, frame)
                buffer, base, size = window.buffer, window.base, len(window.buffer)
            at = value_at + length

    def _finish(self, rest: bytes, last_tag: int, last_length: int) -> None:
        """The data set ends here, less than 8 bytes behind an element."""
        if self._stack:
            raise HeaderError("the data set ends inside a sequence")
        # One zero may be the begin of a tag; two are group 0000, which no data set has.
        if rest.strip(b"\0") or len(rest) == 1:
            raise HeaderError("the data set ends inside an element")
        if last_tag & 0xFFFF == 0 and last_length:
            # PS3.5 7.2: a group length counts the elements of its group that follow; none does.
            raise HeaderError("the data set ends behind a group length, without the group")

    # ── containers ────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self, tag: int, vr: bytes, at: int, length: int, frame: _Frame) -> tuple[int, _Frame]:
        """Step into a sequence or encapsulated pixel data, or over a value that is neither."""
        undefined = length == _UNDEFINED
        if undefined and (tag in _PIXEL_TAGS or vr in _BYTE_VRS_RAW):
            end = self._skip_fragments(at, frame)
            if tag in frame.keep:
                self._note(tag, Kept("OB", b"", end - at, frame.big_endian, None), frame)
            return end, frame
        at_top = not self._stack
        if at_top and tag in self._top:
            self._found.items.setdefault(tag, 0)
        first = self._window.bytes_at(at, 4)
        if not undefined:
            if at + length > frame.end:
                raise HeaderError("a length goes past the end of its sequence or item")
            if first not in _ITEM_BYTES or not length:
                return at + length, frame
        if len(self._stack) >= 2 * MAX_DEPTH:
            raise HeaderError(f"nested deeper than {MAX_DEPTH} levels")
        # PS3.5 6.2.2: UN of undefined length is implicit VR little endian inside, whatever the transfer syntax.
        big_endian = first == _ITEM_BYTES[1] if vr == b"UN" else frame.big_endian
        inner = _Frame(at + length if not undefined else _NO_END, True, frame.implicit or vr == b"UN", big_endian)
        if vr == b"UN" and not frame.implicit:
            inner.implicit = False  # each item tells by its first element
        if at_top:
            inner.sequence = tag
            inner.wanted_within = self._within.get(tag, _NOTHING)
        self._stack.append(frame)
        self._frame = inner
        return at, inner

    def _item(self, at: int, frame: _Frame) -> tuple[int, _Frame]:
        """Read one item header of a sequence, or the sequence's end."""
        group, element, length = _IMPLICIT[frame.big_endian](self._window.buffer, at - self._window.base)
        tag = group << 16 | element
        at += 8
        if tag == _ITEM:
            if length != _UNDEFINED and at + length > frame.end:
                raise HeaderError("an item goes past the end of its sequence")
            end = _NO_END if length == _UNDEFINED else at + length
            implicit = frame.implicit or (length != 0 and self._detect_implicit(at, False))
            inner = _Frame(end, False, implicit, frame.big_endian)
            inner.sequence, inner.keep = frame.sequence, frame.wanted_within
            if frame.sequence in self._found.items and len(self._stack) == 1:
                self._found.items[frame.sequence] += 1
            self._stack.append(frame)
            self._frame = inner
            return at, inner
        if tag == _SEQUENCE_END and frame.end in (_NO_END, at):
            self._frame = self._stack.pop()
            return at, self._frame
        if tag == _ITEM_END and at <= frame.end:
            return at, frame
        raise HeaderError("a sequence holds something that is not an item")

    def _delimiter(self, at: int, tag: int, frame: _Frame) -> tuple[int, _Frame]:
        """An item's end, where an element was looked for."""
        if tag == _ITEM_END and self._stack and frame.end in (_NO_END, at + 8):
            self._frame = self._stack.pop()
            return at + 8, self._frame
        raise HeaderError("a delimiter stands outside its sequence, or an item is not ended")

    def _skip_fragments(self, at: int, frame: _Frame) -> int:
        """Step over encapsulated pixel data, item by item (PS3.5 A.4); returns where it ends."""
        unpack, window = _IMPLICIT[frame.big_endian], self._window
        length = FRAGMENT_WINDOW_BYTES
        while True:
            if not window.holds(at + 8):
                window.move(at, FRAGMENT_WINDOW_BYTES if length > SKIP_WINDOW_BYTES else SKIP_WINDOW_BYTES)
                if not window.holds(at + 8):
                    raise HeaderError("the data set ends inside encapsulated pixel data")
            group, element, length = unpack(window.buffer, at - window.base)
            tag = group << 16 | element
            at += 8
            if tag == _SEQUENCE_END:
                return at
            if tag != _ITEM or length == _UNDEFINED:
                raise HeaderError("encapsulated pixel data holds something that is not a fragment")
            self._count += 1
            if self._count > MAX_ELEMENTS:
                raise HeaderError(f"more than {MAX_ELEMENTS} elements")
            at += length

    # ── odd encodings ─────────────────────────────────────────────────────────────────────────────────────────

    def _detect_implicit(self, at: int, announced: bool) -> bool:
        """Whether the data set or item at `at` is in implicit VR, by the VR of its first element.

        A length whose low bytes are two capitals would be one of more than 16 KiB in the first element.
        """
        head = self._window.bytes_at(at, 6)
        if len(head) < 6 or head[:4] in _ITEM_BYTES or head[:2] in (b"\xfe\xff", b"\xff\xfe"):
            return announced
        vr = head[4:6]
        if announced:
            return vr not in _SHORT_VRS and vr not in _LONG_VRS
        return not (vr.isalpha() and vr.isupper())

    def _odd_vr(self, at: int, tag: int, vr: bytes, frame: _Frame) -> tuple[int, int, bytes]:
        """Find the value of an element whose VR is not known: (where it begins, its length, its VR).

        PS3.5 7.1.2 gives VRs of the future a 32-bit length; writers of bad VRs use any of the three forms. The first
        form that leads to a next tag (or to the end) is taken.
        """
        head = self._window.bytes_at(at, 12)
        implicit = (8, _IMPLICIT[frame.big_endian](head)[2], b"")
        short = (8, _EXPLICIT[frame.big_endian](head)[3], b"UN")
        forms = [implicit, short]
        if len(head) == 12:
            long = (12, _LENGTH[frame.big_endian](head, 8)[0], b"UN")
            capitals = vr.isalpha() and vr.isupper()
            if capitals and head[6:8] == b"\0\0":
                forms = [long, short, implicit]
            elif capitals:
                forms = [short, implicit, long]
            else:
                forms.append(long)
        far: tuple[int, int, bytes] | None = None
        for form in forms:
            offset, length, _ = form
            end = at + offset + length
            if length == _UNDEFINED:
                if self._window.bytes_at(at + offset, 4) in _ITEM_BYTES:
                    return at + offset, length, form[2]
            elif not self._window.holds(end + 8) and not self._window.ended:
                far = far or form
            elif end <= frame.end and self._tag_follows(end, tag, frame):
                return at + offset, length, form[2]
        if far is None:
            raise HeaderError("an element has an unknown VR and no length that fits")
        return at + far[0], far[1], far[2]

    def _tag_follows(self, at: int, tag: int, frame: _Frame) -> bool:
        window = self._window
        head = window.buffer[at - window.base : at - window.base + 8]
        if at == frame.end or (not head and at == window.base + len(window.buffer) and not self._stack):
            return True
        if len(head) < 8:
            return False
        group, element, _ = _IMPLICIT[frame.big_endian](head)
        return bool((group << 16 | element) > tag)

    # ── values ────────────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self, tag: int, raw_vr: bytes, at: int, length: int, frame: _Frame) -> None:
        if not self._stack and tag not in self._top:
            return
        vr = raw_vr.decode("ascii") or "UN"
        if vr == "UN":
            vr = _dictionary_vr(tag)
        value = b""
        if vr not in _BYTE_VRS:
            if at + length > frame.end:
                raise HeaderError("a length goes past the end of its sequence or item")
            value = self._window.bytes_at(at, min(length, MAX_VALUE_BYTES))
            if len(value) < min(length, MAX_VALUE_BYTES):
                raise HeaderError("a length goes past the end of the data set")
        self._kept_bytes += len(value) + KEPT_COST_BYTES
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise HeaderError(f"the attributes that rules look at hold more than {MAX_KEPT_BYTES} bytes")
        if tag == SPECIFIC_CHARACTER_SET and self._stack:
            frame.character_set = value
        self._note(tag, Kept(vr, value, length, frame.big_endian, frame.character_set), frame)

    def _note(self, tag: int, kept: Kept, frame: _Frame) -> None:
        if not self._stack:
            if tag in self._top:
                self._found.elements[(tag,)] = [kept]  # of a repeated element the last counts
            return
        self._found.elements.setdefault((frame.sequence, tag), []).append(kept)


def _dictionary_vr(tag: int) -> str:
    """The VR that PS3.6 gives an attribute; where it leaves a choice the one that suits a reader of text."""
    try:
        vr = str(dictionary_VR(tag))
    except KeyError:
        return "UN"
    if vr == "US or SS":
        return "US"
    return "OW" if " or " in vr else vr
