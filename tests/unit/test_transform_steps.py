"""Each step does what it says on real files, and what it should not touch stays as it was."""

from __future__ import annotations

import pytest

from gateway.errors import HeaderError
from gateway.model import StepRun
from gateway.transform import TransformError
from tests.unit.samples import BIG_ENDIAN, EXPLICIT, IMPLICIT, SOP, element, item, sample, undefined
from tests.unit.transform_kit import before, on, reread, run, run_all, transform, transforms

CT = "CT_small.dcm"


def ct(steps: str) -> object:
    """CT_small after these steps, unrecorded."""
    return on(CT, steps + "\n- record: false")


def of(*elements: bytes) -> bytes:
    """A data set of these elements behind the SOP UIDs."""
    return SOP + b"".join(elements)


def steps(data: bytes, text: str, transfer_syntax_uid: str = EXPLICIT):  # type: ignore[no-untyped-def]
    """What pydicom reads after these steps, unrecorded."""
    return reread(run(data, text + "\n- record: false", transfer_syntax_uid), transfer_syntax_uid)


# ── set and copy ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "transfer_syntax_uid"),
    [(CT, EXPLICIT), ("rtplan.dcm", IMPLICIT), ("MR_small_bigendian.dcm", BIG_ENDIAN), ("JPEG2000.dcm", "")],
)
def test_set_replaces_and_makes_attributes_in_every_encoding(name: str, transfer_syntax_uid: str) -> None:
    assert not transfer_syntax_uid or sample(name).transfer_syntax_uid == transfer_syntax_uid
    found = on(name, "- set: {InstitutionName: ST. ELSEWHERE, PatientComments: a new one, InstanceNumber: '17'}")
    assert found.InstitutionName == "ST. ELSEWHERE"
    assert found.PatientComments == "a new one"
    assert found.InstanceNumber == 17
    assert list(found.keys()) == sorted(found.keys())
    if "PixelData" in found:
        assert found.PixelData == before(name).PixelData


def test_a_template_is_filled_with_attributes_and_facts() -> None:
    found = ct(
        "- set:\n"
        "    StudyDescription: '{Modality}: {PatientID} ({calling_ae_title} {host})'\n"
        "    SeriesDescription: '{{braces}} {AccessionNumber}.'\n"
        "    PatientComments: 'of {ImageType} in {transfer_syntax}, {Rows} rows, {source} {listener} {sop_class}'"
    )
    assert found.StudyDescription == "CT: 1CT1 (CT1 10.0.0.7)"
    assert found.SeriesDescription == "{braces} ."
    assert found.PatientComments == (
        "of ORIGINAL\\PRIMARY\\AXIAL in 1.2.840.10008.1.2.1, 128 rows, ct1 main 1.2.840.10008.5.1.4.1.1.2"
    )


def test_a_step_sees_what_was_there_before_it() -> None:
    found = ct("- set: {PatientID: '{StudyID}', StudyID: '{PatientID}'}")
    original = before(CT)
    assert found.StudyID == original.PatientID
    assert found.PatientID == original.StudyID
    swapped = steps(
        of(element(0x00080080, "LO", b"A "), element(0x00081040, "LO", b"B ")),
        "- copy: {InstitutionName: InstitutionalDepartmentName, InstitutionalDepartmentName: InstitutionName}",
    )
    assert (swapped.InstitutionName, swapped.InstitutionalDepartmentName) == ("B", "A")


def test_a_later_step_sees_what_an_earlier_one_did() -> None:
    found = ct("- set: {StationName: ROOM}\n- set: {InstitutionName: 'in {StationName}'}")
    assert found.InstitutionName == "in ROOM"


def test_copy_takes_several_values_and_leaves_alone_where_there_are_none() -> None:
    data = of(element(0x00080050, "SH", b"OLD "), element(0x00101000, "LO", b"1\\2 "), element(0x00200010, "SH", b""))
    assert steps(data, "- copy: {AccessionNumber: StudyID}").AccessionNumber == "OLD"
    assert steps(data, "- copy: {AccessionNumber: StationName}").AccessionNumber == "OLD"
    assert run(data, "- copy: {PatientInsurancePlanCodeSequence.CodeValue: OtherPatientIDs}") == data
    assert list(steps(data, "- copy: {OperatorsName: OtherPatientIDs}").OperatorsName) == ["1", "2"]
    with pytest.raises(TransformError, match=r"step 1 \(copy\): AccessionNumber \(0008,0050\): 2 values"):
        run(data, "- copy: {AccessionNumber: OtherPatientIDs}")


