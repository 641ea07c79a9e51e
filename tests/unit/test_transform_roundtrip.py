"""What no step touches comes out byte for byte as it came in: in every encoding, nested or not, of any length."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dicom.header import Wanted, read_header
from gateway.dicom.scan import MAX_ELEMENTS
from gateway.errors import HeaderError, SpoolMissing, TransformError
from gateway.transform import prepare
from gateway.transform.edit import walk
from gateway.transform.parse import DEFLATED, Rewound, expand, parse
from gateway.transform.tree import DataSet
from gateway.transform.view import View
from gateway.transform.write import write_tree
from tests.unit.samples import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    SOP,
    MemorySource,
    Sample,
    element,
    implicit,
    item,
    sample,
    undefined,
)
from tests.unit.samples import DEFLATED as DEFLATED_EXPLICIT
from tests.unit.test_header import KEYWORDS, SAMPLES, SEQUENCE_PATHS, path_of
from tests.unit.transform_kit import before, on, origin, reread, run, transform

PATHS = [path_of(name) for name in [*KEYWORDS, *SEQUENCE_PATHS]]


def open_everything(data: DataSet) -> None:
    """Expand every sequence of a data set, and keep it so."""
    for each in data.elements:
        if each.is_sequence:
            for one in expand(data, each):
                open_everything(one.data)


def rewritten(data: bytes, transfer_syntax_uid: str, *, opened: bool) -> bytes:
    """The data set parsed and written, with all sequences opened or none."""
    tree = parse(MemorySource(data), transfer_syntax_uid)
    if opened:
        open_everything(tree.root)
    pieces: list[bytes | memoryview] = []
    length = write_tree(tree, pieces.append)
    written = b"".join(pieces)
    assert length == len(written)
    return written


def inflated(each: Sample) -> bytes:
    """The data set's bytes, not deflated."""
    source = Rewound(MemorySource(each.data_set))
    return source.read(0, 1 << 24) if each.transfer_syntax_uid in DEFLATED else each.data_set


# ── samples ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("each", SAMPLES, ids=str)
def test_an_empty_chain_changes_no_byte(each: Sample) -> None:
    assert run(each.data_set, "", each.transfer_syntax_uid) == each.data_set


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("each", SAMPLES, ids=str)
def test_the_elements_of_a_sample_write_its_bytes(each: Sample, opened: bool) -> None:
    assert rewritten(each.data_set, each.transfer_syntax_uid, opened=opened) == inflated(each)


@pytest.mark.parametrize("each", SAMPLES, ids=str)
def test_a_step_that_finds_nothing_changes_no_byte(each: Sample) -> None:
    steps = "- remove: [InventoryPurpose, BeamSequence.PatientAddress]\n- truncate: {BeamSequence.BeamName: 64}"
    assert run(each.data_set, steps, each.transfer_syntax_uid) == each.data_set


@pytest.mark.parametrize("each", SAMPLES, ids=str)
def test_rules_see_a_tree_as_they_see_a_header(each: Sample) -> None:
    header = read_header(MemorySource(each.data_set), each.transfer_syntax_uid, Wanted.of(PATHS))
    view = View(parse(MemorySource(each.data_set), each.transfer_syntax_uid))
    assert {path: view.get(path) for path in PATHS} == {path: header.get(path) for path in PATHS}


@pytest.mark.parametrize(
    "name", ["MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"]
)
def test_what_is_cut_short_is_refused_or_written_as_it_is(name: str) -> None:
    each = sample(name)
    with pytest.raises(HeaderError):
        run(each.data_set, "", each.transfer_syntax_uid)


