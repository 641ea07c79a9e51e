"""Pixel data that is made of frames while it is written, and its place in a tree.

Native pixel data has a length that is known; encapsulated is written with one fragment a frame and an empty Basic
Offset Table, which PS3.5 A.4 allows: where a frame lies is not known before all that are in front of it are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

from gateway.errors import TransformError
from gateway.transform.names import label
from gateway.transform.pixels.frames import Frames
from gateway.transform.pixels.image import (
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    PIXEL_DATA,
    TOTAL_LENGTH,
    image_of,
    write_image,
)
from gateway.transform.tree import MAX_LONG_BYTES, Tree
from gateway.transform.values import ValueRefused

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def put(tree: Tree, frames: Frames) -> None:
    """Make these frames the pixel data of a tree, whose attributes and transfer syntax become theirs.

    The frames are read when the tree is written. A tree that is not in the transfer syntax of encapsulated frames is
    encoded anew then (`gateway.transform.reencode`).
    """
    root, image = tree.root, frames.image
    write_image(root, image_of(tree), image)
    offsets = {EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS, TOTAL_LENGTH}
    if any(root.get(tag) is not None for tag in offsets):
        root.drop(offsets)
    if image.is_native:
        produced: NativePixels | EncapsulatedPixels = NativePixels(frames, tree.where)
        if (produced.length or 0) > MAX_LONG_BYTES:
            raise ValueRefused(f"{label(PIXEL_DATA)}: native, it is longer than a length can say")
        vr = "OW" if image.bits_allocated > 8 else "OB"
    else:
        produced, vr = EncapsulatedPixels(frames, tree.where), "OB"
    root.put(root.make_produced(PIXEL_DATA, vr, produced))
    tree.transfer_syntax_uid = image.transfer_syntax_uid


class NativePixels:
    """Frames one behind the other (PS3.5 8.1)."""

    def __init__(self, frames: Frames, where: str = "") -> None:
        self.frames = frames
        self._where = where
        length = frames.image.pixel_bytes
        self.length: int | None = length + length % 2
        self.word_bytes = frames.image.sample_bytes

    def pieces(self) -> Iterator[bytes | memoryview]:
        """See `gateway.transform.tree.Produced`."""
        image = self.frames.image
        left, left_bits = 0, 0  # of a byte that the next frame goes on with
        for index in range(image.number_of_frames):
            frame = _read(self.frames, index, self._where)
            if image.frame_bits % 8 == 0:
                yield frame
                continue
            left |= int.from_bytes(frame, "little") << left_bits
            whole, left_bits = divmod(left_bits + image.frame_bits, 8)
            yield (left & (1 << 8 * whole) - 1).to_bytes(whole, "little")
            left >>= 8 * whole
        if left_bits:
            yield left.to_bytes(1, "little")
        if image.pixel_bytes % 2:
            yield b"\0"


class EncapsulatedPixels:
    """Frames as fragments, one each (PS3.5 A.4)."""

    def __init__(self, frames: Frames, where: str = "") -> None:
        self.frames = frames
        self._where = where
        self.length: int | None = None
        self.word_bytes = 1

    def pieces(self) -> Iterator[bytes | memoryview]:
        """See `gateway.transform.tree.Produced`."""
        yield _ITEM + bytes(4)
        for index in range(self.frames.image.number_of_frames):
            frame = _read(self.frames, index, self._where)
            pad = b"\0" * (len(frame) % 2)
            yield _ITEM + pack("<I", len(frame) + len(pad))
            yield frame
            if pad:
                yield pad
        yield _DELIMITER + bytes(4)


def _read(frames: Frames, index: int, where: str) -> bytes:
    """A frame. :raises TransformError: with the step that asked for it."""
    try:
        return frames.read(index)
    except ValueRefused as refused:
        raise TransformError(f"{where}: frame {index + 1}: {refused}" if where else str(refused)) from None