def test_numbers_and_tags_are_encoded_by_their_vr() -> None:
    for syntax, order in ((EXPLICIT, "<"), (BIG_ENDIAN, ">")):
        sop = element(0x00080018, "UI", b"1.2.3.4\0", order)
        found = steps(
            sop,
            "- set: {Rows: '513', SmallestImagePixelValue: '3', FrameIncrementPointer: '(0018,1063)',\n"
            "        SliceLocation: '-1.5', RecommendedDisplayFrameRateInFloat: '1.5', PixelAspectRatio: '1\\2'}",
            syntax,
        )
        assert found.Rows == 513
        assert found.SmallestImagePixelValue == 3
        assert found.FrameIncrementPointer == 0x00181063
        assert found.RecommendedDisplayFrameRateInFloat == 1.5
        assert found.SliceLocation == -1.5
        assert list(found.PixelAspectRatio) == [1, 2]


def test_us_or_ss_is_signed_where_the_pixels_are() -> None:
    signed = of(element(0x00280103, "US", b"\1\0"))
    assert steps(signed, "- set: {SmallestImagePixelValue: '-3'}").SmallestImagePixelValue == -3
    with pytest.raises(TransformError, match="not a number of VR US"):
        run(SOP, "- set: {SmallestImagePixelValue: '-3'}")


def test_the_uids_of_an_instance_are_told() -> None:
    each = sample(CT)
    _, derived = run_all(each.data_set, [], each.transfer_syntax_uid)
    assert derived.sop_instance_uid == "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
    changed = transform("- set: {SOPInstanceUID: 1.2.3, SOPClassUID: 1.2.840.10008.5.1.4.1.1.7}")
    data, derived = run_all(each.data_set, [changed], each.transfer_syntax_uid)
    assert (derived.sop_class_uid, derived.sop_instance_uid) == ("1.2.840.10008.5.1.4.1.1.7", "1.2.3")
    assert derived.transfer_syntax_uid == each.transfer_syntax_uid
    assert reread(data).SOPInstanceUID == "1.2.3"


def test_an_instance_keeps_its_uids() -> None:
    with pytest.raises(TransformError, match=r"SOPInstanceUID \(0008,0018\): an instance cannot be without it"):
        run(SOP, "- set: {SOPInstanceUID: '{StudyID}'}")


def test_an_element_of_unknown_vr_gets_that_of_the_dictionary() -> None:
    found = steps(of(element(0x00081030, "UN", b"OLD ")), "- set: {StudyDescription: NEW}")
    assert found["StudyDescription"].VR == "LO"
    assert found.StudyDescription == "NEW"


# ── remove and empty ──────────────────────────────────────────────────────────────────────────────────────────


def test_remove_and_empty() -> None:
    found = ct("- remove: [PatientName, '(0008,0060)', 00080070]\n- empty: [PatientID, StudyDescription, StationName]")
    assert "PatientName" not in found
    assert "Modality" not in found
    assert "Manufacturer" not in found
    assert found.PatientID == ""
    assert found.StationName == ""
    assert "PatientComments" not in steps(SOP, "- empty: [PatientComments]")


def test_wild_cards_take_groups_and_elements() -> None:
    data = of(
        element(0x00091001, "LO", b"X "),
        element(0x60003000, "OW", b"\0\0"),
        element(0x60020010, "US", b"\1\0"),
        element(0x60023000, "OW", b"\0\0"),
        element(0x60100010, "US", b"\1\0"),
    )
    assert [int(tag) for tag in steps(data, "- remove: ['(60xx,3000)']").keys()][2:] == [  # noqa: SIM118
        0x00091001,
        0x60020010,
        0x60100010,
    ]
    assert len(steps(data, "- remove: ['(60xx,xxxx)', '0009XXXX']")) == 2
    kept = steps(element(0x00080005, "CS", b"ISO_IR 100") + data, "- remove: ['(xxxx,xxxx)']")
    assert [each.keyword for each in kept] == ["SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID"]


def test_overlays_are_removed_from_a_real_file() -> None:
    name = "MR-SIEMENS-DICOM-WithOverlays.dcm"
    assert 0x60003000 in before(name)
    found = on(name, "- remove: ['(60xx,xxxx)']\n- record: false")
    assert not any(0x6000 <= tag.group <= 0x60FF for tag in found.keys())  # noqa: SIM118
    assert found.PixelData == before(name).PixelData


