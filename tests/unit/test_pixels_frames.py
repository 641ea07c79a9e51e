"""Frames are found and read one by one, whatever pixel data they are in, and come out of a tree as they went in."""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from itertools import accumulate

import pydicom
import pytest
from pydicom.encaps import generate_frames

from gateway.errors import HeaderError, TakesLong, TransformError
from gateway.transform.pixels import Frames, Image, frames_of, image_of, put
from gateway.transform.pixels.frames import MAX_DECODED_BYTES, MAX_FRAGMENTS, MAX_RATIO
from gateway.transform.pixels.image import MAX_FRAME_BYTES
from gateway.transform.reencode import reencoded
from gateway.transform.tree import Tree
from gateway.transform.values import ValueRefused
from gateway.transform.write import write_parts, write_tree
from tests.unit.pixels_kit import (
    GREY,
    IMAGES,
    J2K,
    JPEG,
    RLE,
    Tracking,
    attributes,
    encapsulated,
    frame_of,
    made,
    tree_of,
)
from tests.unit.samples import BIG_ENDIAN, EXPLICIT, SOP, element, sample
from tests.unit.transform_kit import part10

BIT = replace(GREY, rows=5, columns=3, bits_allocated=1, bits_stored=1, high_bit=0, number_of_frames=5)


def read_all(frames: Frames) -> list[bytes]:
    return [frames.read(index) for index in range(frames.image.number_of_frames)]


def written(tree: Tree) -> bytes:
    pieces: list[bytes] = []
    write_tree(tree, lambda piece: pieces.append(bytes(piece)))
    return b"".join(pieces)


# ── native ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", IMAGES)
def test_native_frames_are_those_that_were_made(name: str) -> None:
    one = made(IMAGES[name])
    frames = frames_of(tree_of(one.data_set))
    assert frames.image == one.image
    assert read_all(frames) == one.frames


def test_a_frame_is_read_alone() -> None:
    image = replace(GREY, rows=1100, columns=1000, number_of_frames=3)  # more than 2 MB each
    value = b"".join(bytes([number]) * image.frame_bytes for number in range(3))
    source = tree_of(made(image, value=value).data_set)
    tracking = source.source
    assert isinstance(tracking, Tracking)
    frames, before = frames_of(source), tracking.read_bytes
    assert frames.read(1) == b"\1" * image.frame_bytes
    assert tracking.read_bytes - before == image.frame_bytes
    assert tracking.longest <= 1 << 20


