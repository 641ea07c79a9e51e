"""What stands in compressed frames beside the image, taken out: `scrub` is what `deidentify` does to them.

A compressed stream has room for text: EXIF and other application data and comments of JPEG and JPEG-LS, comments of
JPEG 2000, boxes of a JP2 file, bytes behind its end. So have the Basic Offset Table, and the rest of an RLE header. In
the copy each frame is one fragment behind an empty table (`produced`), and holds what decoding needs:
  - of JPEG and JPEG-LS (ITU-T T.81 B, T.87 C) tables, frames and scans, and of application data what says which colours
    they are: JFIF without its thumbnail, Adobe's APP14, the head and the end of SPIFF, the "mrfx" of JPEG-LS;
  - of JPEG 2000 (ISO/IEC 15444-1 A) the codestream without comments; one in the header of a tile-part becomes zeros,
    so that lengths of tile-parts stay true. Of a JP2 file its codestream, unless the file says how to decode it;
  - of RLE (PS3.5 G) everything, with zeros in what of its header is not used. What stands behind the end of its last
    segment cannot be told from it, and stays.

The compressed data itself stays as it is, byte for byte. Only headers are walked, when the copy is written, a frame at
a time. It composes with steps in front of and behind it, as all `Frames` do.

:raises ValueRefused: a stream cannot be walked to its end, or is of a kind that is not known here (video): held.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import unpack_from

from gateway.transform.names import is_pixel_data, label
from gateway.transform.parse import IMPLICIT
from gateway.transform.pixels.frames import Frames, frames_of
from gateway.transform.pixels.image import NATIVE, PIXEL_DATA, Image
from gateway.transform.pixels.produced import put
from gateway.transform.tree import Tree
from gateway.transform.values import ValueRefused

_JPEG = "1.2.840.10008.1.2.4."
_OF_JPEG = frozenset(f"{_JPEG}{number}" for number in (*range(50, 67), 70, 80, 81))
_OF_J2K = frozenset(f"{_JPEG}{number}" for number in (90, 91, 92, 93, 201, 202, 203))
_RLE = "1.2.840.10008.1.2.5"
_MAX_MARKERS = 1_000_000

# Markers of JPEG (T.81 B.1.1.3). DHT, DAC, DQT, DNL, DRI, DHP, EXP, and LSE of JPEG-LS, beside the frame headers.
_SOI, _EOI, _SOS, _COM, _SOF_LS = 0xD8, 0xD9, 0xDA, 0xFE, 0xF7
_NEEDED = (frozenset(range(0xC0, 0xD0)) - {0xC8}) | {0xDB, 0xDC, 0xDD, 0xDE, 0xDF, _SOF_LS, 0xF8}
# What ends a scan: any marker but RSTn. T.81 F.1.2.3 stuffs a zero byte, T.87 A.1 a zero bit.
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_AFTER_SCAN_LS = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JFIF_BYTES, _ADOBE_BYTES, _SPIFF_BYTES, _MRFX_BYTES = 14, 12, 30, 5
_SPIFF_END = b"\0\0\0\1\xff\xd8"

# Markers of JPEG 2000: SIZ, COD, COC, RGN, QCD, QCC, POC, TLM, PLM, PLT, PPM, PPT, CRG, those of Part 2 for components
# (CBD, MCT, MCC, MCO) and of Part 15 (CAP, PRF, CPF).
_SOC, _SOT, _SOD, _EOC, _COM_J2K = b"\xff\x4f", b"\xff\x90", b"\xff\x93", b"\xff\xd9", b"\xff\x64"
_NEEDED_J2K = frozenset(
    bytes((0xFF, each))
    for each in (*range(0x50, 0x54), *range(0x55, 0x5A), *range(0x5C, 0x62), 0x63, 0x74, 0x75, 0x77, 0x78)
)
_SOT_BYTES = 12
_JP2 = b"\x00\x00\x00\x0cjP  "
_HOW_TO_DECODE = frozenset({b"pclr", b"cmap", b"cdef"})  # boxes without which the codestream gives other pixels
_RLE_HEADER_BYTES = 64


def scrub(tree: Tree) -> None:
    """Take out of encapsulated pixel data what is not image. Native pixel data holds nothing else.

    :raises ValueRefused: it is of a kind in which nobody can tell.
    """
    for each in tree:
        if is_pixel_data(each.tag) and each.tag != PIXEL_DATA and each.of_undefined_length:
            raise ValueRefused(f"{label(each.tag)}: it is encapsulated, which it cannot be (PS3.5 8.2)")
    element = tree.root.get(PIXEL_DATA)
    if element is None or not element.value_bytes:
        return
    if not element.of_undefined_length and tree.transfer_syntax_uid in NATIVE | IMPLICIT:
        return
    put(tree, Scrubbed(frames_of(tree)))


class Scrubbed:
    """Encapsulated frames, each with nothing in it but the image. `frames` are those as they were."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.image: Image = frames.image
        self._scrubbed = _way_for(frames.image.transfer_syntax_uid)

    def read(self, index: int) -> bytes:
        """See `gateway.transform.pixels.frames.Frames`."""
        return self._scrubbed(self.frames.read(index))