@pytest.mark.parametrize("name", [CT, "MR-SIEMENS-DICOM-WithOverlays.dcm", "rtplan.dcm", "nested_priv_SQ.dcm"])
def test_private_attributes_go_at_every_level(name: str) -> None:
    found = on(name, "- remove: [private]\n- record: false")
    expected = before(name)
    expected.remove_private_tags()
    assert found.to_json_dict() == expected.to_json_dict()


def test_private_attributes_go_from_items_and_take_their_block_along() -> None:
    private = element(0x00090010, "LO", b"ACME") + element(0x00091001, "LO", b"X ") + element(0x00091101, "LO", b"Y ")
    data = of(undefined(0x00081140, "SQ", item(element(0x00081155, "UI", b"1.2\0") + private)), private)
    found = steps(data, "- remove: [private]")
    assert len(found) == 3
    assert [each.keyword for each in found.ReferencedImageSequence[0]] == ["ReferencedSOPInstanceUID"]
    block = steps(data, "- remove: ['(0009,0010)']")
    assert [int(tag) for tag in block.keys() if tag.group == 9] == [0x00091101]  # noqa: SIM118
    assert len(steps(data, "- remove: ['ReferencedImageSequence.(0009,1001)']").ReferencedImageSequence[0]) == 3


def test_a_private_attribute_is_set_where_its_vr_is_known() -> None:
    data = of(element(0x00090010, "LO", b"GEMS_IDEN_01"), element(0x00091001, "LO", b"X "))
    assert steps(data, "- set: {'(0009,1001)': NEW}")[0x00091001].value == "NEW"
    found = steps(data, "- set: {'(0009,1004)': PRODUCT}")  # in pydicom's dictionary an SH of that creator
    assert found[0x00091004].VR == "SH"
    with pytest.raises(TransformError, match=r"\(0009,10f0\): its VR is not known"):
        run(data, "- set: {'(0009,10F0)': X}")
    with pytest.raises(TransformError, match=r"\(0011,1001\): no Private Creator in \(0011,0010\)"):
        run(data, "- set: {'(0011,1001)': X}")


def test_pixel_data_goes_when_it_is_removed() -> None:
    for name in (CT, "JPEG2000.dcm"):
        assert "PixelData" not in on(name, "- remove: [PixelData]")


def test_a_group_length_that_would_lie_is_dropped_and_others_stay() -> None:
    lengths = element(0x00080000, "UL", b"\x30\0\0\0"), element(0x00100000, "UL", b"\x08\0\0\0")
    data = lengths[0] + of(lengths[1], element(0x00100020, "LO", b""))
    found = run(data, "- set: {StudyDescription: X}\n- record: false")
    assert lengths[0] not in found
    assert lengths[1] in found


# ── edits ─────────────────────────────────────────────────────────────────────────────────────────────────────

EDITS = [
    ("- prefix: {X: 'A'}", "12", "A12"),
    ("- suffix: {X: '-X'}", "12", "12-X"),
    ("- prefix: {X: 'A'}", "1\\2", "A1\\A2"),
    ("- replace: {X: {regex: '^0+', with: ''}}", "00120", "120"),
    ("- replace: {X: {regex: '(\\d)-(\\d)', with: '\\2/\\1'}}", "1-2 3-4", "2/1 4/3"),
    ("- replace: {X: {regex: 'zzz', with: 'A'}}", "12", "12"),
    ("- map: {attribute: X, table: {'12': TWELVE}, default: hold}", "12", "TWELVE"),
    ("- map: {attribute: X, table: {'12': TWELVE}, default: keep}", "13", "13"),
    ("- map: {attribute: X, table: {'12': TWELVE}, default: OTHER}", "13", "OTHER"),
    ("- map: {attribute: X, table: {'12': TWELVE}, default: OTHER}", "12\\13", "TWELVE\\OTHER"),
    ("- case: {X: upper}", "aBc", "ABC"),
    ("- case: {X: lower}", "aBc", "abc"),
    ("- truncate: {X: 3}", "abcdef\\12", "abc\\12"),
    ("- pad: {X: {to: 5, with: '0', side: left}}", "12", "00012"),
    ("- pad: {X: {to: 5, with: '0', side: right}}", "12\\123456", "12000\\123456"),
    ("- pad: {X: {to: 5, with: '0'}}", "12", "00012"),
    ("- strip: [X]", "  12 ", "12"),
]


