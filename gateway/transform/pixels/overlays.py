"""Overlays that lie in bits of the pixels which no sample uses (PS3.3 C.9.2 before 2004, retired).

A data set with such an overlay cannot be de-identified. Where a step has taken the attributes of one out, or changed
them, the overlay still lies in the pixels: `Tree.had_overlay_in_pixels` tells, and `without_overlay` sees to it that
nothing stands in those bits when the copy is written.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.transform.names import label
from gateway.transform.pixels.frames import Frames, frames_of
from gateway.transform.pixels.image import PIXEL_DATA, Image
from gateway.transform.pixels.produced import put
from gateway.transform.tree import Tree
from gateway.transform.values import ValueRefused

_CHUNK_BYTES = 64 * 1024  # whole samples of whatever size


def without_overlay(tree: Tree) -> None:
    """Have the bits that no sample uses looked at, where an overlay lay in them before a step changed that.

    :raises ValueRefused: nobody can look at them.
    """
    element = tree.root.get(PIXEL_DATA)
    if not tree.had_overlay_in_pixels or element is None or not element.value_bytes:
        return
    frames = frames_of(tree)
    image = frames.image
    if image.bits_stored == image.bits_allocated:
        return
    if not image.is_native:
        raise ValueRefused(f"{label(PIXEL_DATA)}: an overlay lay in bits of the pixels, and they are compressed")
    put(tree, Unused(frames))


class Unused:
    """Native frames with nothing in the bits that no sample uses, but for the sign of a signed one."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.image: Image = frames.image

    def read(self, index: int) -> bytes:
        """See `gateway.transform.pixels.frames.Frames`. :raises ValueRefused: something else stands there."""
        frame = self.frames.read(index)
        is_empty = is_sign = True
        for above, sign, below in _bits(self.image, frame):
            is_empty = is_empty and not above
            is_sign = is_sign and above == sign
            if below or not (is_empty or (is_sign and self.image.is_signed)):
                raise ValueRefused(f"{label(PIXEL_DATA)}: an overlay lies in bits of the pixels")
        return frame


def _bits(image: Image, frame: bytes) -> Iterator[tuple[int, int, int]]:
    """The bits above the samples, what they would be if they repeated the sign, and those below; a part at a time,
    each the samples of a part as one number.
    """
    width, low = image.bits_allocated, image.high_bit + 1 - image.bits_stored
    above_one = (1 << width) - (1 << image.high_bit + 1)
    for at in range(0, len(frame), _CHUNK_BYTES):
        part = frame[at : at + _CHUNK_BYTES]
        ones = int.from_bytes((b"\1" + bytes(image.sample_bytes - 1)) * (len(part) // image.sample_bytes), "little")
        samples = int.from_bytes(part, "little")
        signs = samples >> image.high_bit & ones
        yield samples & ones * above_one, signs * above_one, samples & ones * ((1 << low) - 1)
