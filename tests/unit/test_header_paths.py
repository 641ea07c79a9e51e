"""Paths into a data set: any depth, numbered items, private attributes by creator; only what is wanted is kept."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.header import AttributePath, Header, Wanted, read_header
from gateway.dicom.paths import MAX_STEPS, Step, step
from gateway.errors import HeaderError
from tests.unit.samples import BIG_ENDIAN, EXPLICIT, IMPLICIT, SOP, MemorySource, element, implicit, item, undefined

REQUESTS, PROTOCOL, CODE = 0x00400275, 0x00400008, 0x00080100
SERIES, SERIES_UID, CONTENT, TEXT = 0x00081115, 0x0020000E, 0x0040A730, 0x0040A160
BLOCK_2 = 0x00090002
ACME = Step(BLOCK_2, "ACME 1.1")


def read(data: bytes, *paths: AttributePath, syntax: str = EXPLICIT) -> Header:
    return read_header(MemorySource(data), syntax, Wanted.of(paths))


def get(data: bytes, path: AttributePath, syntax: str = EXPLICIT) -> tuple[str, ...] | None:
    return read(data, path, syntax=syntax).get(path)


def sequence(tag: int, *items: bytes) -> bytes:
    return element(tag, "SQ", b"".join(item(one) for one in items))


def code(text: bytes) -> bytes:
    return element(CODE, "SH", text)


# ── depth and items ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_attribute_two_sequences_deep_is_read_from_all_items() -> None:
    inner = [sequence(PROTOCOL, code(b"A1"), code(b"A2")), sequence(PROTOCOL, code(b"B1"))]
    data = SOP + sequence(REQUESTS, *inner)
    assert get(data, (REQUESTS, PROTOCOL, CODE)) == ("A1", "A2", "B1")
    assert get(data, (REQUESTS, CODE)) is None
    assert get(data, (PROTOCOL, CODE)) is None
    assert get(data, (REQUESTS, PROTOCOL)) == ("[3 items]",)


def test_an_item_goes_by_its_number_counted_from_one() -> None:
    data = SOP + sequence(SERIES, *[element(SERIES_UID, "UI", text) for text in (b"1.10", b"1.20", b"1.30")])
    assert get(data, (Step(SERIES, item=1), SERIES_UID)) == ("1.10",)
    assert get(data, (Step(SERIES, item=3), SERIES_UID)) == ("1.30",)
    assert get(data, (Step(SERIES, item=4), SERIES_UID)) is None
    all_of_them = read(data, (SERIES, SERIES_UID), (Step(SERIES, item=2), SERIES_UID), (SERIES,))
    assert all_of_them.get((SERIES, SERIES_UID)) == ("1.10", "1.20", "1.30")
    assert all_of_them.get((Step(SERIES, item=2), SERIES_UID)) == ("1.20",)
    assert all_of_them.get((SERIES,)) == ("[3 items]",)


def test_items_are_numbered_within_each_sequence_that_holds_them() -> None:
    inner = [sequence(PROTOCOL, code(b"A1"), code(b"A2")), sequence(PROTOCOL, code(b"B1"), code(b"B2"))]
    data = SOP + sequence(REQUESTS, *inner)
    assert get(data, (REQUESTS, Step(PROTOCOL, item=2), CODE)) == ("A2", "B2")
    assert get(data, (Step(REQUESTS, item=2), PROTOCOL, CODE)) == ("B1", "B2")
    assert get(data, (Step(REQUESTS, item=2), Step(PROTOCOL, item=1), CODE)) == ("B1",)


def test_only_what_is_wanted_is_kept() -> None:
    inner = code(b"IN") + element(TEXT, "UT", b"x" * 1000)
    data = SOP + sequence(CONTENT, inner + sequence(CONTENT, inner)) + element(0x00100020, "LO", b"ID")
    header = read(data, (CONTENT, CONTENT, CODE))
    kept = set(header._scan.elements) - {(0x00080016,), (0x00080018,), (0x00100020,)}
    assert kept == {(CONTENT, CONTENT, CODE)}
    assert header._scan.items == {}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("undefined_length", [False, True])
def test_the_deepest_path_is_read_in_every_encoding(syntax: str, undefined_length: bool) -> None:
    inner = pydicom.Dataset()
    inner.TextValue = "deep"
    for _ in range(MAX_STEPS - 1):
        outer = pydicom.Dataset()
        outer.ContentSequence = [pydicom.Dataset(), inner]
        outer["ContentSequence"].is_undefined_length = undefined_length
        inner.is_undefined_length_sequence_item = undefined_length
        inner = outer
    inner.SOPInstanceUID = "1.2.3"
    data = written(inner, syntax)
    assert get(data, (*[CONTENT] * (MAX_STEPS - 1), TEXT), syntax) == ("deep",)
    assert get(data, (*[Step(CONTENT, item=2)] * (MAX_STEPS - 1), TEXT), syntax) == ("deep",)
    assert get(data, (*[Step(CONTENT, item=1)] * (MAX_STEPS - 1), TEXT), syntax) is None


def written(data_set: pydicom.Dataset, syntax: str) -> bytes:
    file = BytesIO()
    pydicom.dcmwrite(
        file, data_set, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG_ENDIAN, force_encoding=True
    )
    return file.getvalue()


@pytest.mark.parametrize(
    "path", [(), (CONTENT,) * (MAX_STEPS + 1), (Step(CONTENT, item=1),), (CONTENT, Step(CODE, item=2))], ids=len
)
def test_a_path_that_leads_to_no_attribute_is_refused(path: AttributePath) -> None:
    with pytest.raises(ValueError, match="attribute path"):
        Wanted.of([path])


def test_a_step_has_one_form() -> None:
    assert step(CODE) == CODE
    assert step(CODE, item=1) == Step(CODE, "", 1)
    assert step(BLOCK_2, "ACME 1.1") == ACME


# ── character sets ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_item_without_a_character_set_has_that_of_the_item_around_it() -> None:
    """PS3.5 7.5.3: not that of the data set, nor that of the item before."""
    utf8 = element(0x00080005, "CS", b"ISO_IR 192")
    latin = element(0x00080005, "CS", b"ISO_IR 100")
    around = utf8 + code("é1".encode()) + sequence(PROTOCOL, code("é2".encode()), latin + code(b"\xe93"))
    data = latin + SOP + sequence(REQUESTS, around, sequence(PROTOCOL, code(b"\xe94")))
    header = read(data, (REQUESTS, CODE), (REQUESTS, PROTOCOL, CODE))
    assert header.get((REQUESTS, CODE)) == ("é1",)
    assert header.get((REQUESTS, PROTOCOL, CODE)) == ("é2", "é3", "é4")


# ── private attributes ────────────────────────────────────────────────────────────────────────────────────────


def creator(block: int, name: bytes, group: int = 0x0009) -> bytes:
    return element(group << 16 | block, "LO", name)


def test_a_private_attribute_is_found_in_the_block_that_its_creator_has_reserved() -> None:
    """PS3.5 7.8.1: the block is the writer's choice."""
    for block in (0x10, 0x11, 0xFF):
        number = 0x00090000 | block << 8
        data = SOP + creator(block, b"ACME 1.1") + element(number | 2, "LO", b"MINE") + element(number | 3, "LO", b"NO")
        assert get(data, (ACME,)) == ("MINE",)
    other = creator(0x10, b"OTHER ") + creator(0x11, b"ACME 1.1")
    values = element(0x00091002, "LO", b"OTHERS") + element(0x00091102, "LO", b"MINE")
    assert get(SOP + other + values, (ACME,)) == ("MINE",)
    assert get(SOP + other + values, (0x00091002,)) == ("OTHERS",)


