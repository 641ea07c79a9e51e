"""`add_item` with items inside of the item: made as they are written, and every mistake in them is told where it is."""

from __future__ import annotations

import pytest

from gateway.transform import TransformError
from tests.unit.samples import EXPLICIT, SOP, element, implicit, item, undefined
from tests.unit.transform_kit import before, on, problems_of, reread, run

ORDER = """\
- add_item:
    to: RequestAttributesSequence
    item:
      RequestedProcedureID: "{AccessionNumber}"
      RequestedProcedureCodeSequence:
        - {CodeValue: P1, CodingSchemeDesignator: 99SITE, CodeMeaning: "{Modality} of {PatientID}"}
        - CodeValue: P2
          EquivalentCodeSequence:
            - {CodeValue: Q1}
            - {CodeValue: Q2, EquivalentCodeSequence: [{CodeValue: "{calling_ae_title}"}]}
      ScheduledProtocolCodeSequence: []
"""


@pytest.mark.parametrize("name", ["CT_small.dcm", "rtplan.dcm", "MR_small_bigendian.dcm"])
def test_items_are_made_to_any_depth_in_every_encoding(name: str) -> None:
    text = "- set: {AccessionNumber: A17}\n- remove: [RequestAttributesSequence]\n- record: false\n" + ORDER
    expected, found = before(name), on(name, text)
    (made,) = found.RequestAttributesSequence
    assert made.RequestedProcedureID == "A17"
    assert len(made.ScheduledProtocolCodeSequence) == 0
    first, second = made.RequestedProcedureCodeSequence
    assert first.CodeMeaning == f"{expected.Modality} of {expected.PatientID}"
    assert [each.keyword for each in first] == ["CodeValue", "CodingSchemeDesignator", "CodeMeaning"]
    assert [each.CodeValue for each in second.EquivalentCodeSequence] == ["Q1", "Q2"]
    assert second.EquivalentCodeSequence[1].EquivalentCodeSequence[0].CodeValue == "CT1"
    assert list(made.keys()) == sorted(made.keys())
    twice = on(name, text + ORDER).RequestAttributesSequence
    assert twice[0] == twice[1]


def test_items_are_made_in_every_item_of_a_sequence_and_in_one_of_unknown_vr() -> None:
    step = "- add_item: {to: ContentSequence, item: {ContentSequence: [{TextValue: A}, {ContentSequence: []}]}}"
    text = element(0x0040A160, "UT", b"T ")
    for sequence in (
        element(0x0040A730, "SQ", item(text)),
        undefined(0x0040A730, "SQ", item(text, of_undefined_length=True)),
        undefined(0x0040A730, "UN", item(implicit(0x0040A160, b"T "))),
    ):
        once = run(SOP + sequence, step + "\n- record: false")
        old, new = reread(once).ContentSequence
        assert old.TextValue == "T"
        assert new.ContentSequence[0].TextValue == "A"
        assert len(new.ContentSequence[1].ContentSequence) == 0
        deeper = step.replace("to: ContentSequence", "to: ContentSequence.ContentSequence")
        each = reread(run(once, deeper)).ContentSequence
        assert [len(inner.ContentSequence) for inner in each] == [1, 3]


def test_texts_are_those_from_before_the_step() -> None:
    data = SOP + element(0x00321064, "SQ", item(element(0x00080100, "SH", b"1 ")))
    value = "{RequestedProcedureCodeSequence.CodeValue}"
    item_of = f"{{CodeValue: '{value}', EquivalentCodeSequence: [{{CodeValue: '{value}'}}]}}"
    found = reread(run(data, f"- add_item: {{to: RequestedProcedureCodeSequence, item: {item_of}}}"))
    added = found.RequestedProcedureCodeSequence[1]
    assert (added.CodeValue, added.EquivalentCodeSequence[0].CodeValue) == ("1", "1")
    (told,) = found.OriginalAttributesSequence[0].ModifiedAttributesSequence
    assert len(told.RequestedProcedureCodeSequence) == 1


def test_a_value_that_cannot_be_holds_the_step() -> None:
    data = SOP + element(0x00081030, "LO", b"X" * 20)
    step = "- add_item: {to: ContentSequence, item: {ContentSequence: [{CodeValue: '{StudyDescription}'}]}}"
    with pytest.raises(
        TransformError, match=r"step 1 \(add_item\): CodeValue \(0008,0100\): longer than VR SH"
    ) as told:
        run(data, step, EXPLICIT)
    assert "XX" not in str(told.value)


MISTAKES = """\
transforms:
  t:
    - add_item:
        to: RequestAttributesSequence
        item:
          RequestedProcedureCodeSequence:
            - CodeValue: P1
              Modality: ct
            - {EquivalentCodeSequence: [{CodeValu: A}]}
          ScheduledProtocolCodeSequence: P1
          RequestedProcedureID: [A]
          ReferencedStudySequence: {StudyID: A}
          ReferencedPatientSequence: [A]
          PatientSetupSequence: [{}]
          ContentSequence: [{ContentSequence.TextValue: A}]
          ContentSequence.ContentSequence: []
          PixelData: []
"""


def test_mistakes_are_told_with_their_places() -> None:
    found = [str(problem).removeprefix("x.yaml:") for problem in problems_of(MISTAKES)]
    expected = [
        "8:25: Modality (0008,0060): not a code",
        "9:42: there is no attribute or fact 'CodeValu'; is 'CodeValue' meant?",
        "10:11: ScheduledProtocolCodeSequence has no text: a list of items stands behind it",
        "11:11: RequestedProcedureID is no sequence",
        "12:36: behind ReferencedStudySequence stands a list of items: begin each with a dash",
        "13:39: item is a map",
        "14:34: item is a map",
        "15:30: an attribute of the item itself is meant here",
        "16:11: an attribute of the item itself is meant here",
        "17:11: PixelData is no sequence",
    ]
    for each in expected:
        assert any(problem.startswith(each) for problem in found), (each, found)
    assert {problem.split(":")[0] for problem in found} == {each.split(":")[0] for each in expected}
