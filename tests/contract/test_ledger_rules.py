"""What every ledger does with rule sets that are not current any more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import LedgerError
from gateway.ledger.base import RevisionsSeen, RuleSet
from tests.contract.ledger_scene import Scene, decision


def stored(scene: Scene, *revisions: str) -> None:
    """One after the other, a second apart, each with a table."""
    for revision in revisions:
        scene.now_ms += 1000
        scene.ledger.store_rules(RuleSet(revision, {"a.yaml": "", "b.csv": "a,b\n" * 1000}), scene.now_ms)


def test_what_others_came_in_the_place_of_long_enough_ago_is_told(scene: Scene) -> None:
    stored(scene, "one", "two", "three")
    assert scene.ledger.superseded_rules(scene.now_ms + 1) == ["one", "two"]
    assert scene.ledger.superseded_rules(scene.now_ms) == ["one"]
    assert scene.ledger.superseded_rules(scene.now_ms - 1000) == []


def test_rules_that_are_in_force_again_are_counted_from_then(scene: Scene) -> None:
    stored(scene, "one", "two", "one")
    assert scene.ledger.superseded_rules(scene.now_ms + 1) == ["two"]
    stored(scene, "three")
    assert scene.ledger.superseded_rules(scene.now_ms) == ["two"]
    assert scene.ledger.superseded_rules(scene.now_ms + 1) == ["two", "one"]


def test_instances_are_looked_through_for_the_rules_that_decided_about_them_until_they_are_purged(scene: Scene) -> None:
    for name in ("one", "two", "three"):
        scene.arrive(f"a-{name}")
        scene.route(replace(decision("pacs"), revision=name))
    scene.arrive("undecided")
    scene.conclude(*scene.claim(limit=1))
    seen, last_seq = scene.ledger.revisions_of(0, 2)
    assert seen == {"one", "two"}, "what is settled is in the spool"
    assert last_seq is not None
    seen, last_seq = scene.ledger.revisions_of(last_seq, 2)
    assert seen == {"three"}
    assert last_seq is not None
    assert scene.ledger.revisions_of(last_seq, 2) == RevisionsSeen(frozenset(), None)
    (gone,) = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    assert scene.ledger.revisions_of(0, 10)[0] == {"one", "two", "three"}
    scene.ledger.finish_purge([gone.instance_id], scene.now_ms)
    assert scene.ledger.revisions_of(0, 10)[0] == {"two", "three"}


def test_rules_are_forgotten_but_not_those_in_force_and_decisions_go_on_naming_them(scene: Scene) -> None:
    stored(scene, "one", "two")
    scene.arrive("a")
    scene.route()
    assert scene.row("a").revision == "one"
    assert scene.ledger.forget_rules("one")
    assert not scene.ledger.forget_rules("one")
    assert not scene.ledger.forget_rules("two")
    assert scene.ledger.load_rules("two").revision == scene.ledger.current_revision() == "two"
    with pytest.raises(LedgerError, match="'one'"):
        scene.ledger.load_rules("one")
    assert scene.row("a").revision == "one"
    stored(scene, "one")
    assert scene.ledger.current_revision() == scene.ledger.load_rules("one").revision == "one"
