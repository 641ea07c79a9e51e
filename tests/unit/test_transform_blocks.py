"""Steps on private attributes by their creator: found, edited, made and taken out, wherever their block lies."""

from __future__ import annotations

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.header import Wanted, read_header
from gateway.dicom.paths import AttributePath, step
from gateway.transform import TransformError, load
from gateway.transform.names import Path, parse_block, parse_path
from gateway.transform.parse import parse
from gateway.transform.view import View
from tests.unit.samples import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    SOP,
    MemorySource,
    element,
    implicit,
    item,
    undefined,
)
from tests.unit.transform_kit import before, on, problems_of, reread, run, run_all, transform

MEDCOM = "SIEMENS MEDCOM HEADER"  # in pydicom's dictionary: 08 CS, 09 LO, 40 SQ with 41 CS and 42 LO in its items
HEAD = b"SIEMENS MEDCOM HEADER "
TYPE, VERSION = f"(0029,xx08,{MEDCOM})", f"(0029,xx09,{MEDCOM})"
REQUESTS = 0x00400275
UMLAUT = "GERÄTE GMBH"


def creator(block: int = 0x10, name: bytes = HEAD, group: int = 0x0029) -> bytes:
    return element(group << 16 | block, "LO", name)


def steps(data: bytes, text: str, transfer_syntax_uid: str = EXPLICIT) -> pydicom.Dataset:
    """What pydicom reads after these steps, unrecorded."""
    return reread(run(data, text + "\n- record: false", transfer_syntax_uid), transfer_syntax_uid)


def private(found: pydicom.Dataset) -> dict[str, object]:
    """The private attributes of a data set, by their numbers."""
    return {f"{int(each.tag):08x}": each.value for each in found if each.tag.is_private}


# ── found and edited ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("block", [0x10, 0x11, 0xFF])
def test_an_attribute_is_found_in_whatever_block_its_creator_has(block: int) -> None:
    tag = 0x00290009 | block << 8
    others = creator(0x10, b"ACME") + creator(0x11, b"ACME 2") if block == 0xFF else b""
    others = creator(0x10, b"ACME") if block == 0x11 else others
    data = SOP + others + creator(block) + element(tag, "LO", b" V1 ")
    found = steps(
        data,
        f"- strip: ['{VERSION}']\n"
        f"- prefix: {{'{VERSION}': A}}\n"
        f"- suffix: {{'{VERSION}': B}}\n"
        f"- replace: {{'{VERSION}': {{regex: V, with: W}}}}\n"
        f"- copy: {{StudyID: '{VERSION}'}}\n"
        f"- set: {{AccessionNumber: '<{{{VERSION}}}>'}}\n"
        f"- map: {{attribute: '{VERSION}', table: {{AW1B: mapped}}, default: hold}}\n"
        f"- case: {{'{VERSION}': upper}}\n"
        f"- truncate: {{'{VERSION}': 4}}\n"
        f"- pad: {{'{VERSION}': {{to: 6, with: x, side: right}}}}",
    )
    assert found[tag].value == "MAPPxx"
    assert found.StudyID == "AW1B"
    assert found.AccessionNumber == "<AW1B>"
    assert steps(data, f"- empty: ['{VERSION}']")[tag].is_empty
    without = private(steps(data, f"- remove: ['{VERSION}']"))
    assert f"{tag:08x}" not in without
    assert without[f"{0x00290000 | block:08x}"] == MEDCOM  # a block stays reserved


@pytest.mark.parametrize(
    "text",
    [
        f"remove: ['{VERSION}', '(0029,xxxx,{MEDCOM})', 'ContentSequence.{VERSION}']",
        f"empty: ['{VERSION}']",
        f"prefix: {{'{VERSION}': A}}",
        f"copy: {{StudyID: '{VERSION}'}}",
        f"copy: {{'{VERSION}': StudyID}}",
        f"map: {{attribute: '{VERSION}', table: {{A: B}}, default: keep}}",
        f"set: {{'(0029,xx40,{MEDCOM}).{VERSION}': A}}",
        f"remove_item: {{from: '(0029,xx40,{MEDCOM})', item: all}}",
    ],
)
def test_where_the_creator_has_no_block_nothing_is_done(text: str) -> None:
    data = SOP + creator(0x10, b"siemens medcom header ") + element(0x00291009, "LO", b"V1")
    assert run(data, f"- {text}") == data
    other_group = SOP + creator(group=0x0031) + element(0x00311009, "LO", b"V1")
    assert run(other_group, f"- {text}") == other_group


