"""Runs the tests that people write beside their rules.

A test's instance is made of text: the attributes it names, the facts it names (the others are empty), and nothing
else. It passes when the plan decides as expected; the order of destinations does not matter. `gateway rules test` and
`gateway check` call.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.dicom.header import SOP_CLASS_UID, Header
from gateway.document import Place
from gateway.model import AssociationFacts, Decision
from gateway.rules.match import Key
from gateway.rules.plan import Plan
from gateway.rules.schema import Expectation, TestCase


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test went; `expected` and `got` are sentences for people."""

    __test__ = False  # not a test of ours, whatever pytest thinks of the name

    name: str
    place: Place
    passed: bool
    expected: str
    got: str


def run_tests(plan: Plan) -> list[TestResult]:
    """Run every test of a plan, in order."""
    return [_run(plan, case) for case in plan.tests]


def _run(plan: Plan, case: TestCase) -> TestResult:
    attributes = {key: values for key, values in case.instance.items() if not isinstance(key, str)}
    facts = AssociationFacts(
        association_id="",
        listener=_fact(case, "listener"),
        source=_fact(case, "source"),
        calling_ae_title=_fact(case, "calling_ae_title"),
        called_ae_title=_fact(case, "called_ae_title"),
        peer_host=_fact(case, "host"),
    )
    # The SOP class stands in the data set and in the command; naming it once is enough.
    sop_class_uid = _fact(case, "sop_class") or _fact(case, (SOP_CLASS_UID,))
    if sop_class_uid:
        attributes.setdefault((SOP_CLASS_UID,), (sop_class_uid,))
    decision = plan.decide(Header.of(attributes), facts, _fact(case, "transfer_syntax"), sop_class_uid)
    passed = _is_expected(decision, case.expect)
    return TestResult(case.name, case.place, passed, _describe_expected(case.expect), _describe(decision))


def _fact(case: TestCase, key: Key) -> str:
    values = case.instance.get(key)
    return values[0] if values else ""


def _is_expected(decision: Decision, expect: Expectation) -> bool:
    if expect.outcome == "destinations":
        sent = decision.hold is None and decision.discard is None
        return sent and frozenset(decision.destinations) == expect.destinations
    reason = decision.hold if expect.outcome == "held" else decision.discard
    return reason is not None and expect.reason in ("", reason)


def _describe_expected(expect: Expectation) -> str:
    if expect.outcome == "destinations":
        return "sent to " + ", ".join(sorted(expect.destinations))
    return f"{expect.outcome}: {expect.reason}" if expect.reason else expect.outcome


def _describe(decision: Decision) -> str:
    by = f" (by {', '.join(decision.matched)})" if decision.matched else ""
    if decision.discard is not None:
        return f"discarded: {decision.discard}{by}"
    if decision.hold is not None:
        return f"held: {decision.hold}{by}"
    return "sent to " + ", ".join(sorted(decision.destinations)) + by
