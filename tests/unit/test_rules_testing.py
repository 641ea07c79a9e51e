"""The tests beside rules: they pass when the plan decides so, and say what it decided when it does not."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigurationError
from gateway.rules.testing import TestResult
from gateway.transform import load
from gateway.transform.testing import run_tests

RULES = """\
rules:
  - {name: first, match: {Modality: [CT, MR]}, send_to: [pacs, dr]}
  - {name: report, match: {sop_class: "*SR*"}, hold: needs a look}
  - {name: phantom, match: {PatientID: "PHANTOM*"}, discard: phantom}
  - {name: old, match: {SOPClassUID: 1.2.840.10008.5.1.4.1.1.2, transfer_syntax: JPEGBaseline8Bit}, send_to: old}
  - {name: many, match: {ImageType: AXIAL, source: ct1, called_ae_title: G, listener: main, host: h}, send_to: many}
"""


def run(instance: str, expect: str) -> TestResult:
    text = f"{RULES}tests:\n  - name: t\n    instance: {instance}\n    expect: {expect}\n"
    (result,) = run_tests(load({"r.yaml": text}))
    return result


@pytest.mark.parametrize(
    ("instance", "expect"),
    [
        ("{Modality: CT}", "{destinations: [dr, pacs]}"),
        ("{Modality: US}", "{held: true}"),
        ("{Modality: US}", "{held: no rule matches}"),
        ("{Modality: CT, sop_class: BasicTextSRStorage}", "{held: needs a look}"),
        ("{Modality: CT, sop_class: Basic Text SR Storage}", "{held: }"),
        ("{Modality: CT, PatientID: phantom1}", "{discarded: phantom}"),
        ("{PatientID: phantom1}", "{discarded: true}"),
        ("{sop_class: CTImageStorage, transfer_syntax: JPEGBaseline8Bit}", "{destinations: old}"),
        ("{ImageType: [ORIGINAL, AXIAL], source: ct1, called_ae_title: G, listener: main, host: h}",
         "{destinations: many}"),
        ("{ImageType: []}", "{held: true}"),
        ("{ImageType: ''}", "{held: true}"),
    ],
)  # fmt: skip
def test_a_right_expectation_passes(instance: str, expect: str) -> None:
    result = run(instance, expect)
    assert result.passed, result


WHICH = "a copy to one destination (`to` says which)"


@pytest.mark.parametrize(
    ("instance", "expect", "expected", "got"),
    [
        ("{Modality: CT}", "{destinations: [pacs]}", "sent to pacs", "sent to dr, pacs (by first)"),
        ("{Modality: CT}", "{held: true}", "held", "sent to dr, pacs (by first)"),
        ("{Modality: US}", "{destinations: [pacs]}", "sent to pacs", "held: no rule matches"),
        ("{Modality: US}", "{held: other}", "held: other", "held: no rule matches"),
        ("{PatientID: PHANTOM}", "{held: true}", "held", "discarded: phantom (by phantom)"),
        ("{Modality: US}", "{discarded: true}", "discarded", "held: no rule matches"),
    ],
)
def test_a_wrong_expectation_says_what_came_instead(instance: str, expect: str, expected: str, got: str) -> None:
    result = run(instance, expect)
    assert not result.passed
    assert (result.expected, result.got) == (expected, got)
    assert (result.name, result.place.file, result.place.line) == ("t", "r.yaml", 8)


# ── copies ────────────────────────────────────────────────────────────────────────────────────────────────────

COPIES = """\
transforms:
  mark:
    - set: {InstitutionName: "Trial 7", StudyDescription: "{Modality} of {calling_ae_title}"}
    - remove: [PatientName]
    - empty: [StudyID]
    - set: {RequestAttributesSequence.StudyID: seen}
  long: [{set: {AccessionNumber: "{StudyDescription}"}}]
rules:
  - {name: ct, match: {Modality: CT}, send_to: [pacs, {destination: dr, transform: mark}]}
  - name: mr
    match: {Modality: MR}
    send_to: [{destination: dr, transform: mark}, {destination: old, transform: long}]
  - {name: us, match: {Modality: US}, send_to: [{destination: old, transform: long}]}
