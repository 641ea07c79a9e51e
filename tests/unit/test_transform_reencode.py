"""A data set in another native form says what it said: to pydicom, and byte for byte when it is brought back."""

from __future__ import annotations

import struct
import warnings
from dataclasses import replace

import pytest
from pydicom import Dataset

from gateway.errors import HeaderError
from gateway.transform.parse import parse
from gateway.transform.pixels.image import NATIVE
from gateway.transform.reencode import reencoded
from gateway.transform.write import write_parts
from tests.unit.pixels_kit import GREY, Tracking, attributes, made
from tests.unit.samples import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SOP,
    Sample,
    all_samples,
    element,
    implicit,
    item,
    sample,
    undefined,
)
from tests.unit.transform_kit import before, reread, run_all, transform

TO_EXPLICIT = [transform("- transcode: explicit-vr-little-endian")]
TO_IMPLICIT = [transform("- transcode: implicit-vr-little-endian")]
# They cannot be read to their end, or a sequence in them cannot.
BROKEN = {"MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset"}
# Big endian pixels of which nobody can be sure; UN inside which nothing is where a reader expects it.
REFUSED = {"rtdose_expb.dcm", "rtdose_expb_1frame.dcm"} | {
    f"SC_rgb_expb_{bits}bit{frames}.dcm" for bits in (16, 32) for frames in ("", "_2frame")
}
NATIVE_SAMPLES = [
    each for each in all_samples() if each.transfer_syntax_uid in NATIVE and each.path.name not in BROKEN | REFUSED
]
SOP_IMPLICIT = implicit(0x00080016, b"1.2.840.10008.5.1.4.1.1.2\0") + implicit(0x00080018, b"1.2.3.4\0")


def converted(data: bytes, chain: list, syntax: str) -> tuple[bytes, str]:  # type: ignore[type-arg]
    written, prepared = run_all(data, chain, syntax)
    return written, prepared.transfer_syntax_uid


def values(data: Dataset) -> list[object]:
    """Everything that stands in a data set but group lengths; words as numbers, whatever their order."""
    found: list[object] = []
    for each in data:
        if each.tag.element == 0:
            continue
        if each.VR == "SQ":
            found.append((each.tag, "SQ", [values(one) for one in each.value]))
        elif each.VR in ("OW", "OL", "OF", "OD", "OV") and isinstance(each.value, bytes):
            code = {"OW": "H", "OL": "I", "OF": "I", "OD": "Q", "OV": "Q"}[each.VR]
            order = ">" if data.original_encoding[1] is False else "<"
            found.append(
                (
                    each.tag,
                    each.VR,
                    [*struct.unpack(f"{order}{len(each.value) // struct.calcsize(code)}{code}", each.value)],
                )
            )
        else:
            found.append((each.tag, each.VR, str(each.value)))
    return found


@pytest.mark.parametrize("each", NATIVE_SAMPLES, ids=str)
def test_samples_say_the_same_in_explicit_little_endian(each: Sample) -> None:
    written, syntax = converted(each.data_set, TO_EXPLICIT, each.transfer_syntax_uid)
    assert syntax == EXPLICIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert values(reread(written)) == values(before(each))


@pytest.mark.parametrize("each", NATIVE_SAMPLES, ids=str)
def test_what_was_brought_to_implicit_and_back_is_the_same(each: Sample) -> None:
    """The VRs of private attributes may be lost on that way, never a value."""
    explicit, _ = converted(each.data_set, TO_EXPLICIT, each.transfer_syntax_uid)
    there, syntax = converted(explicit, TO_IMPLICIT, EXPLICIT)
    assert syntax == IMPLICIT
    back, _ = converted(there, TO_EXPLICIT, IMPLICIT)
    again, _ = converted(back, TO_IMPLICIT, EXPLICIT)
    assert again == there


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("emri_small_big_endian.dcm", "emri_small.dcm"),
        ("OBXXXX1A_expb.dcm", "OBXXXX1A.dcm"),
        ("liver_expb.dcm", "liver.dcm"),
        ("SC_rgb_expb.dcm", "SC_rgb.dcm"),
    ],
)
def test_what_others_have_encoded_both_ways_becomes_the_same(one: str, other: str) -> None:
    each = sample(one)
    found = reread(converted(each.data_set, TO_EXPLICIT, each.transfer_syntax_uid)[0])
    assert found.PixelData == before(other).PixelData
    assert found.PatientName == before(other).PatientName