@pytest.mark.parametrize("each", [one for one in SAMPLES if "0000" not in one.path.name], ids=str)
def test_one_value_set_is_all_that_pydicom_sees_changed(each: Sample) -> None:
    steps = "- set: {StationName: ROOM-1}\n- record: false"
    data = run(each.data_set, steps, each.transfer_syntax_uid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, found = before(each), reread(data, each.transfer_syntax_uid)
        expected.StationName = "ROOM-1"
        del_group_lengths(expected)
        del_group_lengths(found)
        assert sorted(found.keys()) == sorted(expected.keys())
        assert list(found.keys()) == sorted(found.keys()) or list(before(each).keys()) != sorted(before(each).keys())
        assert all(found[tag] == expected[tag] for tag in expected.keys())  # noqa: SIM118 - tags, not elements
    read_header(MemorySource(data), each.transfer_syntax_uid, Wanted.of())


def del_group_lengths(data_set: pydicom.Dataset) -> None:
    """Those of group 0008 are dropped when it changes; the others stay."""
    if 0x00080000 in data_set:
        del data_set[0x00080000]


# ── encodings ─────────────────────────────────────────────────────────────────────────────────────────────────

CODE_VALUE = element(0x00080100, "SH", b"12345 ")
IMPLICIT_CODE_VALUE = implicit(0x00080100, b"12345 ")
AFTER = element(0x00400253, "SH", b"AFTER ")
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCES = [
    element(0x00321064, "SQ", item(CODE_VALUE)),
    element(0x00321064, "SQ", item(CODE_VALUE, of_undefined_length=True)),
    undefined(0x00321064, "SQ", item(CODE_VALUE)),
    undefined(0x00321064, "SQ", item(CODE_VALUE, of_undefined_length=True)),
    undefined(0x00321064, "SQ", item(IMPLICIT_CODE_VALUE)),
    undefined(0x00321064, "UN", item(IMPLICIT_CODE_VALUE, of_undefined_length=True)),
    undefined(0x00321064, "UN", item(IMPLICIT_CODE_VALUE)),
    undefined(0x00321064, "UN", item(CODE_VALUE)),
    element(0x00321064, "UN", item(IMPLICIT_CODE_VALUE)),
    element(0x00321064, "SQ", item(CODE_VALUE) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)),
    element(0x00321064, "SQ", item(CODE_VALUE + ITEM_END)),
    element(0x00321064, "SQ", item(CODE_VALUE) + ITEM_END + item(CODE_VALUE)),
    element(0x00321064, "SQ", item(CODE_VALUE + undefined(0x00080110, "SQ", item(CODE_VALUE)))),
    undefined(0x00321064, "SQ", item(CODE_VALUE) + item(b"")),
]


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_sequence_is_written_as_it_was_found(sequence: bytes) -> None:
    data = SOP + sequence + AFTER
    assert rewritten(data, EXPLICIT, opened=True) == data


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_value_in_a_sequence_is_changed_in_every_encoding(sequence: bytes) -> None:
    steps = "- set: {RequestedProcedureCodeSequence.CodeValue: LONGER-THAN-IT}\n- record: false"
    written = run(SOP + sequence + AFTER, steps)
    view = View(parse(MemorySource(written), EXPLICIT))
    values = view.get((0x00321064, 0x00080100))
    assert values is not None and set(values) == {"LONGER-THAN-IT"}
    assert view.get((0x00400253,)) == ("AFTER",)
    read_header(MemorySource(written), EXPLICIT, Wanted.of())


def test_an_item_in_implicit_vr_stays_so() -> None:
    data = SOP + undefined(0x00321064, "SQ", item(IMPLICIT_CODE_VALUE + implicit(0x00080104, b"OLD ")))
    written = run(data, "- set: {RequestedProcedureCodeSequence.CodeMeaning: NEW ONE}\n- record: false")
    assert written == SOP + undefined(0x00321064, "SQ", item(IMPLICIT_CODE_VALUE + implicit(0x00080104, b"NEW ONE ")))


def test_un_of_undefined_length_is_little_endian_inside() -> None:
    # PS3.5 6.2.2: implicit VR little endian, also in a data set that is big endian.
    head = element(0x00080018, "UI", b"1.2.3.4\0", ">")

    def around(items: bytes) -> bytes:
        unknown = struct.pack(">HH2sHI", 0x0032, 0x1064, b"UN", 0, 0xFFFFFFFF)
        return head + unknown + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

    data = around(item(IMPLICIT_CODE_VALUE))
    assert rewritten(data, BIG_ENDIAN, opened=True) == data
    step = "- set: {RequestedProcedureCodeSequence.CodeValue: NEW}\n- record: false"
    assert run(data, step, BIG_ENDIAN) == around(item(implicit(0x00080100, b"NEW ")))
    added = "- add_item: {to: RequestedProcedureCodeSequence, item: {CodeValue: TWO}}\n- record: false"
    assert run(data, added, BIG_ENDIAN) == around(item(IMPLICIT_CODE_VALUE) + item(implicit(0x00080100, b"TWO ")))


