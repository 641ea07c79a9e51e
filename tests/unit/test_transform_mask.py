"""The step `mask`: what it blanks is black, what it does not is untouched, and nothing keeps what was there."""

from __future__ import annotations

import tracemalloc
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from gateway.errors import HeaderError, TransformError
from gateway.transform import prepare
from gateway.transform.parse import parse
from gateway.transform.pixels import PIXEL_DATA
from gateway.transform.values import ValueRefused
from tests.harness.tools import program
from tests.harness.tools import run as run_program
from tests.unit.array_kit import Pixels, array, decoded_image, encode, image
from tests.unit.samples import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, MemorySource, Sample, all_samples, element
from tests.unit.samples import sample as sample_of
from tests.unit.transform_kit import origin, part10, problems_of, reread, run, run_all, transform

HALF = "- mask: {regions: [{left: 1, top: 1, width: 50%, height: 30%}]}"
RLE, JPEG_LS, J2K, J2K_LOSSY = (f"1.2.840.10008.1.2.{end}" for end in ("5", "4.80", "4.90", "4.91"))
ITEM = b"\xfe\xff\x00\xe0"
MAX_PIXELS = 800_000


def half(rows: int, columns: int) -> Pixels:
    """What HALF covers of an image."""
    covered = numpy.zeros((rows, columns), bool)
    covered[1 : min(rows, -(-(100 + 30 * rows) // 100)), 1 : min(columns, -(-(100 + 50 * columns) // 100))] = True
    return covered


def masked(data: bytes, steps: str = HALF, syntax: str = EXPLICIT) -> tuple[list[Pixels], Any]:
    """The frames behind the steps as arrays, and what was said of the data set."""
    after, prepared = run_all(data, [transform(steps)], syntax)
    what, frames = decoded_image(after, prepared.transfer_syntax_uid)
    return [array(what, frame) for frame in frames], prepared


def has_pixels_to_read(each: Sample) -> bool:
    """Whether a sample has an image that can be decoded, and is not so large that a test of it takes long."""
    tree = parse_or_none(each)
    if tree is None or tree.root.get(PIXEL_DATA) is None:
        return False
    try:
        what, _ = decoded_image(each.data_set, each.transfer_syntax_uid)
    except (ValueRefused, HeaderError):
        return False
    return what.rows * what.columns * what.number_of_frames <= MAX_PIXELS


def parse_or_none(each: Sample) -> Any:
    try:
        return parse(MemorySource(each.data_set), each.transfer_syntax_uid)
    except HeaderError:
        return None


def test_in_every_sample_what_is_covered_is_of_one_colour_and_all_else_as_it_was() -> None:
    """Native and encapsulated, mono and colour, by pixel and by plane, one bit to 32, little and big endian."""
    seen: set[tuple[str, str, int, int]] = set()
    for each in all_samples():
        if not has_pixels_to_read(each):
            continue
        before, frames = decoded_image(each.data_set, each.transfer_syntax_uid)
        after, prepared = masked(each.data_set, HALF, each.transfer_syntax_uid)
        covered = half(before.rows, before.columns)
        if before.is_subsampled:
            covered = covered.reshape(before.rows, -1, 2).any(axis=2).repeat(2, axis=1)
        assert len(after) == before.number_of_frames
        for was, now in zip((array(before, frame) for frame in frames), after, strict=True):
            assert (now[~covered] == was[~covered]).all(), each
            assert (now[covered] == now[covered][0]).all(), each
        seen.add((each.transfer_syntax_uid, before.photometric_interpretation, before.bits_allocated, len(frames)))
        assert prepared.transfer_syntax_uid == (
            each.transfer_syntax_uid
            if each.transfer_syntax_uid in (RLE, JPEG_LS, J2K, EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)
            and (before.bits_allocated < 32 or each.transfer_syntax_uid not in (RLE, JPEG_LS))
            else EXPLICIT
        ), each
    assert {"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR"} <= {s[1] for s in seen}
    assert {1, 8, 16, 32} <= {each[2] for each in seen}
    assert {RLE, JPEG_LS, J2K, J2K_LOSSY, EXPLICIT, IMPLICIT, BIG_ENDIAN} <= {each[0] for each in seen}
    assert any(each[3] > 1 and each[2] == 1 for each in seen), "frames that begin within a byte"


def test_wide_pixels_in_big_endian_are_refused_as_nobody_agrees_how_they_are_written() -> None:
    each = sample_of("SC_rgb_expb_32bit.dcm")
    with pytest.raises(TransformError, match="big endian"):
        masked(each.data_set, HALF, BIG_ENDIAN)


BLACK = {
    "MONOCHROME1, 12 of 16 bits": (image(numpy.full((1, 9, 9), 7, "u2"), 12, "MONOCHROME1"), (4095,)),
    "MONOCHROME1, signed": (image(numpy.full((1, 9, 9), 7, "i2"), 12, "MONOCHROME1"), (2047,)),
    "MONOCHROME2": (image(numpy.full((1, 9, 9), 7, "u2"), 12), (0,)),
    "MONOCHROME2, signed": (image(numpy.full((1, 9, 9), 7, "i2"), 12), (-2048,)),
    "MONOCHROME2, 32 bits signed": (image(numpy.full((1, 9, 9), 7, "i4")), (-(1 << 31),)),
    "RGB": (image(numpy.full((1, 9, 9, 3), 7, "u1")), (0, 0, 0)),
    "YBR_FULL": (image(numpy.full((1, 9, 9, 3), 7, "u1"), 0, "YBR_FULL"), (0, 128, 128)),
}


@pytest.mark.parametrize("name", BLACK)
def test_what_is_covered_is_black_as_it_is_shown(name: str) -> None:
    data, black = BLACK[name]
    (frame,), _ = masked(encode(data))
    assert tuple(frame[1, 1]) == black
    assert (frame[0, 0] == 7).all()


def test_of_a_palette_the_darkest_entry_is_black() -> None:
    data = image(numpy.full((1, 9, 9), 12, "u1"), 0, "PALETTE COLOR")
    red, green, blue = [9000, 8000, 7000, 9000], [9000, 100, 50, 9000], [9000, 9000, 9000, 9000]
    for name, column in (("Red", red), ("Green", green), ("Blue", blue)):
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [4, 10, 16])
        setattr(data, f"{name}PaletteColorLookupTableData", numpy.array(column, "<u2").tobytes())
    (frame,), _ = masked(encode(data))
    assert frame[1, 1] == 10 + 2
    (frame,), _ = masked(encode(data), HALF.replace("mask: {", "mask: {fill: 13, "))
    assert frame[1, 1] == 13
    del data.RedPaletteColorLookupTableData
    with pytest.raises(TransformError, match="RedPaletteColorLookupTableData"):
        masked(encode(data))


def test_a_palette_in_segments_is_written_out() -> None:
    """As some ultrasound machines have it (PS3.3 C.7.9.2): three discrete entries, and four in a line behind them."""
    data = image(numpy.full((1, 9, 9), 12, "u1"), 0, "PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [7, 0, 16])
        segments = numpy.array([0, 3, 500, 400, 410, 1, 4, 90], "<u2").tobytes()
        setattr(data, f"Segmented{name}PaletteColorLookupTableData", segments)
    (frame,), _ = masked(encode(data))
    assert frame[1, 1] == 6
    data.SegmentedRedPaletteColorLookupTableData = numpy.array([2, 1, 0, 0], "<u2").tobytes()
    with pytest.raises(TransformError, match="discrete and linear"):
        masked(encode(data))


def test_a_person_may_say_what_is_put_in_place_and_only_what_can_be_stored() -> None:
    data = image(numpy.full((1, 9, 9), 7, "u2"), 12)
    (frame,), _ = masked(encode(data), HALF.replace("mask: {", "mask: {fill: 100, "))
    assert frame[1, 1] == 100
    with pytest.raises(TransformError, match=r"step 1 \(mask\): fill is not a value of these pixels"):
        masked(encode(data), HALF.replace("mask: {", "mask: {fill: 4096, "))


def test_an_overlay_in_unused_bits_is_blanked_with_the_pixels() -> None:
    """PS3.3 C.9.2 as it was: bit 15 is an overlay's, and says something too."""
    pixels = numpy.full((1, 9, 9), 0x8000 | 7, "u2")
    data = image(pixels, 12)
    data.add_new(0x60000100, "US", 16)
    data.add_new(0x60000102, "US", 15)
    (frame,), _ = masked(encode(data))
    assert frame[1, 1] == 0
    assert frame[0, 0] == 0x8007
    data.PixelRepresentation = 1
    (frame,), _ = masked(encode(data))
    assert frame[1, 1] == 0x0800, "the least value, without its sign in the overlay's bit"


def test_pixels_in_the_upper_bits_of_their_cells_are_blanked() -> None:
    data = image(numpy.full((1, 9, 9), 0x7FF0, "u2"), 12, "MONOCHROME1", HighBit=15)
    (frame,), _ = masked(encode(data))
    assert (frame[1, 1], frame[0, 0]) == (0xFFF0, 0x7FF0)


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS, J2K])
def test_what_was_compressed_without_a_loss_is_compressed_again_or_native_where_that_is_asked(syntax: str) -> None:
    names = {RLE: "emri_small_RLE.dcm", JPEG_LS: "MR_small_jpeg_ls_lossless.dcm", J2K: "MR_small_jp2klossless.dcm"}
    each = sample_of(names[syntax])
    compressed, said = masked(each.data_set, HALF, syntax)
    native, of_native = masked(each.data_set, HALF.replace("mask: {", "mask: {encapsulated: native, "), syntax)
    assert (said.transfer_syntax_uid, of_native.transfer_syntax_uid) == (syntax, EXPLICIT)
    assert all((one == other).all() for one, other in zip(compressed, native, strict=True))


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPEG2000.dcm", "JPEGLSNearLossless_08.dcm"])
def test_what_was_compressed_with_a_loss_becomes_native_and_still_says_that_it_was(name: str) -> None:
    each = sample_of(name)
    said = reread(each.data_set, each.transfer_syntax_uid)
    after, prepared = run_all(each.data_set, [transform(HALF)], each.transfer_syntax_uid)
    assert prepared.transfer_syntax_uid == EXPLICIT
    lossy = reread(after)
    assert lossy.LossyImageCompression == "01"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        assert lossy.get(keyword) == said.get(keyword)


def test_pydicom_reads_the_same_pixels_where_nothing_was_covered() -> None:
    for name in ("MR_small_RLE.dcm", "emri_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_rle.dcm"):
        each = sample_of(name)
        was = reread(each.data_set, each.transfer_syntax_uid)
        after, prepared = run_all(each.data_set, [transform(HALF)], each.transfer_syntax_uid)
        now = reread(after, prepared.transfer_syntax_uid)
        covered = half(was.Rows, was.Columns)
        if was.pixel_array.ndim - (was.SamplesPerPixel > 1) == 3:
            covered = numpy.stack([covered] * was.pixel_array.shape[0])
        assert (now.pixel_array[~covered] == was.pixel_array[~covered]).all()
        assert len(numpy.unique(now.pixel_array[covered])) == 1


@pytest.mark.parametrize(
    ("name", "viewer"),
    [
        ("CT_small.dcm", "dcm2pnm"),
        ("color-pl.dcm", "dcm2pnm"),
        ("JPEG-lossy.dcm", "dcm2pnm"),
        ("MR_small_RLE.dcm", "dcm2pnm"),
        ("MR_small_jpeg_ls_lossless.dcm", "dcml2pnm"),
    ],
)
def test_dcmtk_reads_and_shows_what_was_masked(tmp_path: Path, name: str, viewer: str) -> None:
    each = sample_of(name)
    after, prepared = run_all(each.data_set, [transform(HALF)], each.transfer_syntax_uid)
    file, shown = tmp_path / "masked.dcm", tmp_path / "shown.pgm"
    file.write_bytes(part10(after, prepared.transfer_syntax_uid))
    for words in (["dcmdump", str(file)], [viewer, "+Wm", str(file), str(shown)]):
        done = run_program([program(words[0]), *words[1:]], 60).check()
        assert not [line for line in done.output.splitlines() if line.startswith(("E:", "F:"))], done.output
    assert shown.stat().st_size > 0


# ── ultrasound ────────────────────────────────────────────────────────────────────────────────────────────────


def ultrasound(*corners: tuple[int, int, int, int]) -> Dataset:
    data = image(numpy.full((2, 40, 60, 3), 9, "u1"))
    data.Modality = "US"
    regions = []
    for values in corners:
        region = Dataset()
        names = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
        for name, value in zip(names, values, strict=True):
            setattr(region, name, value)
        regions.append(region)
    data.SequenceOfUltrasoundRegions = regions
    return data


OUTSIDE = "- mask: {outside: ultrasound-regions}"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_all_that_is_outside_of_the_ultrasound_regions_is_blanked(syntax: str) -> None:
    frames, _ = masked(encode(ultrasound((10, 5, 29, 14), (20, 10, 59, 39)), syntax), OUTSIDE, syntax)
    kept = numpy.zeros((40, 60), bool)
    kept[5:15, 10:30] = kept[10:40, 20:60] = True
    assert len(frames) == 2
    for frame in frames:
        assert (frame[kept] == 9).all()
        assert (frame[~kept] == 0).all()


def test_regions_and_what_is_outside_can_both_be_blanked() -> None:
    steps = "- mask: {outside: ultrasound-regions, regions: [{left: 10, top: 5, width: 5, height: 1}]}"
    (frame, _), _ = masked(encode(ultrasound((10, 5, 29, 14))), steps)
    assert (frame[5, 10:15] == 0).all()
    assert (frame[5, 15:30] == 9).all()
    assert (frame[4] == 0).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (ultrasound(), "there is none, so that nothing says where the image is"),
        (ultrasound((10, 5, 9, 14)), "lies outside of the image"),
        (ultrasound((60, 5, 70, 14)), "lies outside of the image"),
        (ultrasound((0, 0, 29, 39), (30, 0, 100, 100)), "cover the whole image"),
    ],
)
def test_where_nothing_says_where_the_image_is_the_step_fails(data: Dataset, reason: str) -> None:
    with pytest.raises(TransformError, match=reason):
        masked(encode(data), OUTSIDE)


