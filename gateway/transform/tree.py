"""A data set as elements that remember how they were encoded (PS3.5 7).

An `Element` holds its bytes as they were found: all of them where they are few, only those in front of the value where
the value has more than 64 KiB, which then stays in the source (`bulk`). A sequence is not looked into until a step
does: `expand` (`gateway.transform.parse`) gives it its items. Whoever writes an element that nobody touched writes
the bytes that came; lengths of defined-length sequences and items are counted anew only where they were opened.

A value may also be `Produced`: made piece by piece while it is written, and never held.

Whatever changes a data set goes through `DataSet.put` or `drop`, or `touch`es it first:
  - elements stay in ascending order of their tags (PS3.5 7.1);
  - a group length (gggg,0000) of a group that changes is taken out, as it would no longer be true (PS3.5 7.2, retired);
  - the tree keeps what stood at the top level before, for Original Attributes Sequence.

Bounds: `Budget` counts elements and the bytes held for one data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import pack
from typing import TYPE_CHECKING, NoReturn, Protocol

from gateway.dicom.kept import KEPT_COST_BYTES, MAX_KEPT_BYTES, MAX_VALUE_BYTES
from gateway.dicom.paths import SPECIFIC_CHARACTER_SET
from gateway.dicom.scan import MAX_ELEMENTS
from gateway.dicom.window import ByteSource
from gateway.errors import HeaderError
from gateway.transform.overlay import overlay_in_pixels

if TYPE_CHECKING:
    from gateway.transform.deidentify.remember import Original

UNDEFINED = b"\xff\xff\xff\xff"
LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
MAX_LONG_BYTES = 0xFFFFFFFE
MAX_SHORT_BYTES = 0xFFFE

# What encapsulated pixel data has at least: an empty Basic Offset Table and the delimiter (PS3.5 A.4).
EMPTY_ENCAPSULATED_BYTES = 16

Span = tuple[int, int]  # offset and length in the source


class Produced(Protocol):
    """A value that is made while it is written. Little endian; whoever writes a big endian data set swaps it.

    `length` None is undefined length: the pieces then are items and the sequence delimiter. `word_bytes` is what the
    byte order changes in: 1 for bytes.
    """

    @property
    def length(self) -> int | None: ...

    @property
    def word_bytes(self) -> int: ...

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The value, in pieces of whole words; the same bytes whenever it is asked for.

        :raises TransformError, HeaderError: it cannot be made.
        """


Part = bytes | Span | Produced


class Budget:
    """What one data set may hold in memory. :raises HeaderError: more than that."""

    __slots__ = ("elements", "has_odd_vrs", "held_bytes", "max_elements")

    def __init__(self, max_elements: int = MAX_ELEMENTS) -> None:
        self.max_elements = max_elements
        self.has_odd_vrs = False  # a VR was met that is not known: see `gateway.transform.reread`
        self.elements = 0
        self.held_bytes = 0

    def count(self) -> None:
        """One more element, item or fragment is walked over."""
        self.elements += 1
        if self.elements > self.max_elements:
            self._refuse()

    def hold(self, length: int) -> None:
        """One more element is held, with so many bytes."""
        self.held_bytes += length + KEPT_COST_BYTES
        if self.held_bytes > MAX_KEPT_BYTES:
            self._refuse()

    def take(self, length: int) -> None:
        """One more element is walked over and held: `count` and `hold` in one, as there are many."""
        self.elements += 1
        self.held_bytes += length + KEPT_COST_BYTES
        if self.elements > self.max_elements or self.held_bytes > MAX_KEPT_BYTES:
            self._refuse()

    def _refuse(self) -> NoReturn:
        if self.elements > self.max_elements:
            raise HeaderError(f"more than {self.max_elements} elements")
        raise HeaderError(f"the attributes that a transform looks into hold more than {MAX_KEPT_BYTES} bytes")