@pytest.mark.parametrize("vr", ["QQ", "??", "  ", "sh"])
def test_an_odd_vr_is_written_as_it_was_found(vr: str) -> None:
    short = struct.pack("<HH", 0x0009, 0x1010) + vr.encode() + struct.pack("<H", 6) + b"ODD   "
    long = struct.pack("<HH", 0x0009, 0x1010) + vr.encode() + struct.pack("<HI", 0, 6) + b"ODD   "
    for odd in (short, long):
        assert rewritten(SOP + odd + AFTER, EXPLICIT, opened=True) == SOP + odd + AFTER


def test_the_other_vr_encoding_than_announced_is_kept() -> None:
    data = implicit(0x00080016, b"1.2\0") + implicit(0x00080018, b"1.2.3.4\0")
    assert run(data, "") == data
    changed = run(data, "- set: {AccessionNumber: A1}\n- record: false")
    assert changed == data + implicit(0x00080050, b"A1")


def test_zeros_behind_the_last_element_stay() -> None:
    assert run(SOP + bytes(100), "") == SOP + bytes(100)
    with pytest.raises(HeaderError):
        run(SOP + bytes(100) + b"x", "")


TEXTS = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=12)
BINARY = st.binary(max_size=20).map(lambda data: data + b"\0" * (len(data) % 2))
LEAVES = st.fixed_dictionaries(
    {}, optional={"CodeValue": TEXTS, "CodeMeaning": TEXTS, "Rows": st.integers(0, 65535), "OverlayData": BINARY}
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.fixed_dictionaries(
        {"ContentSequence": st.lists(inner, max_size=3)},
        optional={"CodeValue": TEXTS, "undefined": st.booleans(), "item_undefined": st.booleans()},
    ),
    max_leaves=12,
)


def data_set_of(drawn: dict[str, Any]) -> pydicom.Dataset:
    """What was drawn, as pydicom has it."""
    made = pydicom.Dataset()
    for keyword, value in drawn.items():
        if keyword == "ContentSequence":
            made.ContentSequence = [data_set_of(each) for each in value]
            made["ContentSequence"].is_undefined_length = drawn.get("undefined", False)
        elif keyword == "OverlayData":
            made.add_new(0x60003000, "OW", value)
        elif keyword[0].isupper():
            setattr(made, keyword, value)
    made.is_undefined_length_sequence_item = drawn.get("item_undefined", False)
    return made


def encoded(data_set: pydicom.Dataset, transfer_syntax_uid: str) -> bytes:
    """The bytes that pydicom writes."""
    file = BytesIO()
    pydicom.dcmwrite(
        file,
        data_set,
        implicit_vr=transfer_syntax_uid == IMPLICIT,
        little_endian=transfer_syntax_uid != BIG_ENDIAN,
        force_encoding=True,
    )
    return file.getvalue()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(NESTED, st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]))
