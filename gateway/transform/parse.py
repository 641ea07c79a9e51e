"""Bytes to a tree of elements, and sequences to their items when a step looks into them.

What is read although odd is what `gateway.dicom.scan` reads although odd, so that an object that could be routed
can be transformed; that walk has been over the whole data set before. This one steps over what has a length, and walks
through what has none to find where it ends (a stack, no recursion).

:raises HeaderError: lengths do not add up, or a bound is passed; texts hold no value.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from gateway.dicom.kept import MAX_VALUE_BYTES
from gateway.dicom.scan import MAX_DEPTH
from gateway.dicom.window import MAX_PADDING_BYTES, SKIP_WINDOW_BYTES, WINDOW_BYTES, ByteSource, Inflated
from gateway.errors import HeaderError
from gateway.transform.names import is_sequence_tag
from gateway.transform.tree import Budget, DataSet, Element, Item, Tree

# PS3.5 A.1, A.2 and A.5 as in `gateway.dicom.header`; all that are not named are A.4, explicit VR little endian.
IMPLICIT = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.20", "1.2.840.113619.5.2"})
BIG_ENDIAN = frozenset({"1.2.840.10008.1.2.2"})
DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_BYTES = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW"})
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_NAMES = {vr: vr.decode("ascii") for vr in _SHORT | _LONG}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ITEM_BYTES = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_UNDEFINED = 0xFFFFFFFF
_ZEROS = bytes(4)
_NO_END = 1 << 63
_EXPLICIT_HEAD = (Struct("<HH2sH").unpack_from, Struct(">HH2sH").unpack_from)
_IMPLICIT_HEAD = (Struct("<HHI").unpack_from, Struct(">HHI").unpack_from)
_LENGTH = (Struct("<I").unpack_from, Struct(">I").unpack_from)

_Head = tuple[int, bytes, int, int]  # tag, VR (b"" in implicit VR), bytes before the value, length of the value


class Rewound:
    """A deflated data set as a source that can be read anywhere: what lies behind is inflated again."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._inflated = Inflated(source)
        self._at = 0

    def read(self, offset: int, length: int) -> bytes:
        """As `ByteSource.read`. :raises HeaderError: as `Inflated`."""
        if offset < self._at:
            self._inflated = Inflated(self._source)
        self._at = offset
        return self._inflated.read(offset, length)


class _Part:
    """The bytes of one value, from 0."""

    def __init__(self, source: ByteSource, offset: int, length: int) -> None:
        self._source = source
        self._offset = offset
        self._length = length

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self._length - offset)
        return self._source.read(self._offset + offset, length) if length > 0 else b""