def test_of_several_blocks_of_a_creator_the_first_counts() -> None:
    creators = creator(0x10, b"ACME 1.1") + creator(0x11, b"ACME 1.1")
    first, second = element(0x00091002, "LO", b"ONE "), element(0x00091102, "LO", b"TWO ")
    assert get(SOP + creators + first + second, (ACME,)) == ("ONE",)
    assert get(SOP + creators + second, (ACME,)) is None
    both = sequence(REQUESTS, creators + first, creator(0x12, b"ACME 1.1") + element(0x00091202, "LO", b"TWO "))
    assert get(SOP + both, (REQUESTS, ACME)) == ("ONE", "TWO")


def test_a_private_attribute_without_its_creator_is_absent() -> None:
    value = element(0x00091002, "LO", b"X ")
    assert get(SOP + value, (ACME,)) is None
    assert get(SOP + creator(0x10, b"ACME 1.0") + value, (ACME,)) is None
    assert get(SOP + creator(0x10, b"acme 1.1") + value, (ACME,)) is None
    assert get(SOP + creator(0x10, b"ACME 1.1", 0x0011) + value, (ACME,)) is None
    assert get(SOP + creator(0x05, b"ACME 1.1") + element(0x00090502, "LO", b"X "), (ACME,)) is None


def test_a_creator_is_read_in_the_character_set_that_holds_where_it_stands() -> None:
    path = (Step(BLOCK_2, "GERÄTE"),)
    value = element(0x00091002, "LO", b"MINE")
    utf8, latin = creator(0x10, "GERÄTE ".encode()) + value, creator(0x10, "GERÄTE".encode("latin-1")) + value
    utf8_set = element(0x00080005, "CS", b"ISO_IR 192")
    assert get(utf8_set + SOP + utf8, path) == ("MINE",)
    assert get(element(0x00080005, "CS", b"ISO_IR 100") + SOP + latin, path) == ("MINE",)
    assert get(utf8_set + SOP + latin, path) is None
    assert get(utf8_set + SOP + sequence(REQUESTS, utf8), (REQUESTS, *path)) == ("MINE",)
    assert get(SOP + sequence(REQUESTS, utf8_set + utf8), (REQUESTS, *path)) == ("MINE",)


