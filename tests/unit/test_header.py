"""Headers: every sample reads as pydicom reads it, what is cut short is found, and nothing takes long."""

from __future__ import annotations

import random
import struct
import time
import warnings
import zlib
from io import BytesIO
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from gateway.dicom import kept, window
from gateway.dicom.header import AttributePath, Header, Wanted, read_header, study_facts
from gateway.dicom.paths import Step
from gateway.errors import HeaderError
from tests.unit.samples import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SOP,
    MemorySource,
    Sample,
    all_samples,
    element,
    implicit,
    item,
    sample,
    undefined,
)

KEYWORDS = [
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "SeriesDate",
    "StudyTime",
    "ContentDate",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "InstitutionName",
    "ReferringPhysicianName",
    "StudyDescription",
    "SeriesDescription",
    "StationName",
    "ManufacturerModelName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientWeight",
    "BodyPartExamined",
    "SliceThickness",
    "KVP",
    "ProtocolName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "FrameIncrementPointer",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "WindowCenter",
    "RescaleSlope",
    "ImageComments",
    "DerivationDescription",
    "PatientComments",
    "OtherPatientIDs",
    "RequestedProcedureDescription",
    "CompletionFlag",
    "RTPlanLabel",
    "StructureSetLabel",
    "DoseUnits",
]
SEQUENCE_PATHS = [
    "ReferencedImageSequence.ReferencedSOPInstanceUID",
    "RequestedProcedureCodeSequence.CodeValue",
    "RequestAttributesSequence.ScheduledProcedureStepID",
    "ConceptNameCodeSequence.CodeMeaning",
    "ContentSequence.ValueType",
    "ContentSequence.TextValue",
    "BeamSequence.BeamName",
    "StructureSetROISequence.ROIName",
    "WaveformSequence.NumberOfWaveformSamples",
    "ReferencedSeriesSequence.SeriesInstanceUID",
    "OtherPatientIDsSequence.PatientID",
    "SharedFunctionalGroupsSequence.SpecificCharacterSet",
    "FractionGroupSequence.NumberOfBeams",
    "PatientSetupSequence.PatientPosition",
    "ContentSequence.ConceptNameCodeSequence.CodeValue",
    "ContentSequence.ContentSequence.TextValue",
    "ContentSequence.ContentSequence.ContentSequence.ConceptNameCodeSequence.CodeMeaning",
    "SharedFunctionalGroupsSequence.PixelMeasuresSequence.PixelSpacing",
    "PerFrameFunctionalGroupsSequence.PlanePositionSequence.ImagePositionPatient",
    "BeamSequence.ControlPointSequence.NominalBeamEnergy",
    "FractionGroupSequence.ReferencedBeamSequence.ReferencedBeamNumber",
    "ROIContourSequence.ContourSequence.ContourGeometricType",
    "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue",
    "DirectoryRecordSequence.ReferencedSOPInstanceUIDInFile",
]
# Cut short, or never DICOM as DCMTK's dcmsend reads it; `test_what_dcmsend_refuses_is_refused`.
BROKEN = {
    "MR_truncated.dcm",
    "rtplan_truncated.dcm",
    "emri_small_jpeg_2k_lossless_too_short.dcm",
    "DICOMDIR-nooffset",
}
SAMPLES = [each for each in all_samples() if each.path.name not in BROKEN]
# 50 of the samples differ in a few bytes only.
VARIED = [each for each in SAMPLES if not each.path.name.startswith("IM0000") or each.path.name == "IM000000"]


def path_of(name: str) -> tuple[int, ...]:
    tags = [tag_for_keyword(keyword) for keyword in name.split(".")]
    assert None not in tags, name
    return tuple(tags)


LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
WANTED = Wanted.of([path_of(name) for name in [*KEYWORDS, *SEQUENCE_PATHS]])
EMPTY = Wanted.of()


def read(data: bytes, transfer_syntax_uid: str = EXPLICIT, wanted: Wanted = WANTED) -> Header:
    return read_header(MemorySource(data), transfer_syntax_uid, wanted)


