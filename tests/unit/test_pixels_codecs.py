"""Frames are decoded as pydicom's decoders decode them, and what is encoded is the same image to those."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from openjpeg.utils import encode_buffer
from pydicom.pixels import get_decoder

from gateway.errors import HeaderError
from gateway.transform.parse import parse
from gateway.transform.pixels import PIXEL_DATA, Frames, Image, decoded, encoded, frames_of
from gateway.transform.pixels.codecs import decode, encode, encoded_image
from gateway.transform.pixels.samples import by_pixel, by_plane
from gateway.transform.pixels.streams import is_lossy
from gateway.transform.values import ValueRefused
from tests.unit.pixels_kit import (
    GREY,
    IMAGES,
    J2K,
    J2K_LOSSY,
    JPEG,
    JPEG_LS,
    LOSSLESS,
    NEAR_LOSSLESS,
    RLE,
    encapsulated,
    frame_of,
    made,
    samples_of,
    tree_of,
)
from tests.unit.samples import EXPLICIT, MemorySource, Sample, all_samples, sample
from tests.unit.transform_kit import before

# Samples whose pixels cannot be read, and why. Everything else is decoded.
UNREADABLE = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "Columns",  # the stream has other sizes than the data set
    "MR_truncated.dcm": "ends inside an element",
    "badVR.dcm": "NumberOfFrames",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "ends inside encapsulated pixel data",
    "meta_missing_tsyntax.dcm": "SamplesPerPixel",
    "nested_priv_SQ.dcm": "SamplesPerPixel",
    "rtdose_expb.dcm": "big endian",
    "rtdose_expb_1frame.dcm": "big endian",
    "SC_rgb_expb_16bit.dcm": "big endian",  # in OB
    "SC_rgb_expb_16bit_2frame.dcm": "big endian",
    "SC_rgb_expb_32bit.dcm": "big endian",
    "SC_rgb_expb_32bit_2frame.dcm": "big endian",
    "rtplan_truncated.dcm": "ends inside an element",
}


def has_pixels(each: Sample) -> bool:
    try:
        element = parse(MemorySource(each.data_set), each.transfer_syntax_uid).root.get(PIXEL_DATA)
    except HeaderError:
        return True
    return element is not None and element.value_bytes > 0


WITH_PIXELS = [each for each in all_samples() if has_pixels(each)]
# pydicom refuses 12-bit JPEG; DCMTK does not (`tests.integration.test_transcode_dcmtk`).
NOT_PYDICOMS = {"JPEG-lossy.dcm", "JPGExtended.dcm"}


def array_of(image: Image, frames: list[bytes]) -> np.ndarray:  # type: ignore[type-arg]
    """Native frames as numbers: frame, row, column and sample."""
    if image.bits_allocated == 1:
        bits = [np.unpackbits(np.frombuffer(frame, "u1"), bitorder="little")[: image.samples] for frame in frames]
        return np.stack(bits).reshape(-1, image.rows, image.columns, 1).astype("i8")
    data = b"".join(by_pixel(frame, image.samples_per_pixel, image.sample_bytes) for frame in frames)
    if not image.planar_configuration:
        data = b"".join(frames)
    found = np.frombuffer(data, f"<{'i' if image.is_signed else 'u'}{image.sample_bytes}").astype("i8")
    return found.reshape(-1, image.rows, image.columns, image.samples_per_pixel)


def read_all(frames: Frames) -> list[bytes]:
    return [frames.read(index) for index in range(frames.image.number_of_frames)]


@pytest.mark.parametrize("each", WITH_PIXELS, ids=str)
def test_samples_are_decoded_as_pydicom_decodes_them(each: Sample) -> None:
    if each.path.name in UNREADABLE:
        with pytest.raises((ValueRefused, HeaderError), match=UNREADABLE[each.path.name]):
            read_all(decoded(frames_of(parse(MemorySource(each.data_set), each.transfer_syntax_uid))))
        return
    frames = decoded(frames_of(parse(MemorySource(each.data_set), each.transfer_syntax_uid)))
    ours = read_all(frames)
    image = frames.image
    if each.path.name in NOT_PYDICOMS or image.is_subsampled:
        assert len(ours[0]) == image.frame_bytes
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = before(each)
        theirs, told = get_decoder(data_set.file_meta.TransferSyntaxUID).as_array(data_set, as_rgb=False)
    # Decoders tell by YBR_FULL_422 also what they have brought to its full size.
    assert image.photometric_interpretation == told["photometric_interpretation"].replace("_422", "")
    found = array_of(image, ours)
    if image.is_native and frames is not None and image.bits_stored < image.bits_allocated and image.is_signed:
        shift = 64 - image.bits_stored
        found = found << shift >> shift
    assert np.array_equal(found, theirs.astype("i8").reshape(found.shape))


# ── there and back ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "syntax"), [*product(IMAGES, LOSSLESS)])
def test_what_is_encoded_without_loss_is_the_same_image_to_us_and_to_pydicom(name: str, syntax: str) -> None:
    one = made(IMAGES[name])
    frames = encoded(frames_of(tree_of(one.data_set)), syntax)
    streams = read_all(frames)
    assert streams == read_all(frames)
    expected = array_of(one.image, one.frames)
    native = decoded(frames_of(tree_of(encapsulated(frames.image, streams), syntax)))
    assert np.array_equal(array_of(native.image, read_all(native)), expected)
    data_set = encapsulated(frames.image, streams)
    theirs = get_decoder(syntax).as_array(before(Sample("", data_set, syntax)), as_rgb=False)[0]  # type: ignore[arg-type]
    assert np.array_equal(theirs.astype("i8").reshape(expected.shape), expected)


def test_colours_are_told_as_they_are_encoded() -> None:
    rgb, ybr = IMAGES["RGB by plane"], IMAGES["YBR_FULL"]
    found = {syntax: encoded_image(rgb, syntax) for syntax in (*LOSSLESS, J2K_LOSSY, NEAR_LOSSLESS)}
    assert {syntax: each.photometric_interpretation for syntax, each in found.items()} == {
        RLE: "RGB",
        JPEG_LS: "RGB",
        J2K: "YBR_RCT",
        J2K_LOSSY: "YBR_ICT",
        NEAR_LOSSLESS: "RGB",
    }
    assert {syntax: each.planar_configuration for syntax, each in found.items()} == {
        RLE: 1,
        JPEG_LS: 0,
        J2K: 0,
        J2K_LOSSY: 0,
        NEAR_LOSSLESS: 0,
    }
    assert all(encoded_image(ybr, syntax).photometric_interpretation == "YBR_FULL" for syntax in found)


@pytest.mark.parametrize("name", ["8 bits", "12 bits", "12 bits signed", "16 bits signed", "RGB by pixel", "YBR_FULL"])
def test_near_lossless_keeps_its_word(name: str) -> None:
    image = IMAGES[name]
    values = [value // 2 for value in samples_of(image)]  # away from the ends, where signed ones would turn over
    frame = frame_of(image, values)
    stream = encode(image, frame, NEAR_LOSSLESS, error=3)
    assert is_lossy(stream)
    assert len(stream) < len(encode(image, frame, JPEG_LS))
    found = array_of(image, [decode(image, stream, NEAR_LOSSLESS)])
    assert 0 < np.abs(found - array_of(image, [frame])).max() <= 3


def test_a_signed_sample_that_would_turn_over_is_refused() -> None:
    image = replace(GREY, pixel_representation=1)
    frame = frame_of(image, [32_767, -32_768] * (image.samples // 2))
    with pytest.raises(ValueRefused, match=r"PixelData .* differs by more than the error allowed"):
        encode(image, frame, NEAR_LOSSLESS, error=30)


def test_jpeg_2000_becomes_as_small_as_is_asked_for() -> None:
    each = sample("CT_small.dcm")
    frames = frames_of(parse(MemorySource(each.data_set), each.transfer_syntax_uid))
    for ratio in (5, 20, 50):
        size = len(encode(frames.image, frames.read(0), J2K_LOSSY, ratio=ratio))
        assert ratio * 0.95 < frames.image.frame_bytes / size < ratio * 1.1
    assert is_lossy(encode(frames.image, frames.read(0), J2K_LOSSY, ratio=5))
    assert not is_lossy(encode(frames.image, frames.read(0), J2K))


def test_colour_by_plane_and_by_pixel_are_each_others_reverse() -> None:
    assert by_plane(b"RGBrgb", 3, 1) == b"RrGgBb"
    assert by_pixel(b"R1r1G2g2B3b3", 3, 2) == b"R1G2B3r1g2b3"
    frame = bytes(range(96))
    for size in (1, 2, 4):
        assert by_pixel(by_plane(frame, 3, size), 3, size) == frame


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────

RGB = IMAGES["RGB by pixel"]
WIDE = replace(GREY, bits_allocated=32, bits_stored=32, high_bit=31)


@pytest.mark.parametrize(
    ("image", "syntax", "named"),
    [
        (replace(GREY, bits_allocated=1, bits_stored=1, high_bit=0), RLE, "BitsAllocated"),
        (replace(GREY, bits_allocated=1, bits_stored=1, high_bit=0), J2K, "BitsAllocated"),
        (replace(IMAGES["8 bits"], bits_stored=1, high_bit=0), JPEG_LS, "BitsStored"),
        (WIDE, RLE, "BitsAllocated"),
        (WIDE, JPEG_LS, "BitsAllocated"),
        (WIDE, J2K, "BitsStored"),
        (IMAGES["palette"], J2K_LOSSY, "PhotometricInterpretation"),
        (IMAGES["palette"], NEAR_LOSSLESS, "PhotometricInterpretation"),
        (replace(RGB, photometric_interpretation="HSV"), RLE, "PhotometricInterpretation"),
        (replace(RGB, photometric_interpretation="YBR_FULL_422"), RLE, "PhotometricInterpretation"),
        (replace(RGB, pixel_representation=1), JPEG_LS, "PhotometricInterpretation"),
        (replace(IMAGES["YBR_FULL"], bits_allocated=16), RLE, "BitsAllocated"),
        (replace(GREY, rows=31), J2K, "Rows"),
        (replace(GREY, columns=31), J2K_LOSSY, "Columns"),
        (GREY, JPEG, "writes no transfer syntax"),
    ],
)
def test_what_the_standard_does_not_allow_is_refused(image: Image, syntax: str, named: str) -> None:
    with pytest.raises(ValueRefused, match=named):
        encoded_image(image, syntax)


def test_bits_that_a_codec_would_lose_are_kept_or_refused() -> None:
    twelve = IMAGES["12 bits"]
    overlay = frame_of(twelve, [value | 0x1000 for value in samples_of(twelve)])
    shifted = replace(twelve, high_bit=15)
    for syntax in (JPEG_LS, J2K):
        with pytest.raises(ValueRefused, match=r"BitsStored .* only rle-lossless keeps"):
            encode(twelve, overlay, syntax)
        with pytest.raises(ValueRefused, match=r"BitsStored .* only rle-lossless keeps"):
            encode(shifted, overlay, syntax)
    assert decode(twelve, encode(twelve, overlay, RLE), RLE) == overlay
    assert decode(shifted, encode(shifted, overlay, RLE), RLE) == overlay


def test_negative_samples_may_come_without_their_sign_in_the_unused_bits() -> None:
    image = IMAGES["12 bits signed"]
    values = samples_of(image)
    masked = b"".join((value & 0xFFF).to_bytes(2, "little") for value in values)
    for syntax in (JPEG_LS, J2K):
        assert decode(image, encode(image, masked, syntax), syntax) == frame_of(image, values)


@pytest.mark.parametrize(
    "name", ["US1_J2KR.dcm", "emri_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "JPEG-LL.dcm", "JPEG-lossy.dcm"]
)
def test_a_frame_of_which_the_end_is_missing_is_refused(name: str) -> None:
    each = sample(name)
    frames = frames_of(parse(MemorySource(each.data_set), each.transfer_syntax_uid))
    whole = frames.read(0).rstrip(b"\0\xff")
    for length in (len(whole) - 2, len(whole) * 9 // 10, len(whole) // 2, 20, 2):
        with pytest.raises(ValueRefused, match="PixelData"):
            decode(frames.image, whole[:length])


@pytest.mark.parametrize(
    ("name", "at"), [("US1_J2KR.dcm", 8), ("emri_small_jpeg_ls_lossless.dcm", None), ("JPEG-LL.dcm", None)]
)
def test_a_frame_that_says_it_is_larger_is_refused_before_room_is_made_for_it(name: str, at: int | None) -> None:
    each = sample(name)
    frames = frames_of(parse(MemorySource(each.data_set), each.transfer_syntax_uid))
    stream = bytearray(frames.read(0))
    if at is None:  # behind the marker and length of its frame header, and the precision
        marker = b"\xff\xf7" if "jpeg_ls" in name else b"\xff\xc3"
        at = stream.index(marker) + 5
        stream[at : at + 4] = b"\xff\xff\xff\xff"
    else:
        stream[at : at + 8] = b"\x7f\xff\xff\xff\x7f\xff\xff\xff"
    with pytest.raises(ValueRefused, match=r"Rows \(0028,0010\): not what the compressed frame says"):
        decode(frames.image, bytes(stream))


def test_a_transfer_syntax_that_nobody_decodes_is_named() -> None:
    image = replace(GREY, transfer_syntax_uid="1.2.840.10008.1.2.4.100")
    with pytest.raises(ValueRefused, match=r"no codec decodes transfer syntax 1\.2\.840\.10008\.1\.2\.4\.100"):
        decode(image, b"\0\0")


LYING = """
import sys, types
import rle
lying = types.ModuleType("rle")
lying.decode_pixel_data = rle.decode_pixel_data
lying.encode_pixel_data = lambda src, **options: rle.encode_pixel_data(bytes(len(src)), **options)
sys.modules["rle"] = lying
"""
MISSING = """
import sys
sys.modules[NAME] = None
"""
ENCODE = """
from gateway.cli.lean import hide_codecs
hide_codecs()
from gateway.transform.pixels.codecs import encode
from gateway.transform.values import ValueRefused
from tests.unit.pixels_kit import IMAGES, frame_of, samples_of
image = IMAGES["12 bits"]
try:
    encode(image, frame_of(image, samples_of(image)), SYNTAX)
