"""Paths as rules write them: any depth, numbered items, private attributes; in data sets and in the tests of rules."""

from __future__ import annotations

import pytest

from gateway.dicom.header import Header, read_header
from gateway.dicom.paths import Step
from gateway.model import AssociationFacts
from gateway.rules.names import resolve
from gateway.rules.plan import Plan, load
from gateway.transform import Rulebook
from gateway.transform.testing import run_tests
from tests.unit.samples import EXPLICIT, SOP, MemorySource, element, item

FACTS = AssociationFacts("", "", "", "", "", "")
REQUESTS, PROTOCOL, CODE = 0x00400275, 0x00400008, 0x00080100


def plan(name: str, condition: str, tests: str = "") -> Plan:
    return load({"r.yaml": f'rules: [{{name: a, match: {{"{name}": {condition}}}, send_to: x}}]\n{tests}'})


def header_of(made: Plan, data: bytes) -> Header:
    return read_header(MemorySource(data), EXPLICIT, made.wanted)


def matches(data: bytes, name: str, condition: str) -> bool:
    made = plan(name, condition)
    return bool(made.decide(header_of(made, data), FACTS, EXPLICIT, "").matched)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue", (REQUESTS, PROTOCOL, CODE)),
        ("RequestAttributesSequence[2].ScheduledProtocolCodeSequence[1].CodeValue",
         (Step(REQUESTS, item=2), Step(PROTOCOL, item=1), CODE)),
        ("00400275.(0040,0008)[12].00080100", (REQUESTS, Step(PROTOCOL, item=12), CODE)),
        ("(0009,xx02,ACME 1.1)", (Step(0x00090002, "ACME 1.1"),)),
        ("(0009,XXfe, A.B (C)[D], E )", (Step(0x000900FE, "A.B (C)[D], E"),)),
        ("(0009,xx02,ACME 1.1)[3].CodeValue", (Step(0x00090002, "ACME 1.1", 3), CODE)),
        ("RequestAttributesSequence.(0009,xx02,ACME 1.1)", (REQUESTS, Step(0x00090002, "ACME 1.1"))),
        ("(0009,1002).CodeValue", (0x00091002, CODE)),
    ],
)  # fmt: skip
def test_a_path_is_read_as_it_is_written(name: str, path: tuple[int | Step, ...]) -> None:
    assert resolve(name) == path


def nested(*codes: bytes) -> bytes:
    """Request attributes, an item for each code, each with a protocol code inside."""
    inside = [element(PROTOCOL, "SQ", item(element(CODE, "SH", code))) for code in codes]
    return SOP + element(REQUESTS, "SQ", b"".join(item(each) for each in inside))


def test_a_rule_looks_as_deep_as_it_says_and_at_the_item_that_it_numbers() -> None:
    data = nested(b"A1", b"B2")
    deep = "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue"
    assert matches(data, deep, "B2")
    assert not matches(data, deep, "C3")
    assert matches(data, deep.replace(".S", "[2].S"), "B2")
    assert not matches(data, deep.replace(".S", "[1].S"), "B2")
    assert matches(data, deep.replace(".S", "[3].S"), "{absent: true}")
    assert matches(data, "RequestAttributesSequence.ScheduledProtocolCodeSequence", "{present: true}")
    assert matches(SOP, "RequestAttributesSequence.ScheduledProtocolCodeSequence", "{absent: true}")


def test_a_rule_finds_a_private_attribute_wherever_its_block_lies() -> None:
    for block in (0x10, 0x42):
        creator = element(0x00090000 | block, "LO", b"ACME 1.1")
        data = SOP + creator + element(0x00090002 | block << 8, "LO", b"RESEARCH")
        assert matches(data, "(0009,xx02,ACME 1.1)", "RESEARCH")
        assert not matches(data, "(0009,xx02,ACME 1.2)", "RESEARCH")
        inside = SOP + element(REQUESTS, "SQ", item(data[len(SOP) :]))
        assert matches(inside, "RequestAttributesSequence.(0009,xx02,ACME 1.1)", "RESEARCH")


@pytest.mark.parametrize(
    ("name", "condition", "instance", "expected"),
    [
        ("ContentSequence.TextValue", "x", "{'ContentSequence[2].TextValue': x}", True),
        ("ContentSequence[1].TextValue", "x", "{ContentSequence.TextValue: x}", True),
        ("ContentSequence[2].TextValue", "x", "{ContentSequence.TextValue: x}", False),
        ("ContentSequence[2].TextValue", "x", "{'ContentSequence[2].TextValue': x}", True),
        ("ContentSequence.TextValue", "[x]", "{ContentSequence.TextValue: y, 'ContentSequence[2].TextValue': x}", True),
        ("ContentSequence", "{present: true}", "{ContentSequence.TextValue: x}", True),
        ("ContentSequence", "{present: true}", "{TextValue: x}", False),
        ("ContentSequence.ContentSequence.TextValue", "x", "{ContentSequence.TextValue: x}", False),
        ("(0009,xx02,ACME 1.1)", "x", "{'(0009,xx02,ACME 1.1)': x}", True),
        ("(0009,xx02,ACME 1.1)", "x", "{'(0009,xx02,OTHER)': x}", False),
    ],
)
def test_a_test_of_rules_sees_what_a_data_set_would_show(
    name: str, condition: str, instance: str, expected: bool
) -> None:
    outcome = "{destinations: x}" if expected else "{held: true}"
    tests = f"tests: [{{name: t, instance: {instance}, expect: {outcome}}}]"
    (result,) = run_tests(Rulebook(plan(name, condition, tests), {}))
    assert result.passed, result