def pydicom_texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    values = value if isinstance(value, MultiValue | list) else [value]
    texts = []
    for each in values:
        if isinstance(each, BaseTag):
            texts.append(f"({each.group:04x},{each.element:04x})")
        else:
            texts.append(str(each).strip(" \0"))
    return () if texts in ([], [""]) else tuple(texts)


def pydicom_reading(each: Sample) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(each.path, force=True)
        data_set.walk(lambda *_: None)
    return data_set


def pydicom_value(data_set: pydicom.Dataset, name: str) -> tuple[str, ...] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outer, _, inner = name.partition(".")
        if outer not in data_set:
            return None
        if not inner:
            return pydicom_texts(data_set[outer].value)
        inside = [found for one in data_set[outer].value if (found := pydicom_value(one, inner)) is not None]
        return tuple(text for texts in inside for text in texts) if inside else None


# ── every sample ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_samples_are_many_and_of_every_transfer_syntax() -> None:
    assert len(SAMPLES) > 200
    syntaxes = {each.transfer_syntax_uid for each in SAMPLES}
    assert {IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED} <= syntaxes
    compressed = {uid for uid in syntaxes if uid.startswith("1.2.840.10008.1.2.4.")}
    assert len(compressed) >= 6
    assert "1.2.840.10008.1.2.5" in syntaxes


@pytest.mark.parametrize("each", SAMPLES, ids=str)
def test_a_sample_reads_as_pydicom_reads_it(each: Sample) -> None:
    header = read(each.data_set, each.transfer_syntax_uid)
    data_set = pydicom_reading(each)
    for name in [*KEYWORDS, *SEQUENCE_PATHS]:
        assert header.get(path_of(name)) == pydicom_value(data_set, name), name
    assert header.sop_class_uid == str(data_set.get("SOPClassUID", ""))
    assert header.sop_instance_uid == str(data_set.get("SOPInstanceUID", ""))


def private_texts(data_set: pydicom.Dataset) -> dict[AttributePath, tuple[str, ...]]:
    """The private attributes of a data set whose VR says that they are text, by creator."""
    found: dict[AttributePath, tuple[str, ...]] = {}
    for one in data_set:
        creator = one.private_creator if one.tag.is_private and not one.tag.is_private_creator else None
        if creator and one.VR in {"LO", "SH", "CS", "DS", "IS", "US", "SL", "UL", "DA", "TM", "UI", "FD"}:
            found.setdefault((Step(one.tag & 0xFFFF00FF, str(creator)),), pydicom_texts(one.value))
    return found


@pytest.mark.parametrize("each", VARIED, ids=str)
def test_private_attributes_are_found_by_their_creators_as_pydicom_finds_them(each: Sample) -> None:
    expected = private_texts(pydicom_reading(each))
    header = read(each.data_set, each.transfer_syntax_uid, Wanted.of(expected))
    for path, texts in expected.items():
        assert header.get(path) == texts, path


def test_many_samples_have_private_attributes() -> None:
    assert sum(len(private_texts(pydicom_reading(each))) for each in VARIED[::4]) > 100


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_dcmsend_refuses_is_refused(name: str) -> None:
    each = sample(name)
    with pytest.raises(HeaderError):
        read(each.data_set, each.transfer_syntax_uid)


@pytest.mark.parametrize(
    "each", [one for one in VARIED if len(one.data_set) > 500_000 and one.transfer_syntax_uid != DEFLATED], ids=str
)
def test_of_a_large_sample_little_is_read(each: Sample) -> None:
    source = MemorySource(each.data_set)
    read_header(source, each.transfer_syntax_uid, WANTED)
    assert source.read_bytes < len(each.data_set) / 2


def test_study_facts_are_the_texts_that_people_search_by() -> None:
    each = sample("CT_small.dcm")
    facts = study_facts(read(each.data_set, each.transfer_syntax_uid, EMPTY))
    assert facts.patient_id == "1CT1"
    assert facts.patient_name == "CompressedSamples^CT1"
    assert facts.modality == "CT"
    assert facts.study_date == "20040119"
    assert facts.study_instance_uid == "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
    assert facts.instance_number == "1"
    assert facts.accession_number == ""


# ── cut short ─────────────────────────────────────────────────────────────────────────────────────────────────


