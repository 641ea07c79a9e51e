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

What is wanted is a tree of paths (`gateway.dicom.paths`), followed beside the walk: every container knows the branches
that it is on.

Bounds: 64 levels of nesting (a stack, no recursion), 1,000,000 elements, items and fragments, 64 KiB of one value
(longer ones are kept cut), 32 MiB of kept values, each counted with 256 bytes more. `gateway.dicom.header` calls.
"""

from __future__ import annotations

from struct import Struct

from pydicom.datadict import DicomDictionary

from gateway.dicom.kept import MAX_VALUE_BYTES, Kept, Scan, vr_of_unknown
from gateway.dicom.paths import FIRST_BLOCK, LAST_BLOCK, SPECIFIC_CHARACTER_SET, AttributePath, Branch
from gateway.dicom.text import creator_text
from gateway.dicom.window import SKIP_WINDOW_BYTES, ByteSource, Window
from gateway.errors import HeaderError

MAX_DEPTH = 64
MAX_ELEMENTS = 1_000_000
FRAGMENT_WINDOW_BYTES = 16

_UNDEFINED = 0xFFFFFFFF
_NO_END = 1 << 63
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 Table 7.1-1
_VR_NAMES = {vr: vr.decode() for vr in _SHORT_VRS | _LONG_VRS}
_BYTE_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
_BYTE_VRS_RAW = frozenset(vr.encode() for vr in _BYTE_VRS)
_UNKNOWN_VRS = (b"", b"UN")
_SEQUENCE_TAGS = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
_ITEM_BYTES = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # little, big endian

_EXPLICIT = (Struct("<HH2sH").unpack_from, Struct(">HH2sH").unpack_from)
_IMPLICIT = (Struct("<HHI").unpack_from, Struct(">HHI").unpack_from)
_LENGTH = (Struct("<I").unpack_from, Struct(">I").unpack_from)


class _Frame:
    """A container being walked: the data set, a sequence (`lists_items`), or an item.

    `branches` are what is wanted of it (of a sequence: of any of its items), `keep` the tags to stop at. A sequence has
    besides: what is wanted of some items by their `numbered`, the paths under which its items are `counted`, and how
    many there were (only where some are numbered). `reserved` are the creators that have a block here.
    """

    __slots__ = (
        "big_endian",
        "branches",
        "character_set",
        "counted",
        "end",
        "implicit",
        "items",
        "keep",
        "lists_items",
        "numbered",
        "reserved",
    )

    def __init__(self, end: int, lists_items: bool, implicit: bool, big_endian: bool) -> None:
        self.end = end
        self.lists_items = lists_items
        self.implicit = implicit
        self.big_endian = big_endian
        self.branches: tuple[Branch, ...] = ()
        self.keep: frozenset[int] = _NOTHING
        self.numbered: tuple[tuple[int, Branch], ...] = ()
        self.counted: tuple[AttributePath, ...] = ()
        self.items = 0
        self.reserved: tuple[tuple[int, str], ...] = ()
        self.character_set: bytes | None = None


_NOTHING: frozenset[int] = frozenset()


class Scanner:
    """One walk over one data set, keeping what is `wanted` of it."""

    def __init__(self, source: ByteSource, *, implicit: bool, big_endian: bool, wanted: Branch) -> None:
        self._found = Scan()
        self._count = 0
        self._window = Window(source)
        self._stack: list[_Frame] = []
        self._frame = _Frame(_NO_END, False, self._detect_implicit(0, implicit), big_endian)
        self._frame.branches, self._frame.keep = (wanted,), wanted.keep

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
            if length == _UNDEFINED or vr == b"SQ" or (vr in _UNKNOWN_VRS and tag in _SEQUENCE_TAGS):
                self._count = count
                at, frame = self._open(tag, vr, value_at, length, frame)
                buffer, base, size, count = window.buffer, window.base, len(window.buffer), self._count
                continue
            if tag in frame.keep:
                if vr in _UNKNOWN_VRS and self._is_sequence(tag, value_at, frame):
                    self._count = count
                    at, frame = self._open(tag, vr, value_at, length, frame)
                    buffer, base, size, count = window.buffer, window.base, len(window.buffer), self._count
                    continue
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
                kept = Kept("OB", b"", end - at, frame.big_endian, None)
                self._found.note(tag, kept, frame.branches, not self._stack)
            return end, frame
        counted: tuple[AttributePath, ...] = ()
        if tag in frame.keep:
            counted = tuple([branch.values[tag] for branch in frame.branches if tag in branch.values])
            for path in counted:
                self._found.items.setdefault(path, 0)
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
        inner.character_set, inner.counted = frame.character_set, counted
        if tag in frame.keep:
            inside = [each for branch in frame.branches for each in branch.sequences.get(tag, ())]
            _follow(inner, tuple([branch for number, branch in inside if not number]))
            inner.numbered = tuple([each for each in inside if each[0]])
        self._stack.append(frame)
        self._frame = inner
        return at, inner

    def _is_sequence(self, tag: int, at: int, frame: _Frame) -> bool:
        """Whether an element of unknown VR is a sequence: its items are wanted, and it has some.

        Nothing but the wish tells, where a private sequence of defined length stands in implicit VR.
        """
        return any(tag in branch.sequences for branch in frame.branches) and self._window.bytes_at(at, 4) in _ITEM_BYTES

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
            inner.branches, inner.keep, inner.character_set = frame.branches, frame.keep, frame.character_set
            if frame.numbered:
                frame.items += 1
                ours = [branch for number, branch in frame.numbered if number == frame.items]
                if ours:
                    _follow(inner, (*frame.branches, *ours))
            for path in frame.counted:
                self._found.items[path] += 1
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
        vr = _VR_NAMES.get(raw_vr, "UN")
        if vr == "UN":
            vr = vr_of_unknown(tag, frame.branches)
        value = b""
        if vr not in _BYTE_VRS:
            if at + length > frame.end:
                raise HeaderError("a length goes past the end of its sequence or item")
            value = self._window.bytes_at(at, min(length, MAX_VALUE_BYTES))
            if len(value) < min(length, MAX_VALUE_BYTES):
                raise HeaderError("a length goes past the end of the data set")
        if tag == SPECIFIC_CHARACTER_SET and self._stack:
            self._found.charge(value)  # every value of the item holds on to it
            frame.character_set = value
        if tag & 0xFFFF <= LAST_BLOCK and tag >> 16 & 1:
            self._reserve(tag, value, frame)
        kept = Kept(vr, value, length, frame.big_endian, frame.character_set)
        self._found.note(tag, kept, frame.branches, not self._stack)

    def _reserve(self, tag: int, value: bytes, frame: _Frame) -> None:
        """A private creator reserves its block: from here on its attributes have tags (PS3.5 7.8.1).

        Of several blocks of one creator the first counts, as it does for other readers.
        """
        block = tag & 0xFFFF
        if block < FIRST_BLOCK:
            return
        character_set = self._found.character_set if frame.character_set is None else frame.character_set
        key = (tag >> 16, creator_text(value, character_set))
        wanted = [branch.private[key] for branch in frame.branches if key in branch.private]
        if wanted and key not in frame.reserved:
            frame.reserved = (*frame.reserved, key)
            _follow(frame, (*frame.branches, *[branch.at_block(block) for branch in wanted]))


def _follow(frame: _Frame, branches: tuple[Branch, ...]) -> None:
    """From here on the container is on these branches."""
    frame.branches = branches
    frame.keep = branches[0].keep if len(branches) == 1 else _NOTHING.union(*[branch.keep for branch in branches])