# ── what else shows it ────────────────────────────────────────────────────────────────────────────────────────


def with_icon(data: Dataset) -> Dataset:
    icon = image(numpy.full((1, 4, 4), 200, "u1"))
    data.IconImageSequence = [icon]
    inner = Dataset()
    inner.IconImageSequence = [image(numpy.full((1, 4, 4), 200, "u1"))]
    inner.ReferencedSOPInstanceUID = "1.2.3"
    data.ReferencedImageSequence = [inner]
    return data


def test_icons_go_with_the_pixels_they_show_and_stay_where_nothing_is_blanked() -> None:
    data = encode(with_icon(image(numpy.full((1, 9, 9), 7, "u1"))))
    after = reread(run(data, HALF))
    assert "IconImageSequence" not in after
    assert "IconImageSequence" not in after.ReferencedImageSequence[0]
    assert after.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3"
    assert run(data, "- mask: nothing") == data


@pytest.mark.parametrize(
    "before",
    [
        "",
        "- set: {PatientComments: seen}",
        "- set: {ReferencedImageSequence.ReferencedSOPInstanceUID: 1.2.4}",
        "- charset: ISO_IR 192",
    ],
)
def test_the_pixels_as_they_were_are_recorded_nowhere(before: str) -> None:
    """Small ones would fit into Original Attributes Sequence, icons too."""
    marks = numpy.frombuffer(b"ZEBRA-WAS-HERE-ZEBRA-WAS" * 4, "u1")[:81].reshape(1, 9, 9)
    data = with_icon(image(marks.copy()))
    for holder in (data, data.ReferencedImageSequence[0]):
        holder.IconImageSequence[0].PixelData = b"ZEBRA-WAS-ICON!!"
    after = run(encode(data), f"{before}\n- mask: {{regions: [{{left: 0, top: 0, width: 100%, height: 100%}}]}}")
    assert b"WAS" not in after
    assert set(reread(after).PixelData) == {0}


