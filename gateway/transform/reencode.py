"""A data set in another native form: from implicit VR or big endian to explicit or implicit VR little endian (PS3.5 7).

Every element gets a new header; values stay as they are but for the byte order, which is swapped by VR. VRs that are
not there come from PS3.6, "US or SS" by Pixel Representation, those of private attributes from pydicom's dictionary of
them; what nobody knows is UN, inside which a sequence stays as it is, in implicit VR (PS3.5 6.2.2). Sequences and items
get undefined lengths, so that none has to be held until it is measured. Group lengths (retired) are left out, as they
would no longer be true, and so are zeros behind the last element.

The parts are for `gateway.transform.write`; nothing is kept, and what is asked for twice comes out the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

from gateway.errors import HeaderError
from gateway.transform.edit import creator_tag, is_creator
from gateway.transform.names import is_private, is_sequence_tag, private_vr, standard_vr
from gateway.transform.parse import BIG_ENDIAN, IMPLICIT, each_item, has_items
from gateway.transform.tree import LONG_VRS, MAX_SHORT_BYTES, UNDEFINED, DataSet, Element, Part, Span, Tree
from gateway.transform.write import MAX_PIECE_BYTES, swapped

_PIXEL_REPRESENTATION = 0x00280103
_ITEM = b"\xfe\xff\x00\xe0" + UNDEFINED
_ITEM_END = b"\xfe\xff\x0d\xe0" + bytes(4)
_SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)
_BIG_ENDIAN_ITEM = b"\xff\xfe\xe0\x00"
WORD_BYTES = {  # what a byte order changes in (PS3.5 7.3)
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}


def is_encoded_anew(tree: Tree, transfer_syntax_uid: str) -> bool:
    """Whether a tree that came in one transfer syntax has another form in the one that it has now."""
    now = tree.transfer_syntax_uid
    if now == transfer_syntax_uid:
        return False  # whatever form it is really in
    return (tree.root.implicit, tree.root.big_endian) != (now in IMPLICIT, now in BIG_ENDIAN)


def reencoded(tree: Tree) -> Iterator[Part]:
    """The data set as its transfer syntax wants it, which is a little endian one.

    :raises HeaderError: a sequence cannot be read.
    """
    return _elements(tree.root, tree.transfer_syntax_uid in IMPLICIT)


def _elements(data: DataSet, to_implicit: bool) -> Iterator[Part]:
    for element in data.elements:
        if element.tag & 0xFFFF == 0:
            continue
        if _is_sequence(element):
            yield from _sequence(data, element, to_implicit)
        else:
            yield from _leaf(data, element, to_implicit)


def _is_sequence(element: Element) -> bool:
    """Whether it is one whose items can be written anew; of UN only what PS3.6 knows, and what a step has opened."""
    if element.items is not None:
        return True
    if not element.is_sequence or (element.vr != "SQ" and not is_sequence_tag(element.tag)):
        return False
    return has_items(element) or not element.value_bytes


def _sequence(data: DataSet, element: Element, to_implicit: bool) -> Iterator[Part]:
    if not element.value_bytes and element.items is None:
        yield _header(element.tag, "SQ", 0, to_implicit)
        return
    yield _header(element.tag, "SQ", None, to_implicit)
    for item in each_item(data, element):
        yield _ITEM
        yield from _elements(item.data, to_implicit)
        yield _ITEM_END
    yield _SEQUENCE_END


def _leaf(data: DataSet, element: Element, to_implicit: bool) -> Iterator[Part]:
    if element.produced is not None:
        length = element.produced.length
        yield _header(element.tag, element.vr or ("OB" if length is None else "OW"), length, to_implicit)
        yield element.produced
        return
    vr = vr_of(data, element)
    length = element.value_bytes
    word_bytes = WORD_BYTES.get(vr, 1)
    if length % word_bytes or (length > MAX_SHORT_BYTES and vr not in LONG_VRS):
        vr = "UN"  # PS3.5 6.2.2: also where 16 bits cannot say the length
    if data.big_endian and element.is_sequence and _begins(data, element, _BIG_ENDIAN_ITEM):
        raise HeaderError("an unknown sequence is big endian, where it has to be little endian (PS3.5 6.2.2)")
    yield _header(element.tag, vr, None if element.of_undefined_length else length, to_implicit)
    if not data.big_endian or word_bytes == 1:
        yield element.value if element.bulk is None else element.bulk
        if element.tail:
            yield element.tail
    elif element.bulk is None:
        yield swapped(element.value, word_bytes)
    else:
        yield _Swapped(data.tree, element.bulk, word_bytes)


def _begins(data: DataSet, element: Element, what: bytes) -> bool:
    if element.bulk is not None:
        return data.tree.source.read(element.bulk[0], len(what)) == what
    return element.value.startswith(what)


def _header(tag: int, vr: str, length: int | None, to_implicit: bool) -> bytes:
    head = pack("<HH", tag >> 16, tag & 0xFFFF)
    if to_implicit or vr in LONG_VRS:
        head += b"" if to_implicit else vr.encode("ascii") + b"\0\0"
        return head + (UNDEFINED if length is None else pack("<I", length))
    return head + vr.encode("ascii") + pack("<H", length)


def vr_of(data: DataSet, element: Element) -> str:
    """The VR that an element has in explicit VR: what stands there, or what a dictionary says; "UN" else."""
    if element.vr:
        return element.vr
    vr = standard_vr(element.tag)
    if not vr and is_private(element.tag):
        vr = _private_vr(data, element.tag)
    if vr == "US or SS":
        return "SS" if _is_signed(data) else "US"
    if " or " in vr:
        return "OW"  # PS3.5 A.1: in implicit VR they are words
    if vr == "SQ" or (element.of_undefined_length and vr not in LONG_VRS):
        return "UN"  # `_is_sequence` has taken what can be written as one
    return vr if len(vr) == 2 else "UN"


def _private_vr(data: DataSet, tag: int) -> str:
    if is_creator(tag):
        return "LO"
    creator = data.get(creator_tag(tag))
    if creator is None or not creator.value.isascii():
        return ""
    return private_vr(tag, creator.value.decode("ascii").strip(" \0"))


def _is_signed(data: DataSet | None) -> bool:
    """Whether the pixels that a data set speaks of are signed: it says so itself, or what is around it."""
    while data is not None:
        found = data.get(_PIXEL_REPRESENTATION)
        if found is not None:
            return found.value.strip(b"\0") != b""
        data = data.parent
    return False


class _Swapped:
    """A bulk value in the other byte order, read and swapped in pieces."""

    def __init__(self, tree: Tree, span: Span, word_bytes: int) -> None:
        self.length: int | None = span[1]
        self.word_bytes = 1  # it is little endian by now
        self._source = tree.source
        self._span = span
        self._words = word_bytes

    def pieces(self) -> Iterator[bytes | memoryview]:
        """See `gateway.transform.tree.Produced`."""
        at, left = self._span
        while left:
            piece = self._source.read(at, min(left, MAX_PIECE_BYTES))
            if len(piece) < min(left, MAX_PIECE_BYTES):
                raise HeaderError("the data set ends inside an element")
            yield swapped(piece, self._words)
            at += len(piece)
            left -= len(piece)