class Element:
    """One element. `vr` is "" in implicit VR; `items` is None until a sequence is expanded."""

    __slots__ = ("bulk", "encoded", "header_bytes", "is_sequence", "items", "produced", "tag", "tail", "vr")

    def __init__(
        self,
        tag: int,
        vr: str,
        encoded: bytes,
        header_bytes: int,
        *,
        bulk: Span | None = None,
        is_sequence: bool = False,
        produced: Produced | None = None,
    ) -> None:
        self.tag = tag
        self.vr = vr
        self.encoded = encoded
        self.header_bytes = header_bytes
        self.bulk = bulk
        self.is_sequence = is_sequence
        self.produced = produced
        self.items: list[Item] | None = None
        self.tail = b""  # the sequence delimiter, set when expanded; or what is written behind `bulk`

    @property
    def value(self) -> bytes:
        """The encoded value where it is held; b"" for bulk and what is produced."""
        return self.encoded[self.header_bytes :]

    @property
    def value_bytes(self) -> int:
        """The length of the value, delimiter included; where nobody knows it yet, that of the shortest."""
        if self.produced is not None:
            length = self.produced.length
            return EMPTY_ENCAPSULATED_BYTES if length is None else length
        return self.bulk[1] + len(self.tail) if self.bulk is not None else len(self.encoded) - self.header_bytes

    @property
    def of_undefined_length(self) -> bool:
        """Whether delimiters end it."""
        return self.encoded[self.header_bytes - 4 : self.header_bytes] == UNDEFINED and self.header_bytes != 0

    def encoded_bytes(self) -> int:
        """Its length as it will be written."""
        if self.items is None:
            return self.header_bytes + self.value_bytes
        return self.header_bytes + sum(item.encoded_bytes() for item in self.items) + len(self.tail)

    def parts(self, big_endian: bool) -> Iterator[Part]:
        """The element as encoded bytes, places of bulk values and what is produced, in order.

        Lengths of opened sequences are counted.
        """
        if self.items is None:
            yield self.encoded
            if self.bulk is not None:
                yield self.bulk
                if self.tail:
                    yield self.tail
            elif self.produced is not None:
                yield self.produced
            return
        head = self.encoded[: self.header_bytes]
        if not self.of_undefined_length:
            head = head[:-4] + _length(self.encoded_bytes() - self.header_bytes, big_endian)
        yield head
        for item in self.items:
            yield from item.parts()
        if self.tail:
            yield self.tail

    def as_it_is(self, big_endian: bool) -> Element:
        """The element as it is now, whatever becomes of its items. A long one becomes bulk without a place (-1)."""
        if self.items is None and self.produced is not None:
            return Element(self.tag, self.vr, self.encoded, self.header_bytes, bulk=(-1, self.value_bytes))
        if self.items is None:
            return Element(
                self.tag, self.vr, self.encoded, self.header_bytes, bulk=self.bulk, is_sequence=self.is_sequence
            )
        header, length = self.header_bytes, self.encoded_bytes()
        if length > MAX_VALUE_BYTES:
            return Element(self.tag, self.vr, self.encoded[:header], header, bulk=(-1, length), is_sequence=True)
        encoded = b"".join(part for part in self.parts(big_endian) if isinstance(part, bytes))
        return Element(self.tag, self.vr, encoded, header, is_sequence=True)


class Item:
    """One item of a sequence: its header, its data set, its delimiter, and stray delimiters behind it, as found."""

    __slots__ = ("after", "data", "head", "tail")

    def __init__(self, head: bytes, data: DataSet, tail: bytes = b"") -> None:
        self.head = head
        self.data = data
        self.tail = tail
        self.after = b""

    @property
    def of_undefined_length(self) -> bool:
        """Whether a delimiter ends it."""
        return self.head[4:] == UNDEFINED

    def content_bytes(self) -> int:
        """What its length counts."""
        return sum(element.encoded_bytes() for element in self.data.elements) + len(self.tail)

    def encoded_bytes(self) -> int:
        """Its length as it will be written."""
        return 8 + self.content_bytes() + len(self.after)

    def parts(self) -> Iterator[Part]:
        """As `Element.parts`."""
        big_endian = self.data.big_endian
        yield self.head if self.of_undefined_length else self.head[:4] + _length(self.content_bytes(), big_endian)
        for element in self.data.elements:
            yield from element.parts(big_endian)
        if self.tail or self.after:
            yield self.tail + self.after


