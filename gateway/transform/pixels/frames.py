"""The frames of Pixel Data (7FE0,0010), read one by one from where they lie; the whole is never held.

Native frames follow each other, where Bits Allocated is 1 without beginning at a byte (PS3.5 8.1.1); they come little
endian, whatever the data set is. Encapsulated ones are found by the Extended Offset Table (PS3.3 C.7.6.3.1.8), else by
the Basic Offset Table (PS3.5 A.4), else by what there is: a fragment for each frame; one frame of all fragments; or
frames that begin with the marker with which a JPEG, JPEG-LS or JPEG 2000 stream begins.

:raises ValueRefused: what is there cannot be so many frames; with the attribute, never a value.
:raises HeaderError: the source ends early, or what should be a fragment is none.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import pairwise
from struct import unpack, unpack_from
from typing import Protocol

from gateway.dicom.window import ByteSource
from gateway.errors import HeaderError, TakesLong
from gateway.transform.names import label
from gateway.transform.pixels.image import (
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    MAX_FRAME_BYTES,
    NUMBER_OF_FRAMES,
    PIXEL_DATA,
    Image,
    image_of,
)
from gateway.transform.tree import DataSet, Element, Produced, Tree
from gateway.transform.values import ValueRefused
from gateway.transform.write import swapped

MAX_FRAGMENTS = 1_000_000
# What a few bytes can make a worker do. A tomosynthesis has 4 GiB; a whole slide more, compressed to some fiftieth.
MAX_DECODED_BYTES = 4 * 1024 * 1024 * 1024
MAX_RATIO = 200
_MAX_READ_BYTES = 1024 * 1024
_WINDOW_BYTES = 4096
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_STARTS = (b"\xff\xd8", b"\xff\x4f")  # SOI of JPEG and JPEG-LS, SOC of JPEG 2000
_RLE = "1.2.840.10008.1.2.5"


class Frames(Protocol):
    """Frames, and what they are: native ones little endian and each from its first bit on, or encapsulated ones."""

    @property
    def image(self) -> Image: ...

    def read(self, index: int) -> bytes:
        """One frame, from 0; a native one has `image.frame_bytes` bytes. The same bytes whenever it is asked for."""


class HasFrames(Produced, Protocol):
    """Produced pixel data that a later step can look into."""

    @property
    def frames(self) -> Frames: ...


def frames_of(tree: Tree) -> Frames:
    """The frames that the pixel data of a tree has, after the steps so far, for a step that works on all of them.

    :raises ValueRefused: there is no Pixel Data, the attributes of the image do not fit it, or it is too much.
    :raises TakesLong: it is more than there is time for now.
    """
    element = tree.root.get(PIXEL_DATA)
    if element is None or not element.value_bytes:
        raise ValueRefused(f"{label(PIXEL_DATA)}: there is none")
    if element.produced is not None:
        found = getattr(element.produced, "frames", None)
        if found is None:
            raise ValueRefused(f"{label(PIXEL_DATA)}: a step before this one has made it, and not of frames")
        frames: Frames = found
        return frames
    image = image_of(tree)
    if image.is_native != (not element.of_undefined_length):
        raise ValueRefused(f"{label(PIXEL_DATA)}: it is not encoded as the transfer syntax says")
    if image.is_native:
        native = NativeFrames(tree.root, element, image)
        _check_time(tree, image)
        return native
    if image.pixel_bytes > max(MAX_DECODED_BYTES, MAX_RATIO * element.value_bytes):
        told = f"more than {MAX_DECODED_BYTES >> 30} GiB, and more than {MAX_RATIO} times what it has compressed"
        raise ValueRefused(f"{label(PIXEL_DATA)}: decoded, it would have {told}")
    encapsulated = EncapsulatedFrames(tree.root, element, image)
    _check_time(tree, image)
    return encapsulated


def _check_time(tree: Tree, image: Image) -> None:
    if tree.at_once_bytes is not None and image.pixel_bytes > tree.at_once_bytes:
        raise TakesLong("a step works on much pixel data")


class _Value:
    """The bytes of one value, from 0: held, or in the source. Read in pieces of at most 1 MiB."""

    def __init__(self, source: ByteSource, element: Element) -> None:
        self._source = source
        self._held = None if element.bulk is not None else element.value
        self._at = 0 if element.bulk is None else element.bulk[0]
        self.length = element.value_bytes

    def read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes."""
        if offset + length > self.length:
            raise HeaderError("pixel data ends inside a frame")
        if self._held is not None:
            return self._held[offset : offset + length]
        if length <= _MAX_READ_BYTES:
            return self._read(offset, length)
        end = offset + length
        places = range(offset, end, _MAX_READ_BYTES)
        return b"".join(self._read(at, min(_MAX_READ_BYTES, end - at)) for at in places)

    def _read(self, offset: int, length: int) -> bytes:
        data = self._source.read(self._at + offset, length) if length else b""
        if len(data) < length:
            raise HeaderError("the data set ends inside an element")
        return data