except ValueRefused as refused:
    print(refused)
"""


def told_by(code: str) -> str:
    """What a Python of its own prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_what_comes_back_as_another_image_is_refused() -> None:
    told = told_by(LYING + ENCODE.replace("SYNTAX", repr(RLE)))
    assert told == "PixelData (7fe0,0010): the encoded frame is not the same image"


@pytest.mark.parametrize(
    ("module", "syntax"), [("rle", RLE), ("jpeg_ls", JPEG_LS), ("openjpeg", J2K), ("numpy", JPEG_LS)]
)
def test_a_codec_that_is_not_installed_is_told_of_with_what_to_install(module: str, syntax: str) -> None:
    told = told_by(MISSING.replace("NAME", repr(module)) + ENCODE.replace("SYNTAX", repr(syntax)))
    assert told == "the codecs are not installed: pip install 'dicom-gateway[codecs]'"


TIGHT = """
import resource
from dataclasses import replace
import numpy, openjpeg.utils
from gateway.transform.pixels.codecs import decode
from gateway.transform.values import ValueRefused
from tests.unit.pixels_kit import GREY, J2K
image = replace(
    GREY, rows=SIZE, columns=SIZE, bits_allocated=8, bits_stored=8, high_bit=7, transfer_syntax_uid=J2K
)
(in_use,) = (int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (in_use + (200 << 20),) * 2)
try:
    decode(image, bytes.fromhex(STREAM))
except ValueRefused as refused:
    print(refused)
"""