def top_level_starts(each: Sample) -> set[int]:
    """Where pydicom sees the elements of the data set begin."""
    little = each.transfer_syntax_uid != BIG_ENDIAN
    data = zlib.decompress(each.data_set, -15) if each.transfer_syntax_uid == DEFLATED else each.data_set
    is_implicit = each.transfer_syntax_uid == IMPLICIT or not data[4:6].isalpha()
    starts = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in pydicom.filereader.data_element_generator(BytesIO(data), is_implicit, little):
            value_at = getattr(one, "value_tell", None) or one.file_tell
            has_long_length = not is_implicit and data[value_at - 8 : value_at - 6] in LONG_VRS
            starts.add(value_at - (12 if has_long_length else 8))
    return starts


def is_cut_found(each: Sample, at: int) -> bool:
    try:
        read(each.data_set[:at], each.transfer_syntax_uid, EMPTY)
    except HeaderError:
        return True
    return False


@pytest.mark.parametrize("each", [one for one in VARIED if one.transfer_syntax_uid != DEFLATED], ids=str)
def test_a_cut_is_found_at_every_boundary_that_is_not_between_two_elements_of_the_data_set(each: Sample) -> None:
    starts = top_level_starts(each)
    size = len(each.data_set)
    near = {start + shift for start in starts for shift in (-1, 1, 2, 4, 6, 7, 8, 9, 11, 12, 13)} | {size - 1}
    for delimiter in (b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xfe\xe0\x00"):
        at = each.data_set.find(delimiter)
        while at != -1 and len(near) < 3000:
            near |= {at, at + 4, at + 8}
            at = each.data_set.find(delimiter, at + 1)
    missed = [at for at in sorted(near - starts) if 0 < at < size and not is_cut_found(each, at)]
    assert missed == []


@pytest.mark.parametrize("each", [one for one in VARIED if len(one.data_set) < 3000], ids=str)
def test_a_small_sample_cut_at_any_byte_is_refused_or_whole_elements(each: Sample) -> None:
    starts = top_level_starts(each)
    for at in range(len(each.data_set)):
        if is_cut_found(each, at):
            continue
        if each.transfer_syntax_uid == DEFLATED:
            assert at >= len(each.data_set) - 10
        else:
            assert at in starts


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_sample_cut_anywhere_is_refused_or_whole_elements(data: st.DataObject) -> None:
    each = data.draw(st.sampled_from(VARIED))
    at = data.draw(st.integers(0, len(each.data_set) - 1))
    if not is_cut_found(each, at):
        if each.transfer_syntax_uid == DEFLATED:
            assert at >= len(each.data_set) - 10
        else:
            assert at in top_level_starts(each)


def test_a_data_set_that_ends_behind_a_group_length_is_cut() -> None:
    with pytest.raises(HeaderError, match="group length"):
        read(SOP + element(0x7FE00000, "UL", struct.pack("<I", 524300)))


def test_the_last_byte_of_pixel_data_is_missed() -> None:
    pixels = element(0x7FE00010, "OW", bytes(10_000_000))
    assert read(SOP + pixels).sop_instance_uid == "1.2.3.4"
    with pytest.raises(HeaderError, match="past the end"):
        read((SOP + pixels)[:-1])


# ── odd, and read ─────────────────────────────────────────────────────────────────────────────────────────────

CODE = (0x00321064, 0x00080100)  # RequestedProcedureCodeSequence.CodeValue
CODE_VALUE = element(0x00080100, "SH", b"12345 ")
IMPLICIT_CODE_VALUE = implicit(0x00080100, b"12345 ")
AFTER = element(0x00400000 | 0x0253, "SH", b"AFTER ")
WITH_CODE = Wanted.of([CODE, (0x00400253,), (0x00091010,), (0x00091001,), (0x7FE00010,), (0x00321064,), (0x00080000,)])


def read_code(data: bytes, transfer_syntax_uid: str = EXPLICIT) -> Header:
    return read(data, transfer_syntax_uid, WITH_CODE)


@pytest.mark.parametrize(
    "sequence",
    [
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
        element(0x00321064, "SQ", item(CODE_VALUE + struct.pack("<HHI", 0xFFFE, 0xE00D, 0))),
        element(0x00321064, "SQ", item(undefined(0x00080110, "SQ", item(CODE_VALUE)) + CODE_VALUE)),
        undefined(0x00321064, "SQ", item(CODE_VALUE) + item(b"")),
    ],
)
def test_a_sequence_is_read_in_every_encoding(sequence: bytes) -> None:
    header = read_code(SOP + sequence + AFTER)
    assert header.get(CODE) == ("12345",)
    assert header.text(0x00400253) == "AFTER"


def test_all_items_of_a_sequence_give_their_values() -> None:
    two = item(CODE_VALUE) + item(element(0x00080100, "SH", b"678 ")) + item(b"")
    header = read_code(SOP + element(0x00321064, "SQ", two))
    assert header.get(CODE) == ("12345", "678")
    assert header.get((0x00321064,)) == ("[3 items]",)


def test_absent_and_empty_are_told_apart() -> None:
    assert read_code(SOP).get(CODE) is None
    assert read_code(SOP + element(0x00321064, "SQ", item(b""))).get(CODE) is None
    empty = element(0x00321064, "SQ", item(element(0x00080100, "SH", b"")))
    assert read_code(SOP + empty).get(CODE) == ()
    assert read_code(SOP + element(0x00400253, "SH", b"  ")).get((0x00400253,)) == ()
    assert read_code(SOP).get((0x00400253,)) is None


def test_an_item_has_a_character_set_of_its_own() -> None:
    inside = element(0x00080005, "CS", b"ISO_IR 192") + element(0x00080100, "SH", "é√".encode() + b" ")
    data = element(0x00080005, "CS", b"ISO_IR 100") + SOP + element(0x00321064, "SQ", item(inside))
    assert read_code(data).get(CODE) == ("é√",)
    inherited = element(0x00321064, "SQ", item(element(0x00080100, "SH", b"\xe9 ")))
    assert read_code(element(0x00080005, "CS", b"ISO_IR 100") + SOP + inherited).get(CODE) == ("é",)


@pytest.mark.parametrize("vr", ["QQ", "??", "  ", "sh", "\0\0"])
def test_an_odd_vr_is_stepped_over(vr: str) -> None:
    short = struct.pack("<HH", 0x0009, 0x1010) + vr.encode() + struct.pack("<H", 6) + b"ODD   "
    long = struct.pack("<HH", 0x0009, 0x1010) + vr.encode() + struct.pack("<HI", 0, 6) + b"ODD   "
    for odd in (short, long):
        if vr == "\0\0" and odd is long:
            continue  # that is an implicit element of no length, and garbage
        header = read_code(SOP + odd + AFTER)
        assert header.text(0x00400253) == "AFTER", odd
        assert header.text(0x00091010) == "ODD", odd


def test_an_implicit_element_among_explicit_ones_is_read() -> None:
    header = read_code(SOP + implicit(0x00091010, b"ODD   ") + AFTER)
    assert header.text(0x00400253) == "AFTER"


def test_the_other_vr_encoding_than_announced_is_seen() -> None:
    in_implicit = implicit(0x00080016, b"1.2\0") + implicit(0x00080018, b"1.2.3.4\0") + implicit(0x00400253, b"AFTER ")
    assert read_code(in_implicit, EXPLICIT).text(0x00400253) == "AFTER"
    assert read_code(SOP + AFTER, IMPLICIT).text(0x00400253) == "AFTER"
    assert read_code(SOP + AFTER, "1.2.3.4.private").text(0x00400253) == "AFTER"


def test_group_lengths_and_private_elements_are_read() -> None:
    data = element(0x00080000, "UL", struct.pack("<I", 99)) + SOP
    data += undefined(0x00091001, "UN", item(implicit(0x00091002, b"ab")) + item(b"")) + AFTER
    header = read_code(data)
    assert header.get((0x00080000,)) == ("99",)
    assert header.get((0x00091001,)) == ("[2 items]",)


def test_pixel_data_is_told_by_its_size() -> None:
    assert read_code(SOP + element(0x7FE00010, "OW", bytes(64))).get((0x7FE00010,)) == ("[64 bytes]",)
    encapsulated = undefined(0x7FE00010, "OB", item(b"") + item(bytes(100)))
    assert read_code(SOP + encapsulated).get((0x7FE00010,)) == ("[124 bytes]",)


@pytest.mark.parametrize(
    "padding", [bytes(8), bytes(2), bytes(100_000), element(0xFFFCFFFC, "OB", bytes(512)), bytes(3)], ids=len
)
def test_padding_behind_the_data_set_is_fine(padding: bytes) -> None:
    assert read_code(SOP + AFTER + padding).text(0x00400253) == "AFTER"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        bytes(500),
        b"GARBAGE",
        SOP + b"trailing garbage",
        SOP + bytes(500) + b"x",
        SOP + bytes(2_000_000),
        SOP + undefined(0x00321064, "SQ", item(CODE_VALUE), ended=False),
        SOP + undefined(0x00321064, "SQ", item(CODE_VALUE), ended=False) + AFTER,
        SOP + undefined(0x7FE00010, "OB", item(bytes(100)), ended=False),
        SOP + element(0x00321064, "SQ", item(CODE_VALUE)[:4] + b"\xff\0\0\0" + CODE_VALUE) + AFTER,
        SOP + element(0x00321064, "SQ", item(CODE_VALUE[:6] + b"\x40\0" + CODE_VALUE[8:])) + AFTER,
        SOP + struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + AFTER,
        bytes(128) + b"DICM" + SOP,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_what_does_not_add_up_is_refused(broken: bytes) -> None:
    for transfer_syntax_uid in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED):
        with pytest.raises(HeaderError) as caught:
            read_code(broken, transfer_syntax_uid)
        assert "12345" not in str(caught.value)


