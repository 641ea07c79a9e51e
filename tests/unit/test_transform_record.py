"""What a chain changed is told in Original Attributes Sequence, as PS3.3 C.12.1.1.9 has it."""

from __future__ import annotations

import pydicom
import pytest

from gateway.transform import prepare
from tests.unit.samples import EXPLICIT, SOP, MemorySource, element, item, sample, undefined
from tests.unit.transform_kit import before, on, origin, reread, run, run_all, transform


def told(data: bytes, steps: str, transfer_syntax_uid: str = EXPLICIT) -> pydicom.Dataset:
    """The one item of Modified Attributes Sequence in the last item of Original Attributes Sequence."""
    found = reread(run(data, steps, transfer_syntax_uid), transfer_syntax_uid)
    (modified,) = found.OriginalAttributesSequence[-1].ModifiedAttributesSequence
    return modified


@pytest.mark.parametrize("name", ["CT_small.dcm", "rtplan.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"])
def test_previous_values_are_told_in_every_encoding(name: str) -> None:
    expected = before(name)
    found = on(name, "- set: {PatientID: NEW}\n- remove: [PatientName]\n- empty: [StudyID]")
    (original,) = found.OriginalAttributesSequence
    assert original.SourceOfPreviousValues == "CT1"
    assert original.AttributeModificationDateTime == "20240101000000.123000+0000"
    assert original.ModifyingSystem == "gateway"
    assert original.ReasonForTheAttributeModification == "COERCE"
    (modified,) = original.ModifiedAttributesSequence
    changed = [each for each in ("PatientName", "PatientID", "StudyID") if expected.get(each) or each == "PatientID"]
    assert [each.keyword for each in modified] == changed
    assert modified.PatientName == expected.PatientName
    assert modified.PatientID == expected.get("PatientID", "")
    assert list(found.keys()) == sorted(found.keys())


def test_what_was_absent_is_told_with_a_zero_length() -> None:
    modified = told(
        SOP, "- set: {PatientID: NEW, Rows: '3'}\n- add_item: {to: OtherPatientIDsSequence, item: {PatientID: A}}"
    )
    assert [(each.keyword, each.VR, each.is_empty) for each in modified] == [
        ("PatientID", "LO", True),
        ("OtherPatientIDsSequence", "SQ", True),
        ("Rows", "US", True),
    ]


def test_what_came_to_be_as_it_was_is_not_told() -> None:
    data = SOP + element(0x00100020, "LO", b"12")
    text = "- prefix: {PatientID: A}\n- replace: {PatientID: {regex: '^A', with: ''}}"
    assert run(data, text) == data
    assert run(data, "- set: {StudyID: '1'}\n- remove: [StudyID]\n- set: {PatientID: '12'}") == data


def test_items_that_are_there_stay() -> None:
    once = run(SOP + element(0x00100020, "LO", b"12"), "- prefix: {PatientID: A}")
    found = reread(run(once, "- prefix: {PatientID: B}"))
    assert [each.ModifiedAttributesSequence[0].PatientID for each in found.OriginalAttributesSequence] == ["12", "A12"]
    assert found.PatientID == "BA12"
    within = undefined(0x04000561, "SQ", item(element(0x04000563, "LO", b"OTHER ")))
    found = reread(run(SOP + within, "- set: {PatientID: X}"))
    assert [each.ModifyingSystem for each in found.OriginalAttributesSequence] == ["OTHER", "gateway"]


def test_a_chain_is_told_in_one_item() -> None:
    data = SOP + element(0x00100020, "LO", b"12") + element(0x00200010, "SH", b"S1")
    chain = [transform("- prefix: {PatientID: A}"), transform("- prefix: {PatientID: B, StudyID: B}")]
    found = reread(run_all(data, chain)[0])
    (original,) = found.OriginalAttributesSequence
    assert original.ModifiedAttributesSequence[0].PatientID == "12"
    assert original.ModifiedAttributesSequence[0].StudyID == "S1"


def test_a_change_inside_a_sequence_is_told_by_the_whole_sequence_as_it_was() -> None:
    expected = before("rtplan.dcm")
    found = on("rtplan.dcm", "- set: {PatientSetupSequence.PatientPosition: HFP}")
    assert found.PatientSetupSequence[0].PatientPosition == "HFP"
    modified = found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert modified.PatientSetupSequence == expected.PatientSetupSequence
    assert [each.keyword for each in modified] == ["PatientSetupSequence"]


def test_a_private_attribute_is_told_with_its_creator() -> None:
    creator = element(0x00090010, "LO", b"GEMS_IDEN_01")
    data = SOP + creator + element(0x00091001, "LO", b"X ") + element(0x00110010, "LO", b"OTHER ")
    modified = told(data, "- set: {'(0009,1001)': NEW}")
    assert [(int(each.tag), each.value) for each in modified] == [(0x00090010, "GEMS_IDEN_01"), (0x00091001, "X")]
    modified = told(data, "- remove: [private]")
    assert [int(each.tag) for each in modified] == [0x00090010, 0x00091001, 0x00110010]