def _nothing() -> None:
    return


def _length(length: int, big_endian: bool) -> bytes:
    if length > MAX_LONG_BYTES:
        raise HeaderError("a sequence has become longer than its length can say")
    return pack(">I" if big_endian else "<I", length)


class DataSet:
    """The elements of the data set or of an item, in the order of the file."""

    __slots__ = (
        "_by_tag",
        "big_endian",
        "elements",
        "group_lengths",
        "implicit",
        "parent",
        "sequence",
        "tail",
        "tree",
    )

    def __init__(
        self, tree: Tree, implicit: bool, big_endian: bool, parent: DataSet | None = None, sequence: int = 0
    ) -> None:
        self.tree = tree
        self.implicit = implicit
        self.big_endian = big_endian
        self.parent = parent
        self.sequence = sequence  # the tag of the sequence it is an item of
        self.elements: list[Element] = []
        self.group_lengths: set[int] = set()  # those of the elements that are one
        self.tail = b""  # zeros behind the last element of the data set
        self._by_tag: dict[int, Element] | None = None

    def get(self, tag: int) -> Element | None:
        """The element of a tag; of a repeated one the last, as everywhere in the gateway."""
        return self._index().get(tag)

    def _index(self) -> dict[int, Element]:
        if self._by_tag is None:
            self._by_tag = {element.tag: element for element in self.elements}
        return self._by_tag

    def put(self, element: Element) -> None:
        """Set an element where its tag belongs, in place of those with the same tag."""
        self.touch(element.tag)
        tag, by_tag = element.tag, self._index()
        if tag in by_tag:
            elements = [each for each in self.elements if each.tag != tag]
        else:
            elements = self.elements.copy()
        at = len(elements)
        while at and elements[at - 1].tag > tag:
            at -= 1
        elements.insert(at, element)
        self.elements = elements
        by_tag[tag] = element

    def drop(self, tags: set[int]) -> None:
        """Take elements out."""
        for tag in sorted(tags):
            self.touch(tag)
        self._hold([each for each in self.elements if each.tag not in tags])

    def replace(self, replacements: dict[Element, Element]) -> None:
        """Put elements in the places of others with the same tags, all of them touched before."""
        self._hold([replacements.get(each, each) for each in self.elements])

    def rewrite(self, elements: list[Element]) -> None:
        """Have these elements in place of all, without any record; group lengths must be gone from them."""
        if len(elements) != len(self.elements) or any(
            new is not old for new, old in zip(elements, self.elements, strict=True)
        ):
            self.tree.is_changed = True
            self.group_lengths = set()
            self._hold(elements)

    def touch(self, tag: int) -> None:
        """Say, before it is done, that the element of this tag will be changed."""
        if self.parent is not None:
            self.parent.touch(self.sequence)
        else:
            if tag >> 24 == 0x60 and overlay_in_pixels(self, tag):
                self.tree.had_overlay_in_pixels = True
            self.tree.remember(tag)
        length_tag = tag & 0xFFFF0000
        if length_tag in self.group_lengths:
            self.group_lengths.discard(length_tag)
            self._hold([each for each in self.elements if each.tag != length_tag])

    def _hold(self, elements: list[Element]) -> None:
        self.elements = elements
        self._by_tag = None

    def character_set(self) -> bytes:
        """The encoded Specific Character Set that holds here (PS3.5 7.5.3: an item's own, or that around it)."""
        own = self.get(SPECIFIC_CHARACTER_SET)
        if own is not None:
            return own.value
        return self.parent.character_set() if self.parent is not None else b""

    def make(self, tag: int, vr: str, value: bytes) -> Element:
        """An element as this data set encodes it; `value` has an even length that fits (`fits`)."""
        order = ">" if self.big_endian else "<"
        head = pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if self.implicit:
            head += pack(order + "I", len(value))
        elif vr in LONG_VRS:
            head += vr.encode("ascii") + b"\0\0" + pack(order + "I", len(value))
        else:
            head += vr.encode("ascii") + pack(order + "H", len(value))
        self.tree.budget.hold(len(value))
        return Element(tag, "" if self.implicit else vr, head + value, len(head), is_sequence=vr == "SQ")

    def fits(self, vr: str, value: bytes) -> bool:
        """Whether an element of this VR can hold the value (PS3.5 7.1.2: most lengths have 16 bits)."""
        return len(value) <= (MAX_LONG_BYTES if self.implicit or vr in LONG_VRS else MAX_SHORT_BYTES)

    def make_produced(self, tag: int, vr: str, produced: Produced) -> Element:
        """An element of a VR of bytes or words, whose value is made when it is written."""
        length, order = produced.length, ">" if self.big_endian else "<"
        if length is not None and length > MAX_LONG_BYTES:
            raise HeaderError("a value has become longer than its length can say")
        head = pack(order + "HH", tag >> 16, tag & 0xFFFF) + (b"" if self.implicit else vr.encode("ascii") + b"\0\0")
        head += UNDEFINED if length is None else pack(order + "I", length)
        self.tree.budget.hold(len(head))
        return Element(tag, "" if self.implicit else vr, head, len(head), produced=produced)

    def make_item(self, sequence: Element) -> Item:
        """An item without elements for a sequence of this data set."""
        # PS3.5 6.2.2: in UN an item is in implicit VR little endian, whatever the transfer syntax.
        is_unknown = sequence.vr == "UN"
        big_endian = self.big_endian and not is_unknown
        data = DataSet(self.tree, self.implicit or is_unknown, big_endian, self, sequence.tag)
        return Item(pack(">HHI" if big_endian else "<HHI", 0xFFFE, 0xE000, 0), data)