def test_of_several_blocks_the_first_counts_and_what_is_taken_away_goes_from_all() -> None:
    data = SOP + creator(0x10) + creator(0x12) + element(0x00291009, "LO", b"V1") + element(0x00291209, "LO", b"V2")
    edited = private(steps(data, f"- prefix: {{'{VERSION}': A}}\n- set: {{'{TYPE}': T}}"))
    assert edited["00291009"] == "AV1"
    assert edited["00291209"] == "V2"
    assert edited["00291008"] == "T"
    assert steps(data, f"- set: {{StudyID: '{{{VERSION}}}'}}").StudyID == "V1"
    assert list(private(steps(data, f"- remove: ['{VERSION}']"))) == ["00290010", "00290012"]
    emptied = private(steps(data, f"- empty: ['{VERSION}']"))
    assert not emptied["00291009"]
    assert not emptied["00291209"]
    assert private(steps(data, f"- remove: ['(0029,xxxx,{MEDCOM})']")) == {}
    second_only = SOP + creator(0x10) + creator(0x12) + element(0x00291209, "LO", b"V2")
    assert run(second_only, f"- prefix: {{'{VERSION}': A}}") == second_only
    name = item(element(0x00100010, "PN", b"Doe^Jane"))
    sequences = SOP + creator(0x10) + creator(0x12) + element(0x00291040, "SQ", name) + element(0x00291240, "SQ", name)
    assert b"Doe" not in run(sequences, f"- remove: ['(0029,xx40,{MEDCOM}).PatientName']\n- record: false")
    assert run(sequences, f"- set: {{'(0029,xx40,{MEDCOM}).PatientName': X}}\n- record: false").count(b"Doe") == 1


def test_real_private_attributes_are_edited() -> None:
    overlay = on(
        "examples_overlay.dcm",
        f"- set: {{'(0029,xx09,SIEMENS MEDCOM OOG)': VD21, '(0029,xx34, {MEDCOM})': X}}",
    )
    assert overlay[0x00291109].value == "VD21"  # beside SIEMENS MEDCOM HEADER, which has the block 10
    assert overlay[0x00291034].value == "X"
    gone = on("examples_overlay.dcm", "- remove: ['(0029,xxxx,SIEMENS MEDCOM OOG)']\n- record: false")
    kept = private(before("examples_overlay.dcm"))
    assert private(gone) == {tag: kept[tag] for tag in kept if tag != "00290011" and not tag.startswith("002911")}
    genie = on("JPEG2000.dcm", "- remove: ['(0009,xx40,GEMS_GENIE_1)']\n- prefix: {'(0011,xx10,GEMS_GENIE_1)': A-}")
    assert 0x00091040 not in genie
    assert genie[0x00111010].value == "A-WHOLE BODY_E"
    assert genie.PixelData == before("JPEG2000.dcm").PixelData
    ct = on(
        "CT_small.dcm", "- copy: {StationName: '(0009,xx04,GEMS_IDEN_01)'}\n- truncate: {'(0009,xx04,GEMS_IDEN_01)': 7}"
    )
    assert ct.StationName == "HiSpeed CT/i"
    assert ct[0x00091004].value == "HiSpeed"


def test_conditions_and_tables_see_what_steps_see() -> None:
    data = SOP + creator(0x11) + element(0x00291109, "LO", b"V1")
    rules = f"tables: {{t: {{file: t.csv, key: k}}}}\ntransforms: {{t: [set: {{StudyID: '{{t[{VERSION}].c}}'}}]}}"
    book = load({"a.yaml": rules, "t.csv": "k,c\nV1,found\n"})
    assert reread(run_all(data, [book.transforms["t"]])[0]).StudyID == "found"
    assert steps(data, f"- when: {{'{VERSION}': V1}}\n  set: {{StudyID: A}}").StudyID == "A"
    assert steps(data, f"- set: {{'{TYPE}': T}}\n- when: {{'{TYPE}': T}}\n  set: {{StudyID: B}}").StudyID == "B"


