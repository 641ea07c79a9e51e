"""`gateway.transform.reroute`: what two sets of rules decide differently, counted."""

from __future__ import annotations

import pytest

from gateway.errors import HeaderError
from gateway.model import AssociationFacts
from gateway.transform import Rulebook, load
from gateway.transform.reroute import Change, Comparison, Seen
from tests.harness.data import Instance, make_instance
from tests.unit.samples import MemorySource

CT = make_instance(Modality="CT", StationName="ROOM1")
MR = make_instance(Modality="MR")
FACTS = AssociationFacts("", "main", "scanner", "CT1", "GATEWAY", "10.0.0.1")

MARK = """
transforms:
  mark: [{set: {StationName: seen}}]
rules:
  - name: all
    send_to: [pacs, {destination: dr, transform: mark}]
"""


def book(text: str) -> Rulebook:
    return load({"10.yaml": text})


def seen(instance: Instance, name: str = "one", facts: AssociationFacts = FACTS) -> Seen:
    return Seen(name, facts, instance.transfer_syntax_uid, instance.sop_class_uid, 0)


def compare(old: str, new: str, *instances: Instance, examples: int = 3) -> Comparison:
    comparison = Comparison(book(old), book(new), examples)
    for number, instance in enumerate(instances):
        comparison.add(seen(instance, str(number)), MemorySource(instance.data))
    return comparison


TO_PACS = "rules: [{name: all, send_to: [pacs, dr]}]"


@pytest.mark.parametrize(
    "new",
    [
        "rules: [{name: other, send_to: [dr, pacs]}]",
        "rules: [{name: a, match: {Modality: CT}, send_to: dr}, {name: b, send_to: pacs, priority: normal}]",
    ],
)
def test_names_of_rules_their_number_and_the_order_of_destinations_make_no_difference(new: str) -> None:
    comparison = compare(TO_PACS, new, CT)
    assert (comparison.looked_at, comparison.changed, comparison.groups) == (1, 0, [])


@pytest.mark.parametrize(
    "new",
    [
        "rules: [{name: all, send_to: pacs}]",
        "rules: [{name: all, send_to: [pacs, dr], priority: high}]",
        "rules: [{name: all, hold: why}]",
        "rules: [{name: all, discard: why}]",
        "rules: [{name: ct, match: {Modality: MR}, send_to: [pacs, dr]}]",
        "transforms: {t: [{set: {StudyID: x}}]}\nrules: [{name: all, transform: t, send_to: [pacs, dr]}]",
    ],
)
def test_destinations_copies_priority_and_reasons_make_one(new: str) -> None:
    assert compare(TO_PACS, new, CT).changed == 1


def test_another_reason_to_hold_is_another_way() -> None:
    assert compare("rules: [{name: a, hold: x}]", "rules: [{name: a, hold: y}]", CT).changed == 1


def test_a_copy_is_told_by_what_its_transform_does_not_by_its_name() -> None:
    assert compare(MARK, MARK.replace("mark", "stamp"), CT).changed == 0
    comparison = compare(MARK, MARK.replace("seen", "SEEN"), CT)
    assert comparison.changed == 1
    assert comparison.destinations == {"dr": Change(other=1)}


def test_what_changes_is_counted_by_source_modality_and_ways_with_examples() -> None:
    comparison = compare(TO_PACS, "rules: [{name: new, send_to: [pacs, research]}]", CT, MR, CT, CT, examples=2)
    assert [(group.source, group.modality, group.count) for group in comparison.groups] == [
        ("scanner", "CT", 3),
        ("scanner", "MR", 1),
    ]
    examples = comparison.groups[0].examples
    assert [(each.name, each.old_rules, each.new_rules) for each in examples] == [
        ("0", ("all",), ("new",)),
        ("2", ("all",), ("new",)),
    ]
    assert comparison.destinations == {"dr": Change(lost=4), "research": Change(gained=4)}


def test_a_weight_counts_for_so_many() -> None:
    comparison = Comparison(book(TO_PACS), book("rules: [{name: all, send_to: pacs}]"), 1)
    comparison.add(seen(CT), MemorySource(CT.data), weight=70)
    assert (comparison.looked_at, comparison.changed, comparison.groups[0].count) == (70, 70, 70)


def test_a_sender_without_an_entry_is_known_by_its_calling_ae_title() -> None:
    comparison = Comparison(book(TO_PACS), book("rules: [{name: all, send_to: pacs}]"), 1)
    comparison.add(seen(CT, facts=FACTS._replace(source="unknown")), MemorySource(CT.data))
    assert comparison.groups[0].source == "CT1"


def test_each_set_sees_the_attributes_that_it_asks_for() -> None:
    old = "rules: [{name: room, match: {StationName: ROOM1}, send_to: pacs}]"
    new = "rules: [{name: part, match: {BodyPartExamined: {absent: true}, StationName: ROOM*}, send_to: pacs}]"
    assert compare(old, new, CT).changed == 0
    assert compare(old, new, MR).changed == 0


def test_what_cannot_be_read_is_not_counted() -> None:
    comparison = Comparison(book(TO_PACS), book(TO_PACS), 1)
    with pytest.raises(HeaderError):
        comparison.add(seen(CT), MemorySource(CT.data[:-3]))
    assert comparison.looked_at == 0
