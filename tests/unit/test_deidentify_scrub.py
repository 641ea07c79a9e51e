"""What stands in compressed frames beside the image is gone from a de-identified copy, and the image is as it was."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from random import Random

import pytest

from gateway.errors import HeaderError, TransformError
from gateway.transform import prepare
from gateway.transform.parse import parse
from gateway.transform.pixels import PIXEL_DATA, Frames, frames_of
from gateway.transform.pixels.image import EXTENDED_OFFSET_TABLE
from gateway.transform.pixels.scrub import scrubbed_j2k, scrubbed_jpeg, scrubbed_rle
from gateway.transform.values import ValueRefused
from tests.unit.array_kit import decoded_image
from tests.unit.pixels_kit import GREY, J2K, JPEG, JPEG_LS, RLE, attributes
from tests.unit.samples import SOP, MemorySource, Sample, all_samples, element, item, sample, undefined
from tests.unit.test_pixels_hostile import mutated
from tests.unit.transform_kit import origin, run, run_all, transform

CANARY = b"CNRY^JANE 1970-01-01"
STEPS = "- set: {PatientID: 17}\n- mask: nothing\n- deidentify: {key: site}"
JPEG_XL = "1.2.840.10008.1.2.4.110"


def frames_in(data: bytes, syntax: str) -> Frames:
    return frames_of(parse(MemorySource(data), syntax))


def encapsulated_samples() -> list[Sample]:
    found = []
    for each in all_samples():
        try:
            element = parse(MemorySource(each.data_set), each.transfer_syntax_uid).root.get(PIXEL_DATA)
        except HeaderError:
            continue  # those that end too early
        if element is not None and element.of_undefined_length:
            found.append(each)
    return found


def with_frames(name: str, fragments: list[bytes], table: bytes = b"") -> bytes:
    """A sample with other pixel data: these fragments behind this Basic Offset Table."""
    data = sample(name).data_set
    found = re.search(rb"\xe0\x7f\x10\x00O[BW]\0\0\xff\xff\xff\xff", data)
    assert found is not None
    return data[: found.start()] + undefined(PIXEL_DATA, "OB", item(table) + b"".join(map(item, fragments)))


def first_frame(name: str) -> bytes:
    each = sample(name)
    return frames_in(each.data_set, each.transfer_syntax_uid).read(0)


def shown(data: bytes, syntax: str) -> object:
    """What an image shows, or why it cannot be shown: one of the samples says something else than its frames."""
    try:
        return decoded_image(data, syntax)
    except ValueRefused as refused:
        return str(refused)


def even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def test_every_encapsulated_sample_shows_the_same_and_its_offset_table_is_empty() -> None:
    seen = set()
    for each in encapsulated_samples():
        syntax = each.transfer_syntax_uid
        after, prepared = run_all(each.data_set, [transform(STEPS)], syntax)
        assert prepared.transfer_syntax_uid == syntax
        assert shown(after, syntax) == shown(each.data_set, syntax), each
        found = parse(MemorySource(after), syntax).root
        pixels = found.get(PIXEL_DATA)
        assert pixels is not None
        begin = pixels.value[:8] if pixels.bulk is None else after[pixels.bulk[0] :][:8]
        assert begin == b"\xfe\xff\x00\xe0" + bytes(4), each
        assert found.get(EXTENDED_OFFSET_TABLE) is None
        seen.add(str(each))
    assert len(seen) >= 58


# ── what is taken out ─────────────────────────────────────────────────────────────────────────────────────────────


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(content)) + content


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def in_jpeg(added: bytes) -> Callable[[bytes], bytes]:
    return lambda frame: frame[:2] + added + frame[2:]


def behind(added: bytes) -> Callable[[bytes], bytes]:
    return lambda frame: (
        frame.rstrip(b"\0\xff") + (b"" if frame.rstrip(b"\0\xff").endswith(b"\xd9") else b"\xd9") + added
    )


def in_j2k(frame: bytes) -> bytes:
    """A comment behind SIZ, which is the first segment."""
    at = 4 + int.from_bytes(frame[4:6], "big")
    return frame[:at] + b"\xff\x64" + struct.pack(">HH", 4 + len(CANARY), 1) + CANARY + frame[at:]


def in_tile_part(frame: bytes) -> bytes:
    """A comment in the header of the first tile-part, which says how long it is, if it is not the last."""
    at = frame.index(b"\xff\x90\x00\x0a")
    comment = b"\xff\x64" + struct.pack(">HH", 4 + len(CANARY), 1) + CANARY
    length = int.from_bytes(frame[at + 6 : at + 10], "big")
    told = struct.pack(">I", length + len(comment) if length else 0)
    return frame[: at + 6] + told + frame[at + 10 : at + 12] + comment + frame[at + 12 :]


def in_jp2(frame: bytes) -> bytes:
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"xml ", CANARY)
    return start + box(b"jp2c", frame) + box(b"uuid", CANARY)


def in_rle(frame: bytes) -> bytes:
    count = int.from_bytes(frame[:4], "little")
    assert count < 11
    return frame[:44] + CANARY + frame[64:]


JFIF_WITH_THUMBNAIL = b"JFIF\0\1\1\0\0\1\0\1\2\2" + CANARY
SPIFF_TITLE = b"\0\0\0\x04" + CANARY
JPEGS = {
    "EXIF": in_jpeg(segment(0xE1, b"Exif\0\0" + CANARY)),
    "a comment": in_jpeg(segment(0xFE, CANARY)),
    "application data": in_jpeg(segment(0xED, b"Photoshop 3.0\0" + CANARY) + segment(0xEF, CANARY)),
    "a colour profile": in_jpeg(segment(0xE2, b"ICC_PROFILE\0\1\1" + CANARY)),
    "a thumbnail in JFIF": in_jpeg(segment(0xE0, JFIF_WITH_THUMBNAIL)),
    "a thumbnail beside JFIF": in_jpeg(segment(0xE0, b"JFXX\0\x10" + CANARY)),
    "fill bytes in front": in_jpeg(b"\xff\xff\xff" + segment(0xFE, CANARY)),
    "bytes behind its end": behind(CANARY),
    "a stream behind its end": behind(b"\xff\xd8" + segment(0xFE, CANARY) + b"\xff\xd9"),
}
CASES = {
    **{f"JPEG: {what}": ("SC_rgb_small_odd_jpeg.dcm", change) for what, change in JPEGS.items()},
    **{f"JPEG lossless: {what}": ("SC_rgb_jpeg_gdcm.dcm", change) for what, change in JPEGS.items()},
    **{f"JPEG-LS: {what}": ("MR_small_jpeg_ls_lossless.dcm", change) for what, change in JPEGS.items()},
    "JPEG: more in Adobe's": ("SC_rgb_jpeg_app14_dcmd.dcm", in_jpeg(segment(0xEE, b"Adobe\0\x64\0\0\0\0\0" + CANARY))),
    "JPEG-LS: a title in SPIFF": ("SC_rgb_jls_lossy_line.dcm", in_jpeg(segment(0xE8, SPIFF_TITLE))),
    "JPEG 2000: a comment": ("MR_small_jp2klossless.dcm", in_j2k),
    "JPEG 2000: a comment in a tile-part": ("MR_small_jp2klossless.dcm", in_tile_part),
    "JPEG 2000: bytes behind its end": ("MR_small_jp2klossless.dcm", behind(CANARY)),
    "JPEG 2000: boxes of a JP2 file": ("MR_small_jp2klossless.dcm", in_jp2),
    "RLE: what of the header is not used": ("MR_small_RLE.dcm", in_rle),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_image_is_gone_from_the_copy_and_the_image_is_as_it_was(case: str) -> None:
    name, change = CASES[case]
    syntax = sample(name).transfer_syntax_uid
    frame = first_frame(name)
    data = with_frames(name, [even(change(frame))])
    assert CANARY in data
    after = run(data, STEPS, syntax)
    assert CANARY not in after and CANARY[:6] not in after
    assert decoded_image(after, syntax) == decoded_image(sample(name).data_set, syntax)


def test_a_basic_offset_table_that_is_none_is_gone_from_the_copy() -> None:
    name = "MR_small_jp2klossless.dcm"
    data = with_frames(name, [even(first_frame(name))], CANARY)
    assert CANARY in data
    after = run(data, STEPS, J2K)
    assert CANARY not in after
    assert decoded_image(after, J2K) == decoded_image(sample(name).data_set, J2K)


def test_fragments_behind_the_end_of_a_frame_are_gone_from_the_copy() -> None:
    name = "MR_small_jpeg_ls_lossless.dcm"
    frame = first_frame(name)
    after = run(with_frames(name, [frame[:100], frame[100:], CANARY]), STEPS, JPEG_LS)
    assert CANARY not in after
    assert decoded_image(after, JPEG_LS) == decoded_image(sample(name).data_set, JPEG_LS)


def test_what_stands_between_scans_is_gone_and_the_scans_are_as_they_were() -> None:
    tables, first, second = segment(0xDB, b"\0" * 65), b"\1\xff\0\2\xff\xd0\3", b"\4\xff\0"
    scan = segment(0xDA, b"\1\1\0\0\x3f\0")
    note = segment(0xFE, CANARY)
    header = segment(0xC2, b"\x08\0\1\0\1\1\1\x11\0")
    frame = b"\xff\xd8" + tables + header + scan + first + note + scan + second + note + b"\xff\xd9" + CANARY
    assert scrubbed_jpeg(frame) == b"\xff\xd8" + tables + header + scan + first + scan + second + b"\xff\xd9"


def test_in_a_scan_of_jpeg_ls_a_stuffed_bit_ends_nothing() -> None:
    """T.87 A.1: behind FF comes a byte below 80, which in JPEG would be a marker."""
    start = b"\xff\xd8" + segment(0xF7, b"\x08\0\1\0\1\1\1\x11\0") + segment(0xDA, b"\1\1\0\0\0\0")
    frame = start + b"\1\xff\x7f\2\xff\x01\3" + b"\xff\xd9"
    assert scrubbed_jpeg(frame + CANARY) == frame


# ── what cannot be walked ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("SC_rgb_small_odd_jpeg.dcm", b"\xff\xd8" + CANARY),
        ("SC_rgb_small_odd_jpeg.dcm", CANARY),
        ("SC_rgb_small_odd_jpeg.dcm", b"\xff\xd8" + segment(0xF0, CANARY) + b"\xff\xd9"),
        ("MR_small_jp2klossless.dcm", b"\xff\x4f" + segment(0x30, CANARY) + b"\xff\xd9"),
        ("MR_small_jp2klossless.dcm", CANARY),
        ("MR_small_RLE.dcm", CANARY * 10),
        ("MR_small_RLE.dcm", struct.pack("<16I", 2, 64, 4000, *[0] * 13) + CANARY),
    ],
)
def test_a_stream_that_cannot_be_walked_is_held_and_nothing_of_it_is_told(name: str, frame: bytes) -> None:
    with pytest.raises(TransformError, match=r"step 3 \(deidentify\): frame 1: PixelData .*not a whole") as held:
        run(with_frames(name, [even(frame)]), STEPS, sample(name).transfer_syntax_uid)
    assert "CNRY" not in str(held.value)


@pytest.mark.parametrize(
    "name", ["SC_rgb_small_odd_jpeg.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"]
)
def test_a_stream_without_its_end_is_held(name: str) -> None:
    frame = first_frame(name)
    with pytest.raises(TransformError, match="not a whole"):
        run(with_frames(name, [even(frame[: len(frame) // 2])]), STEPS, sample(name).transfer_syntax_uid)


@pytest.mark.parametrize("syntax", [JPEG_XL, "1.2.840.10008.1.2.4.102", "1.2.3.4"])
def test_a_syntax_that_is_not_known_and_video_are_held_whatever_a_person_has_said(syntax: str) -> None:
    data = with_frames("MR_small_jp2klossless.dcm", [CANARY])
    with pytest.raises(TransformError, match="nobody can tell what stands beside the image"):
        run(data, STEPS, syntax)


def test_encapsulated_floats_are_held() -> None:
    id_ = element(0x00100020, "LO", b"17")
    with pytest.raises(TransformError, match=r"FloatPixelData \(7fe0,0008\): it is encapsulated"):
        run(SOP + id_ + undefined(0x7FE00008, "OF", item(b"") + item(CANARY)), STEPS, JPEG)


@pytest.mark.parametrize(
    ("name", "scrubbed"),
    [
        ("SC_rgb_small_odd_jpeg.dcm", scrubbed_jpeg),
        ("examples_ybr_color.dcm", scrubbed_jpeg),
        ("SC_rgb_jls_lossy_line.dcm", scrubbed_jpeg),
        ("MR_small_jp2klossless.dcm", scrubbed_j2k),
        ("GDCMJ2K_TextGBR.dcm", scrubbed_j2k),
        ("MR_small_RLE.dcm", scrubbed_rle),
    ],
)
def test_a_damaged_stream_is_refused_or_walked_to_its_end(name: str, scrubbed: Callable[[bytes], bytes]) -> None:
    stream, random = first_frame(name), Random(11)
    for _ in range(3000):
        try:
            once = scrubbed(mutated(stream, random))
        except ValueRefused:
            continue
        assert scrubbed(once) == once, "nothing is left that would go"


# ── with other steps, and what it costs ───────────────────────────────────────────────────────────────────────────


def test_it_goes_together_with_masks_and_transcoding() -> None:
    name = "MR_small_jpeg_ls_lossless.dcm"
    data = with_frames(name, [even(JPEGS["a comment"](first_frame(name)))])
    mask = "- mask: {regions: [{left: 0, top: 0, width: 100%, height: 8}]}\n"
    native = "- transcode: explicit-vr-little-endian\n"
    known = {
        "masked": run_all(data, [transform(mask + "- deidentify: {key: site}")], JPEG_LS),
        "then native": run_all(data, [transform(STEPS + "\n" + native)], JPEG_LS),
        "native before": run_all(data, [transform(native + STEPS)], JPEG_LS),
        "then JPEG 2000": run_all(data, [transform(STEPS + "\n- transcode: jpeg-2000-lossless")], JPEG_LS),
    }
    frames = decoded_image(data, JPEG_LS)[1]
    for how, (after, prepared) in known.items():
        assert CANARY not in after, how
        shown = decoded_image(after, prepared.transfer_syntax_uid)[1]
        assert (shown == frames) == (how != "masked")


def test_no_more_than_a_few_frames_are_held() -> None:
    frame = even(in_jpeg(segment(0xFE, CANARY))(scan_of(512 * 1024)))
    count = 60
    image = attributes(GREY.but(bits_allocated=8, bits_stored=8, high_bit=7, number_of_frames=count))
    data = SOP + element(0x00100020, "LO", b"17") + image
    data += undefined(PIXEL_DATA, "OB", item(b"") + item(frame) * count)
    prepared = prepare([transform(STEPS)], MemorySource(data), origin(JPEG), system="gateway")
    tracemalloc.start()
    length = prepared.write(lambda piece: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length > count * 512 * 1024
    assert peak < 5 * len(frame)


def scan_of(size: int) -> bytes:
    """A JPEG stream with one scan of so many bytes."""
    header = segment(0xC0, b"\x08\0\1\0\1\1\1\x11\0")
    return b"\xff\xd8" + header + segment(0xDA, b"\1\1\0\0\x3f\0") + bytes(size) + b"\xff\xd9"


def test_no_codec_is_needed_for_it() -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('PIL', 'gdcm', 'jpeg_ls', 'numpy', 'openjpeg', 'pylibjpeg', 'rle')))\n"
        "from tests.unit.samples import sample\n"
        "from tests.unit.transform_kit import run\n"
        "each = sample('MR_small_jp2klossless.dcm')\n"
        f"print(len(run(each.data_set, {STEPS!r}, each.transfer_syntax_uid)))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(told) > 4000


def test_rle_stays_as_it_is_but_for_its_header() -> None:
    frame = first_frame("MR_small_RLE.dcm")
    assert scrubbed_rle(in_rle(frame)) == frame
    assert sample("MR_small_RLE.dcm").transfer_syntax_uid == RLE