def _way_for(transfer_syntax_uid: str) -> Callable[[bytes], bytes]:
    if transfer_syntax_uid in _OF_JPEG:
        return scrubbed_jpeg
    if transfer_syntax_uid in _OF_J2K:
        return scrubbed_j2k
    if transfer_syntax_uid == _RLE:
        return scrubbed_rle
    raise ValueRefused(
        f"{label(PIXEL_DATA)}: nobody can tell what stands beside the image in this transfer syntax, such as video"
    )


def _refused(kind: str) -> ValueRefused:
    return ValueRefused(f"{label(PIXEL_DATA)}: not a whole {kind}, so that what is no image in it cannot be taken out")


# ── JPEG and JPEG-LS ──────────────────────────────────────────────────────────────────────────────────────────────


def scrubbed_jpeg(frame: bytes) -> bytes:
    """A JPEG or JPEG-LS stream with nothing in it but the image, up to its end."""
    if frame[:2] != b"\xff\xd8":
        raise _refused("JPEG stream")
    whole = memoryview(frame)  # of which parts are taken without a copy
    kept: list[bytes | memoryview] = [whole[:2]]
    at, after_scan = 2, _AFTER_SCAN
    for _ in range(_MAX_MARKERS):
        while frame[at : at + 2] == b"\xff\xff":
            at += 1  # T.81 B.1.1.2: fill bytes
        marker = frame[at + 1] if frame[at : at + 1] == b"\xff" and at + 1 < len(frame) else 0
        if marker == _EOI:
            return b"".join([*kept, b"\xff\xd9"])
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(frame):
            break
        if marker == _SOF_LS:
            after_scan = _AFTER_SCAN_LS
        if marker == _SOS:
            found = after_scan.search(frame, end)
            if found is None:
                break
            end = found.start()
        if marker == _SOS or marker in _NEEDED:
            kept.append(whole[at:end])
        elif 0xE0 <= marker <= 0xEF:
            kept.append(_application(marker, frame[at + 4 : end]))
        elif marker != _COM:
            break
        at = end
    raise _refused("JPEG stream")


def _application(marker: int, content: bytes) -> bytes:
    """What is kept of an APPn segment; b"" for nothing."""
    kept = b""
    if marker == 0xE0 and content[:5] == b"JFIF\0" and len(content) >= _JFIF_BYTES:
        kept = content[: _JFIF_BYTES - 2] + b"\0\0"  # without the thumbnail
    elif marker == 0xEE and content[:5] == b"Adobe" and len(content) >= _ADOBE_BYTES:
        kept = content[:_ADOBE_BYTES]
    elif marker == 0xE8 and content[:6] == b"SPIFF\0" and len(content) >= _SPIFF_BYTES:
        kept = content[:_SPIFF_BYTES]
    elif marker == 0xE8 and content[:6] == _SPIFF_END:
        kept = _SPIFF_END
    elif marker == 0xE8 and content[:4] == b"mrfx" and len(content) >= _MRFX_BYTES:
        kept = content[:_MRFX_BYTES]  # which colours were made of which, in streams of JPEG-LS
    return bytes((0xFF, marker)) + (len(kept) + 2).to_bytes(2, "big") + kept if kept else b""


