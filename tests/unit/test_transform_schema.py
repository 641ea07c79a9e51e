"""Every mistake in a transform is found where it stands, before an instance is."""

from __future__ import annotations

import re

import pytest

from gateway.transform import Transform
from tests.unit.transform_kit import problems_of, transform, transforms

LONG = """
transforms:
  to-pacs:
    - set: {InstitutionName: "St. Elsewhere", StudyDescription: "{StudyDescription} ({calling_ae_title})"}
    - copy: {AccessionNumber: StudyID}
    - remove: [PatientComments, "(60xx,3000)", "(0009,xxxx)", private]
    - empty: [ReferringPhysicianName]
    - prefix: {AccessionNumber: "A"}
    - suffix: {PatientID: "-X"}
    - replace: {PatientID: {regex: "^0+", with: ""}}
    - map: {attribute: StationName, table: {CTAW01: CT-ROOM-1}, default: hold}
    - case: {PatientName: upper}
    - truncate: {StudyDescription: 64}
    - pad: {PatientID: {to: 8, with: "0", side: left}}
    - strip: [PatientID]
    - add_item: {to: OtherPatientIDsSequence, item: {PatientID: "1", TypeOfPatientID: TEXT}}
    - remove_item: {from: RequestAttributesSequence, item: all}
    - charset: ISO_IR 192
    - when: {Modality: CT}
      set: {StationName: CT}
    - record: false
"""


def test_all_verbs_are_read() -> None:
    found = transforms(LONG)["to-pacs"]
    assert found.name == "to-pacs"
    assert [step.verb for step in found.steps] == [
        *("set", "copy", "remove", "empty", "prefix", "suffix", "replace", "map", "case", "truncate", "pad", "strip"),
        *("add_item", "remove_item", "charset", "set"),
    ]
    assert [step.number for step in found.steps] == list(range(1, 17))
    assert [step.number for step in found.steps if step.when is not None] == [16]
    assert not found.is_recorded