def test_whatever_is_nested_is_written_as_it_was_found(drawn: dict[str, Any], transfer_syntax_uid: str) -> None:
    made = data_set_of(drawn)
    made.SOPInstanceUID = "1.2.3"
    data = encoded(made, transfer_syntax_uid)
    assert rewritten(data, transfer_syntax_uid, opened=True) == data
    assert run(data, "", transfer_syntax_uid) == data
    # A value set and taken out again leaves what was there; on the way every length around it was counted anew.
    there_and_back = "- add_item: {to: ContentSequence, item: {CodeValue: X}}\n"
    there_and_back += "- remove_item: {from: ContentSequence, where: {CodeValue: X}}\n- record: false"
    if "ContentSequence" in drawn and not any(each.get("CodeValue") == "X" for each in drawn["ContentSequence"]):
        assert run(data, there_and_back, transfer_syntax_uid) == data


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(NESTED, st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]), TEXTS)
def test_a_value_set_in_all_items_is_read_back(drawn: dict[str, Any], transfer_syntax_uid: str, text: str) -> None:
    made = data_set_of(drawn)
    made.SOPInstanceUID = "1.2.3"
    steps = f'- set: {{ContentSequence.CodeMeaning: "{text}"}}\n- record: false'
    found = reread(run(encoded(made, transfer_syntax_uid), steps, transfer_syntax_uid), transfer_syntax_uid)
    for each in made.get("ContentSequence", ()):
        each.CodeMeaning = text
    assert found.to_json_dict() == reread(encoded(made, transfer_syntax_uid), transfer_syntax_uid).to_json_dict()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED_EXPLICIT]))
def test_garbage_is_written_as_it_is_or_refused(garbage: bytes, transfer_syntax_uid: str) -> None:
    try:
        written = run(SOP + garbage, "", transfer_syntax_uid)
    except HeaderError:
        return
    assert written == SOP + garbage


# ── deflated ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deflated_data_set_is_changed_and_deflated_again() -> None:
    found = on("image_dfl.dcm", "- set: {InstitutionName: ELSEWHERE}\n- record: false")
    expected = before("image_dfl.dcm")
    assert found.InstitutionName == "ELSEWHERE"
    assert found.PixelData == expected.PixelData
    each = sample("image_dfl.dcm")
    data = run(each.data_set, "- set: {InstitutionName: ELSEWHERE}", each.transfer_syntax_uid)
    assert len(data) % 2 == 0
    assert len(data) < len(expected.PixelData)


def deflated(data: bytes) -> bytes:
    """A deflated data set."""
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def test_a_deflated_data_set_is_even_whatever_its_deflated_bits() -> None:
    data = deflated(SOP)
    lengths = set()
    for text in ("A", "AB", "ABC", "1.2.3.4", "AAAAAAAAAAAAAAAA", "QWERTZUIOP", "1X5J7", "QWERTZUIOPASD"):
        written = run(data, f"- set: {{StudyID: {text}}}\n- record: false", DEFLATED_EXPLICIT)
        inflater = zlib.decompressobj(-15)
        assert inflater.decompress(written) == SOP + element(0x00200010, "SH", text.encode() + b" " * (len(text) % 2))
        assert len(written) % 2 == 0
        assert inflater.unused_data in (b"", b"\0")
        lengths.add(inflater.unused_data)
    assert lengths == {b"", b"\0"}


def test_a_change_to_a_deflated_data_set_is_not_forgotten_by_later_steps() -> None:
    data = deflated(SOP + element(0x00321064, "SQ", item(CODE_VALUE)) + AFTER)
    written = run(data, "- set: {StudyID: A}\n- remove: [private]\n- record: false", DEFLATED_EXPLICIT)
    assert View(parse(MemorySource(written), DEFLATED_EXPLICIT)).text(0x00200010) == "A"


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────


class Synthetic:
    """A `ByteSource` of a head, `size` bytes that are made when asked for, and a tail."""

    def __init__(self, head: bytes, size: int, tail: bytes) -> None:
        self._parts = ((0, head), (len(head) + size, tail))
        self._size = size
        self.largest_read = 0
        self.read_bytes = 0
        self.end = len(head) + size + len(tail)

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.end - offset))
        self.largest_read = max(self.largest_read, length)
        self.read_bytes += length
        data = bytearray(length)
        for begin, part in self._parts:
            first, last = max(begin, offset), min(begin + len(part), offset + length)
            if first < last:
                data[first - offset : last - offset] = part[first - begin : last - begin]
        return bytes(data)