def test_a_long_value_is_not_kept_twice() -> None:
    data = SOP + element(0x7FE00010, "OW", bytes(70_000))
    modified = told(data, "- remove: [PixelData]")
    assert modified["PixelData"].is_empty
    assert len(run(data, "- remove: [PixelData]")) < 1000
    inner = element(0x00420011, "OB", bytes(70_000)) + element(0x00080050, "SH", b"A ")
    long = SOP + element(0x00081140, "SQ", item(inner))
    modified = told(long, "- remove: [ReferencedImageSequence.AccessionNumber]")
    assert len(modified.ReferencedImageSequence) == 0
    modified = told(long, "- remove: [ReferencedImageSequence.AccessionNumber]\n- remove: [ReferencedImageSequence]")
    assert len(modified.ReferencedImageSequence) == 0


def test_nothing_is_told_where_it_is_not_asked_for() -> None:
    data = SOP + element(0x00100010, "PN", b"Doe^Jane") + element(0x00100020, "LO", b"12")
    silent = run(data, "- set: {PatientName: X}\n- record: false")
    assert b"Doe^Jane" not in silent
    assert "OriginalAttributesSequence" not in reread(silent)


def test_what_was_changed_silently_is_not_told_by_a_later_transform() -> None:
    name = element(0x00100010, "PN", b"Doe^Jane")
    data = SOP + element(0x00081120, "SQ", item(name)) + name + element(0x00100020, "LO", b"12")
    silent = transform(
        "- set: {PatientName: Anon}\n- set: {ReferencedPatientSequence.PatientName: Anon}\n- record: false"
    )
    loud = transform("- suffix: {PatientName: ^X, ReferencedPatientSequence.PatientName: ^X, PatientID: ^X}")
    written, _ = run_all(data, [silent, loud])
    assert b"Doe" not in written
    modified = reread(written).OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert modified.PatientName == "Anon"
    assert modified.ReferencedPatientSequence[0].PatientName == "Anon"
    assert modified.PatientID == "12"


@pytest.mark.parametrize("is_first", [False, True])
def test_values_of_another_character_set_are_told_in_that_set(is_first: bool) -> None:
    name = "Buc^Jérôme"
    names = element(0x00100010, "PN", name.encode("latin-1"))
    data = element(0x00080005, "CS", b"ISO_IR 100") + SOP + element(0x00081120, "SQ", item(names)) + names
    edit = "- suffix: {PatientName: X, ReferencedPatientSequence.PatientName: X}\n"
    convert = "- charset: ISO_IR 192\n"
    text = convert + edit if is_first else edit + convert
    found = reread(run(data, text))
    assert found.PatientName == name + "X"
    modified = found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert modified.SpecificCharacterSet == "ISO_IR 100"
    assert modified.PatientName == name
    assert modified.ReferencedPatientSequence[0].PatientName == name
    # A transform that converts without recording leaves nothing to tell of but what others change.
    silent = [transform(convert + "- record: false"), transform(edit)]
    modified = reread(run_all(data, silent)[0]).OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert "SpecificCharacterSet" not in modified
    assert modified.PatientName == name
    assert modified.ReferencedPatientSequence[0].PatientName == name
    between = [transform(edit), transform(convert + "- record: false"), transform("- set: {StudyID: A}")]
    modified = reread(run_all(data, between)[0]).OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert modified.SpecificCharacterSet == "ISO_IR 100"
    assert modified.PatientName == name


def test_a_conversion_alone_is_told_by_the_character_set() -> None:
    data = element(0x00080005, "CS", b"ISO_IR 100") + SOP + element(0x00100010, "PN", b"J\xe9r ")
    modified = told(data, "- charset: ISO_IR 192")
    assert [each.keyword for each in modified] == ["SpecificCharacterSet"]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm"])
def test_removing_what_was_told_tells_nothing_new(name: str) -> None:
    found = on(name, "- set: {PatientID: NEW}\n- record: false")
    assert "OriginalAttributesSequence" not in found
    each = sample(name)
    once = run(each.data_set, "- set: {PatientID: NEW}", each.transfer_syntax_uid)
    assert run(once, "- remove: [OriginalAttributesSequence]", each.transfer_syntax_uid) == run(
        each.data_set, "- set: {PatientID: NEW}\n- record: false", each.transfer_syntax_uid
    )


def test_the_names_of_source_and_system_are_written_as_an_lo_may_hold_them() -> None:
    pieces: list[bytes] = []
    chain = [transform("- set: {PatientID: X}")]
    prepare(chain, MemorySource(SOP), origin(), system="Grüße\\" + "x" * 70).write(
        lambda piece: pieces.append(bytes(piece))
    )
    (original,) = reread(b"".join(pieces)).OriginalAttributesSequence
    assert original.ModifyingSystem == "Gre/" + "x" * 60