class Tree:
    """A data set, where its bulk values are, and what it was before. Patient data: never log or print one."""

    __slots__ = (
        "at_once_bytes",
        "beat",
        "budget",
        "converted",
        "had_overlay_in_pixels",
        "is_changed",
        "is_recording",
        "keeps_no_record",
        "originals",
        "pixels_clean",
        "pixels_masked",
        "previous",
        "root",
        "source",
        "transfer_syntax_uid",
        "where",
    )

    def __init__(self, source: ByteSource, budget: Budget, implicit: bool, big_endian: bool) -> None:
        self.transfer_syntax_uid = ""  # what its pixel data is encoded in now, and what it will be written in
        self.where = ""  # the step that is being done, for what is said later of what it left to do
        self.beat: Callable[[], object] = _nothing  # called while a step takes long
        self.at_once_bytes: int | None = None  # of pixel data that a step may work on now
        self.source = source
        self.budget = budget
        self.root = DataSet(self, implicit, big_endian)
        self.is_changed = False
        self.is_recording = True
        self.keeps_no_record = False  # see `forget`
        self.originals: tuple[Original, ...] = ()  # what a `deidentify` step remembers
        self.previous: dict[int, Element | None] = {}  # by tag of the top level, as it was before its first change
        self.pixels_clean = False  # a step has seen to what the pixels show (`gateway.transform.pixels.mask`)
        self.pixels_masked = False  # parts of them were blanked
        self.had_overlay_in_pixels = False  # a step has changed what told of it (`gateway.transform.pixels.overlays`)
        self.converted: dict[int, Element] = {}  # as it was before its character set was converted

    def remember(self, tag: int) -> None:
        """Keep what stands at the top level under a tag that is about to change."""
        self.is_changed = True
        if self.is_recording and tag not in self.previous:
            found = self.converted.get(tag) or self.root.get(tag)
            self.previous[tag] = None if found is None else found.as_it_is(self.root.big_endian)

    def forget(self) -> None:
        """Keep nothing of what was, and nothing of what will be changed: the data set has been de-identified."""
        self.keeps_no_record, self.is_recording = True, False
        self.previous, self.converted = {}, {}

    def __iter__(self) -> Iterator[Element]:
        return iter(self.root.elements)