# ── JPEG 2000 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def scrubbed_j2k(frame: bytes) -> bytes:
    """A JPEG 2000 codestream with nothing in it but the image, up to its end."""
    at = _codestream(frame) if frame.startswith(_JP2) else 0
    if frame[at : at + 2] != _SOC:
        raise _refused("JPEG 2000 stream")
    whole = memoryview(frame)  # of which parts are taken without a copy
    kept: list[bytes | memoryview] = [_SOC]
    at += 2
    while frame[at : at + 2] != _SOT:
        end = _segment_end(frame, at, len(frame))
        if frame[at : at + 2] != _COM_J2K:
            kept.append(whole[at:end])
        at = end
    while frame[at : at + 2] == _SOT:
        at = _tile_part(frame, whole, at, kept)
    if frame[at : at + 2] == _EOC:
        kept.append(_EOC)
    elif frame[at:].strip(b"\0"):
        raise _refused("JPEG 2000 stream")
    return b"".join(kept)


def _segment_end(frame: bytes, at: int, end: int) -> int:
    """Where a segment ends that is a comment, or that decoding may need."""
    length = int.from_bytes(frame[at + 2 : at + 4], "big")
    if frame[at : at + 2] not in _NEEDED_J2K | {_COM_J2K} or length < 2 or at + 2 + length > end:
        raise _refused("JPEG 2000 stream")
    return at + 2 + length


def _tile_part(frame: bytes, whole: memoryview, at: int, kept: list[bytes | memoryview]) -> int:
    """Keep a tile-part; where it ends (A.4.2: Psot counts from its SOT, and is 0 where it is the last)."""
    length = int.from_bytes(frame[at + 6 : at + 10], "big")
    end = at + length
    if not length:
        end = frame.find(_EOC, at)  # A.1: in packets no two bytes are greater than FF8F
    if end > len(frame) or end < at + _SOT_BYTES:
        raise _refused("JPEG 2000 stream")
    kept.append(whole[at : at + _SOT_BYTES])
    at += _SOT_BYTES
    while frame[at : at + 2] != _SOD:
        after = _segment_end(frame, at, end)
        is_comment = frame[at : at + 2] == _COM_J2K
        kept.append(frame[at : at + 4] + bytes(after - at - 4) if is_comment else whole[at:after])
        at = after
    kept.append(whole[at:end])
    return end


def _codestream(frame: bytes) -> int:
    """Where the codestream of a JP2 file begins (ISO/IEC 15444-1 I.5.4).

    :raises ValueRefused: there is none, or without other boxes it would give other pixels.
    """
    at = len(_JP2) + 4
    while at + 8 <= len(frame):
        length, kind = int.from_bytes(frame[at : at + 4], "big"), frame[at + 4 : at + 8]
        if kind == b"jp2c":
            return at + (16 if length == 1 else 8)
        if length < 8:
            break
        if kind == b"jp2h" and any(box in frame[at + 8 : at + length] for box in _HOW_TO_DECODE):
            break
        at += length
    raise _refused("JPEG 2000 stream")


# ── RLE ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def scrubbed_rle(frame: bytes) -> bytes:
    """A frame in RLE whose header says nothing but where its segments are (PS3.5 G.5)."""
    if len(frame) < _RLE_HEADER_BYTES:
        raise _refused("RLE frame")
    count, *offsets = unpack_from("<16I", frame)
    used = offsets[:count]
    if not 1 <= count <= 15 or used[0] != _RLE_HEADER_BYTES or [*used, len(frame)] != sorted({*used, len(frame)}):
        raise _refused("RLE frame")
    head = frame[: 4 + 4 * count]
    return head + bytes(_RLE_HEADER_BYTES - len(head)) + frame[_RLE_HEADER_BYTES:]