def test_frames_of_single_bits_begin_inside_bytes() -> None:
    bits = [(at * at + at // 7) % 3 % 2 for at in range(15 * 5)]
    packed = sum(bit << at for at, bit in enumerate(bits)).to_bytes(10, "little")
    frames = frames_of(tree_of(made(BIT, "OB", packed).data_set))
    for index, frame in enumerate(read_all(frames)):
        assert len(frame) == BIT.frame_bytes == 2
        number = int.from_bytes(frame, "little")
        assert [number >> at & 1 for at in range(16)] == [*bits[15 * index : 15 * index + 15], 0]


def test_big_endian_words_are_turned_and_bytes_are_not() -> None:
    order = ">"
    words = replace(GREY, rows=1, columns=2, number_of_frames=2)
    frames = frames_of(tree_of(made(words, "OW", b"\1\2\3\4\5\6\7\x08", order).data_set, BIG_ENDIAN))
    assert read_all(frames) == [b"\2\1\4\3", b"\6\5\x08\7"]
    # PS3.5 8.1.1: frames of three bytes, packed into words, of which one belongs to two frames.
    odd = replace(GREY, rows=1, columns=3, bits_allocated=8, bits_stored=8, high_bit=7, number_of_frames=2)
    frames = frames_of(tree_of(made(odd, "OW", b"\1\0\3\2\5\4", order).data_set, BIG_ENDIAN))
    assert read_all(frames) == [b"\0\1\2", b"\3\4\5"]
    frames = frames_of(tree_of(made(odd, "OB", b"\0\1\2\3\4\5", order).data_set, BIG_ENDIAN))
    assert read_all(frames) == [b"\0\1\2", b"\3\4\5"]


def test_big_endian_pixels_that_nobody_can_be_sure_of_are_refused() -> None:
    wide = replace(GREY, bits_allocated=32, bits_stored=32, high_bit=31)
    for image, vr in ((wide, "OW"), (wide, "OB"), (GREY, "OB")):
        with pytest.raises(ValueRefused, match=r"PixelData \(7fe0,0010\): big endian"):
            frames_of(tree_of(made(image, vr, bytes(image.frame_bytes), ">").data_set, BIG_ENDIAN))


def test_what_is_shorter_or_longer_than_its_frames_is_refused() -> None:
    image = replace(GREY, number_of_frames=2)
    with pytest.raises(ValueRefused, match=r"PixelData .* shorter"):
        frames_of(tree_of(made(image, value=bytes(2 * image.frame_bytes - 2)).data_set))
    with pytest.raises(ValueRefused, match=r"PixelData .* longer than NumberOfFrames"):
        frames_of(tree_of(made(image, value=bytes(3 * image.frame_bytes)).data_set))
    frames = frames_of(tree_of(made(image, value=bytes(2 * image.frame_bytes + 100)).data_set))
    assert len(frames.read(1)) == image.frame_bytes


def test_colour_that_two_pixels_share_makes_frames_shorter() -> None:
    each = sample("SC_ybr_full_422_uncompressed.dcm")
    frames = frames_of(tree_of(each.data_set))
    assert frames.image.frame_bytes == 100 * 100 * 2
    assert len(frames.read(0)) == 20_000


# ── encapsulated ──────────────────────────────────────────────────────────────────────────────────────────────

BYTES = replace(GREY, bits_allocated=8, bits_stored=8, high_bit=7, number_of_frames=3, transfer_syntax_uid=JPEG)
FRAGMENTS = [b"\xff\xd8ab", b"cd", b"\xff\xd8efgh", b"\xff\xd8ij", b"kl", b"mn"]
JOINED = [b"\xff\xd8abcd", b"\xff\xd8efgh", b"\xff\xd8ijklmn"]
OFFSETS = [0, *accumulate(8 + len(fragment) for fragment in FRAGMENTS)]


def test_the_basic_offset_table_tells_which_fragments_are_a_frame() -> None:
    data = encapsulated(BYTES, FRAGMENTS, [OFFSETS[0], OFFSETS[2], OFFSETS[3]])
    assert read_all(frames_of(tree_of(data, JPEG))) == JOINED


def test_without_a_table_frames_begin_where_a_stream_begins() -> None:
    assert read_all(frames_of(tree_of(encapsulated(BYTES, FRAGMENTS), JPEG))) == JOINED


def test_without_a_table_a_fragment_is_a_frame_where_there_are_as_many() -> None:
    fragments = [b"ab", b"cdef", b"gh"]
    for syntax in (JPEG, RLE):
        assert read_all(frames_of(tree_of(encapsulated(BYTES, fragments), syntax))) == fragments


def test_one_frame_may_have_several_fragments_but_not_in_rle() -> None:
    one = encapsulated(replace(BYTES, number_of_frames=1), FRAGMENTS)
    assert read_all(frames_of(tree_of(one, JPEG))) == [b"".join(FRAGMENTS)]
    with pytest.raises(ValueRefused, match=r"PixelData .* cannot be told apart"):
        frames_of(tree_of(one, RLE))


def test_the_extended_offset_table_tells_also_how_long_a_frame_is() -> None:
    fragments = [b"ab", b"cdef", b"gh"]
    offsets = [0, 10, 22]

    def tables(starts: list[int], lengths: list[int]) -> bytes:
        found = element(0x7FE00001, "OV", struct.pack(f"<{len(starts)}Q", *starts))
        return found + element(0x7FE00002, "OV", struct.pack(f"<{len(lengths)}Q", *lengths))

    data = encapsulated(BYTES, fragments, more=tables(offsets, [2, 3, 1]))
    assert read_all(frames_of(tree_of(data, JPEG))) == [b"ab", b"cde", b"g"]
    for starts, lengths, told in (
        ([0, 10], [2, 3], "ExtendedOffsetTable .* not as many"),
        ([0, 10, 23], [2, 3, 1], "ExtendedOffsetTable .* leads to no fragment"),
        ([0, 22, 10], [2, 3, 1], "ExtendedOffsetTable .* one after the other"),
        ([0, 10, 22], [2, 5, 1], "ExtendedOffsetTableLengths"),
        ([0, 10, 22], [2, 5], "ExtendedOffsetTableLengths .* not as many"),
    ):
        with pytest.raises(ValueRefused, match=told):
            frames_of(tree_of(encapsulated(BYTES, fragments, more=tables(starts, lengths)), JPEG))


@pytest.mark.parametrize(
    ("table", "told"),
    [([0, 9, 20], "an offset leads to no fragment"), ([12, 0, 36], "one after the other")],
)
def test_a_table_that_does_not_fit_is_refused(table: list[int], told: str) -> None:
    with pytest.raises(ValueRefused, match=f"PixelData .*{told}"):
        frames_of(tree_of(encapsulated(BYTES, FRAGMENTS, table), JPEG))


def test_fragments_that_are_no_frames_are_refused() -> None:
    for fragments in ([], [b"ab", b"cd"], [b"ab", b"cd", b"ef", b"gh"]):
        with pytest.raises(ValueRefused, match="PixelData"):
            frames_of(tree_of(encapsulated(BYTES, fragments), JPEG))


def test_pixel_data_has_to_be_encoded_as_the_transfer_syntax_says() -> None:
    with pytest.raises(ValueRefused, match=r"PixelData .* not encoded as the transfer syntax says"):
        frames_of(tree_of(made(GREY).data_set, J2K))
    with pytest.raises(ValueRefused, match=r"PixelData .* not encoded as the transfer syntax says"):
        frames_of(tree_of(encapsulated(BYTES, FRAGMENTS), EXPLICIT))


def test_ten_thousand_fragments_are_found_with_few_reads() -> None:
    image = replace(BYTES, number_of_frames=10_000)
    tree = tree_of(encapsulated(image, [b"ab"] * 10_000), JPEG)
    source = tree.source
    assert isinstance(source, Tracking)
    before = source.reads
    frames = frames_of(tree)
    assert source.reads - before < 50
    assert frames.read(9_999) == b"ab"


# ── bounds and attributes ─────────────────────────────────────────────────────────────────────────────────────


def test_a_frame_past_the_bound_is_refused() -> None:
    image = replace(GREY, rows=65_535, columns=65_535)
    with pytest.raises(ValueRefused, match=f"a frame has more than {MAX_FRAME_BYTES} bytes"):
        image_of(tree_of(made(image, value=b"ab").data_set))


def test_more_fragments_than_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_FRAGMENTS == 1_000_000
    monkeypatch.setattr("gateway.transform.pixels.frames.MAX_FRAGMENTS", 5)
    with pytest.raises(HeaderError, match="more than 5 fragments"):
        frames_of(tree_of(encapsulated(BYTES, FRAGMENTS), JPEG))


@pytest.mark.parametrize(
    ("tag", "named"),
    [
        (0x00280002, "SamplesPerPixel"),
        (0x00280004, "PhotometricInterpretation"),
        (0x00280010, "Rows"),
        (0x00280011, "Columns"),
        (0x00280100, "BitsAllocated"),
        (0x00280101, "BitsStored"),
        (0x00280103, "PixelRepresentation"),
    ],
)
def test_an_attribute_that_is_needed_is_named(tag: int, named: str) -> None:
    tree = tree_of(made(GREY).data_set)
    tree.root.drop({tag})
    with pytest.raises(ValueRefused, match=named):
        frames_of(tree)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (replace(GREY, samples_per_pixel=2), "SamplesPerPixel"),
        (replace(GREY, bits_allocated=12), "BitsAllocated"),
        (replace(GREY, bits_stored=17), "BitsStored"),
        (replace(GREY, high_bit=16), "HighBit"),
        (replace(GREY, pixel_representation=2), "PixelRepresentation"),
        (replace(GREY, rows=0), "Rows"),
        (replace(GREY, number_of_frames=1_000_001), "NumberOfFrames"),
    ],
)
def test_an_attribute_that_cannot_be_is_named_without_its_value(image: Image, named: str) -> None:
    with pytest.raises(ValueRefused, match=rf"^{named} \([0-9a-f]{{4}},[0-9a-f]{{4}}\): not ") as caught:
        image_of(tree_of(SOP + attributes(image) + element(0x7FE00010, "OW", bytes(8))))
    assert "1000001" not in str(caught.value)


