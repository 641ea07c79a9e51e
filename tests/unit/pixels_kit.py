"""What the tests of pixels have in common: images made by hand as data sets, and what pydicom makes of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from random import Random

from gateway.transform.parse import parse
from gateway.transform.pixels import Image
from gateway.transform.tree import Tree
from tests.unit.samples import EXPLICIT, SOP, MemorySource, element, item, undefined

RLE = "1.2.840.10008.1.2.5"
JPEG_LS, NEAR_LOSSLESS = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K, J2K_LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
JPEG = "1.2.840.10008.1.2.4.50"
LOSSLESS = (RLE, JPEG_LS, J2K)


class Tracking(MemorySource):
    """A source that remembers the longest read and the bytes that were read behind a place."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.longest = 0

    def read(self, offset: int, length: int) -> bytes:
        self.longest = max(self.longest, length)
        return super().read(offset, length)


GREY = Image(40, 36, 1, 16, 16, 15, 0, "MONOCHROME2", 0, 1, EXPLICIT)
IMAGES = {
    "8 bits": replace(GREY, bits_allocated=8, bits_stored=8, high_bit=7),
    "6 bits in 8": replace(GREY, bits_allocated=8, bits_stored=6, high_bit=5),
    "8 bits signed": replace(GREY, bits_allocated=8, bits_stored=8, high_bit=7, pixel_representation=1),
    "8 bits in 16": replace(GREY, bits_stored=8, high_bit=7),
    "12 bits": replace(GREY, bits_stored=12, high_bit=11),
    "12 bits signed": replace(GREY, bits_stored=12, high_bit=11, pixel_representation=1),
    "16 bits": GREY,
    "16 bits signed": replace(GREY, pixel_representation=1),
    "inverse": replace(GREY, photometric_interpretation="MONOCHROME1"),
    "several frames": replace(GREY, number_of_frames=3),
    "palette": replace(GREY, bits_allocated=8, bits_stored=8, high_bit=7, photometric_interpretation="PALETTE COLOR"),
    "RGB by pixel": replace(
        GREY, samples_per_pixel=3, bits_allocated=8, bits_stored=8, high_bit=7, photometric_interpretation="RGB"
    ),
    "RGB by plane": replace(
        GREY,
        samples_per_pixel=3,
        bits_allocated=8,
        bits_stored=8,
        high_bit=7,
        photometric_interpretation="RGB",
        planar_configuration=1,
    ),
    "RGB of 16 bits": replace(GREY, samples_per_pixel=3, photometric_interpretation="RGB"),
    "YBR_FULL": replace(
        GREY, samples_per_pixel=3, bits_allocated=8, bits_stored=8, high_bit=7, photometric_interpretation="YBR_FULL"
    ),
}


@dataclass(frozen=True)
class Made:
    """An image as a data set."""

    image: Image
    frames: list[bytes]
    data_set: bytes


def samples_of(image: Image, seed: int = 1) -> list[int]:
    """Samples of one frame that use all of their bits, and are not too hard to compress."""
    random = Random(seed)
    low = -(1 << image.bits_stored - 1) if image.is_signed else 0
    high = low + (1 << image.bits_stored) - 1
    span = max(1, (high - low) // 8)
    values = [low + at * span % (high - low) + random.randrange(min(span, 16)) for at in range(image.samples)]
    return [low, high, *(min(high, value) for value in values[2:])]


def frame_of(image: Image, values: list[int]) -> bytes:
    """A native frame, little endian."""
    code = {1: "b", 2: "h", 4: "i"}[image.sample_bytes]
    return struct.pack(f"<{len(values)}{code if image.is_signed else code.upper()}", *values)


def made(image: Image, vr: str = "OW", value: bytes | None = None, order: str = "<", more: bytes = b"") -> Made:
    """A data set of an image, with samples of its own or this value; `more` are elements between SOP and the image."""
    frames = []
    if value is None:
        frames = [frame_of(image, samples_of(image, seed)) for seed in range(image.number_of_frames)]
    pixels = b"".join(frames) if value is None else value
    data = swapped_sop(order) + more + attributes(image, order)
    return Made(image, frames, data + element(0x7FE00010, vr, pixels + b"\0" * (len(pixels) % 2), order))


def swapped_sop(order: str) -> bytes:
    """The two UIDs that every data set begins with."""
    uids = ((0x00080016, b"1.2.840.10008.5.1.4.1.1.2\0"), (0x00080018, b"1.2.3.4\0"))
    return b"".join(element(tag, "UI", uid, order) for tag, uid in uids)


def attributes(image: Image, order: str = "<") -> bytes:
    """The Image Pixel attributes (PS3.3 C.7.6.3)."""

    def number(tag: int, value: int) -> bytes:
        return element(tag, "US", struct.pack(order + "H", value), order)

    def text(tag: int, vr: str, value: str) -> bytes:
        return element(tag, vr, (value + " " * (len(value) % 2)).encode(), order)

    data = number(0x00280002, image.samples_per_pixel)
    data += text(0x00280004, "CS", image.photometric_interpretation)
    if image.samples_per_pixel > 1:
        data += number(0x00280006, image.planar_configuration)
    if image.number_of_frames > 1:
        data += text(0x00280008, "IS", str(image.number_of_frames))
    data += number(0x00280010, image.rows) + number(0x00280011, image.columns)
    data += number(0x00280100, image.bits_allocated) + number(0x00280101, image.bits_stored)
    return data + number(0x00280102, image.high_bit) + number(0x00280103, image.pixel_representation)


def encapsulated(image: Image, fragments: list[bytes], table: list[int] = [], more: bytes = b"") -> bytes:  # noqa: B006
    """A data set with these fragments; `more` are elements between the image and its pixels."""
    content = item(struct.pack(f"<{len(table)}I", *table)) + b"".join(item(fragment) for fragment in fragments)
    return SOP + attributes(image) + more + undefined(0x7FE00010, "OB", content)


def tree_of(data: bytes, transfer_syntax_uid: str = EXPLICIT) -> Tree:
    """A data set as a tree."""
    return parse(Tracking(data), transfer_syntax_uid)
