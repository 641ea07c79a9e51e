"""The contract of a ledger: what it remembers of instances that were routed."""

from __future__ import annotations

from dataclasses import replace

from gateway.ledger.base import HistoryRow
from gateway.model import Remembered
from tests.contract.ledger_scene import CT, EXPLICIT_LITTLE_ENDIAN, FACTS, Scene, decision


def remembered(instance_id: str = "a", **changes: object) -> Remembered:
    """An instance of series 1.2 that goes to pacs, received at 1,000."""
    one = Remembered(
        series_instance_uid="1.2",
        modality="CT",
        decision=decision("pacs"),
        facts=FACTS,
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
        instance_id=instance_id,
        received_at_ms=1_000,
        header=b"header of " + instance_id.encode(),
    )
    return one._replace(**changes)  # type: ignore[arg-type]


def add(scene: Scene, *new: Remembered) -> list[int]:
    return list(scene.ledger.record_history(new, {}).keys)


def rows(scene: Scene, since_ms: int = 0) -> list[HistoryRow]:
    return scene.ledger.history(since_ms, 0, 100)


def test_what_is_remembered_is_there_to_try_rules_on(scene: Scene) -> None:
    (key,) = add(scene, remembered(instances=3))
    (row,) = rows(scene)
    assert row == HistoryRow(
        history_key=key,
        series_instance_uid="1.2",
        instance_id="a",
        facts=FACTS._replace(association_id=""),
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
        received_at_ms=1_000,
        instances=3,
        header=b"header of a",
    )


def test_instances_routed_alike_are_one_row_whoever_remembers_them(scene: Scene) -> None:
    other_association = FACTS._replace(association_id="another")
    again = remembered("b", facts=other_association, received_at_ms=2_000, instances=5)
    first, second = add(scene, remembered(), again)
    assert first == second == add(scene, remembered())[0]
    (row,) = rows(scene)
    assert (row.instances, row.instance_id, row.header, row.received_at_ms) == (7, "a", b"header of a", 1_000)


def test_those_of_another_series_decision_or_way_are_another_row(scene: Scene) -> None:
    keys = add(
        scene,
        remembered(),
        remembered(series_instance_uid="1.3"),
        remembered(decision=decision("dr")),
        remembered(decision=replace(decision("pacs"), revision="two")),
        remembered(facts=FACTS._replace(source="ct2")),
        remembered(sop_class_uid="1.2.3"),
        remembered(transfer_syntax_uid="1.2.840.10008.1.2"),
    )
    assert len(set(keys)) == 7


def test_a_row_is_counted_up_and_what_is_gone_is_told(scene: Scene) -> None:
    (key,) = add(scene, remembered())
    found = scene.ledger.record_history([remembered(series_instance_uid="1.3")], {key: (4, 9_000), 99: (1, 1)})
    assert found.gone == {99}
    assert len(found.keys) == 1
    assert [row.instances for row in rows(scene)] == [5, 1]
    assert [row.history_key for row in rows(scene, since_ms=9_000)] == [key]


def test_history_is_read_in_pages(scene: Scene) -> None:
    keys = add(scene, *(remembered(series_instance_uid=f"1.{n}") for n in range(5)))
    assert [row.history_key for row in scene.ledger.history(0, 0, 2)] == keys[:2]
    assert [row.history_key for row in scene.ledger.history(0, keys[1], 10)] == keys[2:]


def test_what_is_past_its_time_is_forgotten_in_batches(scene: Scene) -> None:
    keys = add(scene, *(remembered(series_instance_uid=f"1.{n}", received_at_ms=1_000 + n) for n in range(5)))
    scene.ledger.record_history([], {keys[0]: (1, 5_000)})  # the oldest of them has had another instance since
    assert scene.ledger.trim_history(1_004, 1 << 20, 2) == 2
    assert scene.ledger.trim_history(1_004, 1 << 20, 2) == 1
    assert scene.ledger.trim_history(1_004, 1 << 20, 2) == 0
    assert [row.history_key for row in rows(scene)] == [keys[0], keys[4]]


def test_of_what_is_too_much_the_oldest_is_forgotten(scene: Scene) -> None:
    new = [remembered(series_instance_uid=f"1.{n}", received_at_ms=1_000 - n, header=bytes(100)) for n in range(5)]
    keys = add(scene, *new, new[0])
    assert scene.ledger.trim_history(0, 500, 100) == 0
    assert scene.ledger.trim_history(0, 250, 100) == 3
    assert [row.history_key for row in rows(scene)] == keys[:2]
    assert scene.ledger.trim_history(0, 0, 100) == 2
    assert rows(scene) == []


def test_texts_that_are_no_unicode_are_remembered_as_others_are(scene: Scene) -> None:
    odd = FACTS._replace(calling_ae_title="CT\udcff")
    first, second = add(scene, remembered(facts=odd), remembered(facts=odd))
    assert first == second
    assert rows(scene)[0].facts.calling_ae_title == "CT\\udcff"


def test_the_instances_may_go_what_is_remembered_stays(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(decision(discard="not wanted"))
    add(scene, remembered(decision=decision(discard="not wanted")))
    (item,) = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    scene.ledger.finish_purge([item.instance_id], scene.now_ms)
    assert [row.instance_id for row in rows(scene)] == ["a"]
