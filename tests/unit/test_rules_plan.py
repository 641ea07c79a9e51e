"""Plans: which rules match, what they add, what ends the search, and that files are only a way of writing."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.header import Header, Wanted, read_header, study_facts
from gateway.errors import ConfigurationError
from gateway.model import AssociationFacts, Decision, transforms_of
from gateway.rules.plan import NO_RULE_MATCHES, Plan, load, revision_of
from gateway.transform import Rulebook
from gateway.transform.testing import run_tests
from tests.unit.samples import MemorySource, element, sample

ROOT = Path(__file__).parents[2]
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
FACTS = AssociationFacts("a1", "main", "ct1", "CT1", "GATEWAY", "10.1.2.3")
MODALITY, PATIENT_ID, DESCRIPTION = (0x00080060,), (0x00100020,), (0x00081030,)
INSTITUTION, CODE = (0x00080080,), (0x00321064, 0x00080100)
CHEST = {MODALITY: ("CT",), DESCRIPTION: ("CHEST CT",), PATIENT_ID: ("P1",)}

DESIGN = """\
rules:
  - name: ct-and-mr-to-pacs
    match:
      Modality: [CT, MR]                 # any of these
      StudyDescription: "*CHEST*"        # glob, case-insensitive
      calling_ae_title: "CT?"            # facts of the association sit beside attributes
    send_to: [pacs, dr]
  - name: research
    match:
      any:
        - InstitutionName: {regex: "^Univ"}
        - RequestedProcedureCodeSequence.CodeValue: "12345"
      not:
        PatientID: {absent: true}
    send_to: [research]
tests:
  - name: CT from room 1 goes to PACS and DR only
    instance: {Modality: CT, StudyDescription: CHEST CT, calling_ae_title: CT1}
    expect: {destinations: [pacs, dr]}