def test_there_have_to_be_pixels() -> None:
    with pytest.raises(ValueRefused, match=r"PixelData .* there is none"):
        frames_of(tree_of(SOP + attributes(GREY)))


# ── put back ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", IMAGES)
def test_frames_that_are_put_back_are_written_as_they_were(name: str) -> None:
    one = made(IMAGES[name], "OB" if IMAGES[name].bits_allocated == 8 else "OW")
    tree = tree_of(one.data_set)
    put(tree, frames_of(tree))
    assert written(tree) == written(tree) == one.data_set


def test_frames_of_single_bits_are_packed_again() -> None:
    value = bytes(range(17, 27))[:9] + b"\1\0"
    tree = tree_of(made(BIT, "OB", value[:10]).data_set)
    before = written(tree)
    put(tree, frames_of(tree))
    assert written(tree) == before


def test_frames_in_a_big_endian_data_set_are_turned_when_they_are_written() -> None:
    one = made(replace(GREY, number_of_frames=2), order=">", value=bytes(range(240)) * 24)
    tree = tree_of(one.data_set, BIG_ENDIAN)
    put(tree, frames_of(tree))
    assert written(tree) == one.data_set


def test_fragments_are_written_one_a_frame_and_without_tables() -> None:
    lengths = element(0x7FE00001, "OV", struct.pack("<Q", 0)) + element(0x7FE00002, "OV", struct.pack("<Q", 5))
    odd = replace(BYTES, number_of_frames=1)
    tree = tree_of(encapsulated(odd, [b"abcde\0"], more=lengths), JPEG)
    put(tree, frames_of(tree))
    data = written(tree)
    assert data == written(tree)
    assert data == encapsulated(odd, [b"abcde\0"])  # padded to an even length
    tree = tree_of(encapsulated(BYTES, FRAGMENTS), JPEG)
    put(tree, frames_of(tree))
    found = pydicom.dcmread(BytesIO(part10(written(tree), JPEG)))
    assert list(generate_frames(found.PixelData, number_of_frames=3)) == JOINED