def test_a_deflated_data_set_may_carry_its_wrappers_checksum_and_not_more() -> None:
    deflater = zlib.compressobj(wbits=-15)
    deflated = deflater.compress(SOP + AFTER) + deflater.flush()
    for rest in (b"", b"\0", b"12345678"):
        assert read_code(deflated + rest, DEFLATED).text(0x00400253) == "AFTER"
    with pytest.raises(HeaderError, match="follows"):
        read_code(deflated + b"123456789", DEFLATED)
    with pytest.raises(HeaderError, match="cut short"):
        read_code(deflated[:-1], DEFLATED)


# ── text ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("vr", "value", "texts"),
    [
        ("US", struct.pack("<2H", 1, 65535), ("1", "65535")),
        ("SS", struct.pack("<h", -5), ("-5",)),
        ("UL", struct.pack("<I", 70000), ("70000",)),
        ("SL", struct.pack("<i", -70000), ("-70000",)),
        ("SV", struct.pack("<q", -(2**40)), (str(-(2**40)),)),
        ("UV", struct.pack("<Q", 2**63), (str(2**63),)),
        ("FL", struct.pack("<f", 0.5), ("0.5",)),
        ("FD", struct.pack("<d", 0.1), ("0.1",)),
        ("AT", struct.pack("<4H", 0x0018, 0x1063, 0x7FE0, 0x0010), ("(0018,1063)", "(7fe0,0010)")),
        ("US", b"\1\0\2", ("1",)),
        ("LO", b" A \\B\\ ", ("A", "B", "")),
        ("ST", b"  a\\b  ", ("  a\\b",)),
        ("UR", b"http://a/b\\c ", ("http://a/b\\c",)),
        ("UI", b"1.2.3\0", ("1.2.3",)),
        ("PN", b"A^B== ", ("A^B",)),
        ("UN", b"text ", ("text",)),
        ("UN", b"\1\2\3\4", ("[4 bytes]",)),
        ("OB", b"\1\2\3\4", ("[4 bytes]",)),
        ("DS", b" 1.50 ", ("1.50",)),
    ],
)
def test_values_come_out_as_text(vr: str, value: bytes, texts: tuple[str, ...]) -> None:
    header = read(SOP + element(0x00091010, vr, value), EXPLICIT, Wanted.of([(0x00091010,)]))
    assert header.get((0x00091010,)) == texts