def test_a_lack_of_memory_for_a_large_frame_is_told_of_though_the_codec_does_not_tell_it_apart() -> None:
    """OpenJPEG makes four bytes of each sample: there is room for the frame, and none for these."""
    size = 8_448
    stream = encode_buffer(bytes(size * size), size, size, 1, 8, False, photometric_interpretation=0, use_mct=False)
    told = told_by(TIGHT.replace("SIZE", str(size)).replace("STREAM", repr(bytes(stream).hex())))
    assert told.startswith("PixelData (7fe0,0010): the codec cannot decode a frame (RuntimeError)"), told
    assert told.endswith("worker.memory too small?")


LIGHT = """
import sys
from gateway.cli import main
sys.argv = ["gateway", "--help"]
try:
    main()
except SystemExit:
    pass
import gateway.app, gateway.app.worker, gateway.app.receiver, gateway.app.forwarder, gateway.app.console
import gateway.transform
from tests.unit.transform_kit import run
heavy = {"numpy", "PIL", "gdcm", "jpeg_ls", "openjpeg", "pylibjpeg", "rle"}
before = sorted(heavy & set(sys.modules))
from tests.unit.samples import sample
data = sample("CT_small.dcm").data_set
run(data, "- set: {PatientID: A}")
between = sorted(heavy & set(sys.modules))
run(data, "- transcode: rle-lossless")
print(before, between, sorted(heavy & set(sys.modules)))
"""


def test_no_codec_is_loaded_before_a_frame_needs_it() -> None:
    assert told_by(LIGHT).splitlines()[-1] == "[] [] ['numpy', 'rle']"


def test_explicit_is_what_decoded_frames_are_in() -> None:
    each = sample("MR_small_RLE.dcm")
    frames = decoded(frames_of(parse(MemorySource(each.data_set), each.transfer_syntax_uid)))
    assert frames.image.transfer_syntax_uid == EXPLICIT
    assert decoded(frames) is frames
