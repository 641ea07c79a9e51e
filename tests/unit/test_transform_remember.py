"""`gateway.transform.remember`: rules see of what was kept what they saw of the instance."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.header import Header, Wanted, read_header
from gateway.errors import HeaderError
from gateway.transform.parse import expand, has_items, parse
from gateway.transform.remember import (
    MAX_HEADER_BYTES,
    MAX_SEQUENCE_BYTES,
    MAX_VALUE_BYTES,
    SHORTENED_BYTES,
    encoding_of,
    pack,
    unpack,
)
from gateway.transform.tree import Tree
from tests.unit.samples import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    MemorySource,
    Sample,
    all_samples,
    element,
    implicit,
    item,
    sample,
    undefined,
)

UID = element(0x00080018, "UI", b"1.2.3\0")
LAST = element(0x00200013, "IS", b"7 ")
PIXELS = element(0x7FE00010, "OW", bytes(5000))


def is_readable(one: Sample) -> bool:
    try:
        read_header(MemorySource(one.data_set), one.transfer_syntax_uid, Wanted())
        parse(MemorySource(one.data_set), one.transfer_syntax_uid)
    except HeaderError:
        return False
    return True


READABLE = [one for one in all_samples() if is_readable(one)]


def kept(data: bytes, syntax: str = EXPLICIT) -> bytes:
    packed = pack(MemorySource(data), syntax)
    assert packed is not None
    return unpack(packed)


def header_of(data: bytes, syntax: str, *paths: tuple[int, ...]) -> Header:
    return read_header(MemorySource(data), syntax, Wanted.of(paths))


def paths_of(tree: Tree) -> list[tuple[int, ...]]:
    """The attributes that are kept whole: of the data set, and of the items of its sequences."""
    found: list[tuple[int, ...]] = []
    for each in tree:
        if each.tag >= 0x7FE00000 or not each.tag & 0xFFFF:
            continue
        if each.is_sequence and each.value_bytes <= MAX_SEQUENCE_BYTES and has_items(each):
            found += [(each.tag, inner.tag) for one in expand(tree.root, each) for inner in one.data.elements]
        elif each.value_bytes <= MAX_VALUE_BYTES:
            found.append((each.tag,))
    return list(dict.fromkeys(found))


def test_there_are_samples_of_every_kind() -> None:
    assert {EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED} <= {one.transfer_syntax_uid for one in READABLE}
    assert len(READABLE) > 100


@pytest.mark.parametrize("one", READABLE, ids=str)
def test_every_short_attribute_of_every_sample_is_seen_as_it_was(one: Sample) -> None:
    syntax = one.transfer_syntax_uid
    paths = paths_of(parse(MemorySource(one.data_set), syntax))
    whole = header_of(one.data_set, syntax, *paths)
    data = kept(one.data_set, syntax)
    if len(data) > MAX_HEADER_BYTES - MAX_SEQUENCE_BYTES:
        pytest.skip("it may have been cut")
    left = header_of(data, encoding_of(syntax), *paths)
    for path in paths:
        assert left.get(path) == whole.get(path), path


@pytest.mark.parametrize(("syntax", "order"), [(EXPLICIT, "<"), (BIG_ENDIAN, ">")], ids=["little", "big"])
@pytest.mark.parametrize("vr", ["LT", "UT", "OB"])
def test_of_a_long_value_the_beginning_is_kept_so_that_the_attribute_is_there(syntax: str, order: str, vr: str) -> None:
    uid, last = element(0x00080018, "UI", b"1.2.3\0", order), element(0x00200013, "IS", b"7 ", order)
    data = kept(uid + element(0x00104000, vr, b"ab" * 600, order) + last, syntax)
    assert data == uid + element(0x00104000, vr, b"ab" * (SHORTENED_BYTES // 2), order) + last


def test_it_is_shortened_in_implicit_vr_too() -> None:
    uid, long = implicit(0x00080018, b"1.2.3\0"), implicit(0x00091001, b"x" * 70_000)
    assert kept(uid + long + implicit(0x00200013, b"7 "), IMPLICIT) == (
        uid + implicit(0x00091001, b"x" * 64) + implicit(0x00200013, b"7 ")
    )


def test_pixel_data_and_what_follows_it_group_lengths_and_long_sequences_are_left_out() -> None:
    short = undefined(0x00400275, "SQ", item(element(0x00400009, "SH", b"STEP")))
    long = element(0x00409096, "SQ", item(element(0x00400009, "SH", b"ab" * 500)) * 20)
    behind = element(0xFFFCFFFC, "OB", b"\0\0")
    length = element(0x00080000, "UL", b"\x0e\0\0\0")
    assert kept(length + UID + LAST + short + long + PIXELS + behind) == UID + LAST + short


def test_zeros_behind_the_last_element_end_it() -> None:
    assert kept(UID + LAST + bytes(100)) == UID + LAST


def test_what_is_longer_in_all_than_a_header_may_be_is_left_out_behind() -> None:
    many = b"".join(element(0x00091001 + n, "LO", b"x" * 1000) for n in range(200))
    data = kept(UID + many + LAST)
    assert (UID + many).startswith(data)
    assert MAX_HEADER_BYTES - 1100 < len(data) <= MAX_HEADER_BYTES
    cut = kept(UID + b"".join(element(0x00091001 + n, "UN", b"x" * 2000) for n in range(2000)))
    assert MAX_HEADER_BYTES - 100 < len(cut) <= MAX_HEADER_BYTES


def test_a_header_of_very_many_elements_costs_no_more_than_its_beginning() -> None:
    many = element(0x00080000, "UL", bytes(4)) * 30_000
    assert pack(MemorySource(many + UID), EXPLICIT) is None
    deep = undefined(0x00400275, "SQ", item(b"", of_undefined_length=True) * 30_000)
    assert kept(UID + deep + element(0x00409999, "LO", b"ab")) == UID


@given(st.data())
def test_whatever_the_bytes_nothing_is_raised(data: st.DataObject) -> None:
    whole = bytearray(sample("CT_small.dcm").data_set[:6000])
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    packed = pack(MemorySource(cut), data.draw(st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])))
    assert packed is None or len(unpack(packed)) <= MAX_HEADER_BYTES


@pytest.mark.parametrize(
    "stored", [b"", b"no zlib", zlib.compress(bytes(MAX_HEADER_BYTES + 1)), zlib.compress(bytes(100))[:-3]]
)
def test_what_is_damaged_in_the_ledger_is_found(stored: bytes) -> None:
    with pytest.raises(HeaderError, match="damaged"):
        unpack(stored)


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def test_a_deflated_data_set_is_inflated_once_and_not_far() -> None:
    bomb = UID + element(0x00091001, "UN", bytes(64 << 20)) + element(0x00091002, "UN", b"x" * 2000) * 1000 + LAST
    source = MemorySource(deflated(bomb))
    packed = pack(source, DEFLATED)
    assert packed is not None
    assert unpack(packed) == UID + element(0x00091001, "UN", bytes(SHORTENED_BYTES))
    assert source.read_bytes <= 2 * 64 * 1024


@pytest.mark.parametrize("cut", range(1, 30))
def test_what_ends_early_is_kept_to_its_last_whole_element(cut: int) -> None:
    whole = UID + element(0x00104000, "LT", b"ab" * 600) + LAST + element(0x00200020, "CS", b"L\\P ")
    data = pack(MemorySource(whole[:-cut]), EXPLICIT)
    assert data is not None
    kept_whole = UID + element(0x00104000, "LT", b"ab" * 32)
    assert unpack(data) == (kept_whole + LAST if cut <= 12 else kept_whole)