def test_the_tree_says_that_its_pixels_were_seen_to() -> None:
    def marks(steps: str, data: Dataset) -> tuple[bool, bool]:
        tree = parse(MemorySource(encode(data)), EXPLICIT)
        for step in transform(steps).steps:
            step.action.run(tree, origin())
        return tree.pixels_clean, tree.pixels_masked

    data = image(numpy.full((1, 9, 9), 7, "u1"))
    assert marks("- set: {PatientComments: x}", data) == (False, False)
    assert marks("- mask: nothing", data) == (True, False)
    assert marks(HALF, data) == (True, True)
    del data.PixelData
    assert marks(HALF, data) == (False, False), "there is nothing to blank"


def test_masks_follow_each_other_and_conditions_choose_them() -> None:
    steps = """\
- when: {Rows: "9"}
  mask: {regions: [{left: 0, top: 0, width: 1, height: 1}]}
- when: {Rows: "10"}
  mask: {regions: [{left: 0, top: 0, width: 100%, height: 100%}]}
- mask: {regions: [{left: 8, top: 8, width: 100%, height: 1}]}
"""
    frames, _ = masked(encode(image(numpy.full((3, 9, 9), 7, "u1"))), steps)
    for frame in frames:
        assert (frame[0, 0], frame[8, 8], frame[1, 1]) == (0, 0, 7)


