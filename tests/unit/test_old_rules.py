"""Rule sets that nothing needs any more are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import LedgerError
from gateway.flow import old_rules
from gateway.flow.old_rules import KEEP_MS, OldRules
from gateway.ledger.base import RuleSet
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from tests.contract.ledger_scene import Scene, decision


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(lambda: SqliteLedger.open(tmp_path / "ledger.db"))
    yield scene
    scene.close()


def store(scene: Scene, *revisions: str) -> None:
    for revision in revisions:
        scene.now_ms += 1000
        scene.ledger.store_rules(RuleSet(revision, {"a.yaml": ""}), scene.now_ms)


def known(scene: Scene, *revisions: str) -> list[str]:
    """Those of them that are still there."""
    found = []
    for revision in revisions:
        try:
            found.append(scene.ledger.load_rules(revision).revision)
        except LedgerError:
            continue
    return found


def steps(scene: Scene, count: int) -> None:
    async def main() -> None:
        thread = LedgerThread(scene.opener)
        rules = OldRules(thread, lambda: scene.now_ms)
        for _ in range(count):
            await rules.step()
        await thread.close()

    asyncio.run(main())


def test_a_set_goes_a_day_after_another_came_and_when_no_instance_in_the_spool_was_decided_by_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_rules, "CHUNK", 2)
    store(scene, "unused", "held", "delivered", "current")
    for revision in ("held", "delivered", "delivered"):
        scene.arrive(f"{revision}-{scene.now_ms}")
        scene.route(replace(decision("dr" if revision == "held" else "pacs"), revision=revision))
        scene.now_ms += 1
    every = ("unused", "held", "delivered", "current")
    steps(scene, 5)
    assert known(scene, *every) == list(every), "an hour ago they decided"
    scene.now_ms += KEEP_MS
    steps(scene, 2)
    assert known(scene, *every) == list(every), "not all instances were looked at"
    steps(scene, 3)
    assert known(scene, *every) == ["held", "delivered", "current"]
    scene.conclude(*scene.claim("pacs"))
    steps(scene, 3)
    assert known(scene, *every) == ["held", "delivered", "current"], "what is in the spool can be sent again"
    gone = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    scene.ledger.finish_purge([each.instance_id for each in gone], scene.now_ms)
    steps(scene, 3)
    assert known(scene, *every) == ["held", "current"]


def test_what_comes_into_force_again_while_instances_are_looked_through_is_not_forgotten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_rules, "CHUNK", 1)
    store(scene, "one", "two")
    scene.now_ms += KEEP_MS
    scene.arrive("a")
    scene.route(replace(decision("pacs"), revision="two"))

    async def main() -> None:
        thread = LedgerThread(scene.opener)
        rules = OldRules(thread, lambda: scene.now_ms)
        await rules.step()
        store(scene, "one")
        await rules.step()
        await thread.close()

    asyncio.run(main())
    assert known(scene, "one", "two") == ["one", "two"]
    assert scene.ledger.current_revision() == "one"