@pytest.mark.parametrize(
    "term",
    [b"KLINGON\\ISO 2022 IR 999", b"punycode", b"zlib", b"unicode_escape", b"ISO_IR\0 100", b"\\\\", b"\xff\xfe"],
)
def test_a_character_set_that_nobody_knows_is_survived(term: bytes) -> None:
    data = element(0x00080005, "CS", term) + SOP + element(0x00100010, "PN", b"\xe9^\x1b$Qa\xff")
    assert read(data, EXPLICIT).text(0x00100010)


def test_what_designates_chinese_in_iso_2022_is_no_part_of_the_text() -> None:
    name = b"Zhang^XiaoDong=\x1b$)A" + "张".encode("gb2312") + b"^\x1b$)A" + "小东".encode("gb2312") + b"="
    data = element(0x00080005, "CS", b"\\ISO 2022 IR 58 ") + SOP + element(0x00100010, "PN", name)
    assert read(data).text(0x00100010) == "Zhang^XiaoDong=张^小东"


def test_a_long_value_counts_by_its_beginning() -> None:
    data = SOP + element(0x00091010, "UT", b"x" * 200_000) + element(0x00100020, "LO", b"ID")
    header = read(data, EXPLICIT, Wanted.of([(0x00091010,)]))
    assert header.text(0x00091010) == "x" * kept.MAX_VALUE_BYTES
    assert header.text(0x00100020) == "ID"