# ── fails closed ──────────────────────────────────────────────────────────────────────────────────────────────


def test_video_cannot_be_masked() -> None:
    data = element(0x00080016, "UI", b"1.2\0") + element(0x7FE00010, "OB", b"\0" * 100)
    with pytest.raises(TransformError, match="video cannot be masked"):
        run(data, HALF, "1.2.840.10008.1.2.4.102")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Rows": 1}, "longer than NumberOfFrames"),
        ({"Rows": 100}, "shorter than its frames"),
        ({"Columns": None}, "Columns"),
        ({"PhotometricInterpretation": "HSV"}, "nobody knows what is black"),
    ],
)
def test_what_cannot_be_read_as_an_image_is_not_masked_at_all(change: dict[str, Any], reason: str) -> None:
    data = image(numpy.full((1, 9, 9), 7, "u1"))
    for name, value in change.items():
        setattr(data, name, value)
    with pytest.raises(TransformError, match=reason):
        run(encode(data), HALF)


def test_a_region_that_does_not_fit_holds_the_copy() -> None:
    with pytest.raises(TransformError, match="which has 9 columns and 9 rows"):
        run(encode(image(numpy.full((1, 9, 9), 7, "u1"))), HALF.replace("left: 1", "left: 1024"))


@pytest.mark.parametrize(
    ("steps", "place", "reason"),
    [
        ("- mask: all", "3:13", "mask is nothing, or a map"),
        ("- mask: {}", "3:13", "mask is a map"),
        ("- mask: {fill: 1}", "3:13", "needs regions, or outside"),
        ("- mask: {region: []}", "3:14", "is 'regions' meant?"),
        ("- mask: {regions: []}", "3:23", "a list of 1 to 256"),
        ("- mask: {regions: [{left: 0, top: 0, width: 1}]}", "3:24", "height is missing"),
        ("- mask: {regions: [{left: 0, top: 0, width: 0, height: 1}]}", "3:49", "width is a number of pixels from 1"),
        ("- mask: {regions: [{left: -1, top: 0, width: 1, height: 1}]}", "3:31", "left is a number of pixels from 0"),
        ("- mask: {regions: [{left: 0, top: 0, width: 101%, height: 1}]}", "3:49", "per cent"),
        ("- mask: {outside: regions}", "3:23", "outside is ultrasound-regions"),
        ("- mask: {outside: ultrasound-regions, fill: black}", "3:49", "fill is a stored value"),
        ("- mask: {outside: ultrasound-regions, encapsulated: jpeg}", "3:57", "same or native"),
    ],
)
def test_mistakes_are_found_in_their_places(steps: str, place: str, reason: str) -> None:
    (problem,) = problems_of(f"transforms:\n  t:\n    {steps}\n")
    assert reason in problem.message
    assert f"{problem.line}:{problem.column}" == place


