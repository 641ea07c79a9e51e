"""The Image Pixel attributes of a data set (PS3.3 C.7.6.3), read strictly and written back where they have changed.

:raises ValueRefused: an attribute is absent, or says what cannot be; with the attribute, never a value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from struct import pack, unpack_from

from gateway.transform.names import label
from gateway.transform.tree import DataSet, Element, Tree
from gateway.transform.values import ValueRefused

SAMPLES_PER_PIXEL = 0x00280002
PHOTOMETRIC_INTERPRETATION = 0x00280004
PLANAR_CONFIGURATION = 0x00280006
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
HIGH_BIT = 0x00280102
PIXEL_REPRESENTATION = 0x00280103
PIXEL_DATA = 0x7FE00010
EXTENDED_OFFSET_TABLE = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002
TOTAL_LENGTH = 0x7FE00003  # Encapsulated Pixel Data Value Total Length

MAX_FRAME_BYTES = 128 * 1024 * 1024
MAX_FRAMES = 1_000_000
_BITS_ALLOCATED = frozenset({1, 8, 16, 32, 64})
_SUBSAMPLED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})

# PS3.5 A: native ones. All others that the gateway knows are encapsulated (PS3.5 A.4).
NATIVE = frozenset(
    {
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
    }
)


@dataclass(frozen=True, slots=True)
class Image:
    """What the frames of pixel data are. `planar_configuration` is 0 where there is one sample a pixel."""

    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    photometric_interpretation: str
    planar_configuration: int
    number_of_frames: int
    transfer_syntax_uid: str

    @property
    def samples(self) -> int:
        """How many samples a native frame has."""
        return self.rows * self.columns * self.samples_per_pixel

    @property
    def frame_bits(self) -> int:
        """How many bits a native frame has; not always whole bytes where Bits Allocated is 1 (PS3.5 8.1.1)."""
        bits = self.samples * self.bits_allocated
        # PS3.3 C.7.6.3.1.2: two pixels share their colour; an odd column has its own.
        return bits * 2 // 3 if self.is_subsampled else bits

    @property
    def frame_bytes(self) -> int:
        """How many bytes a native frame has when it stands alone."""
        return (self.frame_bits + 7) // 8

    @property
    def pixel_bytes(self) -> int:
        """How many bytes all native frames have, without padding."""
        return (self.frame_bits * self.number_of_frames + 7) // 8

    @property
    def sample_bytes(self) -> int:
        """How many bytes a sample has; 1 where several share one."""
        return max(1, self.bits_allocated // 8)

    @property
    def is_native(self) -> bool:
        """Whether the transfer syntax is a native one."""
        return self.transfer_syntax_uid in NATIVE

    @property
    def is_signed(self) -> bool:
        """Whether the samples are of two's complement."""
        return self.pixel_representation == 1

    @property
    def is_subsampled(self) -> bool:
        """Whether native frames have less colour than brightness."""
        return self.is_native and self.photometric_interpretation in _SUBSAMPLED

    def but(self, **changes: int | str) -> Image:
        """The same with other attributes."""
        return replace(self, **changes)  # type: ignore[arg-type]


def image_of(tree: Tree) -> Image:
    """What the pixel data of a tree is, after the steps so far."""
    return image_in(tree.root)


def image_in(root: DataSet) -> Image:
    """What the pixel data of a data set is, also of one in an item."""
    samples = _number(root, SAMPLES_PER_PIXEL)
    allocated = _number(root, BITS_ALLOCATED)
    stored = _number(root, BITS_STORED)
    image = Image(
        rows=_number(root, ROWS),
        columns=_number(root, COLUMNS),
        samples_per_pixel=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_number(root, HIGH_BIT, stored - 1),
        pixel_representation=_number(root, PIXEL_REPRESENTATION),
        photometric_interpretation=_text(root, PHOTOMETRIC_INTERPRETATION),
        planar_configuration=_number(root, PLANAR_CONFIGURATION, 0) if samples > 1 else 0,
        number_of_frames=_frames(root),
        transfer_syntax_uid=root.tree.transfer_syntax_uid,
    )
    _check(image)
    return image


def _check(image: Image) -> None:
    checks = {
        ROWS: image.rows > 0,
        COLUMNS: image.columns > 0,
        SAMPLES_PER_PIXEL: image.samples_per_pixel in (1, 3),
        BITS_ALLOCATED: image.bits_allocated in _BITS_ALLOCATED,
        BITS_STORED: 0 < image.bits_stored <= image.bits_allocated,
        HIGH_BIT: image.bits_stored - 1 <= image.high_bit < image.bits_allocated,
        PIXEL_REPRESENTATION: image.pixel_representation in (0, 1),
        PHOTOMETRIC_INTERPRETATION: image.photometric_interpretation != "",
        PLANAR_CONFIGURATION: image.planar_configuration in (0, 1),
    }
    for tag, holds in checks.items():
        if not holds:
            raise ValueRefused(f"{label(tag)}: not one that pixel data can have")
    if image.is_subsampled and image.columns % 2:
        raise ValueRefused(f"{label(COLUMNS)}: odd, where two pixels share their colour")
    if image.frame_bytes > MAX_FRAME_BYTES:
        raise ValueRefused(f"{label(PIXEL_DATA)}: a frame has more than {MAX_FRAME_BYTES} bytes")


def write_image(root: DataSet, before: Image, after: Image) -> None:
    """Write the attributes that are others now into a data set."""
    numbers = {
        SAMPLES_PER_PIXEL: (before.samples_per_pixel, after.samples_per_pixel),
        ROWS: (before.rows, after.rows),
        COLUMNS: (before.columns, after.columns),
        BITS_ALLOCATED: (before.bits_allocated, after.bits_allocated),
        BITS_STORED: (before.bits_stored, after.bits_stored),
        HIGH_BIT: (before.high_bit, after.high_bit),
        PIXEL_REPRESENTATION: (before.pixel_representation, after.pixel_representation),
    }
    if after.samples_per_pixel > 1:
        numbers[PLANAR_CONFIGURATION] = (before.planar_configuration, after.planar_configuration)
    for tag, (old, new) in numbers.items():
        if old != new or (tag == PLANAR_CONFIGURATION and root.get(tag) is None):
            root.put(root.make(tag, "US", pack(">H" if root.big_endian else "<H", new)))
    text = after.photometric_interpretation
    if before.photometric_interpretation != text:
        root.put(root.make(PHOTOMETRIC_INTERPRETATION, "CS", (text + " " * (len(text) % 2)).encode("ascii")))


def _number(root: DataSet, tag: int, absent: int | None = None) -> int:
    value = _held(root.get(tag))
    if len(value) < 2:
        if absent is not None:
            return absent
        raise ValueRefused(f"{label(tag)}: absent, and pixel data cannot be read without it")
    return int(unpack_from(">H" if root.big_endian else "<H", value)[0])


def _text(root: DataSet, tag: int) -> str:
    value = _held(root.get(tag)).strip(b" \0")
    return value.decode("ascii") if value.isascii() else ""


def _frames(root: DataSet) -> int:
    text = _text(root, NUMBER_OF_FRAMES)
    if not text:
        return 1
    if not text.isdecimal() or len(text) > 7 or not 1 <= int(text) <= MAX_FRAMES:
        raise ValueRefused(f"{label(NUMBER_OF_FRAMES)}: not a number from 1 to {MAX_FRAMES}")
    return int(text)


def _held(element: Element | None) -> bytes:
    return element.value if element is not None and element.bulk is None and element.items is None else b""
