"""A tree of elements to bytes, in pieces (PS3.5 7).

Elements that nobody touched are written as they were found; of sequences that were opened, the length is counted anew
where it was defined. Bulk values are read from the source and handed on in pieces, never held; what is produced is
handed on as it is made.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from gateway.errors import HeaderError
from gateway.transform.tree import Part, Produced, Span, Tree

MAX_PIECE_BYTES = 1024 * 1024
_GATHERED_BYTES = 64 * 1024

Write = Callable[[bytes | memoryview], object]


def write_tree(tree: Tree, write: Write) -> int:
    """Write the data set; how many bytes it has.

    :raises HeaderError: the source ends early, or a length does not fit into 32 bits.
    """
    return write_parts(tree, parts_of(tree), write, tree.root.big_endian)


def write_parts(tree: Tree, parts: Iterator[Part], write: Write, big_endian: bool = False) -> int:
    """Write the parts of a data set; how many bytes they have.

    :param big_endian: whether what is produced has to be swapped.
    """
    written = 0
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        if isinstance(part, bytes) and len(part) <= _GATHERED_BYTES:
            gathered.append(part)
            size += len(part)
            if size < _GATHERED_BYTES:
                continue
        if gathered:
            write(b"".join(gathered))
            written += size
            gathered, size = [], 0
        if isinstance(part, bytes):
            written += _write_whole(part, write) if len(part) > _GATHERED_BYTES else 0
        elif isinstance(part, tuple):
            written += _copy(tree, part, write)
        else:
            written += _produce(part, write, big_endian)
    if gathered:
        write(b"".join(gathered))
    return written + size


def _write_whole(part: bytes | memoryview, write: Write) -> int:
    view = memoryview(part)
    for at in range(0, len(part), MAX_PIECE_BYTES):
        write(view[at : at + MAX_PIECE_BYTES])
    return len(part)


def _produce(part: Produced, write: Write, big_endian: bool) -> int:
    """Hand on what is made while it is written."""
    length = 0
    for piece in part.pieces():
        length += _write_whole(swapped(bytes(piece), part.word_bytes) if big_endian else piece, write)
    if part.length is not None and length != part.length:
        raise HeaderError("a value has not become as long as its length says")
    return length


def swapped(value: bytes, word_bytes: int) -> bytes:
    """Whole words in the other byte order; what is left over behind them stays."""
    if word_bytes == 1:
        return value
    end = len(value) - len(value) % word_bytes
    turned = bytearray(value)
    for at in range(word_bytes):
        turned[at:end:word_bytes] = value[word_bytes - 1 - at : end : word_bytes]
    return bytes(turned)


def _copy(tree: Tree, span: Span, write: Write) -> int:
    """Hand a bulk value through."""
    at, left = span
    while left:
        piece = tree.source.read(at, min(left, MAX_PIECE_BYTES))
        if not piece:
            raise HeaderError("the data set ends inside an element")
        write(piece)
        at += len(piece)
        left -= len(piece)
    return span[1]


def parts_of(tree: Tree) -> Iterator[Part]:
    """The data set as encoded bytes, places of bulk values and what is produced, in order."""
    for element in tree.root.elements:
        if element.items is None and element.bulk is None and element.produced is None:
            yield element.encoded
        else:
            yield from element.parts(tree.root.big_endian)
    if tree.root.tail:
        yield tree.root.tail


class Deflating:
    """Deflates what is written and hands it on (PS3.5 A.5). `length` counts what came out."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self.length = 0

    def write(self, piece: bytes | memoryview) -> None:
        """The next bytes of the data set."""
        self._hand_on(self._deflater.compress(piece))

    def finish(self) -> None:
        """There are no more."""
        self._hand_on(self._deflater.flush())
        if self.length % 2:
            self._hand_on(b"\0")

    def _hand_on(self, data: bytes) -> None:
        view = memoryview(data)
        for at in range(0, len(data), MAX_PIECE_BYTES):
            self._write(view[at : at + MAX_PIECE_BYTES])
        self.length += len(data)