# ── properties ────────────────────────────────────────────────────────────────────────────────────────────────

sizes = st.tuples(st.integers(1, 4), st.integers(1, 17), st.integers(1, 17))
regions = st.tuples(st.integers(0, 16), st.integers(0, 16), st.integers(1, 20), st.integers(1, 20))


@settings(deadline=None)
@given(st.data(), sizes, st.lists(regions, min_size=1, max_size=3), st.sampled_from(["u1", "i2", "u4", "rgb", "bits"]))
def test_whatever_the_regions_only_they_are_blanked(
    chosen: Any, size: tuple[int, int, int], some: list[tuple[int, int, int, int]], kind: str
) -> None:
    frames, rows, columns = size
    some = [(left % columns, top % rows, width, height) for left, top, width, height in some]
    seed = numpy.random.default_rng(chosen.draw(st.integers(0, 1 << 30)))
    data, before = _random_image(seed, frames, rows, columns, kind)
    listed = ", ".join(f"{{left: {x}, top: {y}, width: {w}, height: {h}}}" for x, y, w, h in some)
    after, _ = masked(encode(data), f"- mask: {{regions: [{listed}]}}")
    covered = numpy.zeros((rows, columns), bool)
    for left, top, width, height in some:
        covered[top : top + height, left : left + width] = True
    for was, now in zip(before, after, strict=True):
        assert (now[~covered] == was[~covered]).all()
        assert (now[covered] == (-32768 if kind == "i2" else 0)).all()