class Refusing:
    """Frames of which the second cannot be had."""

    image = replace(GREY, number_of_frames=2)

    def read(self, index: int) -> bytes:
        if index:
            raise ValueRefused("it is torn")
        return frame_of(self.image, [0] * self.image.samples)


def test_a_frame_that_cannot_be_had_is_told_of_with_its_step() -> None:
    tree = tree_of(made(Refusing.image).data_set)
    tree.where = "transform t, step 2 (mask)"
    put(tree, Refusing())
    with pytest.raises(TransformError, match=r"^transform t, step 2 \(mask\): frame 2: it is torn$"):
        written(tree)


class Short:
    """A frame that is not as long as it says."""

    image = GREY

    def read(self, index: int) -> bytes:
        return b"ab"


def test_a_value_that_does_not_become_as_long_as_its_length_is_refused() -> None:
    tree = tree_of(made(GREY).data_set)
    put(tree, Short())
    with pytest.raises(HeaderError, match="as long as its length"):
        written(tree)
    with pytest.raises(HeaderError, match="as long as its length"):
        write_parts(tree, reencoded(tree), lambda piece: None)


def test_a_later_step_finds_the_frames_of_an_earlier_one() -> None:
    tree = tree_of(made(Refusing.image).data_set)
    ours = Refusing()
    put(tree, ours)
    assert frames_of(tree) is ours


# ── how much ──────────────────────────────────────────────────────────────────────────────────────────────────

LARGE = replace(GREY, rows=8000, columns=8000)  # 122 MiB


def test_a_tomosynthesis_is_no_bomb_and_a_few_bytes_that_would_take_hours_are_refused() -> None:
    most = MAX_DECODED_BYTES // LARGE.frame_bytes
    assert most * LARGE.frame_bytes > 3.9 * (1 << 30)
    flat = b"a flat frame"
    frames_of(tree_of(encapsulated(replace(LARGE, number_of_frames=most), [flat] * most), J2K))
    many = encapsulated(replace(LARGE, number_of_frames=most + 1), [flat] * (most + 1))
    with pytest.raises(ValueRefused, match="decoded, it would have more than 4 GiB, and more than 200 times what"):
        frames_of(tree_of(many, J2K))


def test_what_is_long_and_not_much_longer_than_it_is_compressed_is_no_bomb() -> None:
    """As a whole slide image is."""
    most = MAX_DECODED_BYTES // LARGE.frame_bytes + 1
    whole = bytes(LARGE.frame_bytes * most // MAX_RATIO + 2)
    frames_of(tree_of(encapsulated(replace(LARGE, number_of_frames=most), [b"a frame."] * (most - 1) + [whole]), J2K))


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_a_step_that_works_on_more_than_there_is_time_for_now_says_so(syntax: str) -> None:
    image = replace(GREY, number_of_frames=3)
    data = made(image).data_set if syntax == EXPLICIT else encapsulated(image, [b"a frame."] * 3)
    tree = tree_of(data, syntax)
    tree.at_once_bytes = image.pixel_bytes
    frames_of(tree)
    tree.at_once_bytes = image.pixel_bytes - 1
    with pytest.raises(TakesLong):
        frames_of(tree)
