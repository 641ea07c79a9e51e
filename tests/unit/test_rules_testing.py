"""The tests beside rules: they pass when the plan decides so, and say what it decided when it does not."""

from __future__ import annotations

import pytest

from gateway.rules.plan import load
from gateway.rules.testing import TestResult, run_tests

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