class NativeFrames:
    """Frames of pixel data that is not encapsulated."""

    def __init__(self, data: DataSet, element: Element, image: Image) -> None:
        self.image = image
        self._value = _Value(data.tree.source, element)
        self._word_bytes = word_bytes(image.bits_allocated, element, data.big_endian)
        expected = image.pixel_bytes
        if self._value.length < expected:
            raise ValueRefused(f"{label(PIXEL_DATA)}: shorter than its frames are")
        if self._value.length - expected >= max(2, image.frame_bytes):
            raise ValueRefused(f"{label(PIXEL_DATA)}: longer than {label(NUMBER_OF_FRAMES)} says")

    def read(self, index: int) -> bytes:
        """See `Frames`."""
        bits = self.image.frame_bits
        first, last = index * bits, (index + 1) * bits
        begin, end = first // 8, (last + 7) // 8
        shift, length = first % 8, end - begin
        # Whole words, in which bytes are swapped: a frame may begin or end inside one.
        start = begin - begin % self._word_bytes
        stop = min(end + -end % self._word_bytes, self._value.length)
        data = swapped(self._value.read(start, stop - start), self._word_bytes)[begin - start :][:length]
        if not shift and not bits % 8:
            return data
        # PS3.5 8.1.1: the first pixel of a byte is its lowest bit.
        packed = int.from_bytes(data, "little") >> shift & (1 << bits) - 1
        return packed.to_bytes(self.image.frame_bytes, "little")


def word_bytes(bits_allocated: int, element: Element, big_endian: bool) -> int:
    """In how many bytes native pixel data is swapped.

    :raises ValueRefused: nobody can say.
    """
    if not big_endian:
        return 1
    if bits_allocated > 16 or (bits_allocated > 8 and element.vr == "OB"):
        # PS3.5 6.2 swaps OW by 16 bits and OB not at all; much software writes such pixels swapped whole.
        raise ValueRefused(
            f"{label(PIXEL_DATA)}: big endian, {bits_allocated} bits in VR {element.vr} have no one meaning"
        )
    return 1 if element.vr == "OB" else 2