def test_a_creator_reserves_a_block_in_its_own_data_set_or_item_only() -> None:
    value = element(0x00091002, "LO", b"IN")
    inside = creator(0x10, b"ACME 1.1") + value
    path = (REQUESTS, ACME)
    assert get(SOP + sequence(REQUESTS, inside, value), path) == ("IN",)
    assert get(SOP + creator(0x10, b"ACME 1.1") + sequence(REQUESTS, value), path) is None
    assert get(SOP + sequence(REQUESTS, inside), (ACME,)) is None


def test_the_items_of_a_private_sequence_are_looked_into_also_where_nothing_tells_that_it_is_one() -> None:
    path = (Step(BLOCK_2, "ACME 1.1"), CODE)
    explicit = SOP + creator(0x10, b"ACME 1.1") + sequence(0x00091002, code(b"IN"))
    assert get(explicit, path) == ("IN",)
    unknown = SOP + creator(0x10, b"ACME 1.1") + element(0x00091002, "UN", item(implicit(CODE, b"IN")))
    assert get(unknown, path) == ("IN",)
    head = implicit(0x00080016, b"1.2\0") + implicit(0x00080018, b"1.2.3.4\0") + implicit(0x00090010, b"ACME 1.1")
    defined = head + implicit(0x00091002, item(implicit(CODE, b"IN")) + item(implicit(CODE, b"I2")))
    assert get(defined, path, IMPLICIT) == ("IN", "I2")
    assert get(defined, (Step(BLOCK_2, "ACME 1.1", 2), CODE), IMPLICIT) == ("I2",)
    assert get(head + undefined(0x00091002, "", item(implicit(CODE, b"IN"))), path, IMPLICIT) == ("IN",)
    assert get(head + implicit(0x00091002, b"no sequence "), path, IMPLICIT) is None


def test_the_vr_of_a_private_attribute_in_implicit_vr_is_that_of_its_creators_dictionary() -> None:
    head = implicit(0x00080016, b"1.2\0") + implicit(0x00080018, b"1.2.3.4\0")
    data = head + implicit(0x00190010, b"GEMS_ACQU_01") + implicit(0x00191002, struct.pack("<i", -7))
    assert get(data, (Step(0x00190002, "GEMS_ACQU_01"),), IMPLICIT) == ("-7",)


def test_private_creators_by_the_thousand_take_no_room() -> None:
    inside = b"".join(creator(block, b"ACME 1.1") for block in range(0x10, 0x100))
    data = SOP + sequence(CONTENT, *[inside] * 800)
    assert read(data, (CONTENT, ACME)).get((CONTENT, ACME)) is None


def test_the_character_sets_of_items_count_as_what_is_kept() -> None:
    long = element(0x00080005, "CS", b"ISO_IR 192" + b" " * 60_000) + code(b"X ")
    with pytest.raises(HeaderError, match="hold more than"):
        read(SOP + sequence(CONTENT, *[long] * 600), (CONTENT, CODE))


# ── whatever the shape ────────────────────────────────────────────────────────────────────────────────────────

TREES: Any = st.recursive(
    st.fixed_dictionaries({}, optional={"CodeValue": st.sampled_from(["A", "B", "C"])}),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "CodeValue": st.sampled_from(["A", "B", "C"]),
            "ContentSequence": st.lists(inner, max_size=3),
            "RequestAttributesSequence": st.lists(inner, max_size=3),
        },
    ),
    max_leaves=12,
)
PATHS = st.lists(
    st.lists(st.builds(step, st.sampled_from([CONTENT, REQUESTS]), item=st.integers(0, 3)), max_size=4).map(
        lambda steps: (*steps, CODE)
    ),
    max_size=6,
)


def data_set_of(tree: dict[str, Any]) -> pydicom.Dataset:
    made = pydicom.Dataset()
    for keyword, value in tree.items():
        setattr(made, keyword, [data_set_of(one) for one in value] if isinstance(value, list) else value)
    return made


def expected(tree: dict[str, Any], path: AttributePath) -> list[str]:
    first, rest = path[0], path[1:]
    number, tag = (first.item, first.tag) if isinstance(first, Step) else (0, first)
    if not rest:
        return [tree["CodeValue"]] if "CodeValue" in tree else []
    items = tree.get("ContentSequence" if tag == CONTENT else "RequestAttributesSequence", [])
    return [
        value for at, one in enumerate(items, 1) if number in (0, at) for value in expected(one, rest)
    ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(TREES, PATHS, st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]))
def test_any_paths_are_read_together_as_each_alone(
    tree: dict[str, Any], paths: list[AttributePath], syntax: str
) -> None:
    data_set = data_set_of(tree)
    data_set.SOPInstanceUID = "1.2.3"
    header = read(written(data_set, syntax), *paths, syntax=syntax)
    for path in paths:
        assert list(header.get(path) or ()) == expected(tree, path), path