# ── made ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["rtplan.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "CT_small.dcm"])
def test_a_block_is_reserved_where_there_is_none(name: str) -> None:
    found = on(name, "- set: {'(0029,xx08,SIEMENS CSA HEADER)': IMAGE 4, '(0051,xx0A,SIEMENS MR HEADER)': X}")
    made = found.private_block(0x0029, "SIEMENS CSA HEADER")[0x08]
    assert (made.VR, made.value) == ("CS", "IMAGE 4")
    block = 0x11 if name == "CT_small.dcm" else 0x10  # there the first is GEMS_IMPS_01's
    assert made.tag == 0x00290008 | block << 8
    assert found[0x00290000 | block].VR == "LO"
    assert found[0x0051100A].value == "X"
    assert list(found.keys()) == sorted(found.keys())
    (original,) = found.OriginalAttributesSequence
    told = original.ModifiedAttributesSequence[0]
    assert {int(each.tag): each.value or "" for each in told} == {
        0x00290000 | block: "SIEMENS CSA HEADER",
        0x00290008 | block << 8: "",
        0x00510010: "SIEMENS MR HEADER",
        0x0051100A: "",
    }


def test_numbers_are_in_the_byte_order_of_the_data_set() -> None:
    number = "- set: {'(0019,xx0A,SIEMENS MR HEADER)': '258'}\n- record: false"
    assert on("MR_small_bigendian.dcm", number)[0x0019100A].value == 258
    assert on("rtplan.dcm", number)[0x0019100A].value == 258


def test_a_new_block_takes_no_number_under_which_something_stands() -> None:
    orphans = creator(0x10, b"ACME") + element(0x00290012, "LO", b"") + element(0x00291101, "LO", b"nobody's")
    found = private(steps(SOP + orphans, f"- set: {{'{TYPE}': T}}"))
    assert found["00290013"] == MEDCOM
    assert found["00291308"] == "T"
    full = b"".join(creator(block, b"ACME") for block in range(0x10, 0x100))
    with pytest.raises(TransformError, match=r"step 1 \(set\): .*: no block of group 0029 is free"):
        run(SOP + full, f"- set: {{'{TYPE}': T}}")
    last = full.replace(creator(0xFE, b"ACME"), b"")
    assert private(steps(SOP + last, f"- set: {{'{TYPE}': T}}"))["0029fe08"] == "T"
    with pytest.raises(TransformError, match=r"\(0003,xx01,ACME\): its VR is not known"):
        run(SOP, "- set: {'(0003,xx01,ACME)': T}")
    with pytest.raises(TransformError, match="group 0003 holds no private attributes"):
        run(SOP, "- add_item: {to: '(0003,xx01,ACME)', item: {StudyID: A}}")


def test_copy_and_map_with_a_default_make_attributes_too() -> None:
    data = SOP + element(0x00200010, "SH", b"S1")
    found = private(steps(data, f"- copy: {{'{VERSION}': StudyID}}"))
    assert found == {"00290010": MEDCOM, "00291009": "S1"}
    mapped = private(steps(data, f"- map: {{attribute: '{VERSION}', table: {{A: B}}, default: V}}"))
    assert mapped == {"00290010": MEDCOM, "00291009": "V"}
    assert run(data, f"- copy: {{'{VERSION}': AccessionNumber}}") == data