class EncapsulatedFrames:
    """Frames of encapsulated pixel data (PS3.5 A.4)."""

    def __init__(self, data: DataSet, element: Element, image: Image) -> None:
        self.image = image
        self._value = _Value(data.tree.source, element)
        self._starts, self._lengths = array("Q"), array("Q")  # of each fragment's bytes
        table = self._walk()
        count = image.number_of_frames
        if not self._starts:
            raise ValueRefused(f"{label(PIXEL_DATA)}: it has no fragment")
        extended = _extended(data)
        self._cut: array[int] | None = None  # what of a frame counts, where that is told
        if extended is not None:
            offsets, self._cut = extended
            self._firsts = self._by_offsets(offsets, EXTENDED_OFFSET_TABLE)
            self._check_cuts()
        elif len(table) == count and (count > 1 or len(self._starts) == 1):
            self._firsts = self._by_offsets(table, PIXEL_DATA)
        else:
            self._firsts = self._guessed()
        self._firsts.append(len(self._starts))

    def read(self, index: int) -> bytes:
        """See `Frames`; as it lies there, padding of its last fragment included unless its length is told."""
        first, after = self._firsts[index], self._firsts[index + 1]
        if sum(self._lengths[first:after]) > MAX_FRAME_BYTES:
            raise ValueRefused(f"{label(PIXEL_DATA)}: a frame has more than {MAX_FRAME_BYTES} bytes")
        parts = [self._value.read(self._starts[at], self._lengths[at]) for at in range(first, after)]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        return data if self._cut is None else data[: self._cut[index]]

    def _walk(self) -> array[int]:
        """Find the fragments; the Basic Offset Table."""
        table: array[int] = array("Q")
        at, number = 0, 0
        window, base = b"", 0
        while True:
            if at - base + 8 > len(window):
                base = at
                window = self._value.read(at, min(_WINDOW_BYTES, max(8, self._value.length - at)))
            head = window[at - base : at - base + 8]
            length = int.from_bytes(head[4:], "little")
            if head[:4] == _DELIMITER:
                return table
            if head[:4] != _ITEM or at + 8 + length > self._value.length:
                raise HeaderError("encapsulated pixel data holds something that is not a fragment")
            if number == 0:
                if length % 4 or length > 4 * MAX_FRAGMENTS:
                    raise HeaderError("the Basic Offset Table is none")
                table = array("Q", unpack(f"<{length // 4}I", self._value.read(8, length)))
            else:
                self._starts.append(at + 8)
                self._lengths.append(length)
            number += 1
            if number > MAX_FRAGMENTS:
                raise HeaderError(f"encapsulated pixel data has more than {MAX_FRAGMENTS} fragments")
            at += 8 + length

    def _by_offsets(self, offsets: array[int], tag: int) -> array[int]:
        """The first fragment of each frame, from offsets behind the Basic Offset Table's item."""
        if len(offsets) != self.image.number_of_frames:
            raise ValueRefused(f"{label(tag)}: it has not as many offsets as there are frames")
        base = self._starts[0] - 8
        firsts: array[int] = array("Q")
        for offset in offsets:
            at = bisect_left(self._starts, base + offset + 8)
            if at == len(self._starts) or self._starts[at] != base + offset + 8:
                raise ValueRefused(f"{label(tag)}: an offset leads to no fragment")
            firsts.append(at)
        if firsts[0] != 0 or any(before >= after for before, after in pairwise(firsts)):
            raise ValueRefused(f"{label(tag)}: the offsets are not those of frames one after the other")
        return firsts

    def _check_cuts(self) -> None:
        for index, cut in enumerate(self._cut or ()):
            after = self._firsts[index + 1] if index + 1 < len(self._firsts) else len(self._starts)
            if after - self._firsts[index] != 1 or cut > self._lengths[self._firsts[index]]:
                raise ValueRefused(
                    f"{label(EXTENDED_OFFSET_TABLE_LENGTHS)}: not the lengths of frames of a fragment each"
                )

    def _guessed(self) -> array[int]:
        """The first fragment of each frame, where no table tells."""
        count, fragments = self.image.number_of_frames, len(self._starts)
        if fragments == count:
            return array("Q", range(count))
        if count == 1 and self.image.transfer_syntax_uid != _RLE:  # PS3.5 G.4: a frame in RLE is one fragment
            return array("Q", [0])
        if fragments > count:
            found = array("Q", [at for at in range(fragments) if self._begins_stream(at)])
            if len(found) == count and found[0] == 0:
                return found
        raise ValueRefused(
            f"{label(PIXEL_DATA)}: its fragments cannot be told apart into {label(NUMBER_OF_FRAMES)} frames"
        )

    def _begins_stream(self, at: int) -> bool:
        return self._lengths[at] >= 2 and self._value.read(self._starts[at], 2) in _STARTS


def _extended(data: DataSet) -> tuple[array[int], array[int]] | None:
    """The Extended Offset Table and its lengths; None where there is none."""
    offsets, lengths = (_table(data, tag) for tag in (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS))
    if not offsets and not lengths:
        return None
    if len(offsets) != len(lengths):
        raise ValueRefused(f"{label(EXTENDED_OFFSET_TABLE_LENGTHS)}: not as many as there are offsets")
    return offsets, lengths


def _table(data: DataSet, tag: int) -> array[int]:
    element = data.get(tag)
    if element is None:
        return array("Q")
    length = element.value_bytes
    if length % 8 or length > 8 * MAX_FRAGMENTS:
        raise ValueRefused(f"{label(tag)}: not a list of 64-bit numbers")
    value = _Value(data.tree.source, element).read(0, length)
    return array("Q", unpack_from(f"<{length // 8}Q", value))