def test_a_file_without_transforms_has_none() -> None:
    for text in ("", "rules: []", "transforms:", "transforms: ~", "[]", "text"):
        assert problems_of(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("transforms: []", "1:13: transforms maps names to lists of steps"),
        ("transforms: {X: [{strip: [PatientID]}]}", "1:14: a name is of small letters and digits"),
        ("transforms: {x--y: [{strip: [PatientID]}]}", "1:14: a name is of small letters and digits"),
        (f"transforms: {{{'x' * 64}: [{{strip: [PatientID]}}]}}", "1:14: a name is of small letters and digits"),
        ("transforms: {x: {strip: [PatientID]}}", "1:17: a transform is a list of steps"),
        ("transforms: {x: []}", "1:17: a transform without steps"),
        ("transforms: {x: [{record: false}]}", "1:17: a transform without steps"),
        ("transforms: {x: [strip]}", "1:18: a step is a map with one verb"),
        ("transforms: {x: [{stripe: [PatientID]}]}", "1:19: there is no step 'stripe'; is 'strip' meant?"),
        ("transforms: {x: [{when: {Modality: CT}}]}", "1:18: a step has one verb: one of set, copy"),
        (
            "transforms: {x: [{strip: PatientID, set: {StudyID: A}}]}",
            "1:18: a step has one verb: this one has strip, set",
        ),
        ("transforms: {x: [{strip: PatientID, when: {Modalty: CT}}]}", "1:44: there is no attribute or fact 'Modalty'"),
        ("transforms: {x: [{record: no}, {strip: PatientID}]}", "1:27: record is true or false"),
        ("transforms: {x: [{record: true, strip: PatientID}]}", "1:18: record holds for the whole transform"),
    ],
)
def test_a_mistake_in_the_frame_is_told_with_its_place(text: str, expected: str) -> None:
    found = [str(problem) for problem in problems_of(text)]
    assert any(each.startswith(f"x.yaml:{expected}") for each in found), found


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("set: []", "set is a map"),
        ("set: {}", "set is a map"),
        ("set: {PatientNaem: A}", "there is no attribute or fact 'PatientNaem'; is 'PatientName' meant?"),
        ("set: {PatientName: }", 'is a text ("" for none)'),
        ("set: {PatientName: [A]}", 'is a text ("" for none)'),
        ("set: {calling_ae_title: A}", "'calling_ae_title' is a fact of the association, not an attribute"),
        ("set: {Modality: ct}", "Modality (0008,0060): not a code"),
        ("set: {Modality: 'CT\\MR'}", "Modality (0008,0060): 2 values, where there can be 1"),
        ("set: {StudyDate: 20240230}", "StudyDate (0008,0020): not a date"),
        ("set: {SpecificCharacterSet: ISO_IR 100}", "it changes with the charset step"),
        ("set: {RequestAttributesSequence: A}", "has no text: use add_item and remove_item"),
        ("set: {PixelData: A}", "has no text: it can be removed only"),
        ("set: {RedPaletteColorLookupTableData: A}", "has no text: it can be removed only"),
        ("set: {LUTData: A}", "has no text: it can be removed only"),
        ("set: {TransferSyntaxUID: A}", "is no part of a data set"),
        ("set: {'(0000,0100)': A}", "is no part of a data set"),
        ("set: {'(FFFE,E000)': A}", "is no part of a data set"),
        ("set: {'(0010,0000)': '1'}", "is a group length"),
        ("set: {SOPInstanceUID: ''}", "an instance cannot be without SOPInstanceUID"),
        ("set: {PatientName.PatientID: A}", "'PatientName' is no sequence"),
        ("set: {'RequestAttributesSequence[0].StudyID': A}", "numbers no item"),
        ("set: {'StudyID[1]': A}", "is no sequence"),
        ("set: {StudyID: '{StudyId}'}", "there is no attribute or fact 'StudyId'; is 'StudyID' meant?"),
        ("set: {StudyID: '{PixelData}'}", "PixelData has no text"),
        ("set: {StudyID: '{StudyID'}", "a { is not closed"),
        ("set: {StudyID: 'A}'}", "a } closes nothing"),
        ("copy: {StudyID: calling_ae_title}", "is a fact of the association"),
        ("copy: {StudyID: ''}", "what is copied is the name of an attribute"),
        ("copy: {StudyID: [PatientID]}", "what is copied is the name of an attribute"),
        ("map: {attribute: '', table: {A: B}, default: keep}", "attribute is the name of an attribute"),
        ("copy: {StudyID: PixelData}", "PixelData has no text"),
        ("copy: {PixelData: StudyID}", "has no text"),
        ("remove: {PatientID: A}", "remove is a text or a list of texts"),
        ("remove: []", "remove is a text or a list of texts"),
        ("remove: [[PatientID]]", "remove is a text or a list of texts"),
        ("remove: SOPInstanceUID", "an instance cannot be without SOPInstanceUID"),
        ("remove: SpecificCharacterSet", "it changes with the charset step"),
        ("remove: privat", "there is no attribute or fact 'privat'"),
        ("empty: SOPClassUID", "an instance cannot be without SOPClassUID"),
        ("empty: PixelData", "makes no sense: remove it"),
        ("empty: '(60xx,3000)'", "there is no attribute or fact"),
        ("prefix: {PatientID: [A]}", "a prefix is a text"),
        ("suffix: PatientID", "suffix is a map"),
        ("replace: {PatientID: A}", "what is replaced is a map with regex, with"),
        ("replace: {PatientID: {regex: A}}", "with is a text"),
        ("replace: {PatientID: {with: A}}", "regex is a text"),
        ("replace: {PatientID: {regex: '(', with: A}}", "not a usable pattern: missing )"),
        ("replace: {PatientID: {regex: '(?=a)', with: A}}", "not a usable pattern"),
        ("replace: {PatientID: {regex: '(a{100}){10}', with: A}}", "the pattern is too large"),
        ("replace: {PatientID: {regex: a, with: '\\1'}}", "is no group of the regular expression"),
        ("replace: {PatientID: {regex: a, to: b, with: a}}", "what is replaced has no key 'to'"),
        (f"replace: {{PatientID: {{regex: a, with: {'b' * 1025}}}}}", "with has more than 1024 characters"),
        ("map: {attribute: StationName, table: {A: B}}", "map needs attribute, table and default"),
        ("map: {attribute: StationName, table: [], default: keep}", "table is a map"),
        ("map: {attribute: Modality, table: {A: b}, default: keep}", "Modality (0008,0060): not a code"),
        ("map: {attribute: Modality, table: {A: B}, default: b}", "Modality (0008,0060): not a code"),
        ("map: {attribute: PixelData, table: {A: B}, default: b}", "PixelData has no text"),
        ("map: {atribute: Modality, table: {A: B}, default: b}", "map has no key 'atribute'; is 'attribute' meant?"),
        ("case: {PatientName: title}", "case is upper or lower"),
        ("truncate: {PatientName: 0}", "a length is a whole number from 1 to 10240"),
        ("truncate: {PatientName: x}", "a length is a whole number from 1 to 10240"),
        ("pad: {PatientID: {to: 8}}", "with is a text"),
        ("pad: {PatientID: {to: 8, with: ab}}", "with is one character"),
        ("pad: {PatientID: {with: a}}", "to is a whole number"),
        ("pad: {PatientID: {to: 8, with: a, side: middle}}", "side is left or right"),
        ("strip: {PatientID: 1}", "strip is a text or a list of texts"),
        ("add_item: {to: PatientID, item: {StudyID: A}}", "PatientID is no sequence"),
        ("add_item: {item: {StudyID: A}}", "to is the name of an attribute"),
        ("add_item: {to: RequestAttributesSequence}", "add_item needs an item"),
        ("add_item: {to: RequestAttributesSequence, item: {}}", "item is a map"),
        ("add_item: {to: RequestAttributesSequence, item: {Modality: ct}}", "Modality (0008,0060): not a code"),
        ("add_item: {to: ContentSequence, item: {ContentSequence.TextValue: A}}", "an attribute of the item itself"),
        ("remove_item: {from: RequestAttributesSequence}", "needs item (all, or a number from 1) or where"),
        ("remove_item: {from: ContentSequence, item: 1, where: {TextValue: A}}", "needs item"),
        ("remove_item: {from: ContentSequence, item: first}", "item (all, or a number) is a whole number"),
        ("remove_item: {from: ContentSequence, where: {}}", "where is a map"),
        ("charset: ISO_IR 100", "charset is ISO_IR 192"),
        ("charset: [ISO_IR 192]", "charset is ISO_IR 192"),
    ],
)
def test_a_mistake_in_a_step_is_told(step: str, expected: str) -> None:
    known: dict[str, Transform] = {}
    found = problems_of(f"transforms:\n  x:\n    - {step}\n", known=known)
    assert any(expected in problem.message for problem in found), found
    assert all(problem.line == 3 for problem in found)
    assert known == {}