"""


def plan(text: str) -> Plan:
    return load({"10.yaml": text}, {"pacs", "dr", "research"})


def decide(text: str | Plan, values: dict[tuple[int, ...], tuple[str, ...]] | None = None, facts=FACTS) -> Decision:
    made = plan(text) if isinstance(text, str) else text
    return made.decide(Header.of(CHEST if values is None else values), facts, EXPLICIT, CT)


# ── the example ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_example_routes_as_it_says() -> None:
    made = plan(DESIGN)
    assert [(result.name, result.passed) for result in run_tests(Rulebook(made, {}))] == [
        ("CT from room 1 goes to PACS and DR only", True)
    ]
    decision = decide(made)
    assert decision == Decision(made.revision, 2, ("ct-and-mr-to-pacs",), ("pacs", "dr"))
    both = decide(made, {**CHEST, INSTITUTION: ("University",)})
    assert both.matched == ("ct-and-mr-to-pacs", "research")
    assert both.destinations == ("pacs", "dr", "research")
    assert decide(made, {MODALITY: ("US",), PATIENT_ID: ("P",), CODE: ("1", "12345")}).destinations == ("research",)
    assert decide(made, {MODALITY: ("US",), PATIENT_ID: (), CODE: ("12345",)}).hold == NO_RULE_MATCHES


def test_the_example_wants_what_it_looks_at() -> None:
    assert plan(DESIGN).wanted == Wanted.of([MODALITY, DESCRIPTION, INSTITUTION, CODE, PATIENT_ID])


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.yaml")), ids=lambda path: path.name)
def test_the_packaged_rules_pass_their_tests(path: Path) -> None:
    results = run_tests(Rulebook(load({path.name: path.read_text()}), {}))
    assert results
    assert [result for result in results if not result.passed] == []


# ── what matching does ────────────────────────────────────────────────────────────────────────────────────────


def test_an_instance_that_no_rule_matches_is_held() -> None:
    decision = decide("rules: [{name: a, match: {Modality: US}, send_to: pacs}]")
    assert decision.hold == "no rule matches"
    assert (decision.matched, decision.destinations, decision.tried) == ((), (), 1)
    assert decide("").hold == "no rule matches"


def test_every_matching_rule_adds_its_destinations_once() -> None:
    decision = decide(
        """
        rules:
          - {name: a, send_to: [dr, pacs]}
          - {name: b, match: {Modality: CT}, send_to: [pacs, research]}
        """
    )
    assert decision.destinations == ("dr", "pacs", "research")
    assert decision.matched == ("a", "b")


def test_stop_ends_the_search_only_where_the_rule_matches() -> None:
    text = """
        rules:
          - {name: a, match: {Modality: US}, send_to: dr, stop: true}
          - {name: b, match: {Modality: CT}, send_to: pacs, stop: true}
          - {name: c, send_to: research}
        """
    decision = decide(text)
    assert (decision.matched, decision.destinations, decision.tried) == (("b",), ("pacs",), 2)
    assert decide(text.replace("stop: true", "stop: false")).destinations == ("pacs", "research")


@pytest.mark.parametrize("action", ["hold", "discard"])
def test_hold_and_discard_win_over_what_was_added_before_and_end_the_search(action: str) -> None:
    decision = decide(
        f"""
        rules:
          - {{name: a, send_to: pacs}}
          - {{name: b, {action}: not yet}}
          - {{name: c, send_to: dr}}
        """
    )
    assert decision.destinations == ()
    assert decision.matched == ("a", "b")
    assert getattr(decision, action) == "not yet"
    assert {decision.hold, decision.discard} == {"not yet", None}


def test_the_highest_given_priority_counts() -> None:
    made = plan(
        """
        rules:
          - {name: a, send_to: pacs}
          - {name: b, match: {Modality: [CT, MR]}, send_to: dr, priority: low}
          - {name: c, match: {Modality: MR}, send_to: dr, priority: high}
        """
    )
    for modality, priority in {"US": 0, "CT": -1, "MR": 1}.items():
        assert made.priority(decide(made, {MODALITY: (modality,)})) == priority


def test_the_facts_of_the_association_match() -> None:
    for name, good, bad in [
        ("calling_ae_title", "ct1", "ct2"),
        ("called_ae_title", "GATE*", "OTHER"),
        ("source", "ct?", "mr?"),
        ("host", "10.1.*", "10.2.*"),
        ("host", "10.0.0.0/8", "192.168.0.0/16"),
        ("listener", "main", "side"),
        ("transfer_syntax", EXPLICIT, "1.2.840.10008.1.2"),
        ("transfer_syntax", "ExplicitVRLittleEndian", "ImplicitVRLittleEndian"),
        ("sop_class", "CTImageStorage", "MRImageStorage"),
        ("sop_class", "CT Image Storage", "1.2.840.10008.5.1.4.1.1.4"),
        ("sop_class", "*Image Storage", "*Report*"),
    ]:
        for text, expected in ((good, None), (bad, NO_RULE_MATCHES)):
            decision = decide(f"rules: [{{name: a, match: {{{name}: '{text}'}}, send_to: pacs}}]")
            assert decision.hold == expected, (name, text)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────

RULES = st.fixed_dictionaries(
    {"match": st.sampled_from([{}, {"Modality": "CT"}, {"Modality": "M?"}, {"PatientID": {"absent": "true"}}])},
    optional={"stop": st.sampled_from(["true", "false"]), "priority": st.sampled_from(["high", "low"])},
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(RULES, st.sampled_from(["pacs", "dr", "research", "hold"])), max_size=8),
    st.lists(st.integers(0, 8), max_size=4),
    st.sampled_from(["CT", "MR", "US", ""]),
)
def test_a_decision_does_not_depend_on_how_rules_are_divided_over_files(drawn, cuts, modality) -> None:
    rules = []
    for number, (rule, action) in enumerate(drawn):
        made = {"name": f"r{number}", **rule}
        if not made["match"]:
            del made["match"]
        if action == "hold":
            made["hold"] = "waiting"
            made.pop("stop", None)
        else:
            made["send_to"] = [action]
        rules.append(made)
    bounds = [0, *sorted(min(cut, len(rules)) for cut in cuts), len(rules)]
    parts = [rules[start:end] for start, end in pairwise(bounds)]
    whole = load({"all.yaml": json.dumps({"rules": rules})})
    split = load({f"{number:02}.yaml": json.dumps({"rules": part}) for number, part in enumerate(parts)})
    header = {MODALITY: (modality,)} if modality else {}
    one, other = decide(whole, header), decide(split, header)
    assert (one.tried, one.matched, one.destinations, one.hold, one.discard) == (
        other.tried,
        other.matched,
        other.destinations,
        other.hold,
        other.discard,
    )
    assert whole.priority(one) == split.priority(other)
    assert whole.wanted == split.wanted


def test_files_are_read_in_name_order() -> None:
    made = load({"20.yaml": "rules: [{name: b, send_to: x}]", "10.yaml": "rules: [{name: a, send_to: y}]"})
    assert [rule.name for rule in made.rules] == ["a", "b"]


def test_a_revision_is_that_of_names_and_texts() -> None:
    files = {"a": "1", "b": "2"}
    assert revision_of(files) == revision_of(dict(reversed(files.items())))
    others = [{"a": "1"}, {"a": "12", "b": ""}, {"ab": "12"}, {"a": "2", "b": "1"}, {}]
    assert len({revision_of(each) for each in [files, *others]}) == 6
    assert len(revision_of(files)) == 16
    assert load({"a.yaml": ""}).revision == revision_of({"a.yaml": ""})


def test_problems_of_all_files_come_together_in_order() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"b.yaml": "rules: [{name: x}]", "a.yaml": "rules:\n  - {name: x\n", "c.yaml": "rulez: []"})
    assert [(problem.file, problem.line) for problem in caught.value.problems] == [
        ("a.yaml", 3),
        ("b.yaml", 1),
        ("c.yaml", 1),
    ]


# ── explaining ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_explanation_tells_each_rule_and_no_values_unless_asked() -> None:
    made = plan(
        """
        rules:
          - {name: a, match: {Modality: [MR, US], PatientID: "P*"}, send_to: dr}
          - {name: b, match: {any: [{Modality: US}, {PatientID: {regex: "^X"}}]}, send_to: dr}
          - {name: c, match: {not: {Modality: CT}}, send_to: dr}
          - {name: d, match: {StudyDescription: {absent: true}}, send_to: dr}
          - {name: e, match: {Modality: CT}, send_to: pacs, stop: true}
          - {name: f, send_to: research}
        """
    )
    explained = made.explain(Header.of(CHEST), FACTS, EXPLICIT, CT)
    assert [(each.rule, each.tried, each.matched, each.failing) for each in explained] == [
        ("a", True, False, "not: Modality is 'MR' or 'US'"),
        ("b", True, False, "none of any: not: Modality is 'US'; not: PatientID has the regular expression '^X'"),
        ("c", True, False, "excluded by not: Modality"),
        ("d", True, False, "not: StudyDescription is absent or empty"),
        ("e", True, True, ""),
        ("f", False, False, ""),
    ]
    shown = made.explain(Header.of(CHEST), FACTS, EXPLICIT, CT, show_values=True)
    assert shown[0].failing == "not: Modality is 'MR' or 'US' (it is 'CT')"
    assert "'P1'" in shown[1].failing


def test_explaining_agrees_with_deciding() -> None:
    made = plan(DESIGN)
    for values in (CHEST, {}, {**CHEST, INSTITUTION: ("University",)}):
        explained = made.explain(Header.of(values), FACTS, EXPLICIT, CT)
        assert tuple(each.rule for each in explained if each.matched) == decide(made, values).matched


# ── speed ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_reading_and_deciding_are_far_from_slow() -> None:
    ct = sample("CT_small.dcm")
    large = ct.data_set[: ct.data_set.rindex(b"\xe0\x7f\x10\x00")] + element(0x7FE00010, "OW", b"\1" * 524288)
    made = plan(DESIGN)
    best = 1.0
    for _ in range(50):
        started = time.perf_counter()
        header = read_header(MemorySource(large), ct.transfer_syntax_uid, made.wanted)
        made.decide(header, FACTS, ct.transfer_syntax_uid, CT)
        study_facts(header)
        best = min(best, time.perf_counter() - started)
    assert best < 0.002


# ── transforms ────────────────────────────────────────────────────────────────────────────────────────────────

DIGESTS = {"anonymise": "0123abcd", "mark": "4567ef01"}


def chains(text: str, digests: dict[str, str] = DIGESTS) -> dict[str, tuple[str, ...]]:
    """What each destination gets: the names of its chain."""
    decision = decide(load({"10.yaml": text}, {"pacs", "dr", "research"}, digests))
    assert decision.hold is None
    return {name: transforms_of(decision.chain_of(index)) for index, name in enumerate(decision.destinations)}


def test_a_rules_transforms_come_before_a_destinations_own() -> None:
    text = """\