def _random_image(seed: Any, frames: int, rows: int, columns: int, kind: str) -> tuple[Dataset, Pixels]:
    if kind == "rgb":
        pixels = seed.integers(1, 255, (frames, rows, columns, 3)).astype("u1")
        return image(pixels), pixels
    if kind == "bits":
        pixels = seed.integers(0, 2, (frames, rows, columns)).astype("u1")
        data = image(pixels)
        data.BitsAllocated, data.BitsStored, data.HighBit = 1, 1, 0
        packed = numpy.packbits(pixels.reshape(-1), bitorder="little").tobytes()
        data.PixelData = packed + b"\0" * (len(packed) % 2)
        return data, pixels[..., None]
    pixels = seed.integers(1, 100, (frames, rows, columns)).astype(kind)
    return image(pixels), pixels[..., None]


def test_a_codec_that_panics_refuses_the_frame_and_ends_no_worker() -> None:
    """What a codec of Rust raises then is no Exception."""
    each = sample_of("MR_small_RLE.dcm")
    item = each.data_set.index(ITEM, each.data_set.index(ITEM) + 8)
    begin, end = item + 8 + 64, item + 8 + int.from_bytes(each.data_set[item + 4 : item + 8], "little")  # PS3.5 G.5
    data = each.data_set[:begin] + b"\x81" * (end - begin) + each.data_set[end:]  # runs of 128, past the frame's end
    with pytest.raises(TransformError, match="the codec cannot decode a frame"):
        masked(data, HALF, RLE)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["MR_small_RLE.dcm", "SC_rgb_small_odd.dcm", "liver_1frame.dcm", "ultrasound", "palette"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    st.sampled_from([HALF, "- mask: {outside: ultrasound-regions}"]),
)
def test_what_lies_is_refused_or_masked_and_ends_nothing_else(
    name: str, changes: list[tuple[float, int]], steps: str
) -> None:
    data, syntax = _hostile(name)
    changed = bytearray(data)
    for place, value in changes:
        changed[min(int(place * len(changed)), len(changed) - 1)] = value
    try:
        run(bytes(changed), steps, syntax)
    except (TransformError, HeaderError) as refused:
        assert "ZEBRA" not in str(refused)


@lru_cache
def _hostile(name: str) -> tuple[bytes, str]:
    if name == "ultrasound":
        return encode(ultrasound((10, 5, 29, 14))), EXPLICIT
    if name == "palette":
        data = image(numpy.full((1, 9, 9), 12, "u1"), 0, "PALETTE COLOR")
        for colour in ("Red", "Green", "Blue"):
            setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
            segments = numpy.array([0, 2, 5, 4, 1, 2, 9], "<u2").tobytes()
            setattr(data, f"Segmented{colour}PaletteColorLookupTableData", segments)
        return encode(data), EXPLICIT
    each = sample_of(name)
    return each.data_set, each.transfer_syntax_uid


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────


class Endless:
    """A data set of many frames that are made when they are read; remembers the most that was asked for at once."""

    def __init__(self, head: bytes, length: int) -> None:
        self._head = head + element(PIXEL_DATA, "OW", b"")[:8] + length.to_bytes(4, "little")
        self.length = len(self._head) + length
        self.most = 0

    def read(self, offset: int, length: int) -> bytes:
        self.most = max(self.most, length)
        length = max(0, min(length, self.length - offset))
        head = self._head[offset : offset + length]
        return head + b"\x07" * (length - len(head))


def test_a_gibibyte_of_frames_is_masked_frame_by_frame() -> None:
    rows = columns = 512
    frames = (1 << 30) // (rows * columns * 2)
    small = image(numpy.full((1, rows, columns), 7, "u2"), 12, NumberOfFrames=frames)
    del small.PixelData
    source = Endless(encode(small), frames * rows * columns * 2)
    prepared = prepare([transform(HALF)], source, origin(), system="gateway")
    largest = 0

    def write(piece: bytes | memoryview) -> None:
        nonlocal largest
        largest = max(largest, len(piece))

    tracemalloc.start()
    written = prepared.write(write)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written >= 1 << 30
    assert max(source.most, largest) <= 1 << 20
    assert peak < 8 << 20