def test_what_has_no_known_vr_is_not_made_but_changed_where_it_has_one() -> None:
    expected = r"transform t, step 1 \(set\): \(0029,xxf0,SIEMENS MEDCOM HEADER\): its VR is not known"
    unknown = f"- set: {{'(0029,xxF0,{MEDCOM})': X}}"
    for data in (SOP, SOP + creator()):
        with pytest.raises(TransformError, match=expected):
            run(data, unknown)
    assert private(steps(SOP + creator() + element(0x002910F0, "LO", b"A "), unknown))["002910f0"] == "X"
    with pytest.raises(TransformError, match=r"\(0029,10f0\): its VR is not known"):
        run(SOP + creator() + element(0x002910F0, "UN", b"A "), unknown)
    known = SOP + creator() + element(0x00291008, "UN", b"A ")
    assert steps(known, f"- set: {{'{TYPE}': X}}")[0x00291008].VR == "CS"
    with pytest.raises(TransformError, match="its VR is not known"):
        run(SOP, "- set: {'(0019,xx01,AMI ImageTransform_01)': X, '(0029,xx01,NOBODY)': X}")


# ── in sequences ──────────────────────────────────────────────────────────────────────────────────────────────


def encoded(syntax: str, tag: int, vr: str, value: bytes) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    return implicit(tag, value) if syntax == IMPLICIT else element(tag, vr, value, order)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_every_item_has_blocks_of_its_own(syntax: str) -> None:
    order = ">" if syntax == BIG_ENDIAN else "<"
    head = encoded(syntax, 0x00080018, "UI", b"1.2.3.4\0")
    one = encoded(syntax, 0x00290010, "LO", HEAD) + encoded(syntax, 0x00291009, "LO", b"V1")
    two = encoded(syntax, 0x00290010, "LO", b"ACME") + encoded(syntax, 0x00290011, "LO", HEAD)
    two += encoded(syntax, 0x00291109, "LO", b"V2")
    three = encoded(syntax, 0x00400007, "LO", b"text")
    items = item(one, order) + item(two, order) + item(three, order)
    data = head + encoded(syntax, REQUESTS, "SQ", items) + encoded(syntax, 0x00290015, "LO", HEAD)
    path = f"RequestAttributesSequence.{VERSION}"
    edited = steps(data, f"- prefix: {{'{path}': A}}", syntax).RequestAttributesSequence
    assert edited[0][0x00291009].value == "AV1"
    assert edited[1][0x00291109].value == "AV2"
    assert len(edited[2]) == 1
    made = steps(data, f"- set: {{'{path}': NEW}}", syntax).RequestAttributesSequence
    assert [private(each) for each in made] == [
        {"00290010": MEDCOM, "00291009": "NEW"},
        {"00290010": "ACME", "00290011": MEDCOM, "00291109": "NEW"},
        {"00290010": MEDCOM, "00291009": "NEW"},
    ]
    gone = steps(data, f"- remove: ['RequestAttributesSequence[2].(0029,xxxx,{MEDCOM})']", syntax)
    assert [len(each) for each in gone.RequestAttributesSequence] == [2, 1, 1]
    kept = steps(data, f"- remove_item: {{from: RequestAttributesSequence, where: {{'{VERSION}': V2}}}}", syntax)
    assert len(kept.RequestAttributesSequence) == 2


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_a_private_sequence_leads_on(syntax: str) -> None:
    """In implicit VR nothing but the path tells that it is one."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    inner = encoded(syntax, 0x00290010, "LO", HEAD) + encoded(syntax, 0x00291042, "LO", b"ID")
    inner += encoded(syntax, 0x00100010, "PN", b"Doe^Jane")
    head = encoded(syntax, 0x00080018, "UI", b"1.2.3.4\0") + encoded(syntax, 0x00290011, "LO", HEAD)
    data = head + encoded(syntax, 0x00291140, "SQ", item(inner, order) + item(b"", order))
    to = f"(0029,xx40,{MEDCOM})"
    path = f"{to}[1].(0029,xx42,{MEDCOM})"
    text = f"- when: {{'{path}': ID}}\n  suffix: {{'{path}': X}}\n- remove: ['{to}.PatientName']\n"
    text += f"- set: {{'{to}[2].(0029,xx41,{MEDCOM})': T}}\n- add_item: {{to: '{to}', item: {{StudyID: S}}}}\n"
    text += f"- set: {{AccessionNumber: '{{{path}}}'}}\n- record: false"
    written = run(data, text, syntax)
    asked = parse_path(path)
    assert isinstance(asked, Path)
    wanted = (step(0x00290040, MEDCOM, 1), step(0x00290042, MEDCOM))
    assert read_header(MemorySource(written), syntax, Wanted.of([wanted])).get(wanted) == ("IDX",)
    assert View(parse(MemorySource(written), syntax)).get(wanted) == ("IDX",)
    assert b"Doe" not in written
    found = reread(written, syntax)
    assert found.AccessionNumber == "IDX"
    first, second, third = found[0x00291140].value
    assert first[0x00291042].value == "IDX"
    assert private(second) == {"00290010": MEDCOM, "00291041": "T"}
    assert third.StudyID == "S"
    assert len(steps(data, f"- remove_item: {{from: '{to}', item: 1}}", syntax)[0x00291140].value) == 1


def test_a_private_sequence_of_unknown_vr_or_none_leads_on_and_other_bytes_do_not() -> None:
    name = implicit(0x00100010, b"Doe^Jane")
    to = f"(0029,xx40,{MEDCOM})"
    for sequence in (
        element(0x00291040, "UN", item(name)),
        undefined(0x00291040, "UN", item(name)),
        element(0x00291040, "UN", item(name + implicit(0x0020000D, b"1" * 70_000))),
    ):
        assert b"Doe" not in run(SOP + creator() + sequence, f"- remove: ['{to}.PatientName']\n- record: false")
    empty = SOP + creator() + element(0x00291040, "UN", b"")
    assert run(empty, f"- remove: ['{to}.PatientName']") == empty
    bytes_ = SOP + creator() + element(0x00291040, "UN", b"Doe^Jane")
    for text in (f"remove: ['{to}.PatientName']", f"add_item: {{to: '{to}', item: {{StudyID: A}}}}"):
        with pytest.raises(TransformError, match=r"\(0029,1040\).* no sequence here"):
            run(bytes_, f"- {text}")


@pytest.mark.parametrize("target", ["explicit-vr-little-endian", "implicit-vr-little-endian"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_what_was_changed_in_a_private_sequence_is_changed_in_another_transfer_syntax(syntax: str, target: str) -> None:
    order = ">" if syntax == BIG_ENDIAN else "<"
    inner = encoded(syntax, 0x00100010, "PN", b"Doe^Jane") + encoded(syntax, 0x00200010, "SH", b"S1")
    head = encoded(syntax, 0x00080018, "UI", b"1.2.3.4\0") + encoded(syntax, 0x00290010, "LO", HEAD)
    vr = "" if syntax == IMPLICIT else "SQ"
    to = f"(0029,xx40,{MEDCOM})"
    text = f"- remove: ['{to}.PatientName']\n- suffix: {{'{to}.StudyID': X}}\n"
    text += f"- transcode: {target}\n- record: false"
    for sequence in (
        encoded(syntax, 0x00291040, "SQ", item(inner, order)),
        undefined(0x00291040, vr, item(inner, order), order),
    ):
        written, prepared = run_all(head + sequence, [transform(text)], syntax)
        assert b"Doe" not in written
        (made,) = reread(written, prepared.transfer_syntax_uid)[0x00291040].value
        assert made.StudyID == "S1X"
    if syntax == EXPLICIT:
        unknown = element(0x00291040, "UN", item(implicit(0x00100010, b"Doe^Jane") + implicit(0x00200010, b"S1")))
        written, prepared = run_all(head + unknown, [transform(text)], syntax)
        assert b"Doe" not in written
        assert b"S1X" in written


def test_a_private_sequence_and_its_items_are_made() -> None:
    text = f"- add_item: {{to: '(0029,xx40,{MEDCOM})', item: {{'(0029,xx42,{MEDCOM})': ID, '(0031,xx01,ACME)': []}}}}"
    found = steps(SOP, text)
    assert found[0x00290010].value == MEDCOM
    (made,) = found[0x00291040].value
    assert (made[0x00290010].value, made[0x00291042].value) == (MEDCOM, "ID")
    assert (made[0x00310010].value, made[0x00311001].VR, len(made[0x00311001].value)) == ("ACME", "SQ", 0)


# ── what is told ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_changed_is_told_with_its_creator() -> None:
    data = SOP + creator(0x11) + element(0x00291108, "CS", b"T ") + element(0x00291109, "LO", b"V1")

    def told(text: str) -> dict[str, object]:
        return private(reread(run(data, text)).OriginalAttributesSequence[0].ModifiedAttributesSequence[0])

    assert told(f"- set: {{'{VERSION}': NEW}}") == {"00290011": MEDCOM, "00291109": "V1"}
    assert told(f"- remove: ['{TYPE}']") == {"00290011": MEDCOM, "00291108": "T"}
    assert told(f"- remove: ['(0029,xxxx,{MEDCOM})']") == {"00290011": MEDCOM, "00291108": "T", "00291109": "V1"}
    back = f"- remove: ['(0029,xxxx,{MEDCOM})']\n- set: {{'{VERSION}': NEW}}"
    assert private(steps(data, back)) == {"00290010": MEDCOM, "00291009": "NEW"}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_creator_is_told_in_the_character_set_of_what_is_told_with_it(syntax: str) -> None:
    name = UMLAUT.encode("latin-1") + b" "
    data = encoded(syntax, 0x00080005, "CS", b"ISO_IR 100") + encoded(syntax, 0x00080018, "UI", b"1.2.3.4\0")
    data += encoded(syntax, 0x00290010, "LO", name) + encoded(syntax, 0x00291002, "SQ", item(b""))
    text = f"- charset: ISO_IR 192\n- add_item: {{to: '(0029,xx02,{UMLAUT})', item: {{StudyID: A}}}}"
    found = reread(run(data, text, syntax), syntax)
    told = found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert told.SpecificCharacterSet == "ISO_IR 100"
    assert told[0x00290010].value == UMLAUT
    assert found[0x00290010].value == UMLAUT


@pytest.mark.parametrize(("charset", "expected"), [(b"ISO_IR 100", UMLAUT), (b"", None)])
def test_a_new_creator_is_told_in_the_character_set_of_before_or_without_its_name(
    charset: bytes, expected: str | None
) -> None:
    data = (element(0x00080005, "CS", charset) if charset else b"") + SOP
    text = f"- charset: ISO_IR 192\n- add_item: {{to: '(0029,xx02,{UMLAUT})', item: {{StudyID: A}}}}"
    found = reread(run(data, text))
    assert found[0x00290010].value == UMLAUT
    told = found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert (told[0x00290010].value or None) == expected
    assert len(told[0x00291002].value) == 0


# ── names of creators ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("charset", "codec"), [(b"ISO_IR 192", "utf-8"), (b"ISO_IR 100", "latin-1")])
@pytest.mark.parametrize("in_item", [False, True])
def test_a_creator_is_read_in_the_character_set_of_its_data_set(charset: bytes, codec: str, in_item: bool) -> None:
    name = UMLAUT.encode(codec)
    block = creator(0x11, name + b" " * (len(name) % 2)) + element(0x00291102, "LO", b"V1")
    data = element(0x00080005, "CS", charset) + SOP
    data += element(REQUESTS, "SQ", item(block)) if in_item else block
    private_step, outer = step(0x00290002, UMLAUT), (REQUESTS,) if in_item else ()
    path = (*outer, private_step)
    # Rules, conditions of steps and steps agree on it.
    assert read_header(MemorySource(data), EXPLICIT, Wanted.of([path])).get(path) == ("V1",)
    assert View(parse(MemorySource(data), EXPLICIT)).get(path) == ("V1",)
    text = ("RequestAttributesSequence." if in_item else "") + f"(0029,xx02,{UMLAUT})"
    found = steps(
        data, f"- suffix: {{'{text}': X}}\n- remove: ['{text.replace('xx02', 'xxxx').replace('0029', '0031')}']"
    )
    found = found.RequestAttributesSequence[0] if in_item else found
    assert found[0x00291102].value == "V1X"


def test_a_creator_is_written_in_the_character_set_of_its_data_set_or_not_at_all() -> None:
    text = f"- add_item: {{to: '(0029,xx02,{UMLAUT})', item: {{StudyID: A}}}}"
    latin = run(element(0x00080005, "CS", b"ISO_IR 100") + SOP, text)
    assert UMLAUT.encode("latin-1") in latin
    assert reread(latin)[0x00290010].value == UMLAUT
    expected = r"the creator of \(0029,xx02,GERÄTE GMBH\) in \(0029,0010\): the Specific Character Set"
    with pytest.raises(TransformError, match=expected):
        run(SOP, text)
    assert UMLAUT.encode() in run(SOP, "- charset: ISO_IR 192\n" + text)


def test_a_creator_is_converted_with_the_rest_also_where_no_vr_stands() -> None:
    name = UMLAUT.encode("latin-1") + b" "
    data = implicit(0x00080005, b"ISO_IR 100") + implicit(0x00080018, b"1.2.3.4\0") + implicit(0x00290010, name)
    data += implicit(0x00291002, b"V1")
    found = steps(data, f"- charset: ISO_IR 192\n- remove: ['(0029,xx02,{UMLAUT})']", IMPLICIT)
    assert private(found) == {"00290010": UMLAUT}


@pytest.mark.parametrize("verb", ["set: {'%s': A}", "remove: ['%s']", "copy: {StudyID: '%s'}", "strip: ['%s']"])
def test_a_name_that_no_creator_can_have_is_refused(verb: str) -> None:
    for name, reason in (("X" * 256, "longer than VR LO allows"), ("A\\B", "a backslash divides values")):
        for path in (f"(0029,xx01,{name})", f"(0029,xx01,{name}).(0029,xx01,ACME)"):
            (problem,) = problems_of("transforms:\n  t:\n    - " + verb % path)
            assert problem.line == 3
            assert reason in problem.message
    assert problems_of("transforms: {t: [" + verb % f"(0029,xx01,{'X' * 64})" + "]}") == []


# ── what is written ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("step_text", "expected"),
    [
        (f"set: {{'{TYPE}': lower}}", f"(0029,xx08,{MEDCOM}): not a code"),
        (f"set: {{'(0029,xx40,{MEDCOM})': A}}", "has no text: use add_item and remove_item"),
        (f"set: {{'(0029,xx10,{MEDCOM})': A}}", "has no text: it can be removed only"),
        (f"copy: {{StudyID: '(0029,xx10,{MEDCOM})'}}", "has no text"),
        (f"add_item: {{to: '{TYPE}', item: {{StudyID: A}}}}", "is no sequence"),
        (f"set: {{'{TYPE}.StudyID': A}}", "is no sequence"),
        ("set: {'(0029,1008,ACME)': A}", "write '(0029,xx08,ACME)'"),
        ("set: {'(0029,xx08)': A}", "write '(0029,xx08,CREATOR)'"),
        ("set: {'(0029,xxxx,ACME)': A}", "there is no attribute or fact '(0029,xxxx,ACME)'"),
        ("empty: ['(0029,xxxx,ACME)']", "there is no attribute or fact '(0029,xxxx,ACME)'"),
        ("remove: ['(0028,xxxx,ACME)']", "is not private: private attributes have an odd group"),
        ("remove: ['PatientName.(0029,xxxx,ACME)']", "'PatientName' is no sequence"),
        ("remove: ['(0029,xxxx,ACME).StudyID']", "there is no attribute or fact '(0029,xxxx,ACME)'"),
        ("remove: ['(0029,xxxx,)']", "there is no attribute or fact"),
        (f"remove: ['(0029,xxxx,{'X' * 65})']", "longer than VR LO allows"),
    ],
)
def test_a_mistake_is_told(step_text: str, expected: str) -> None:
    found = problems_of(f"transforms:\n  x:\n    - {step_text}\n")
    assert any(expected in problem.message for problem in found), found


def test_names_of_blocks_are_read_whatever_stands_in_them() -> None:
    for text, name, within in (
        ("(0029,xxxx,ACME 1.1)", "ACME 1.1", 0),
        ("(0029, XXXX,  A (B) C[1] )", "A (B) C[1]", 0),
        ("RequestAttributesSequence[2].(0029,xx40,A.B).(0029,xxxx,A)", "A", 2),
    ):
        block = parse_block(text)
        assert isinstance(block, Path)
        assert (block.creator, block.tag, len(block.within)) == (name, 0x00290000, within)
    assert parse_block("(0029,xx01,(0029,xxxx,A)") is None
    assert parse_block("(0029,xxxx)") is None
    path = parse_path("(0029,xx08,ACME)[3].PatientID")
    assert isinstance(path, Path)
    assert str(path) == "(0029,xx08,ACME).PatientID (0010,0020)"


def test_a_chain_gives_the_same_copy_whenever_it_is_made() -> None:
    chain = [transform(f"- set: {{'{TYPE}': T}}\n- record: false")]
    once, _ = run_all(SOP, chain)
    assert run_all(once, chain)[0] == once


# ── whatever stands there ─────────────────────────────────────────────────────────────────────────────────────

Blocks = dict[int, tuple[str | None, set[int]]]  # by number: the creator, None where there is none, and attributes
BLOCKS = st.dictionaries(
    st.sampled_from([0x10, 0x11, 0x12, 0xFF]),
    st.tuples(st.sampled_from([MEDCOM, MEDCOM, "ACME", "", None]), st.sets(st.sampled_from([0x08, 0x09]))),
)


def of_blocks(syntax: str, blocks: Blocks) -> bytes:
    """The private attributes of group 0029; the value of each is its block."""
    names = {block: name for block, (name, _) in sorted(blocks.items()) if name is not None}
    creators = [
        encoded(syntax, 0x00290000 | block, "LO", f"{name:{len(name) + len(name) % 2}}".encode())
        for block, name in names.items()
    ]
    values = [
        encoded(syntax, 0x00290000 | block << 8 | number, "LO", f"{block:02X}".encode())
        for block, (_, numbers) in sorted(blocks.items())
        for number in sorted(numbers)
    ]
    return b"".join([*creators, *values])


@settings(max_examples=150, deadline=None)
@given(BLOCKS, BLOCKS, st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]))
def test_steps_and_rules_mean_the_same_attribute_and_touch_no_other(outer: Blocks, inner: Blocks, syntax: str) -> None:
    order = ">" if syntax == BIG_ENDIAN else "<"
    data = encoded(syntax, 0x00080018, "UI", b"1.2.3.4\0")
    data += encoded(syntax, 0x00081140, "SQ", item(of_blocks(syntax, inner), order)) + of_blocks(syntax, outer)

    def privates(data: bytes) -> list[tuple[int, int, object]]:
        found = reread(data, syntax)
        levels = enumerate((found, found.ReferencedImageSequence[0]))
        return [(level, int(each.tag), each.value) for level, one in levels for each in one if each.tag.is_private]

    for level, above, names in ((0, (), ""), (1, (0x00081140,), "ReferencedImageSequence.")):
        path = (*above, step(0x00290009, MEDCOM))

        def seen(data: bytes, path: AttributePath = path) -> tuple[str, ...] | None:
            return read_header(MemorySource(data), syntax, Wanted.of([path])).get(path)

        told = run(data, f"- set: {{StudyID: '<{{{names}{VERSION}}}>'}}", syntax)
        assert reread(told, syntax).StudyID == f"<{''.join(seen(data) or ())}>"
        set_to = run(data, f"- set: {{'{names}{VERSION}': NEW}}\n- record: false", syntax)
        assert seen(set_to) == ("NEW",)
        changed = set(privates(set_to)) - set(privates(data))
        assert len([each for each in changed if each[2] == "NEW"]) == 1
        assert {each[:2] for each in privates(data)} <= {each[:2] for each in privates(set_to)}
        removed = run(set_to, f"- remove: ['{names}{VERSION}']\n- record: false", syntax)
        assert seen(removed) is None
        emptied = run(set_to, f"- remove: ['{names}(0029,xxxx,{MEDCOM})']\n- record: false", syntax)
        owners = {block for block, (name, _) in (inner if level else outer).items() if name == MEDCOM}
        others = [
            each for each in privates(data) if each[0] != level or not {each[1] & 0xFF, each[1] >> 8 & 0xFF} & owners
        ]
        assert privates(emptied) == others
