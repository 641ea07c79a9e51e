"""The index over rules changes no decision, whatever the rules and the instance; and it leaves most rules out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.header import AttributePath, Header
from gateway.model import AssociationFacts, Decision
from gateway.rules import index, patterns
from gateway.rules.index import Need, needs_of
from gateway.rules.plan import NO_RULE_MATCHES, Plan, load
from gateway.rules.subject import Subject

MODALITY, STATION, DESCRIPTION, NAME = (0x00080060,), (0x00081010,), (0x00081030,), (0x00100010,)
CODE = (0x00321064, 0x00080100)

# Few letters, so that rules meet instances often; ß and İ change their length when their case is folded.
TEXTS = st.text("aAbBß", min_size=1, max_size=3)
GLOBS = st.text("aAbBáßİ*?", min_size=1, max_size=4)
FOLDS = st.lists(st.sampled_from(["case", "accents"]), max_size=2, unique=True)
SIMPLE = st.one_of(TEXTS, GLOBS)
CONDITIONS = st.one_of(
    SIMPLE,
    st.lists(SIMPLE, min_size=1, max_size=3),
    st.fixed_dictionaries(
        {"equals": st.one_of(TEXTS, st.lists(GLOBS, min_size=1, max_size=2))}, optional={"fold": FOLDS}
    ),
    st.fixed_dictionaries({"like": GLOBS}, optional={"fold": FOLDS}),
    st.fixed_dictionaries({"table": st.just("t")}, optional={"column": st.just("c"), "fold": FOLDS}),
    st.fixed_dictionaries({"regex": st.sampled_from(["^a", "b$", "A.", "ß"])}, optional={"fold": FOLDS}),
    st.sampled_from([{"present": "true"}, {"absent": "true"}, {"count": {"ge": "2"}}]),
    SIMPLE.map(lambda text: {"all": text}),
    st.lists(SIMPLE, min_size=1, max_size=2).map(lambda texts: {"any": texts}),
    st.tuples(TEXTS, GLOBS).map(lambda two: [two[0], {"like": two[1]}]),
)
NAMES = ["Modality", "StationName", "StudyDescription", "PatientName#family", "calling_ae_title",
         "RequestedProcedureCodeSequence.CodeValue"]  # fmt: skip
MATCHES: Any = st.recursive(
    st.dictionaries(st.sampled_from(NAMES), CONDITIONS, min_size=1, max_size=3),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=2)}, optional={"Modality": CONDITIONS}),
        st.fixed_dictionaries({"not": inner}, optional={"StationName": CONDITIONS}),
    ),
    max_leaves=4,
)
ACTIONS = st.sampled_from(
    [{"send_to": ["x"]}, {"send_to": ["x", "y"]}, {"send_to": ["z"], "stop": "true"}, {"hold": "h"}, {"discard": "d"}]
)
RULES = st.lists(st.tuples(st.one_of(st.none(), MATCHES), ACTIONS), max_size=12)
VALUES = st.lists(st.text("aAbBáßsSİ", max_size=3), max_size=3).map(tuple)
INSTANCES = st.dictionaries(st.sampled_from([MODALITY, STATION, DESCRIPTION, NAME, CODE]), VALUES)


def plan_of(drawn: list[tuple[Any, dict[str, Any]]]) -> Plan:
    rules = [
        {"name": f"r{number}", **({"match": matched} if matched else {}), **action}
        for number, (matched, action) in enumerate(drawn)
    ]
    tables = {"t": {"file": "t.csv", "key": "k"}}
    return load({"r.yaml": json.dumps({"tables": tables, "rules": rules}), "t.csv": "k,c\na,B\nß,á\nAB,\n"})


def plainly(plan: Plan, subject: Subject) -> Decision:
    """What the documentation says of a set of rules: one after the other, none left out."""
    matched: list[str] = []
    destinations: dict[str, None] = {}
    for tried, rule in enumerate(plan.rules, 1):
        if rule.match is not None and not rule.match.holds(subject):
            continue
        matched.append(rule.name)
        if rule.hold is not None or rule.discard is not None:
            return Decision(plan.revision, tried, tuple(matched), (), hold=rule.hold, discard=rule.discard)
        destinations |= dict.fromkeys(target.destination for target in rule.send_to)
        if rule.stop:
            return Decision(plan.revision, tried, tuple(matched), tuple(destinations))
    hold = None if matched else NO_RULE_MATCHES
    return Decision(plan.revision, len(plan.rules), tuple(matched), tuple(destinations), hold=hold)


@settings(max_examples=500, deadline=None)
@given(RULES, INSTANCES, st.sampled_from(["", "a", "AB"]))
def test_a_decision_is_that_of_rules_tried_one_by_one(
    drawn: list[tuple[Any, dict[str, Any]]], instance: dict[AttributePath, tuple[str, ...]], calling: str
) -> None:
    plan = plan_of(drawn)
    header, facts = Header.of(instance), AssociationFacts("", "", "", calling, "", "")
    decision = plan.decide(header, facts, "", "")
    assert decision == plainly(plan, Subject(header, facts, "", ""))
    explained = plan.explain(header, facts, "", "")
    assert sum(each.tried for each in explained) == decision.tried
    assert tuple(each.rule for each in explained if each.matched) == decision.matched


EXPRESSIONS = st.tuples(
    st.sampled_from(NAMES[:3]),
    st.fixed_dictionaries(
        {"regex": st.sampled_from(["^a", "b$", "A.", "ß", "(?i)^AB$", "", "^$", "[^a]", "á|b"])},
        optional={"fold": FOLDS},
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(EXPRESSIONS, st.none() | MATCHES), min_size=index.FEW + 2, max_size=30),
    INSTANCES,
    st.booleans(),
)
def test_many_expressions_looked_for_at_once_decide_as_each_by_itself(
    drawn: list[tuple[Any, Any]], instance: dict[AttributePath, tuple[str, ...]], long: bool
) -> None:
    rules = [
        ({"all": [{name: condition}, *([also] if also else [])]}, {"send_to": [f"d{number}"]})
        for number, ((name, condition), also) in enumerate(drawn)
    ]
    plan = plan_of(rules)
    if long:
        instance = {path: (*values, "x" * 5000) for path, values in instance.items()}
    header, facts = Header.of(instance), AssociationFacts("", "", "", "", "", "")
    assert plan.decide(header, facts, "", "") == plainly(plan, Subject(header, facts, "", ""))


def test_of_many_expressions_only_those_that_are_found_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "rules:\n" + "".join(
        f"  - {{name: r{n}, match: {{StudyDescription: {{regex: 'room {n}$'}}}}, send_to: x}}\n" for n in range(50)
    )
    assert candidates(load({"r.yaml": text}), {DESCRIPTION: ("a", "room 7")}) == ["r7"]
    assert candidates(load({"r.yaml": text}), {DESCRIPTION: ("",)}) == []
    assert candidates(load({"r.yaml": text}), {MODALITY: ("CT",)}) == []
    for too_little in (1 << 10, 1 << 15):  # the engine cannot compile them together, or cannot run them
        monkeypatch.setattr(patterns, "MAX_SET_MEMORY_BYTES", too_little)
        found = candidates(load({"r.yaml": text}), {DESCRIPTION: ("room 7",)})
        assert "r7" in found
        if too_little == 1 << 10:
            assert len(found) == 50


def needs(match: str) -> list[index.Needs]:
    (rule,) = load({"r.yaml": f"rules: [{{name: a, match: {match}, send_to: x}}]"}).rules
    assert rule.match is not None
    return list(needs_of(rule.match))


def test_what_a_rule_needs_is_found_in_it() -> None:
    ct, mr = Need(MODALITY, "ct", False), Need(MODALITY, "mr", False)
    assert needs("{Modality: CT}") == [frozenset({ct})]
    assert needs("{Modality: [CT, {equals: mr}]}") == [frozenset({ct, mr})]
    assert needs("{Modality: CT, StationName: '*Room 1?*'}") == [
        frozenset({ct}),
        frozenset({Need(STATION, "room 1", True)}),
    ]
    assert needs("{any: [{Modality: CT}, {StationName: '*', Modality: mr}]}") == [frozenset({ct, mr})]
    assert needs("{Modality: {equals: Ct}}") == [frozenset({ct})]
    assert needs("{StationName: {like: 'Room*', fold: []}}") == [frozenset({Need(STATION, "room", True)})]
    for open_to_any in (
        "{StationName: {like: 'Réa*', fold: [accents, case]}}",
        "{Modality: {regex: CT}}",
        "{Modality: '*'}",
        "{Modality: {absent: true}}",
        "{Modality: [CT, {absent: true}]}",
        "{Modality: {equals: CT, fold: accents}}",
        "{not: {Modality: CT}}",
        "{any: [{Modality: CT}, {StationName: '?'}]}",
    ):
        assert needs(open_to_any) == [], open_to_any


def candidates(plan: Plan, instance: dict[AttributePath, tuple[str, ...]]) -> list[str]:
    subject = Subject(Header.of(instance), AssociationFacts("", "", "", "", "", ""), "", "")
    return [plan.rules[number].name for number in plan.index.candidates(subject)]


def test_rules_that_cannot_match_are_left_out() -> None:
    """By the text that they share with the fewest others: not by the modality that they all ask for."""
    made = load(
        {
            "r.yaml": "rules:\n"
            + "".join(
                f"  - {{name: r{n}, match: {{Modality: CT, StationName: ST{n}}}, send_to: x}}\n" for n in range(500)
            )
            + "  - {name: chest, match: {StudyDescription: '*chest*'}, send_to: x}\n"
            + "  - {name: rest, send_to: x}\n"
        }
    )
    assert candidates(made, {MODALITY: ("CT",), STATION: ("st7",)}) == ["r7", "rest"]
    assert candidates(made, {MODALITY: ("CT",), DESCRIPTION: ("A Chest",)}) == ["chest", "rest"]
    assert candidates(made, {MODALITY: ("CT",), DESCRIPTION: ("head",)}) == ["rest"]
    assert candidates(made, {STATION: ("ST8", "ST7")}) == ["r7", "r8", "rest"]


def test_no_words_are_looked_for_in_very_long_values() -> None:
    """What the rules look at is bounded; what the index does must be too."""
    made = load({"r.yaml": "rules: [{name: chest, match: {StudyDescription: '*chest*'}, send_to: x}]"})
    assert candidates(made, {DESCRIPTION: ("x" * 5000,)}) == ["chest"]
    assert candidates(made, {DESCRIPTION: ("x",) * 100}) == ["chest"]
    assert candidates(made, {DESCRIPTION: ("x",) * 10}) == []
