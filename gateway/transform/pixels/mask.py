"""The step `mask`: blank parts of images that show who the patient is (PS3.15 E.3.1, Clean Pixel Data Option).

What is blanked is told by `regions`, or is everything outside of the regions in which an ultrasound machine has put
its image (Sequence of Ultrasound Regions (0018,6011), PS3.3 C.8.5.5); or both. All frames are alike. `mask: nothing`
blanks nothing: by it a person has said that the images that come to this step show nothing.

Rules:
  - A mask that does not fit an image blanks nothing of it and fails: a region outside of it, no ultrasound regions,
    or ultrasound regions that cover all of it, whatever is written there.
  - Icons (0088,0200) go, at whatever depth: they show the same.
  - Encapsulated frames are decoded, blanked, and encoded as they were where that loses nothing and the gateway can;
    else they become native. What was compressed with a loss is never compressed again.
  - The pixels as they were are recorded nowhere (see `gateway.transform.record`), small ones either.
  - The tree is marked (`pixels_clean`, `pixels_masked`), for those who ask whether an object is at risk (`risk`).

A data set without pixel data has nothing to blank: the step does nothing to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack_from

from gateway.transform.edit import walk, walk_items
from gateway.transform.names import label
from gateway.transform.parse import expand
from gateway.transform.pixels.blank import Blanked, black
from gateway.transform.pixels.codecs import encoded_image
from gateway.transform.pixels.coded import decoded, encoded
from gateway.transform.pixels.frames import Frames, frames_of
from gateway.transform.pixels.image import PIXEL_DATA, Image
from gateway.transform.pixels.produced import put
from gateway.transform.pixels.profiles import ENCODED, LOSSY
from gateway.transform.pixels.regions import Band, Rectangle, Region, both, cover
from gateway.transform.pixels.risk import has_pixels, is_video
from gateway.transform.steps import Origin
from gateway.transform.transcode import EXPLICIT, Target, Transcode
from gateway.transform.tree import DataSet, Tree
from gateway.transform.values import ValueRefused

ICON_IMAGE_SEQUENCE = 0x00880200
ULTRASOUND_REGIONS = 0x00186011
_CORNERS = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)  # min x0, min y0, max x1, max y1
_MAX_REGIONS = 256


@dataclass(frozen=True, slots=True)
class Mask:
    """`mask`: blank regions of every frame. `fill` None is black; `is_native`: never encapsulated again."""

    regions: tuple[Region, ...]
    outside_ultrasound: bool = False
    fill: int | None = None
    is_native: bool = False

    def run(self, tree: Tree, origin: Origin) -> None:
        if not has_pixels(tree):
            return
        if is_video(tree.transfer_syntax_uid):
            raise ValueRefused(f"{label(PIXEL_DATA)}: video cannot be masked")
        frames = frames_of(tree)
        syntax = frames.image.transfer_syntax_uid
        native = decoded(frames)
        image = native.image
        is_encoded = _can_be_encoded(image, syntax) and not self.is_native
        if not frames.image.is_native and not is_encoded:
            Transcode(Target(EXPLICIT)).run(tree, origin)
            native = frames_of(tree)
        bands = self._bands(tree, image)
        blanked: Frames = Blanked(native, bands, black(tree, image, self.fill))
        _without_a_record(tree, encoded(blanked, syntax) if is_encoded else blanked)
        tree.pixels_clean = tree.pixels_masked = True

    def _bands(self, tree: Tree, image: Image) -> tuple[Band, ...]:
        columns, rows = image.columns, image.rows
        bands = cover([each.of(columns, rows) for each in self.regions], columns, rows)
        if self.outside_ultrasound:
            outside = cover(ultrasound_regions(tree.root, columns, rows), columns, rows, outside=True)
            bands = both(bands, outside, rows)
        if not bands:
            raise ValueRefused(f"{label(ULTRASOUND_REGIONS)}: they cover the whole image, so that nothing is blanked")
        return bands


@dataclass(frozen=True, slots=True)
class ShowsNothing:
    """`mask: nothing`: a person has said that there is nothing to blank."""

    def run(self, tree: Tree, origin: Origin) -> None:
        tree.pixels_clean = True


def _can_be_encoded(image: Image, transfer_syntax_uid: str) -> bool:
    if transfer_syntax_uid not in ENCODED or transfer_syntax_uid in LOSSY:
        return False
    try:
        encoded_image(image, transfer_syntax_uid)
    except ValueRefused:
        return False
    return True


def _without_a_record(tree: Tree, frames: Frames) -> None:
    """Put the blanked pixels in place, and see to it that nothing keeps those that were there, or an icon of them."""
    is_recording, tree.is_recording = tree.is_recording, False
    _drop_icon(tree.root)
    with_icons = {
        each.tag
        for each in list(tree.root.elements)
        if each.is_sequence and walk_items(tree.root, each, lambda data: walk(data, _drop_icon))
    }
    put(tree, frames)
    tree.is_recording = is_recording
    for tag in (PIXEL_DATA, ICON_IMAGE_SEQUENCE, *with_icons):
        tree.previous.pop(tag, None)
        tree.converted.pop(tag, None)


def _drop_icon(data: DataSet) -> None:
    if data.get(ICON_IMAGE_SEQUENCE) is not None:
        data.drop({ICON_IMAGE_SEQUENCE})


def ultrasound_regions(root: DataSet, columns: int, rows: int) -> list[Rectangle]:
    """Where an ultrasound machine has put its image, as far as it lies in the image.

    :raises ValueRefused: it does not say, or what it says cannot be.
    """
    element = root.get(ULTRASOUND_REGIONS)
    items = expand(root, element) if element is not None and element.is_sequence else []
    if not items:
        raise ValueRefused(f"{label(ULTRASOUND_REGIONS)}: there is none, so that nothing says where the image is")
    if len(items) > _MAX_REGIONS:
        raise ValueRefused(f"{label(ULTRASOUND_REGIONS)}: it has more than {_MAX_REGIONS} items")
    found = []
    for item in items:
        left, top, last_column, last_row = (_corner(item.data, tag) for tag in _CORNERS)
        # PS3.3 C.8.5.5.1.2: the corners are pixels of the region.
        region = Rectangle(left, top, min(columns, last_column + 1), min(rows, last_row + 1))
        if region.left >= region.right or region.top >= region.bottom:
            raise ValueRefused(f"{label(ULTRASOUND_REGIONS)}: a region of it lies outside of the image")
        found.append(region)
    return found


def _corner(data: DataSet, tag: int) -> int:
    element = data.get(tag)
    value = element.value if element is not None and element.bulk is None else b""
    if len(value) != 4:
        raise ValueRefused(f"{label(tag)}: a region does not say where it is")
    return int(unpack_from(">I" if data.big_endian else "<I", value)[0])