@pytest.mark.parametrize(("text", "value", "expected"), EDITS)
def test_an_edit_of_each_value(text: str, value: str, expected: str) -> None:
    encoded = value.encode() + b" " * (len(value) % 2)
    data = of(element(0x00101000, "LO", encoded))
    written = run(
        data,
        text.replace("X:", "OtherPatientIDs:")
        .replace("[X]", "[OtherPatientIDs]")
        .replace("attribute: X", "attribute: OtherPatientIDs")
        + "\n- record: false",
    )
    wanted = expected.encode() + b" " * (len(expected) % 2)
    assert written == of(element(0x00101000, "LO", wanted))


@pytest.mark.parametrize("text", ["- prefix: {X: 'A'}", "- pad: {X: {to: 5, with: '0'}}", "- case: {X: upper}"])
def test_what_is_absent_or_empty_is_not_edited(text: str) -> None:
    text = text.replace("X:", "OtherPatientIDs:")
    empty = of(element(0x00101000, "LO", b""))
    assert run(SOP, text) == SOP
    assert run(empty, text) == empty
    half = run(of(element(0x00101000, "LO", b"\\b")), text + "\n- record: false")
    assert reread(half).OtherPatientIDs[0] == ""


def test_an_edit_that_changes_no_text_leaves_the_padding_too() -> None:
    data = of(element(0x00101000, "LO", b" 12   "))
    for text in ("replace: {OtherPatientIDs: {regex: zzz, with: A}}", "truncate: {OtherPatientIDs: 9}"):
        assert run(data, f"- {text}") == data


def test_an_edit_cannot_make_two_values_of_one() -> None:
    data = of(element(0x00101000, "LO", b"12"))
    with pytest.raises(TransformError, match="one value would become several"):
        run(data, "- replace: {OtherPatientIDs: {regex: '1', with: '\\\\\\\\'}}")


def test_a_name_is_cut_in_each_of_its_groups() -> None:
    data = of(element(0x00100010, "PN", b"Yamada^Tarou=ABCDEF "))
    assert steps(data, "- truncate: {PatientName: 4}").PatientName == "Yama=ABCD"


def test_map_holds_what_is_not_in_its_table() -> None:
    hold = "- map: {attribute: StationName, table: {CTAW01: CT-ROOM-1, '': UNKNOWN}, default: hold}"
    assert steps(SOP, hold).StationName == "UNKNOWN"
    with pytest.raises(
        TransformError, match=r"step 1 \(map\): StationName \(0008,1010\): its value is not in the table"
    ):
        run(of(element(0x00081010, "SH", b"CTAW02")), hold)


# ── sequences ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_paths_reach_all_items_or_one() -> None:
    found = on("rtplan.dcm", "- set: {BeamSequence.ControlPointSequence.NominalBeamEnergy: '7'}\n- record: false")
    points = [point for beam in found.BeamSequence for point in beam.ControlPointSequence]
    assert len(points) > 1
    assert {float(point.NominalBeamEnergy) for point in points} == {7}
    two = of(element(0x00321064, "SQ", item(element(0x00080100, "SH", b"1 ")) + item(element(0x00080100, "SH", b"2 "))))
    second = steps(two, "- set: {'RequestedProcedureCodeSequence[2].CodeValue': TWO}").RequestedProcedureCodeSequence
    assert [each.CodeValue for each in second] == ["1", "TWO"]
    assert run(two, "- set: {'RequestedProcedureCodeSequence[3].CodeValue': TWO}") == two
    removed = steps(two, "- remove: ['RequestedProcedureCodeSequence[1].CodeValue']").RequestedProcedureCodeSequence
    assert [len(each) for each in removed] == [0, 1]
    assert run(two, "- set: {ContentSequence.TextValue: X}") == two


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_items_are_added_and_taken_out(syntax: str) -> None:
    data = (
        before(CT) if syntax == EXPLICIT else before("rtplan.dcm" if syntax == IMPLICIT else "MR_small_bigendian.dcm")
    )
    name = {EXPLICIT: CT, IMPLICIT: "rtplan.dcm", BIG_ENDIAN: "MR_small_bigendian.dcm"}[syntax]
    assert "OtherPatientIDsSequence" not in data or name == CT
    add = "- add_item: {to: OtherPatientIDsSequence, item: {TypeOfPatientID: TEXT, PatientID: '%s'}}\n"
    text = "- remove: [OtherPatientIDsSequence]\n" + add % "{PatientID}" + add % "2" + add % "3"
    found = on(name, text).OtherPatientIDsSequence
    assert [each.PatientID for each in found] == [data.PatientID, "2", "3"]
    assert [each.keyword for each in found[0]] == ["PatientID", "TypeOfPatientID"]
    second = on(name, text + "- remove_item: {from: OtherPatientIDsSequence, item: 2}").OtherPatientIDsSequence
    assert [each.PatientID for each in second] == [data.PatientID, "3"]
    where = on(name, text + "- remove_item: {from: OtherPatientIDsSequence, where: {PatientID: '3'}}")
    assert [each.PatientID for each in where.OtherPatientIDsSequence] == [data.PatientID, "2"]
    all_of_them = on(name, text + "- remove_item: {from: OtherPatientIDsSequence, item: all}")
    assert len(all_of_them.OtherPatientIDsSequence) == 0
    emptied = on(name, text + "- empty: [OtherPatientIDsSequence]")
    assert len(emptied.OtherPatientIDsSequence) == 0