@pytest.mark.parametrize("kind", ["native", "encapsulated", "nested"])
def test_a_gibibyte_goes_through_in_pieces(kind: str) -> None:
    size = 1 << 30
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, size)
    tail = element(0xFFFCFFFC, "OB", bytes(2))
    if kind == "encapsulated":
        pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + item(b"")
        pixels += struct.pack("<HHI", 0xFFFE, 0xE000, size)
        tail = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + tail
    elif kind == "nested":
        around = struct.pack("<HH2sHI", 0x0088, 0x0200, b"SQ", 0, size + 20 + 34)
        around += struct.pack("<HHI", 0xFFFE, 0xE000, size + 12 + 34) + element(
            0x00080018, "UI", b"1.2.3.4.5.6.7.8.9.10.11.12"
        )
        pixels, tail = around + pixels, tail
    source = Synthetic(SOP + pixels, size, tail)
    pieces: list[int] = []
    crc = [0, b""]

    def write(piece: bytes | memoryview) -> None:
        pieces.append(len(piece))
        crc[1] = (bytes(crc[1]) + bytes(piece))[-len(tail) :]  # type: ignore[arg-type]

    steps = "- set: {PatientID: CHANGED}\n- record: false"
    if kind == "nested":
        steps = "- set: {IconImageSequence.SOPInstanceUID: 1.2.3}\n- record: false"
    before_writing = source.read_bytes
    length = prepare([transform(steps)], source, origin(), system="gateway").write(write)
    assert max(pieces) <= 1 << 20
    assert sum(pieces) == length
    assert source.largest_read <= 1 << 20
    assert source.read_bytes - before_writing < size + (1 << 20)  # bulk is read once, when it is written
    assert length == source.end + (16 if kind != "nested" else -20)
    assert crc[1] == tail


class Failing(Synthetic):
    """A source whose file is gone, or shorter, once the header was read."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__(SOP + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 4 << 20), 4 << 20, b"")
        self._error = error
        self.is_failing = False

    def read(self, offset: int, length: int) -> bytes:
        if self.is_failing and self._error is not None:
            raise self._error
        return b"" if self.is_failing else super().read(offset, length)


@pytest.mark.parametrize(
    ("error", "expected"), [(SpoolMissing("gone"), SpoolMissing), (None, HeaderError)], ids=["gone", "shorter"]
)
def test_trouble_of_the_source_comes_through(error: Exception | None, expected: type[Exception]) -> None:
    source = Failing(error)

    def write(piece: bytes | memoryview) -> None:
        source.is_failing = True

    with pytest.raises(expected):
        prepare([transform("- set: {PatientID: A}")], source, origin(), system="gateway").write(write)


def test_nothing_is_written_of_what_cannot_be_done() -> None:
    pieces: list[bytes | memoryview] = []
    chain = [transform("- set: {PatientID: A}"), transform("- set: {Modality: '{StudyDescription}'}")]
    data = SOP + element(0x00081030, "LO", b"lower ")
    with pytest.raises(TransformError):
        prepare(chain, MemorySource(data), origin(), system="gateway").write(pieces.append)
    assert pieces == []


def test_bounds_hold() -> None:
    deep = b""
    for _ in range(70):
        deep = undefined(0x00081115, "SQ", item(deep, of_undefined_length=True))
    with pytest.raises(HeaderError, match="64 levels"):
        run(SOP + deep, "")
    many = undefined(0x7FE00010, "OB", item(b"") * (MAX_ELEMENTS + 1))
    with pytest.raises(HeaderError, match="elements"):
        run(SOP + many, "")
    large = b"".join(element(0x00091001 + index, "UN", bytes(60_000)) for index in range(600))
    with pytest.raises(HeaderError, match="hold more than"):
        run(SOP + large, "")


def test_defined_lengths_that_are_nested_too_deep_are_not_opened() -> None:
    deep = b""
    for _ in range(70):
        deep = element(0x00081115, "SQ", item(deep))
    assert run(SOP + deep, "") == SOP + deep
    with pytest.raises(HeaderError, match="64 levels"):
        run(SOP + deep, "- remove: [private]")


def test_sequences_that_nothing_changes_are_closed_again() -> None:
    tree = parse(MemorySource(sample("rtplan.dcm").data_set), IMPLICIT)
    walk(tree.root, lambda _: None)
    assert all(each.items is None for each in tree)
