"""Frames in which the pixels that a mask covers are black, and nothing else is changed.

What is black, as it is shown (PS3.3 C.7.6.3.1.2): the greatest stored value of MONOCHROME1, the least one of
MONOCHROME2, no colour at all in RGB, no light in YBR, and the darkest entry of a palette. Of a covered pixel the whole
cell is written: what stood in bits beside the stored ones (an overlay may, PS3.5 8.1.2) is gone too.

Where two pixels share their colour (YBR_FULL_422) a mask covers both of a pair, or the colour would be left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.transform.names import label
from gateway.transform.pixels.frames import Frames
from gateway.transform.pixels.image import PHOTOMETRIC_INTERPRETATION, Image
from gateway.transform.pixels.palette import first_mapped, palette
from gateway.transform.pixels.regions import Band, even
from gateway.transform.tree import DataSet, Tree
from gateway.transform.values import ValueRefused

_YBR = frozenset({"YBR_FULL", "YBR_FULL_422"})
_SPAN_PIXELS = 64 * 1024
_WEIGHTS = (299, 587, 114)  # ITU-R BT.601, as PS3.3 C.7.6.3.1.2 has them for YBR_FULL


class Blanked:
    """Native frames with what `bands` cover in them filled."""

    def __init__(self, frames: Frames, bands: Sequence[Band], cell: Sequence[int]) -> None:
        """:param cell: what is written into a pixel, for each of its samples."""
        self.image = image = frames.image
        self._frames = frames
        self._spans = tuple(_spans(even(bands) if image.is_subsampled else bands, image.columns))
        self._is_one = image.bits_allocated == 1 and bool(cell[0])
        # Planes are one behind the other, of the pixels of each of which so many bytes are filled at once.
        self._planes: list[tuple[int, bytes]] = []
        if image.bits_allocated > 1:
            longest = max((last - first for first, last in self._spans), default=0)
            samples = [value.to_bytes(image.sample_bytes, "little") for value in cell]
            if image.is_subsampled:  # PS3.3 C.7.6.3.1.2: two pixels are Y, Y, CB and CR
                self._planes = [(2 * image.sample_bytes, _pattern(samples, (0, 0, 1, 2)) * (longest // 2))]
            elif image.planar_configuration == 1:
                self._planes = [(image.sample_bytes, sample * longest) for sample in samples]
            else:
                self._planes = [(len(samples) * image.sample_bytes, b"".join(samples) * longest)]

    def read(self, index: int) -> bytes:
        """See `gateway.transform.pixels.frames.Frames`."""
        frame, image = bytearray(self._frames.read(index)), self.image
        if image.bits_allocated == 1:
            for plane in range(image.samples_per_pixel):
                self._fill_bits(frame, plane * image.rows * image.columns)
        at = 0
        for pixel_bytes, fill in self._planes:
            for first, last in self._spans:
                length = (last - first) * pixel_bytes
                begin = at + first * pixel_bytes
                frame[begin : begin + length] = fill[:length]
            at += image.rows * image.columns * pixel_bytes
        return bytes(frame)

    def _fill_bits(self, frame: bytearray, at: int) -> None:
        for first, last in self._spans:
            for bit in _edge_bits(at + first, at + last):
                mask = 1 << bit % 8
                frame[bit // 8] = frame[bit // 8] | mask if self._is_one else frame[bit // 8] & ~mask
            begin, end = -(-(at + first) // 8), (at + last) // 8
            if begin < end:
                frame[begin:end] = (b"\xff" if self._is_one else b"\0") * (end - begin)


def _pattern(samples: Sequence[bytes], places: Sequence[int]) -> bytes:
    return b"".join(samples[place] for place in places)


def _spans(bands: Iterable[Band], columns: int) -> Iterable[tuple[int, int]]:
    """Pixels of a plane, row by row, from the first to before the last; of whole rows as many at once as make sense."""
    at_once = max(1, _SPAN_PIXELS // columns)
    for top, bottom, runs in bands:
        if runs == ((0, columns),):
            for row in range(top, bottom, at_once):
                yield row * columns, min(bottom, row + at_once) * columns
            continue
        for row in range(top, bottom):
            for left, right in runs:
                yield row * columns + left, row * columns + right


def _edge_bits(first: int, last: int) -> Iterable[int]:
    """The bits of a span that do not fill a byte."""
    begin, end = -(-first // 8) * 8, last // 8 * 8
    if begin >= end:
        return range(first, last)
    return (*range(first, begin), *range(end, last))


def black(tree: Tree, image: Image, number: int | None = None) -> tuple[int, ...]:
    """What is written into a pixel that is blanked, for each of its samples.

    :param image: of native frames.
    :param number: a stored value that a person has chosen instead.
    :raises ValueRefused: nobody knows what is black here, or the number is none that can be stored.
    """
    kind = image.photometric_interpretation
    least, greatest = _range(image)
    if number is not None:
        if not least <= number <= greatest:
            raise ValueRefused(f"fill is not a value of these pixels, which go from {least} to {greatest}")
        values = (number,)
    elif kind == "MONOCHROME1":
        values = (greatest,)
    elif kind == "MONOCHROME2" and image.samples_per_pixel == 1:
        values = (least,)
    elif kind == "PALETTE COLOR" and image.samples_per_pixel == 1:
        values = (_darkest(tree.root, image),)
    elif kind in ("RGB", *_YBR):
        values = (0,)
    else:
        raise ValueRefused(f"{label(PHOTOMETRIC_INTERPRETATION)}: nobody knows what is black in it: give a fill")
    if kind in _YBR:
        grey = 1 << image.bits_stored - 1
        return _cell(tree, image, values[0]), _cell(tree, image, grey), _cell(tree, image, grey)
    return (_cell(tree, image, values[0]),) * image.samples_per_pixel


def _range(image: Image) -> tuple[int, int]:
    half = 1 << image.bits_stored - 1
    return (-half, half - 1) if image.is_signed else (0, 2 * half - 1)


def _cell(tree: Tree, image: Image, value: int) -> int:
    """A stored value as its cell has it. The bits above it carry the sign, which much software reads there, except
    where they are an overlay's; all others are 0."""
    stored, shift = (1 << image.bits_stored) - 1, image.high_bit + 1 - image.bits_stored
    if value < 0 and not _has_overlay_bits(tree):
        return value << shift & (1 << image.bits_allocated) - 1
    return (value & stored) << shift


def _has_overlay_bits(tree: Tree) -> bool:
    """Whether an overlay lies in bits of the pixels (PS3.3 C.9.2, retired): it has no data of its own."""
    root = tree.root
    planes = {each.tag & 0xFFFF0000 for each in root.elements if each.tag & 0xFF01FFFF == 0x60000102}
    return any(root.get(plane | 0x3000) is None for plane in planes)


def _darkest(root: DataSet, image: Image) -> int:
    """The stored value of the darkest entry of the palette."""
    columns = palette(root)
    count = min(map(len, columns))
    lights = [sum(w * column[at] for w, column in zip(_WEIGHTS, columns, strict=True)) for at in range(count)]
    least, greatest = _range(image)
    return min(max(first_mapped(root, image.is_signed) + lights.index(min(lights)), least), greatest)
