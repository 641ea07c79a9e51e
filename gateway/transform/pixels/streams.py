"""What a compressed frame says of itself in its first bytes: JPEG and JPEG-LS (ITU-T T.81 B.2, T.87 C.1), JPEG 2000
(ISO/IEC 15444-1 A.5, A.6).

A codec makes as much room as the stream asks for: what does not fit the data set is refused before one is called.

:raises ValueRefused: it is no such stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack_from

from gateway.transform.names import label
from gateway.transform.pixels.image import COLUMNS, PIXEL_DATA, ROWS, SAMPLES_PER_PIXEL, Image
from gateway.transform.values import ValueRefused

_MAX_MARKERS = 1000
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOF0-15, SOF55 of JPEG-LS
# What else may stand in front of a scan: DHT, DAC, DQT, DRI, APPn, LSE of JPEG-LS, COM.
_SEGMENTS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xF8, 0xFE})
_JPEG_LS, _LOSSLESS = 0xF7, frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_RGB_IDS = (b"RGB", b"rgb")
_END = b"\xff\xd9"  # EOI
_JP2 = b"\x00\x00\x00\x0cjP  "


@dataclass(frozen=True, slots=True)
class Stream:
    """What a stream holds.

    `colour` is what it says of its three components: RGB, YBR, or "" where it says nothing; `is_lossy` that it is
    compressed in a way that cannot give all back.
    """

    rows: int
    columns: int
    samples_per_pixel: int
    precision: int
    is_signed: bool = False
    colour: str = ""
    is_by_plane: bool = False
    is_lossy: bool = False


def stream_of_jpeg(frame: bytes) -> Stream:
    """What a JPEG or JPEG-LS stream holds.

    One without its end is refused here: codecs make a grey rest of what is missing.
    """
    if not frame.rstrip(b"\0\xff").endswith(_END):
        raise ValueRefused(f"{label(PIXEL_DATA)}: a frame is no JPEG stream, or not a whole one")
    colour, found, kind = "", None, 0
    at = 2 if frame[:2] == b"\xff\xd8" else len(frame)
    for _ in range(_MAX_MARKERS):
        while at + 1 < len(frame) and frame[at] == 0xFF and frame[at + 1] == 0xFF:
            at += 1  # T.81 B.1.1.2: fill bytes
        if at + 4 > len(frame) or frame[at] != 0xFF:
            break
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        segment = frame[at + 4 : at + 2 + length]
        if marker in _FRAME_HEADERS and len(segment) >= 6:
            found, kind = segment, marker
        elif marker == 0xDA:
            return _jpeg(found, kind, colour, segment)
        elif length < 2 or marker not in _SEGMENTS:
            break
        colour = _colour(marker, segment) or colour
        at += 2 + length
    raise ValueRefused(f"{label(PIXEL_DATA)}: a frame is no JPEG stream")


def _colour(marker: int, segment: bytes) -> str:
    """What an APPn segment says of the colours: Adobe's, which is the last one, before JFIF's."""
    if marker == 0xEE and segment[:5] == b"Adobe" and len(segment) >= 12:
        return "RGB" if segment[11] == 0 else "YBR"
    return "YBR" if marker == 0xE0 and segment[:5] == b"JFIF\0" else ""


def _jpeg(header: bytes | None, kind: int, colour: str, scan: bytes) -> Stream:
    if header is None:
        raise ValueRefused(f"{label(PIXEL_DATA)}: a frame is no JPEG stream")
    precision, rows, columns, components = unpack_from(">BHHB", header)
    if header[6::3][:3] in _RGB_IDS:
        colour = "RGB"
    count = scan[0] if scan else 0
    if kind == _JPEG_LS:
        is_lossy = scan[1 + 2 * count : 2 + 2 * count] not in (b"\0", b"")  # NEAR
    else:
        is_lossy = kind not in _LOSSLESS
    return Stream(
        rows,
        columns,
        components,
        precision,
        colour=colour if components == 3 else "",
        is_by_plane=components > 1 and count == 1,
        is_lossy=is_lossy,
    )


def bare(frame: bytes) -> bytes:
    """A JPEG stream without its APPn and COM segments, over which a codec may stumble, and which say only colours."""
    kept, at = [frame[:2]], 2
    for _ in range(_MAX_MARKERS):
        if at + 4 > len(frame) or frame[at] != 0xFF or frame[at + 1] in (0xDA, 0xFF):
            break
        after = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if not (0xE0 <= frame[at + 1] <= 0xEF or frame[at + 1] == 0xFE):
            kept.append(frame[at:after])
        at = after
    return b"".join([*kept, frame[at:]])


def stream_of_j2k(frame: bytes) -> Stream:
    """What a JPEG 2000 stream holds, also one in a JP2 file, which PS3.5 A.4.4 forbids and some write."""
    at = _codestream(frame) if frame.startswith(_JP2) else 0
    if frame[at : at + 4] != b"\xff\x4f\xff\x51" or len(frame) < at + 43:
        raise ValueRefused(f"{label(PIXEL_DATA)}: a frame is no JPEG 2000 stream")
    width, height, left, top = unpack_from(">4I", frame, at + 8)
    components, size = unpack_from(">HB", frame, at + 40)
    is_lossy = _wavelet(frame, at + 2) == 0  # the irreversible one
    return Stream(height - top, width - left, components, (size & 0x7F) + 1, bool(size & 0x80), is_lossy=is_lossy)


def _wavelet(frame: bytes, at: int) -> int:
    """The transformation that the COD segment of the main header names; -1 where there is none."""
    for _ in range(_MAX_MARKERS):
        marker, length = frame[at : at + 2], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == b"\xff\x52" and len(frame) > at + 13:
            return frame[at + 13]
        if length < 2 or marker == b"\xff\x90":
            break
        at += 2 + length
    return -1


def _codestream(frame: bytes) -> int:
    at = 12
    while at + 8 <= len(frame):
        if frame[at + 4 : at + 8] == b"jp2c":
            return at + 8
        length = int.from_bytes(frame[at : at + 4], "big")
        if length < 8:
            break
        at += length
    return 0


def is_lossy(frame: bytes) -> bool:
    """Whether a frame says of itself that compressing it has lost something."""
    try:
        return (stream_of_jpeg if frame.startswith(b"\xff\xd8") else stream_of_j2k)(frame).is_lossy
    except ValueRefused:
        return False  # RLE, which loses nothing


def check_stream(stream: Stream, image: Image) -> None:
    """See that a stream is a frame of the image. :raises ValueRefused: it is not."""
    pairs = {
        ROWS: (stream.rows, image.rows),
        COLUMNS: (stream.columns, image.columns),
        SAMPLES_PER_PIXEL: (stream.samples_per_pixel, image.samples_per_pixel),
    }
    for tag, (there, said) in pairs.items():
        if there != said:
            raise ValueRefused(f"{label(tag)}: not what the compressed frame says of itself")
    if stream.precision > image.bits_allocated:
        raise ValueRefused(f"{label(PIXEL_DATA)}: the compressed frame has more bits than the data set has room for")