def test_a_header_shows_no_values() -> None:
    header = read(SOP + element(0x00100010, "PN", b"SECRET"))
    assert header.text(0x00100010) == "SECRET"
    assert "SECRET" not in repr(header)


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────


def nested(depth: int, of_undefined_length: bool) -> bytes:
    content = b""
    for _ in range(depth):
        inside = item(content, of_undefined_length=of_undefined_length)
        if of_undefined_length:
            content = undefined(0x0040A730, "SQ", inside)
        else:
            content = element(0x0040A730, "SQ", inside)
    return content


@pytest.mark.parametrize("of_undefined_length", [True, False])
def test_nesting_is_bounded(of_undefined_length: bool) -> None:
    assert read(SOP + nested(64, of_undefined_length)).sop_instance_uid == "1.2.3.4"
    for depth in (65, 5000):
        with pytest.raises(HeaderError, match="nested deeper"):
            read(SOP + nested(depth, of_undefined_length))


def test_a_million_elements_take_bounded_time_and_memory() -> None:
    million = element(0x00091010, "CS", b"") * 1_000_001
    started = time.monotonic()
    with pytest.raises(HeaderError, match="1000000 elements"):
        read(SOP + million)
    assert read(SOP + million[: 8 * 900_000]).sop_instance_uid == "1.2.3.4"
    with pytest.raises(HeaderError, match="1000000 elements"):
        read(SOP + undefined(0x7FE00010, "OB", item(b"") * 1_000_001))
    with pytest.raises(HeaderError, match="1000000 elements"):
        read(SOP + undefined(0x00321064, "SQ", item(b"") * 1_000_001))
    assert time.monotonic() - started < 20


def test_a_deflate_bomb_takes_bounded_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "MAX_INFLATED_BYTES", 64 * 1024 * 1024)
    deflater = zlib.compressobj(9, wbits=-15)
    bomb = deflater.compress(SOP + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 1 << 31))
    block = bytes(1 << 20)
    bomb += b"".join(deflater.compress(block) for _ in range(80)) + deflater.flush()
    inflated = window.Inflated(MemorySource(bomb))
    with pytest.raises(HeaderError, match="holds more than"):
        read_header(MemorySource(bomb), DEFLATED, EMPTY)
    with pytest.raises(HeaderError, match="holds more than"):
        inflated.read(1 << 30, 10)
    assert len(inflated._held) <= 512 * 1024


def test_kept_values_are_bounded() -> None:
    text = element(0x0040A160, "UT", b"x" * 65_000)
    with pytest.raises(HeaderError, match="hold more than"):
        read(SOP + element(0x0040A730, "SQ", item(text) * 600))


def test_many_empty_values_are_bounded_as_few_long_ones_are() -> None:
    with pytest.raises(HeaderError, match="hold more than"):
        read(SOP + element(0x0040A730, "SQ", item(element(0x0040A160, "UT", b"")) * 150_000))


