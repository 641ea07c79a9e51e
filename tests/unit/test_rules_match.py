"""Conditions: what each of them means, on absent, empty, single and several values."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.header import Header
from gateway.model import AssociationFacts
from gateway.rules.match import Networks, Present
from gateway.rules.patterns import (
    ACCENTS,
    CASELESS,
    EXACT,
    FOLDS,
    MAX_SEARCHED_BYTES,
    VALUE_COST_BYTES,
    Equals,
    Glob,
    Literals,
    PatternError,
    Regex,
    searched,
)
from gateway.rules.plan import load
from gateway.rules.subject import Subject

FACTS = AssociationFacts("", "", "", "", "", "")


def matches(condition: str, values: tuple[str, ...] | None) -> bool:
    """Whether a condition, as people write it, holds for these values of Modality."""
    plan = load({"r.yaml": f"rules: [{{name: a, match: {{Modality: {condition}}}, send_to: x}}]"})
    header = Header.of({} if values is None else {(0x00080060,): values})
    return plan.decide(header, FACTS, "", "").matched == ("a",)


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        ("CT", [("CT",), ("ct",), ("MR", "CT")], [None, (), ("CTX",), ("C",), ("",)]),
        ("[CT, MR]", [("CT",), ("mr",)], [None, (), ("US",)]),
        ("'C*'", [("CT",), ("c",), ("X", "CR")], [None, (), ("XC",)]),
        ("'?T'", [("CT",), ("\u00e4t",)], [("T",), ("CCT",), None]),
        ("'*'", [("CT",), ("a\nb",)], [None, ()]),
        ("'a.c*'", [("A.C",)], [("abc",)]),
        ("'[ct]*'", [("[CT]x",)], [("c",)]),
        ("[CT, 'M*']", [("ct",), ("mg",)], [("us",)]),
        ("{regex: '^Univ'}", [("University",), ("x", "Univ")], [("university",), ("A Univ",), None, ()]),
        ("{regex: '(?i)^univ'}", [("University",)], [("x",)]),
        ("{regex: 'b.d'}", [("abcde",)], [("b\nd",)]),
        ("{regex: [a, b]}", [("a",), ("b",)], [("c",)]),
        ("[CT, {regex: '^M'}]", [("CT",), ("MR",)], [("XM",)]),
        ("{equals: CT}", [("CT",), ("x", "CT")], [("ct",), None, ()]),
        ("{equals: 'C*'}", [("C*",)], [("CT",)]),
        ("{equals: [CT, MR]}", [("MR",)], [("mr",)]),
        ("{equals: muller, fold: case}", [("MULLER",)], [("Müller",), ("muller x",)]),
        ("{equals: muller, fold: accents}", [("müller",), ("muller",)], [("Müller",)]),
        ("{equals: [x, MÜLLER], fold: [case, accents]}", [("muller",), ("Mu\u0308ller",)], [("mueller",)]),
        ("{equals: STRASSE, fold: [case]}", [("Straße",)], [("Strase",)]),
        ("{equals: Lodz, fold: accents}", [("Łódź",)], [("ŁÓDŹ",)]),
        ("{equals: か, fold: [case, accents]}", [("か",)], [("が",)]),
        ("{like: 'mu?l*'}", [("MULLER",), ("muéler",), ("mull",)], [("mul",), ("x muller",)]),
        ("{like: 'mu?l*', fold: []}", [("muller",)], [("MULLER",)]),
        ("{like: 'MÜ*', fold: [accents, case]}", [("muller",), ("Mürr",)], [("a mu",)]),
        ("{like: [a, 'b*']}", [("A",), ("bcd",)], [("ab",)]),
        ("{regex: 'mull\\w', fold: case}", [("MULLER",)], [("MULL-",), ("MÜLLE",)]),
        ("{regex: '^É\\S', fold: accents}", [("Eva",), ("Éva",)], [("eva",), ("E a",)]),
        ("{regex: '^ev', fold: [case, accents]}", [("Éva",)], [("Nèva",)]),
        ("[CT, {like: 'M*', fold: []}]", [("ct",), ("MR",)], [("mr",)]),
        ("{present: true}", [("CT",), ("", "x")], [None, (), ("",), ("", "")]),
        ("{absent: true}", [None, (), ("",)], [("CT",)]),
        ("{present: false}", [None, ()], [("CT",)]),
        ("{absent: false}", [("CT",)], [None, ()]),
        ("[CT, {absent: true}]", [None, (), ("CT",)], [("MR",)]),
        ("NO", [("NO",)], [("false",), ("no way",)]),
        ("0123", [("0123",)], [("123",), ("83",)]),
        ("1.20", [("1.20",)], [("1.2",)]),
    ],
)
def test_a_condition_holds_for_some_values_and_fails_for_others(condition, holds, fails) -> None:
    for values in holds:
        assert matches(condition, values), values
    for values in fails:
        assert not matches(condition, values), values


def decide(match: str, values: dict[tuple[int, ...], tuple[str, ...]]) -> bool:
    plan = load({"r.yaml": f"rules: [{{name: a, match: {match}, send_to: x}}]"})
    return bool(plan.decide(Header.of(values), FACTS, "", "").matched)


def test_all_any_and_not_nest() -> None:
    ct, mr, us = ({(0x00080060,): (text,)} for text in ("CT", "MR", "US"))
    chest = {(0x00081030,): ("CHEST",)}
    both = "{Modality: CT, StudyDescription: CHEST}"
    assert decide(both, ct | chest)
    assert not decide(both, ct)
    assert decide("{any: [{Modality: CT}, {Modality: MR}]}", mr)
    assert not decide("{any: [{Modality: CT}, {Modality: MR}]}", us)
    assert decide("{all: [{Modality: CT}, {StudyDescription: CHEST}]}", ct | chest)
    assert not decide("{all: [{Modality: CT}, {StudyDescription: CHEST}]}", chest)
    assert decide("{not: {Modality: CT}}", mr)
    assert not decide("{not: {Modality: CT}}", ct)
    # `not` excludes where all of its conditions hold, not where one does.
    assert decide("{not: {Modality: CT, StudyDescription: CHEST}}", ct)
    assert not decide("{not: {Modality: CT, StudyDescription: CHEST}}", ct | chest)
    deep = "{any: [{not: {any: [{Modality: CT}, {Modality: MR}]}}, {all: [{Modality: CT}, {not: {PatientID: x}}]}]}"
    assert decide(deep, us)
    assert decide(deep, ct)
    assert not decide(deep, mr)


def test_attributes_go_by_keyword_number_and_sequence() -> None:
    values = {(0x00091010,): ("private",), (0x00321064, 0x00080100): ("1", "2"), (0x00080060,): ("CT",)}
    for match in (
        "{'(0009,1010)': private}",
        "{00091010: private}",
        "{RequestedProcedureCodeSequence.CodeValue: '2'}",
        "{'00321064.(0008,0100)': '1'}",
        "{'(0008,0060)': CT}",
    ):
        assert decide(match, values), match
        assert not decide(match, {}), match


@given(st.text(max_size=20))
def test_a_text_without_wildcards_matches_itself_and_no_longer_text(text: str) -> None:
    assert Literals([text]).holds((text,))
    assert Literals([text]).holds((text.swapcase(),)) == (text.casefold() == text.swapcase().casefold())
    assert not Literals([text]).holds((text + "x",))
    assert Equals([text]).holds((text,))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), st.text(max_size=5), st.text(max_size=5))
def test_a_glob_is_its_text_with_holes(text: str, before: str, after: str) -> None:
    escaped = text.replace("*", "").replace("?", "")
    value = (before + escaped + after).replace("\ud800", "")
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    assert Glob(f"*{escaped}*").holds((value,))
    assert Glob(escaped + "?").holds((escaped + "!",))
    assert not Glob(escaped + "?").holds((escaped,))


@given(
    st.text("aB*é?", max_size=8),
    st.text("abBÉé\n", max_size=10),
    st.sampled_from([EXACT, CASELESS, frozenset({ACCENTS}), frozenset(FOLDS)]),
)
def test_a_glob_holds_alike_whichever_way_it_is_tried(glob: str, value: str, alike: frozenset[str]) -> None:
    """A single short value is not given to the engine for patterns; among others it is."""
    assert Glob(glob, alike).holds((value,)) == Glob(glob, alike).holds((value, value))


def test_networks_hold_addresses_only() -> None:
    plan = load({"r.yaml": "rules: [{name: a, match: {host: [10.0.0.0/8, 'fd00::/8', box]}, send_to: x}]"})
    for host, expected in {"10.9.9.9": True, "fd00::1": True, "box": True, "11.0.0.1": False, "a": False}.items():
        facts = AssociationFacts("", "", "", "", "", host)
        assert bool(plan.decide(Header.of({}), facts, "", "").matched) == expected, host
    assert not Networks([]).holds(None)


# The classics: catastrophic with backtracking, and the largest automata that the bound on programs allows.
HOT = ["(x+x+)+y", "(a|aa)+$", "(.*)(.*)(.*)(.*)(.*)[0-9]z", "a[ab]{400}c", "(a?){100}a{100}b", r"(\w+\s?)*[!]$"]


@pytest.mark.parametrize("pattern", HOT)
@pytest.mark.parametrize("text", ["x" * 65536, "a" * 65536, "ab" * 32768, "aab" * 22000])
def test_a_hot_regular_expression_is_bounded(pattern: str, text: str) -> None:
    condition = Regex(pattern)
    took = []
    for _ in range(3):
        started = time.perf_counter()
        condition.holds((text,))
        took.append(time.perf_counter() - started)
    assert min(took) < 0.1


def test_a_hot_glob_is_bounded() -> None:
    condition = Glob("*a" * 60 + "*b")
    started = time.perf_counter()
    assert not condition.holds(("a" * 65536,))
    assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize("pattern", ["(", "a{2000}", "(?<=x)y", r"(a)\1", "((a{100}){100}){100}", "[z-a]", "*"])
def test_what_re2_cannot_bound_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError) as caught:
        Regex(pattern)
    assert str(caught.value)


def test_a_pattern_looks_at_the_beginning_of_long_values() -> None:
    assert Regex("needle").holds(("x" * 1000 + "needle",))
    assert not Regex("needle").holds(("x" * MAX_SEARCHED_BYTES + "needle",))
    assert not Regex("needle").holds(("x" * MAX_SEARCHED_BYTES, "needle"))
    assert Regex("é").holds(("é" * MAX_SEARCHED_BYTES,))


def test_a_subject_without_facts_has_none() -> None:
    subject = Subject(Header.of({}), FACTS, "", "")
    assert subject["source"] == ()
    assert subject["sop_class"] == ()
    assert subject[(0x00080060,)] is None
    assert Present(False).holds(subject["host"])


@pytest.mark.parametrize("condition", [Glob("*x*y*z*"), Regex("x.*y")])
def test_a_value_that_is_nothing_but_separators_is_looked_at_up_to_the_bound(condition: Glob | Regex) -> None:
    looked_at = sum(1 for _ in searched(("",) * 65_535, EXACT))
    assert looked_at <= MAX_SEARCHED_BYTES / VALUE_COST_BYTES
    assert not condition.holds(("",) * 65_535 + ("xyz",))
