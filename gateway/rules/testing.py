"""The tests that people write beside their rules, as far as rules go.

A test's instance is made of text: the attributes it names, the facts it names (the others are empty), and nothing
else. An attribute of a sequence's items stands in the first item unless it is written with another. A test passes
when the plan decides as expected; the order of destinations does not matter. `gateway.transform.testing` calls, which
looks at copies too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.dicom.header import SOP_CLASS_UID, AttributePath, Header
from gateway.dicom.paths import PathStep, Step, tag_of
from gateway.document import Place
from gateway.model import AssociationFacts, Decision
from gateway.rules.plan import Plan
from gateway.rules.schema import Expectation, TestCase
from gateway.rules.subject import Key


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test went; `expected` and `got` are sentences for people."""

    __test__ = False  # not a test of ours, whatever pytest thinks of the name

    name: str
    place: Place
    passed: bool
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Tried:
    """What a plan decides about a test's instance, and what it was told of it."""

    decision: Decision
    facts: AssociationFacts
    transfer_syntax_uid: str
    sop_class_uid: str


def try_case(plan: Plan, case: TestCase) -> Tried:
    """Have a plan decide about a test's instance."""
    given = {key: values for key, values in case.instance.items() if isinstance(key, tuple)}
    attributes = {path: values for path in plan.wanted.paths if (values := _values(path, given)) is not None}
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
    syntax = _fact(case, "transfer_syntax")
    decision = plan.decide(Header.of(attributes), facts, syntax, sop_class_uid, case.received)
    return Tried(decision, facts, syntax, sop_class_uid)


def result_of(case: TestCase, decision: Decision) -> TestResult:
    """How a test went as far as the decision goes."""
    passed = _is_expected(decision, case.expect)
    return TestResult(case.name, case.place, passed, _describe_expected(case.expect), describe(decision))


def _values(wanted: AttributePath, given: Mapping[AttributePath, tuple[str, ...]]) -> tuple[str, ...] | None:
    """What the reader of headers would find under a path in a data set with the given attributes."""
    found: list[str] = []
    items: set[int] = set()
    is_there = False
    for path, values in given.items():
        if not all(map(_leads, wanted, path)) or len(path) < len(wanted):
            continue
        is_there = True
        if len(path) == len(wanted):
            found += values
        else:
            items.add(_item(path[len(wanted) - 1]))
    if items:
        return (f"[{max(items)} items]",)
    return tuple(found) if is_there else None


def _leads(wanted: PathStep, given: PathStep) -> bool:
    if isinstance(wanted, int):
        return wanted == tag_of(given) and not (isinstance(given, Step) and given.creator)
    same = wanted.tag == tag_of(given) and wanted.creator == (given.creator if isinstance(given, Step) else "")
    return same and wanted.item in (0, _item(given))


def _item(given: PathStep) -> int:
    return (given.item if isinstance(given, Step) else 0) or 1


def _fact(case: TestCase, key: Key) -> str:
    values = case.instance.get(key)
    return values[0] if values else ""


def _is_expected(decision: Decision, expect: Expectation) -> bool:
    if not expect.outcome:
        return True
    if expect.outcome == "destinations":
        sent = decision.hold is None and decision.discard is None
        return sent and frozenset(decision.destinations) == expect.destinations
    reason = decision.hold if expect.outcome == "held" else decision.discard
    return reason is not None and expect.reason in ("", reason)


def _describe_expected(expect: Expectation) -> str:
    if not expect.outcome:
        return "sent"
    if expect.outcome == "destinations":
        return "sent to " + ", ".join(sorted(expect.destinations))
    return f"{expect.outcome}: {expect.reason}" if expect.reason else expect.outcome


def describe(decision: Decision) -> str:
    """A decision as a sentence."""
    by = f" (by {', '.join(decision.matched)})" if decision.matched else ""
    if decision.discard is not None:
        return f"discarded: {decision.discard}{by}"
    if decision.hold is not None:
        return f"held: {decision.hold}{by}"
    return "sent to " + ", ".join(sorted(decision.destinations)) + by
