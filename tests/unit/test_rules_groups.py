"""Groups of destinations: a rule that names one sends to each of its destinations, whatever else it says."""

from __future__ import annotations

import pytest

from gateway.dicom.header import Header
from gateway.errors import ConfigurationError
from gateway.model import AssociationFacts, Decision
from gateway.rules.plan import Plan
from gateway.transform import Rulebook, load
from gateway.transform.testing import run_tests

DESTINATIONS = {"pacs", "dr", "research"}
FILES = {
    "00-groups.yaml": "groups:\n  archives: [pacs, dr]\n  teaching: [dr, research]\n",
    "00-marks.yaml": "transforms:\n  mark: [{set: {StudyID: A}}]\n  other: [{set: {StudyID: B}}]\n",
}
NOBODY = AssociationFacts("", "", "", "", "", "")


def book(rules: str, destinations: set[str] | None = DESTINATIONS) -> Rulebook:
    return load({**FILES, "10.yaml": f"rules:\n{rules}"}, destinations)


def decide(plan: Plan, modality: str = "CT") -> Decision:
    return plan.decide(Header.of({(0x00080060,): (modality,)}), NOBODY, "", "")


def sent(rules: str) -> dict[str, str]:
    """destination → the names of the transforms of what it gets."""
    decision = decide(book(rules).plan)
    assert decision.hold is None
    return {name: decision.chain_of(n).partition("~")[0] for n, name in enumerate(decision.destinations)}


def test_a_group_is_each_of_its_destinations_in_their_order() -> None:
    assert list(sent("  - {name: a, send_to: archives}\n")) == ["pacs", "dr"]
    assert list(sent("  - {name: a, send_to: [research, archives]}\n")) == ["research", "pacs", "dr"]


def test_what_a_rule_says_of_a_group_holds_for_each() -> None:
    assert sent("  - {name: a, send_to: [{destination: archives, transform: mark}, research]}\n") == {
        "pacs": "mark",
        "dr": "mark",
        "research": "",
    }
    assert sent("  - {name: a, send_to: archives, transform: [mark, other]}\n") == dict.fromkeys(
        ("pacs", "dr"), "mark+other"
    )


def test_what_groups_have_in_common_is_sent_once() -> None:
    assert list(sent("  - {name: a, send_to: [archives, teaching, pacs]}\n")) == ["pacs", "dr", "research"]
    assert list(sent("  - {name: a, send_to: [dr, archives]}\n")) == ["dr", "pacs"]


def test_two_rules_that_send_different_copies_by_groups_hold() -> None:
    rules = "  - {name: a, send_to: archives}\n  - {name: b, send_to: teaching, transform: mark}\n"
    assert decide(book(rules).plan).hold == "a and b send to dr through different transforms"


def test_stop_priority_hold_and_discard_do_with_groups_what_they_do_with_destinations() -> None:
    last = "  - {name: z, send_to: research}\n"
    stopped = book("  - {name: a, send_to: archives, stop: true, priority: high}\n" + last).plan
    assert decide(stopped).destinations == ("pacs", "dr")
    assert stopped.priority(decide(stopped)) == 1
    for action in ("hold", "discard"):
        made = book(f"  - {{name: a, send_to: archives, priority: low}}\n  - {{name: b, {action}: why}}\n" + last).plan
        decision = decide(made)
        assert (decision.destinations, getattr(decision, action)) == ((), "why")
        assert made.priority(decision) == -1
        assert made.groups(decision) == {}


def test_a_worker_that_does_not_know_the_destinations_sends_to_the_same() -> None:
    rules = "  - {name: a, send_to: [archives, research]}\n"
    assert decide(book(rules, None).plan).destinations == ("pacs", "dr", "research")


def test_by_which_group_a_destination_is_named_can_be_asked() -> None:
    plan = book(
        "  - {name: us, match: {Modality: US}, send_to: teaching}\n"
        "  - {name: a, send_to: [pacs, archives]}\n  - {name: b, send_to: teaching}\n"
    ).plan
    assert plan.groups(decide(plan)) == {"dr": "archives", "research": "teaching"}
    assert plan.groups(decide(plan, "US")) == {"dr": "teaching", "research": "teaching"}


def test_a_test_names_the_destinations() -> None:
    rules = "  - {name: a, send_to: archives, transform: mark}\ntests:\n"
    case = "  - {name: t, instance: {Modality: CT}, expect: {destinations: [dr, pacs], to: dr, after: {StudyID: A}}}\n"
    assert [result.passed for result in run_tests(book(rules + case))] == [True]


RULE = "rules: [{name: a, send_to: %s}]\n"
TEST = "tests: [{name: a, instance: {Modality: CT}, expect: {%s: archives}}]\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("groups: [pacs]\n", "1:9: groups maps names to lists of destinations"),
        ("groups: {Big: [pacs]}\n", "1:10: the name of a group is of small letters and digits, with single - or _"),
        ("groups: {a__b: [pacs]}\n", "1:10: the name of a group is of small letters and digits"),
        ("groups: {a: pacs}\n", "1:13: a group holds destinations: [pacs, dr]"),
        ("groups: {a: []}\n", "1:13: a group holds destinations: [pacs, dr]"),
        ("groups: {a: [[pacs]]}\n", "1:14: a group is a text or a list of texts"),
        ("groups: {a: [pacs, pacs]}\n", "1:20: the destination 'pacs' stands here twice"),
        ("groups: {archives: [pacs]}\n", "1:10: the group 'archives' exists already, at 00-groups.yaml:2"),
        ("groups: {dr: [pacs]}\n", "1:10: 'dr' is a destination: give the group another name"),
        ("groups: {a: [pacs, archives]}\n", "1:20: 'archives' is a group: a group holds destinations"),
        ("groups: {a: [pac]}\n", "1:14: there is no destination 'pac' in the configuration; is 'pacs' meant?"),
        (RULE % "archive", "1:28: there is no destination 'archive' in the configuration; is 'archives' meant?"),
        (RULE % "[archives, archives, {destination: dr, transform: mark}]", "1:63: 'dr' is sent two different things, "
         "by 'archives' and here"),
        (RULE % "[{destination: dr, transform: mark}, archives]", "1:65: 'dr' is sent two different things, by its "
         "name and here"),
        (TEST % "destinations", "1:68: 'archives' is a group: a test names destinations (pacs, dr)"),
        (TEST % "to", "1:58: 'archives' is a group: a test names destinations (pacs, dr)"),
    ],
)  # fmt: skip
def test_mistakes_are_told_at_their_place_and_once(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({**FILES, "10.yaml": text}, DESTINATIONS)
    (told,) = map(str, caught.value.problems)
    assert told.startswith(f"10.yaml:{problem}")