def test_nothing_is_encoded_anew_that_need_not_be() -> None:
    each = sample("image_dfl.dcm")
    written, _ = converted(each.data_set, TO_EXPLICIT, DEFLATED)
    inflated = parse(Tracking(each.data_set), DEFLATED)
    pieces: list[bytes] = []
    write_parts(inflated, iter([found.encoded for found in inflated]), lambda piece: pieces.append(bytes(piece)))
    assert written.startswith(b"".join(pieces)[:200])
    assert len(written) == sum(found.encoded_bytes() for found in inflated) + len(inflated.root.tail)
    plain = sample("CT_small.dcm").data_set
    assert converted(plain, TO_EXPLICIT, EXPLICIT) == (plain, EXPLICIT)


# ── VRs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def vrs_of(data: bytes) -> dict[int, str]:
    written, _ = converted(SOP_IMPLICIT + data, TO_EXPLICIT, IMPLICIT)
    return {found.tag: found.vr for found in parse(Tracking(written), EXPLICIT)}


def test_vrs_come_from_the_standard() -> None:
    found = vrs_of(
        implicit(0x00100010, b"Doe^Jane")
        + implicit(0x00280010, b"\1\0")
        + implicit(0x00280106, b"\xff\xff")
        + implicit(0x00281201, bytes(4))
        + implicit(0x00283006, bytes(4))
        + implicit(0x60023000, bytes(4))
        + implicit(0x7FE00010, bytes(4))
    )
    assert {tag: vr for tag, vr in found.items() if tag > 0x00080018} == {
        0x00100010: "PN",
        0x00280010: "US",
        0x00280106: "US",
        0x00281201: "OW",
        0x00283006: "OW",
        0x60023000: "OW",
        0x7FE00010: "OW",
    }


def test_us_or_ss_goes_by_the_pixels_it_speaks_of() -> None:
    signed, unsigned = implicit(0x00280103, b"\1\0"), implicit(0x00280103, b"\0\0")
    assert vrs_of(signed + implicit(0x00280106, b"\xff\xff"))[0x00280106] == "SS"
    assert vrs_of(unsigned + implicit(0x00280106, b"\xff\xff"))[0x00280106] == "US"
    inner = implicit(0x00283002, bytes(6))
    for around, within, vr in ((signed, b"", "SS"), (signed, unsigned, "US"), (unsigned, signed, "SS")):
        data = SOP_IMPLICIT + around + implicit(0x00283000, item(within + inner))
        (found,) = reread(converted(data, TO_EXPLICIT, IMPLICIT)[0]).ModalityLUTSequence
        assert vr == found["LUTDescriptor"].VR


def test_private_attributes_have_the_vr_that_their_creator_gives_them_or_none() -> None:
    found = vrs_of(
        implicit(0x00190010, b"SIEMENS MR HEADER ")
        + implicit(0x00191008, b"IMAGE NUM 4 ")
        + implicit(0x0019100C, b"100 ")
        + implicit(0x001910FE, b"\1\2\3\4")
        + implicit(0x00210010, b"NOBODY")
        + implicit(0x00211001, b"\1\2\3\4")
        + implicit(0x00231001, b"\1\2")
    )
    assert (found[0x00190010], found[0x00191008], found[0x0019100C]) == ("LO", "CS", "IS")
    assert (found[0x001910FE], found[0x00210010], found[0x00211001], found[0x00231001]) == ("UN", "LO", "UN", "UN")


def test_a_value_that_its_length_cannot_say_is_un() -> None:
    found = vrs_of(implicit(0x00204000, b"a " * 40_000) + implicit(0x00280010, b"\1\0\2"))
    assert (found[0x00204000], found[0x00280010]) == ("UN", "UN")


def test_sequences_that_nobody_knows_stay_implicit_inside_un() -> None:
    inner = item(implicit(0x00091002, b"ab"))
    unknown = implicit(0x00090010, b"ACME") + undefined(0x00091001, "", inner)
    written, _ = converted(SOP_IMPLICIT + unknown, TO_EXPLICIT, IMPLICIT)
    assert written.endswith(undefined(0x00091001, "UN", inner))
    (found,) = reread(written)[0x00091001].value
    assert found[0x00091002].value == b"ab"
    back, _ = converted(written, TO_IMPLICIT, EXPLICIT)
    assert back == SOP_IMPLICIT + unknown


def test_sequences_and_items_get_undefined_lengths_and_lose_group_lengths() -> None:
    inner = implicit(0x00080000, b"\1\0\0\0") + implicit(0x00080050, b"A1")
    data = (
        implicit(0x00080000, bytes(4))
        + SOP_IMPLICIT
        + implicit(0x00081110, b"")
        + implicit(0x00400275, item(inner) * 2)
    )
    written, _ = converted(data, TO_EXPLICIT, IMPLICIT)
    content = item(element(0x00080050, "SH", b"A1"), of_undefined_length=True) * 2
    assert written == SOP + element(0x00081110, "SQ", b"") + undefined(0x00400275, "SQ", content)