class Held:
    """Bytes in memory as a source."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


def parse(source: ByteSource, transfer_syntax_uid: str) -> Tree:
    """Read the elements of a data set.

    :param source: its bytes, without file meta information; asked again for bulk values when the tree is written.
    """
    if transfer_syntax_uid in DEFLATED:
        source = Rewound(source)
    tree = parse_plain(source, transfer_syntax_uid in IMPLICIT, transfer_syntax_uid in BIG_ENDIAN)
    tree.transfer_syntax_uid = transfer_syntax_uid
    return tree


def parse_plain(source: ByteSource, implicit: bool, big_endian: bool) -> Tree:
    """Read the elements of a data set that is not deflated; `implicit` is what was announced."""
    budget = Budget()
    walk = Walk(source, budget)
    tree = Tree(source, budget, walk.detect_implicit(0, implicit), big_endian)
    end = walk.elements(tree.root, 0, _NO_END)
    if not tree.root.elements:
        raise HeaderError("the data set is empty")
    tree.root.tail = walk.padding(end)
    return tree


def expand(data: DataSet, element: Element) -> list[Item]:
    """The items of a sequence of a data set, read when first asked for.

    :raises HeaderError: it holds something that is not an item, or lies deeper than 64 levels.
    """
    if element.items is None:
        _expand(data, element)
    return element.items if element.items is not None else []


def has_items(element: Element) -> bool:
    """Whether it can be opened: a sequence of defined length that begins with something else has no items."""
    if element.items is not None or element.bulk is not None or element.of_undefined_length:
        return element.is_sequence
    return element.is_sequence and begins_items(element.value)


def begins_items(value: bytes) -> bool:
    """Whether a value begins as that of a sequence with items."""
    return value[:4] in _ITEM_BYTES


def each_item(data: DataSet, element: Element) -> Iterator[Item]:
    """The items of a sequence, one after the other, none of them kept: a sequence that is closed stays closed.

    :raises HeaderError: as `expand`.
    """
    if element.items is not None:
        yield from element.items
        return
    budget = data.tree.budget
    items: list[Item] = []
    walk, at, big_endian = _opened(data, element)
    while 0 <= at < element.value_bytes:
        elements, held_bytes = budget.elements, budget.held_bytes
        items = items[-1:]
        before = len(items)
        at = _read_item(walk, items, at, element.value_bytes, data, element, big_endian)
        if len(items) > before:
            yield items[-1]
        budget.elements, budget.held_bytes = elements, held_bytes
    element.tail = b""


def _expand(data: DataSet, element: Element) -> None:
    items: list[Item] = []
    walk, at, big_endian = _opened(data, element)
    while 0 <= at < element.value_bytes:
        at = _read_item(walk, items, at, element.value_bytes, data, element, big_endian)
    element.items = items


def _opened(data: DataSet, element: Element) -> tuple[Walk, int, bool]:
    """A walk over the value of a sequence, where it begins, and whether it is big endian inside."""
    depth, around = 1, data.parent
    while around is not None:
        depth, around = depth + 1, around.parent
    if depth > MAX_DEPTH:
        raise HeaderError(f"nested deeper than {MAX_DEPTH} levels")
    length, base = element.value_bytes, 0
    part: ByteSource = Held(element.value)
    if element.bulk is not None:
        base = element.bulk[0]
        part = _Part(data.tree.source, base, length)
    walk = Walk(part, data.tree.budget, base)
    # PS3.5 6.2.2: UN of undefined length is little endian inside, whatever the transfer syntax.
    big_endian = data.big_endian
    if element.vr == "UN":
        big_endian = walk.slice(0, min(4, length)) == _ITEM_BYTES[1]
    return walk, 0, big_endian


def _read_item(
    walk: Walk, items: list[Item], at: int, end: int, data: DataSet, element: Element, big_endian: bool
) -> int:
    """Read one item; where the next begins, or -1 behind the sequence's delimiter."""
    head = walk.slice(at, 8)
    group, number, length = _IMPLICIT_HEAD[big_endian](head)
    tag = group << 16 | number
    walk.budget.count()
    if tag == _SEQUENCE_END and at + 8 == end:
        element.tail = head
        return -1
    if tag == _ITEM_END and items:
        items[-1].after += head  # a stray one, which `gateway.dicom.scan` reads too
        return at + 8
    if tag != _ITEM:
        raise HeaderError("a sequence holds something that is not an item")
    at += 8
    undefined = length == _UNDEFINED
    item_end = _NO_END if undefined else at + length
    if not undefined and item_end > end:
        raise HeaderError("an item goes past the end of its sequence")
    implicit = data.implicit or (length != 0 and walk.detect_implicit(at, False))
    inner = DataSet(data.tree, implicit, big_endian, data, element.tag)
    stop = walk.elements(inner, at, item_end)
    item = Item(head, inner)
    if undefined or stop < item_end:
        item.tail = walk.slice(stop, 8)
        stop += 8
    items.append(item)
    return stop