def test_an_item_is_added_to_a_sequence_of_undefined_length_or_unknown_vr() -> None:
    step = "- add_item: {to: RequestedProcedureCodeSequence, item: {CodeValue: TWO}}"
    code = element(0x00080100, "SH", b"1 ")
    for sequence in (
        undefined(0x00321064, "SQ", item(code)),
        undefined(0x00321064, "UN", item(code[:4] + b"\2\0\0\0001 ")),
    ):
        found = steps(of(sequence), step).RequestedProcedureCodeSequence
        assert [each.CodeValue for each in found] == ["1", "TWO"]


def test_what_is_no_sequence_here_is_told() -> None:
    data = of(element(0x00321064, "LO", b"X "))
    for text in (
        "- add_item: {to: RequestedProcedureCodeSequence, item: {CodeValue: TWO}}",
        "- remove_item: {from: RequestedProcedureCodeSequence, item: all}",
        "- set: {RequestedProcedureCodeSequence.CodeValue: X}",
    ):
        with pytest.raises(TransformError, match=r"RequestedProcedureCodeSequence \(0032,1064\).* no sequence here"):
            run(data, text)
    with pytest.raises(HeaderError, match="not an item"):
        run(of(element(0x00321064, "SQ", b"garbage!")), "- set: {RequestedProcedureCodeSequence.CodeValue: X}")


# ── when ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("{Modality: CT}", True),
        ("{Modality: MR}", False),
        ("{Modality: [MR, 'C?'], calling_ae_title: CT1}", True),
        ("{not: {PatientID: {present: true}}}", False),
        ("{any: [{host: 10.0.0.0/8}, {Modality: MR}]}", True),
        ("{sop_class: CTImageStorage, transfer_syntax: ExplicitVRLittleEndian}", True),
        ("{OtherPatientIDsSequence.PatientID: {regex: '^ABC'}}", True),
        ("{PixelData: {present: true}}", True),
    ],
)
def test_a_step_with_conditions(when: str, holds: bool) -> None:
    found = ct(f"- when: {when}\n  set: {{StationName: CHANGED}}")
    assert (found.StationName == "CHANGED") is holds


def test_conditions_see_what_earlier_steps_did() -> None:
    text = "- set: {Modality: MR}\n- when: {Modality: MR}\n  set: {StationName: CHANGED}"
    assert ct(text).StationName == "CHANGED"


def test_a_chain_runs_one_transform_after_the_other() -> None:
    chain = [transform("- set: {StudyID: A}"), transform("- suffix: {StudyID: B}\n- record: false")]
    data, _ = run_all(SOP, chain)
    assert reread(data).StudyID == "AB"


def test_what_was_done_and_what_was_left_out_is_told_without_a_value() -> None:
    chain = transforms("""
        transforms:
          first:
            - record: false
            - set: {PatientComments: SECRET}
            - {when: {Modality: MR}, remove: [StudyID]}
          second:
            - {when: {PatientComments: SECRET}, prefix: {PatientID: A}}
    """)
    _, prepared = run_all(sample("CT_small.dcm").data_set, list(chain.values()))
    assert prepared.steps == (
        StepRun("first", 2, "set"),
        StepRun("first", 3, "remove", done=False),
        StepRun("second", 1, "prefix"),
    )
    assert "SECRET" not in repr(prepared.steps)