def test_un_of_a_known_sequence_becomes_one() -> None:
    inner = item(implicit(0x00080050, b"A1"))
    written, _ = converted(SOP + element(0x00400275, "UN", inner), TO_IMPLICIT, EXPLICIT)
    content = item(implicit(0x00080050, b"A1"), of_undefined_length=True)
    assert written == SOP_IMPLICIT + undefined(0x00400275, "", content)


def test_big_endian_inside_un_is_refused() -> None:
    inner = item(element(0x00080050, "SH", b"A1", ">"), ">")
    data = made(GREY, value=bytes(GREY.frame_bytes), order=">").data_set
    data = element(0x00080016, "UI", b"1.2\0", ">") + undefined(0x00091001, "UN", inner, ">")
    with pytest.raises(HeaderError, match="big endian"):
        converted(data, TO_EXPLICIT, BIG_ENDIAN)


# ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("vr", "tag", "big", "little"),
    [
        ("US", 0x00280010, "0102", "0201"),
        ("SS", 0x00280106, "0102", "0201"),
        ("AT", 0x00280009, "00181063", "18006310"),
        ("UL", 0x00080001, "01020304", "04030201"),
        ("SL", 0x0018604C, "01020304", "04030201"),
        ("FL", 0x00189073, "01020304", "04030201"),
        ("FD", 0x00186028, "0102030405060708", "0807060504030201"),
        ("OW", 0x00281201, "01020304", "02010403"),
        ("OF", 0x00640009, "01020304", "04030201"),
        ("OL", 0x00660040, "01020304", "04030201"),
        ("OD", 0x00720073, "0102030405060708", "0807060504030201"),
        ("OV", 0x00720081, "0102030405060708", "0807060504030201"),
        ("SV", 0x00720082, "0102030405060708", "0807060504030201"),
        ("UV", 0x00720083, "0102030405060708", "0807060504030201"),
        ("OB", 0x00420011, "01020304", "01020304"),
        ("UN", 0x00091001, "01020304", "01020304"),
        ("LO", 0x00100020, "01020304", "01020304"),
    ],
)
def test_bytes_are_turned_by_vr_at_any_depth_and_length(vr: str, tag: int, big: str, little: str) -> None:
    there, here = bytes.fromhex(big), bytes.fromhex(little)
    uid = element(0x00080001, "UL", b"\0\0\0\1", ">") if tag != 0x00080001 else b""
    expected = element(0x00080001, "UL", b"\1\0\0\0") if uid else b""
    for times in (1, 3):
        written, _ = converted(uid + element(tag, vr, there * times, ">"), TO_EXPLICIT, BIG_ENDIAN)
        assert written == expected + element(tag, vr, here * times)
    nested = element(0x00400275, "SQ", item(element(tag, vr, there, ">"), ">"), ">")
    content = item(element(tag, vr, here), of_undefined_length=True)
    assert converted(nested, TO_EXPLICIT, BIG_ENDIAN)[0] == undefined(0x00400275, "SQ", content)


def test_long_values_are_turned_in_pieces() -> None:
    image = replace(GREY, rows=2000, columns=2000)
    value = bytes(range(250)) * (image.frame_bytes // 250)
    tree = parse(source := Tracking(made(image, value=value, order=">").data_set), BIG_ENDIAN)
    tree.transfer_syntax_uid = EXPLICIT
    pieces: list[bytes] = []
    write_parts(tree, reencoded(tree), lambda piece: pieces.append(bytes(piece)))
    assert source.longest <= 1 << 20
    assert max(map(len, pieces)) <= 1 << 20
    assert b"".join(pieces) == SOP + attributes(image) + element(0x7FE00010, "OW", made_swapped(value))


def made_swapped(value: bytes) -> bytes:
    turned = bytearray(value)
    turned[::2], turned[1::2] = value[1::2], value[::2]
    return bytes(turned)


def test_a_long_sequence_is_never_held() -> None:
    """Its items are read one by one: together they hold more than a transform may."""
    one = item(b"".join(implicit(0x00720068 + at * 0x10000, b"x" * 60_000) for at in range(2)))
    data = SOP_IMPLICIT + implicit(0x00400275, one * 400)
    written, _ = converted(data, TO_EXPLICIT, IMPLICIT)
    assert len(data) > 45_000_000
    assert len(written) >= len(data)