class Walk:
    """Reads heads of elements, moving a window over a source. `base` is where the source begins in the data set."""

    def __init__(self, source: ByteSource, budget: Budget, base: int = 0) -> None:
        self._source = source
        self._base_of_source = base
        self.budget = budget
        self._base = 0
        self._buffer = source.read(0, WINDOW_BYTES)
        self._ended = len(self._buffer) < WINDOW_BYTES

    # ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────

    def peek(self, at: int, length: int) -> bytes:
        """At most `length` bytes at `at`; fewer where the source ends."""
        start = at - self._base
        if start < 0 or (start + length > len(self._buffer) and not self._ended):
            # Behind a long value little is wanted, unless elements follow it.
            size = WINDOW_BYTES if 0 <= start <= len(self._buffer) else SKIP_WINDOW_BYTES
            self._base, start = at, 0
            self._buffer = self._source.read(at, max(size, length))
            self._ended = len(self._buffer) < max(size, length)
        return self._buffer[start : start + length] if start <= len(self._buffer) else b""

    def slice(self, at: int, length: int) -> bytes:
        """Exactly `length` bytes at `at`."""
        data = self.peek(at, length)
        if len(data) < length:
            raise HeaderError("the data set ends inside an element")
        return data

    def padding(self, at: int) -> bytes:
        """The zeros behind the last element, to the end."""
        parts = []
        size = 0
        while block := self._source.read(at, WINDOW_BYTES):
            size += len(block)
            if block.strip(b"\0") or size > MAX_PADDING_BYTES:
                raise HeaderError("zeros stand where an element should")
            parts.append(block)
            at += len(block)
        return b"".join(parts)

    def detect_implicit(self, at: int, announced: bool) -> bool:
        """Whether the data set or item at `at` is in implicit VR, by the VR of its first element."""
        head = self.peek(at, 6)
        if len(head) < 6 or head[:4] in _ITEM_BYTES or head[:2] in (b"\xfe\xff", b"\xff\xfe"):
            return announced
        vr = head[4:6]
        if announced:
            return vr not in _SHORT and vr not in _LONG
        return not (vr.isalpha() and vr.isupper())

    # ── elements ──────────────────────────────────────────────────────────────────────────────────────────────

    def elements(self, data: DataSet, at: int, end: int) -> int:
        """Read the elements of a data set or item into it; where they end: at `end`, a delimiter or the padding."""
        is_top = data.parent is None
        budget, elements = self.budget, data.elements
        while at < end:
            start = at - self._base
            if is_top and (start < 0 or start + 8 > len(self._buffer) or self._buffer[start : start + 4] == _ZEROS):
                first = self.peek(at, 8)
                if len(first) < 8 or first[:4] == _ZEROS:
                    break
            tag, vr, header, length = self.head(at, end, data.implicit, data.big_endian)
            if tag >> 16 == 0xFFFE:
                if tag == _ITEM_END and not is_top and end in (_NO_END, at + 8):
                    return at
                raise HeaderError("a delimiter stands outside its sequence, or an item is not ended")
            if is_top and tag >> 16 == 0:
                raise HeaderError("command elements (group 0000) stand in the data set")
            if not tag & 0xFFFF:
                data.group_lengths.add(tag)
            sequence = vr == b"SQ" or ((not vr or vr == b"UN") and is_sequence_tag(tag))
            after = at + header + length
            if length == _UNDEFINED:
                if tag in _PIXEL_TAGS or vr in _BYTES:
                    after = self.fragments_end(at + header, data.big_endian)
                else:
                    sequence = True
                    after = self.sequence_end(at + header, vr, data.implicit, data.big_endian)
            if after > end:
                raise HeaderError("a length goes past the end of its sequence or item")
            name = _NAMES.get(vr, "")
            if after - at - header > MAX_VALUE_BYTES:
                encoded = self.slice(at, header)
                self.slice(after - 1, 1)  # is it there?
                bulk = (self._base_of_source + at + header, after - at - header)
                elements.append(Element(tag, name, encoded, header, bulk=bulk, is_sequence=sequence))
            else:
                start = at - self._base
                encoded = self._buffer[start : start + after - at] if start >= 0 else b""
                if len(encoded) != after - at:
                    encoded = self.slice(at, after - at)
                elements.append(Element(tag, name, encoded, header, is_sequence=sequence))
            budget.take(len(encoded))
            at = after
        if at > end:
            raise HeaderError("a length goes past the end of its sequence or item")
        return at

    def head(self, at: int, end: int, implicit: bool, big_endian: bool) -> _Head:
        """The head of the element at `at`; the VR is b"" where none stands there."""
        i = at - self._base
        if i < 0 or i + 12 > len(self._buffer):
            if len(self.peek(at, 12)) < 8:
                raise HeaderError("the data set ends inside an element or sequence")
            i = at - self._base
        if implicit:
            group, number, length = _IMPLICIT_HEAD[big_endian](self._buffer, i)
            return group << 16 | number, b"", 8, length
        group, number, vr, length = _EXPLICIT_HEAD[big_endian](self._buffer, i)
        tag = group << 16 | number
        if vr in _SHORT:
            return tag, vr, 8, length
        if group == 0xFFFE or tag == 0:
            return tag, b"", 8, _IMPLICIT_HEAD[big_endian](self._buffer, i)[2]
        if vr in _LONG:
            if i + 12 > len(self._buffer):
                raise HeaderError("the data set ends inside an element")
            return tag, vr, 12, _LENGTH[big_endian](self._buffer, i + 8)[0]
        return self._odd_head(at, end, tag, vr, big_endian)

    def _odd_head(self, at: int, end: int, tag: int, vr: bytes, big_endian: bool) -> _Head:
        """The head of an element whose VR is not known: the form of the length that leads to a next tag."""
        self.budget.has_odd_vrs = True
        head = self.peek(at, 12)
        implicit: _Head = (tag, b"", 8, _IMPLICIT_HEAD[big_endian](head)[2])
        short: _Head = (tag, b"UN", 8, _EXPLICIT_HEAD[big_endian](head)[3])
        forms = [implicit, short]
        if len(head) == 12:
            long: _Head = (tag, b"UN", 12, _LENGTH[big_endian](head, 8)[0])
            if vr.isalpha() and vr.isupper():
                forms = [long, short, implicit] if head[6:8] == b"\0\0" else [short, implicit, long]
            else:
                forms.append(long)
        far: _Head | None = None
        for form in forms:
            after = at + form[2] + form[3]
            if form[3] == _UNDEFINED:
                if self.peek(at + form[2], 4) in _ITEM_BYTES:
                    return form
            elif after - at > WINDOW_BYTES:
                far = far or form
            elif after <= end and self._tag_follows(at, after, end, tag, big_endian):
                return form
        if far is None:
            raise HeaderError("an element has an unknown VR and no length that fits")
        return far

    def _tag_follows(self, at: int, after: int, end: int, tag: int, big_endian: bool) -> bool:
        head = self.peek(at, after - at + 8)[after - at :]
        if after == end or (not head and len(self.peek(at, after - at)) == after - at):
            return True
        if len(head) < 8:
            return False
        group, number, _ = _IMPLICIT_HEAD[big_endian](head)
        return bool((group << 16 | number) > tag)

    # ── what has no length ────────────────────────────────────────────────────────────────────────────────────

    def fragments_end(self, at: int, big_endian: bool) -> int:
        """Where encapsulated pixel data ends, delimiter included (PS3.5 A.4)."""
        while True:
            head = self.peek(at, 8)
            if len(head) < 8:
                raise HeaderError("the data set ends inside encapsulated pixel data")
            group, number, length = _IMPLICIT_HEAD[big_endian](head)
            self.budget.count()
            at += 8
            if (group << 16 | number) == _SEQUENCE_END:
                return at
            if (group << 16 | number) != _ITEM or length == _UNDEFINED:
                raise HeaderError("encapsulated pixel data holds something that is not a fragment")
            at += length

    def sequence_end(self, at: int, vr: bytes, implicit: bool, big_endian: bool) -> int:
        """Where a sequence of undefined length ends, delimiter included."""
        stack = [(True, implicit, self._order_within(at, vr, big_endian))]  # (it is a sequence, implicit, big endian)
        while stack:
            is_sequence, implicit, big_endian = stack[-1]
            self.budget.count()
            if is_sequence:
                group, number, length = _IMPLICIT_HEAD[big_endian](self.slice(at, 8))
                tag = group << 16 | number
                at += 8
                if tag == _SEQUENCE_END:
                    stack.pop()
                elif tag == _ITEM and length == _UNDEFINED:
                    stack.append((False, implicit or self.detect_implicit(at, False), big_endian))
                elif tag == _ITEM:
                    at += length
                elif tag != _ITEM_END:
                    raise HeaderError("a sequence holds something that is not an item")
                continue
            tag, vr, header, length = self.head(at, _NO_END, implicit, big_endian)
            at += header
            if tag == _ITEM_END:
                stack.pop()
            elif tag >> 16 == 0xFFFE:
                raise HeaderError("a delimiter stands outside its sequence, or an item is not ended")
            elif length != _UNDEFINED:
                at += length
            elif tag in _PIXEL_TAGS or vr in _BYTES:
                at = self.fragments_end(at, big_endian)
            elif len(stack) >= 2 * MAX_DEPTH:
                raise HeaderError(f"nested deeper than {MAX_DEPTH} levels")
            else:
                stack.append((True, implicit, self._order_within(at, vr, big_endian)))
        return at

    def _order_within(self, at: int, vr: bytes, big_endian: bool) -> bool:
        return self.peek(at, 4) == _ITEM_BYTES[1] if vr == b"UN" else big_endian