def test_all_mistakes_of_a_file_are_told_at_once() -> None:
    found = problems_of("transforms:\n  a:\n    - strip: Nobody\n    - set: {Modality: ct}\n  b: []\n")
    assert [problem.line for problem in found] == [3, 4, 5]


def test_a_name_stands_once_in_all_files() -> None:
    known: dict[str, Transform] = {}
    assert problems_of("transforms: {x: [{strip: PatientID}]}", "1.yaml", known) == []
    (problem,) = problems_of("transforms: {x: [{strip: StudyID}]}", "2.yaml", known)
    assert str(problem) == "2.yaml:1:14: the transform 'x' exists already, at 1.yaml:1"
    assert list(known) == ["x"]


def test_a_changed_definition_has_another_digest() -> None:
    first = transform("- set: {StudyID: A, PatientID: B}\n- strip: [PatientID]")
    assert re.fullmatch(r"[0-9a-f]{8,}", first.digest)
    assert transform("- set: {PatientID: 'B', StudyID: A}   # a comment\n- {strip: [PatientID]}").digest == first.digest
    others = [
        "- set: {StudyID: A, PatientID: C}\n- strip: [PatientID]",
        "- strip: [PatientID]\n- set: {StudyID: A, PatientID: B}",
        "- set: {StudyID: A, PatientID: B}\n- strip: [PatientID]\n- record: false",
        "- set: {StudyID: A, PatientID: B}\n  when: {Modality: CT}\n- strip: [PatientID]",
    ]
    assert len({first.digest, *(transform(each).digest for each in others)}) == 5
