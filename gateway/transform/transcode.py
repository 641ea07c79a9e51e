"""`transcode`: another transfer syntax, for the pixel data and the data set around it (PS3.5 10, PS3.3 C.7.6.1.1.5).

Rules:
  - An instance that is in the target syntax already stays as it is.
  - Without Pixel Data there is nothing to compress: an encapsulated target then means Explicit VR Little Endian.
  - Lossless means that each frame is decoded again and compared; the SOP Instance UID stays. Only what is encoded
    otherwise is told otherwise (Photometric Interpretation, Planar Configuration), and not recorded as a change.
  - Lossy makes a derived image: a new SOP Instance UID, which depends on the old one and on what is asked for alone,
    a reference to its source, and the Lossy Image Compression attributes.
  - Once lossy, always lossy: what comes from a lossy stream says so, whatever it becomes.
  - Images inside sequences (icons) are native afterwards, as a stream of the old syntax would not be understood.

:raises ValueRefused: the standard does not allow it, the pixel data cannot be read, or a codec is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from gateway.dicom.header import SOP_INSTANCE_UID
from gateway.transform.edit import read, walk_items, write
from gateway.transform.items import sequence_of
from gateway.transform.names import label
from gateway.transform.parse import expand
from gateway.transform.pixels import PIXEL_DATA, Frames, Image, decoded, encoded, frames_of, put
from gateway.transform.pixels.frames import EncapsulatedFrames, word_bytes
from gateway.transform.pixels.image import NATIVE, NUMBER_OF_FRAMES, image_in, write_image
from gateway.transform.pixels.profiles import J2K, J2K_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS, LOSSY, RLE
from gateway.transform.pixels.streams import is_lossy
from gateway.transform.steps import Origin
from gateway.transform.tree import DataSet, Element, Tree
from gateway.transform.values import ValueRefused

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
SYNTAXES: Mapping[str, str] = {
    "explicit-vr-little-endian": EXPLICIT,
    "implicit-vr-little-endian": IMPLICIT,
    "rle-lossless": RLE,
    "jpeg-ls-lossless": JPEG_LS_LOSSLESS,
    "jpeg-2000-lossless": J2K_LOSSLESS,
    "jpeg-ls-near-lossless": JPEG_LS_NEAR_LOSSLESS,
    "jpeg-2000": J2K,
}
_PIXEL_DATA_PROVIDER_URL = 0x00287FE0
_OTHER_PIXELS = (0x7FE00008, 0x7FE00009)  # Float and Double Float Pixel Data: native only
_IMAGE_TYPE = 0x00080008
_SOP_CLASS_UID = 0x00080016
_DERIVATION_DESCRIPTION = 0x00082111
_SOURCE_IMAGE_SEQUENCE = 0x00082112
_REFERENCED_SOP_CLASS_UID, _REFERENCED_SOP_INSTANCE_UID = 0x00081150, 0x00081155
_DERIVATION_CODE_SEQUENCE = 0x00089215
_LOSSY, _RATIO, _METHOD = 0x00282110, 0x00282112, 0x00282114
_PURPOSE_OF_REFERENCE = 0x0040A170
_METHODS = {J2K: "ISO_15444_1", JPEG_LS_NEAR_LOSSLESS: "ISO_14495_1"}
_MAX_ST = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """A transfer syntax to have, and how much may be lost: `ratio` of JPEG 2000, `error` of JPEG-LS; 0 is nothing."""

    transfer_syntax_uid: str
    ratio: int = 0
    error: int = 0

    @property
    def is_lossy(self) -> bool:
        """Whether something may be lost."""
        return self.transfer_syntax_uid in LOSSY

    def __str__(self) -> str:
        name = next(name for name, uid in SYNTAXES.items() if uid == self.transfer_syntax_uid)
        told = f", ratio {self.ratio}" if self.ratio else f", error {self.error}" if self.error else ""
        return f"{name}{told}"


@dataclass(frozen=True, slots=True)
class Transcode:
    """`transcode`: have the instance in another transfer syntax."""

    target: Target

    def run(self, tree: Tree, origin: Origin) -> None:
        """See `gateway.transform.steps.Action`."""
        wanted = self.target.transfer_syntax_uid
        if tree.transfer_syntax_uid == wanted:
            return
        was_recording, tree.is_recording = tree.is_recording, False
        tree.is_changed = True
        element = tree.root.get(PIXEL_DATA)
        if element is None or not element.value_bytes:
            _without_pixels(tree, wanted)
        elif _is_as_it_stands(tree, element) and wanted in NATIVE:
            tree.transfer_syntax_uid = wanted
        else:
            self._pixels(tree, frames_of(tree), was_recording)
        tree.is_recording = was_recording

    def _pixels(self, tree: Tree, frames: Frames, is_recording: bool) -> None:
        wanted = self.target.transfer_syntax_uid
        was_lossy = _value(tree.root, _LOSSY) == "01"
        if not frames.image.is_native:
            was_lossy = _keep_lossy(tree.root, frames) or was_lossy
            _decode_icons(tree)
        native = decoded(frames)
        if wanted in NATIVE:
            put(tree, _As(native, wanted))
            return
        made = encoded(native, wanted, ratio=self.target.ratio, error=self.target.error)
        if not self.target.is_lossy:
            put(tree, made)
            return
        once = _Once(made)
        ratio = _measured(tree, native.image, once)
        put(tree, once)
        tree.is_recording = is_recording
        _derive(tree, self.target, ratio, was_lossy)


def _is_as_it_stands(tree: Tree, element: Element) -> bool:
    """Whether pixel data is native, and no step has changed it: its bytes are swapped at most.

    :raises ValueRefused: nobody can say how.
    """
    if tree.transfer_syntax_uid not in NATIVE or element.of_undefined_length or element.produced is not None:
        return False
    if tree.root.big_endian:
        word_bytes(image_in(tree.root).bits_allocated, element, True)
    return True


def _without_pixels(tree: Tree, wanted: str) -> None:
    if tree.root.get(_PIXEL_DATA_PROVIDER_URL) is not None:
        raise ValueRefused(
            f"{label(_PIXEL_DATA_PROVIDER_URL)}: the pixels lie elsewhere, in a syntax that goes with it"
        )
    if wanted not in NATIVE:
        for tag in _OTHER_PIXELS:
            if tree.root.get(tag) is not None:
                raise ValueRefused(f"{label(tag)}: it cannot be compressed (PS3.5 8.2)")
    tree.transfer_syntax_uid = wanted if wanted in NATIVE else EXPLICIT


class _As:
    """Native frames under another native transfer syntax; frames are little endian in all of them."""

    def __init__(self, frames: Frames, transfer_syntax_uid: str) -> None:
        self.image: Image = frames.image.but(transfer_syntax_uid=transfer_syntax_uid)
        self.read = frames.read


class _Once:
    """Frames of which the last read is kept: an image of one frame is encoded once."""

    def __init__(self, frames: Frames) -> None:
        self.image: Image = frames.image
        self._frames = frames
        self._last: tuple[int, bytes] = (-1, b"")

    def read(self, index: int) -> bytes:
        """See `gateway.transform.pixels.frames.Frames`."""
        if self._last[0] != index:
            self._last = (-1, b"")
            self._last = (index, self._frames.read(index))
        return self._last[1]


# ── what the standard wants told of it ────────────────────────────────────────────────────────────────────────


def _keep_lossy(root: DataSet, frames: Frames) -> bool:
    """Say that an image is lossy where its stream alone says so, which will be gone; whether it is."""
    if not is_lossy(frames.read(0)):
        return False
    if _value(root, _LOSSY) != "01":
        write(root, _LOSSY, "01")
    return True


def _measured(tree: Tree, native: Image, frames: Frames) -> float:
    """How much smaller the image has become, counted in the bits that it stores, as the encoder counts.

    PS3.3 C.7.6.1.1.5.2 wants this in front of the pixel data: frames are encoded for it, and again to be written.
    """
    size = 0
    for index in range(native.number_of_frames):
        size += len(frames.read(index))
        tree.beat()
    return native.samples * native.bits_stored * native.number_of_frames / 8 / size


def _derive(tree: Tree, target: Target, ratio: float, was_lossy: bool) -> None:
    """Make a derived image of it (PS3.3 C.7.6.1.1.5, C.8.3.1.1.1, C.7.6.1.1.4)."""
    root = tree.root
    source = _value(root, SOP_INSTANCE_UID)
    write(root, _LOSSY, "01")
    _append(root, _RATIO, f"{ratio:.4g}")
    _append(root, _METHOD, _METHODS[target.transfer_syntax_uid])
    kinds = read(root, _IMAGE_TYPE) or ("", "PRIMARY")
    write(root, _IMAGE_TYPE, "\\".join(("DERIVED", *kinds[1:])))
    told = _value(root, _DERIVATION_DESCRIPTION)
    description = f"{told}; Lossy compression: {target}" if told else f"Lossy compression: {target}"
    if len(description) <= _MAX_ST:
        write(root, _DERIVATION_DESCRIPTION, description)
    _add_code(root, _DERIVATION_CODE_SEQUENCE, "113040", "Lossy Compression")
    sources = sequence_of(root, _SOURCE_IMAGE_SEQUENCE)
    item = root.make_item(sources)
    expand(root, sources).append(item)
    write(item.data, _REFERENCED_SOP_CLASS_UID, _value(root, _SOP_CLASS_UID))
    write(item.data, _REFERENCED_SOP_INSTANCE_UID, source)
    if was_lossy:
        _add_code(item.data, _PURPOSE_OF_REFERENCE, "121322", "Source image for image processing operation")
    else:
        _add_code(item.data, _PURPOSE_OF_REFERENCE, "121320", "Uncompressed predecessor")
    write(root, SOP_INSTANCE_UID, _derived_uid(source, target))


def _derived_uid(source: str, target: Target) -> str:
    """The UID of what is made of an instance; the same whenever it is made (PS3.5 B.2: a UUID under 2.25)."""
    text = f"{source} {target.transfer_syntax_uid} {target.ratio} {target.error}"
    digits = bytearray(sha256(text.encode("utf-8")).digest()[:16])
    digits[6] = digits[6] & 0x0F | 0x80  # RFC 9562: version 8, of its maker's own making
    digits[8] = digits[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digits, 'big')}"


def _append(root: DataSet, tag: int, value: str) -> None:
    write(root, tag, "\\".join((*(read(root, tag) or ()), value)))


def _add_code(data: DataSet, tag: int, value: str, meaning: str) -> None:
    sequence = sequence_of(data, tag)
    item = data.make_item(sequence)
    expand(data, sequence).append(item)
    for each, text in ((0x00080100, value), (0x00080102, "DCM"), (0x00080104, meaning)):
        write(item.data, each, text)


def _value(data: DataSet, tag: int) -> str:
    return "\\".join(read(data, tag) or ())


# ── images inside sequences ───────────────────────────────────────────────────────────────────────────────────


def _decode_icons(tree: Tree) -> None:
    for element in [each for each in tree.root.elements if each.is_sequence]:
        walk_items(tree.root, element, _decode_icon)


def _decode_icon(data: DataSet) -> None:
    element = data.get(PIXEL_DATA)
    if element is not None and element.of_undefined_length:
        try:
            image, native, frame = _decoded_icon(data, element)
        except ValueRefused as refused:
            raise ValueRefused(f"{label(data.sequence)}: its image cannot be decoded: {refused}") from None
        data.put(data.make(PIXEL_DATA, "OW" if native.bits_allocated > 8 else "OB", frame + b"\0" * (len(frame) % 2)))
        write_image(data, image, native)
    for each in [each for each in data.elements if each.is_sequence]:
        walk_items(data, each, _decode_icon)


def _decoded_icon(data: DataSet, element: Element) -> tuple[Image, Image, bytes]:
    image = image_in(data)
    if image.number_of_frames != 1:
        raise ValueRefused(f"{label(NUMBER_OF_FRAMES)}: more than one")
    native = decoded(EncapsulatedFrames(data, element, image))
    return image, native.image, native.read(0)
