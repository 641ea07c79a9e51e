"""What nobody reads holds nothing: the length of delimiters, reserved bytes, letters that are no VR."""

from __future__ import annotations

import struct

import pytest

from gateway.transform.deidentify.table import Option
from tests.unit.deidentify_kit import deidentified, profile, step_of
from tests.unit.samples import BIG_ENDIAN, EXPLICIT, SOP, element, item, sample, undefined
from tests.unit.transform_kit import reread, run_all, transform

JPEG = "1.2.840.10008.1.2.4.50"
ID = element(0x00100020, "LO", b"17")
NOT_OF_A_TABLE = 0x00081115  # a sequence that stays


def ended(number: int, told: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", 0xFFFE, number) + told


def ending_oddly(told: bytes, order: str = "<", stray: bytes = b"") -> bytes:
    """A sequence of undefined length whose delimiters have something where their length is."""
    uid = element(0x00081155, "UI", b"1.2.9\0", order)
    one = item(uid, order, of_undefined_length=True)[:-8] + ended(0xE00D, told, order) + stray
    found = undefined(NOT_OF_A_TABLE, "SQ", one, order)
    return found[:-8] + ended(0xE0DD, told, order)


@pytest.mark.parametrize("options", [frozenset(), frozenset(Option) - {Option.RETAIN_LONGITUDINAL_FULL_DATES}])
@pytest.mark.parametrize("order", "<>")
def test_the_length_of_a_delimiter_is_zero(order: str, options: frozenset[Option]) -> None:
    sop = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0", order) + element(
        0x00080018, "UI", b"1.2.3\0", order
    )
    within = undefined(0x00081199, "SQ", item(ending_oddly(b"CANA", order), order), order)
    data = ending_oddly(b"CANA", order, stray=ended(0xE00D, b"CANA", order)) + within
    data = sop + data + element(0x00100020, "LO", b"17", order)
    syntax = EXPLICIT if order == "<" else BIG_ENDIAN
    new = deidentified(data, profile(options), syntax)[0]
    assert b"CANA" not in new and new.count(ended(0xE00D, bytes(4), order)) == 3
    assert len(reread(new, syntax).ReferencedSOPSequence[0].ReferencedSeriesSequence) == 1


def test_what_an_earlier_step_looked_into_has_none_either() -> None:
    chain = [transform("- set: {ReferencedSeriesSequence.SeriesInstanceUID: '1.2'}"), step_of(profile())]
    new = run_all(SOP + ending_oddly(b"CANA") + ID, chain)[0]
    assert b"CANA" not in new and len(reread(new).ReferencedSeriesSequence) == 1


def test_reserved_bytes_are_zero() -> None:
    def reserved(tag: int, vr: str, value: bytes) -> bytes:
        found = element(tag, vr, value)
        return found[:6] + b"CA" + found[8:]

    data = SOP + reserved(NOT_OF_A_TABLE, "SQ", item(reserved(0x00189004, "OB", b"xx"))) + ID
    data += reserved(0x00180022, "UN", b"HELIX ") + reserved(0x00180022, "UN", b"HELIX ")
    data += reserved(0x00189004, "OB", b"xx") + reserved(0x00281201, "OW", b"12" * 40_000)
    for options in ((), (Option.RETAIN_SAFE_PRIVATE,)):
        new = deidentified(data, profile(options))[0]
        assert b"CA" not in new and reread(new)[0x00281201].value == b"12" * 40_000


@pytest.mark.parametrize("reserved", [b"\0\0", b"CA"])
def test_letters_that_are_no_vr_become_un(reserved: bytes) -> None:
    long = element(0x00180015, "UN", b"HEAD")
    long = long[:4] + b"JD" + reserved + long[8:]
    short = element(0x00181020, "LO", b"1.0 ")
    short = short[:4] + b"JD" + short[6:]
    kept = [Option.RETAIN_DEVICE_IDENTITY]
    new = deidentified(SOP + ID + long + short, profile(kept))[0]
    assert b"JD" not in new and b"CA" not in new and b"HEAD" in new
    assert reread(new).PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "JPEG2000.dcm"])
def test_the_delimiter_behind_encapsulated_pixels_has_no_length(name: str) -> None:
    image = sample(name)
    end = b"\xfe\xff\xdd\xe0" + bytes(4)
    at = image.data_set.rindex(end) + 4
    data = image.data_set[:at] + b"CANA"
    new = deidentified(data, transfer_syntax_uid=image.transfer_syntax_uid)[0]
    assert b"CANA" not in new
    assert new.endswith(end)


def test_nothing_of_it_is_touched_where_nothing_is_de_identified() -> None:
    data = SOP + ending_oddly(b"CANA") + ID
    assert run_all(data, [transform("- set: {PatientComments: X}")])[0].count(b"CANA") == 2