@pytest.mark.parametrize("encapsulated", [False, True])
def test_pixel_bytes_of_a_large_object_are_not_read(encapsulated: bool) -> None:
    pixels = bytes(64 * 1024 * 1024)
    if encapsulated:
        last = undefined(0x7FE00010, "OB", item(b"") + b"".join(item(pixels[:65_536]) for _ in range(1024)))
    else:
        last = element(0x7FE00010, "OW", pixels)
    source = MemorySource(SOP + last + element(0xFFFCFFFC, "OB", bytes(2)))
    assert read_header(source, EXPLICIT, EMPTY).sop_instance_uid == "1.2.3.4"
    assert source.read_bytes < 64 * 1024 + (32 * 1024 if encapsulated else 5000)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=400), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED]), st.sampled_from([b"", SOP])
)
def test_garbage_gives_a_header_or_a_header_error(garbage: bytes, transfer_syntax_uid: str, before: bytes) -> None:
    try:
        header = read(before + garbage, transfer_syntax_uid)
    except HeaderError:
        return
    study_facts(header)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([each for each in VARIED if len(each.data_set) < 50_000]), st.integers(0, 2**32))
def test_a_sample_with_bytes_changed_gives_a_header_or_a_header_error(each: Sample, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(each.data_set)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        header = read(bytes(data), each.transfer_syntax_uid)
    except HeaderError:
        return
    for path in WANTED.paths:
        header.get(path)
    study_facts(header)


# ── whatever pydicom writes ───────────────────────────────────────────────────────────────────────────────────

TEXTS = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=12)
ITEMS = st.lists(
    st.fixed_dictionaries({}, optional={"CodeValue": TEXTS, "CodeMeaning": TEXTS, "nested": st.integers(1, 6)}),
    max_size=4,
)


def make_item(drawn: dict[str, Any], undefined_length: bool) -> pydicom.Dataset:
    made = pydicom.Dataset()
    for keyword in ("CodeValue", "CodeMeaning"):
        if keyword in drawn:
            setattr(made, keyword, drawn[keyword])
    inner = pydicom.Dataset()
    for _ in range(drawn.get("nested", 0)):
        outer = pydicom.Dataset()
        outer.ContentSequence = [inner]
        outer["ContentSequence"].is_undefined_length = undefined_length
        inner = outer
    if "nested" in drawn:
        made.update(inner)
    made.is_undefined_length_sequence_item = undefined_length
    return made


@settings(max_examples=150, deadline=None)
@given(TEXTS, ITEMS, st.booleans(), st.integers(0, 65535), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED]))
def test_what_pydicom_writes_is_read_back_and_its_cuts_are_found(
    text: str, items: list[dict[str, Any]], undefined_length: bool, rows: int, transfer_syntax_uid: str
) -> None:
    data_set = pydicom.Dataset()
    data_set.SOPInstanceUID = "1.2.3"
    data_set.PatientID = text
    data_set.Rows = rows
    data_set.RequestedProcedureCodeSequence = [make_item(one, undefined_length) for one in items]
    data_set["RequestedProcedureCodeSequence"].is_undefined_length = undefined_length
    data_set.add_new(0x7FE00010, "OW", bytes(64))
    file = BytesIO()
    implicit_vr, little = transfer_syntax_uid == IMPLICIT, transfer_syntax_uid != BIG_ENDIAN
    pydicom.dcmwrite(file, data_set, implicit_vr=implicit_vr, little_endian=little, force_encoding=True)
    data = file.getvalue()
    if transfer_syntax_uid == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(data) + deflater.flush()
    header = read(data, transfer_syntax_uid)
    assert header.get((0x00100020,)) == ((text,) if text else ())
    assert header.get((0x00280010,)) == (str(rows),)
    values = [one["CodeValue"] for one in items if "CodeValue" in one]
    expected = tuple(value for value in values if value) if values else None
    assert header.get((0x00321064, 0x00080100)) == expected
    for at in range(len(data) - 63, len(data)):
        with pytest.raises(HeaderError):
            read(data[: max(at, 0)], transfer_syntax_uid)