"""
CT = "{Modality: CT, calling_ae_title: CT1, PatientName: 'Müller^J', StudyID: '7', PatientID: A, Rows: '512'}"


def run_copies(instance: str, expect: str) -> TestResult:
    text = f"{COPIES}tests:\n  - name: t\n    instance: {instance}\n    expect: {expect}\n"
    (result,) = run_tests(load({"r.yaml": text}))
    return result


@pytest.mark.parametrize(
    ("instance", "expect"),
    [
        (CT, "{after: {InstitutionName: Trial 7, StudyDescription: CT of CT1, PatientName: {absent: true}}}"),
        (CT, "{destinations: [pacs, dr], after: {StudyID: ''}, unchanged: [Modality, PatientID, Rows]}"),
        (CT, "{to: dr, after: {InstitutionName: [Trial 7]}}"),
        ("{Modality: MR}", "{to: dr, unchanged: [Modality]}"),
        (
            "{Modality: CT, 'RequestAttributesSequence[2].StudyID': x}",
            "{after: {RequestAttributesSequence.StudyID: [seen, seen]}}",
        ),
        (
            "{Modality: CT, '(0009,xx02,ACME 1.1)': x, PatientName: 'Yamada^Tarou=山田^太郎'}",
            "{unchanged: ['(0009,xx02,ACME 1.1)']}",
        ),
        ("{Modality: US, StudyDescription: 'far longer than sixteen'}", "{held: true}"),
    ],
)
def test_a_copy_as_expected_passes(instance: str, expect: str) -> None:
    result = run_copies(instance, expect)
    assert result.passed, result


WHICH = "a copy to one destination (`to` says which)"
NO_NUMBER = "an instance that cannot be: ValueError: invalid literal for int() with base 10: 'many'"


@pytest.mark.parametrize(
    ("instance", "expect", "expected", "got"),
    [
        (
            CT,
            "{after: {InstitutionName: Trial 8}}",
            "InstitutionName 'Trial 8' in the copy",
            "InstitutionName 'Trial 7'",
        ),
        (CT, "{after: {PatientName: ''}}", "PatientName empty in the copy", "PatientName absent"),
        (CT, "{after: {StudyID: {absent: true}}}", "StudyID absent in the copy", "StudyID empty"),
        (CT, "{unchanged: [StudyID]}", "StudyID as it was: '7'", "StudyID empty"),
        (CT, "{destinations: [pacs], unchanged: [Modality]}", "sent to pacs", "sent to dr, pacs (by ct)"),
        (CT, "{to: pacs, unchanged: [Modality]}", "a copy to pacs", "sent to dr, pacs (by ct)"),
        (
            "{Modality: MR}",
            "{unchanged: [Modality]}",
            WHICH,
            "sent to dr, old (by mr)",
        ),
        (
            "{Modality: DX}",
            "{unchanged: [Modality]}",
            WHICH,
            "held: no rule matches",
        ),
        ("{Modality: US, StudyDescription: short}", "{held: true}", "held", "sent to old (by us)"),
        (
            "{Modality: CT, Rows: many}",
            "{unchanged: [Rows]}",
            "sent",
            NO_NUMBER,
        ),
    ],
)
def test_a_copy_that_is_not_as_expected_fails_and_says_how(instance: str, expect: str, expected: str, got: str) -> None:
    result = run_copies(instance, expect)
    assert (result.passed, result.expected, result.got) == (False, expected, got)


@pytest.mark.parametrize("value", ["Rows: '70000'", "Rows: '-1'", "PixelData: abc", "ReferencedStudySequence: x"])
def test_an_instance_that_cannot_be_fails_its_test_whatever_is_expected(value: str) -> None:
    for expect in ("{unchanged: [Modality]}", "{held: true}"):
        result = run_copies(f"{{Modality: CT, {value}}}", expect)
        assert not result.passed and result.got.startswith("an instance that cannot be: ")


def test_a_step_looks_at_the_time_that_the_test_gives() -> None:
    text = """\
transforms:
  evening: [{set: {StationName: LATE}, when: {received: {from: '19:00', to: '20:00'}}}]
rules: [{name: a, send_to: [{destination: dr, transform: evening}]}]
tests:
  - {name: t, instance: {received: '2026-01-31 19:30'}, expect: {after: {StationName: LATE}}}
  - {name: u, instance: {received: '2026-01-31 20:30'}, expect: {after: {StationName: {absent: true}}}}
"""
    assert [result.passed for result in run_tests(load({"r.yaml": text}))] == [True, True]


def test_a_step_that_fails_is_told_as_the_reason() -> None:
    result = run_copies("{Modality: US, StudyDescription: 'far longer than sixteen'}", "{destinations: [old], to: old}")
    assert not result.passed
    assert result.got.startswith("held: transform long, step 1 (set): AccessionNumber")


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        ("{held: true, discarded: true}", "6:26: discarded cannot stand beside held"),
        ("{after: x}", "6:21: after maps attributes"),
        ("{after: {PatientNam: x}}", "6:22: there is no attribute or fact 'PatientNam'"),
        ("{after: {StudyID: {present: true}}}", "6:31: an attribute is a text, a list of texts, or {absent: true}"),
        ("{unchanged: [calling_ae_title]}", "6:26: 'calling_ae_title' is no attribute of a copy"),
        ("{before: x}", "6:14: there is no outcome 'before'"),
        ("{}", "6:13: a test expects something: destinations, held, discarded, to, after, unchanged"),
    ],
)
def test_mistakes_in_what_is_expected_of_a_copy_are_told_at_their_place(expect: str, problem: str) -> None:
    head = "rules:\n  - {name: a, send_to: x}\ntests:\n  - name: t\n    instance: {Modality: CT}\n"
    text = f"{head}    expect: {expect}\n"
    with pytest.raises(ConfigurationError) as caught:
        load({"r.yaml": text})
    assert any(str(each).startswith(f"r.yaml:{problem}") for each in caught.value.problems), caught.value.problems


def test_a_bug_that_a_test_meets_fails_the_test_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("gateway.transform.testing.prepare", broken)
    for expect in ("{unchanged: [Modality]}", "{held: true}"):
        result = run_copies(CT.replace("Modality: CT", "Modality: US"), f"{{to: old, {expect[1:]}")
        assert (result.passed, result.got) == (False, "an error in the gateway: KeyError: 'x'")