rules:
  - name: a
    transform: mark
    send_to: [pacs, {destination: research, transform: [anonymise]}]
  - name: b
    send_to: dr
"""
    assert chains(text) == {"pacs": ("mark",), "research": ("mark", "anonymise"), "dr": ()}


def test_a_chain_is_called_after_what_it_does() -> None:
    text = "rules: [{name: a, send_to: [{destination: research, transform: anonymise}]}]"
    (before,), (after,) = (
        decide(load({"10.yaml": text}, None, {**DIGESTS, "anonymise": digest})).chains for digest in ("0" * 8, "1" * 8)
    )
    assert before != after
    assert transforms_of(before) == transforms_of(after) == ("anonymise",)


def test_two_rules_may_send_to_a_destination_through_the_same_transforms_only() -> None:
    same = """\
rules:
  - {name: a, send_to: [{destination: research, transform: anonymise}]}
  - {name: b, send_to: research, transform: anonymise}
"""
    assert chains(same) == {"research": ("anonymise",)}
    other = same.replace("research, transform: anonymise}\n", "[research]}\n")
    decision = decide(load({"10.yaml": other}, None, DIGESTS))
    assert decision.destinations == ()
    assert decision.hold == "a and b send to research through different transforms"
    assert decision.matched == ("a", "b")
    made = load({"10.yaml": other + "  - {name: c, send_to: pacs}\n"}, None, DIGESTS)
    explained = made.explain(Header.of(CHEST), FACTS, EXPLICIT, CT)
    assert [(each.rule, each.tried) for each in explained] == [("a", True), ("b", True), ("c", False)]
