"""The gateway as a whole: rules and fan-out, held and released, and commands that say what the archives have."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness.archive import OurArchive
from tests.harness.data import Instance, make_instance
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess, replace
from tests.harness.rawpeer import RawScu
from tests.harness.tools import wait_until
from tests.integration.interop import settle

RULES = """
rules:
  - name: everything-but-junk-is-archived
    match: {Modality: [CT, MR, CR]}
    send_to: [first]
  - name: chest
    match: {StudyDescription: "*chest*"}
    send_to: [second]
    stop: true
  - name: mr-from-one-room
    match: {Modality: MR, calling_ae_title: ROOM1}
    send_to: [second, third]
  - name: junk
    match: {Modality: OT}
    discard: test pictures
  - name: no-patient
    match: {PatientID: {absent: true}}
    hold: who is this
"""
LATER = """
  - name: ultrasound
    match: {Modality: US}
    send_to: [third]
"""


@dataclass(slots=True)
class Scene:
    gateway: GatewayProcess
    archives: dict[str, OurArchive]

    def send(self, *instances: Instance, calling: str = "ROOM1") -> None:
        """Store instances over one association; each must be answered with Success."""
        contexts = list(dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in instances))
        with RawScu(self.gateway.config.port) as scu:
            scu.associate(contexts, calling=calling)
            for one in instances:
                number = scu.context_for(one.sop_class_uid, one.transfer_syntax_uid)
                assert scu.store(number, one.sop_class_uid, one.sop_instance_uid, one.data) == 0x0000
            scu.release()

    def store(self, *instances: Instance, calling: str = "ROOM1") -> None:
        """`send`, and wait until nothing moves any more."""
        self.send(*instances, calling=calling)
        settle(self.gateway)

    def ask(self, *words: str) -> Any:
        done = self.gateway.cli(*words, "--json")
        assert done.returncode == 0, done.output
        return json.loads(done.stdout)

    def where(self, instance: Instance) -> dict[str, list[str]]:
        """Archive → the copies it has."""
        uid = instance.sop_instance_uid
        return {name: held[uid] for name, one in self.archives.items() if uid in (held := one.contents())}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    archives = {name: OurArchive().start() for name in ("first", "second", "third")}
    config = GatewayConfig(
        tmp_path_factory.mktemp("whole"),
        {name: archive.port for name, archive in archives.items()},
        rules={"10-rules.yaml": RULES},
    )
    try:
        with GatewayProcess(config) as gateway:
            yield Scene(gateway, archives)
    finally:
        for archive in archives.values():
            archive.close()


def test_each_instance_is_where_the_rules_send_it_and_nowhere_else(scene: Scene) -> None:
    cases: list[tuple[Instance, str, set[str]]] = [
        (make_instance(seed=1, Modality="CT", StudyDescription="HEAD"), "ROOM1", {"first"}),
        (make_instance(seed=2, Modality="CT", StudyDescription="CT CHEST"), "ROOM1", {"first", "second"}),
        (make_instance(seed=3, Modality="MR", StudyDescription="KNEE"), "ROOM1", {"first", "second", "third"}),
        (make_instance(seed=4, Modality="MR", StudyDescription="KNEE"), "ROOM2", {"first"}),
        (make_instance(seed=5, Modality="MR", StudyDescription="Chest"), "ROOM1", {"first", "second"}),  # stop
        (make_instance(seed=6, Modality="OT", StudyDescription="chest"), "ROOM1", {"second"}),  # before the discard
    ]
    for instance, calling, _ in cases:
        scene.store(instance, calling=calling)
    for instance, _, expected in cases:
        assert scene.where(instance) == {name: [instance.sha256] for name in expected}
        (shown,) = scene.ask("show", instance.sop_instance_uid)
        assert {one["destination"] for one in shown["deliveries"]} == expected
        assert {one["state"] for one in shown["deliveries"]} == {"delivered"}


def test_what_a_rule_discards_is_settled_and_leaves_the_spool(scene: Scene) -> None:
    instance = make_instance(seed=10, Modality="OT", StudyDescription="PHANTOM")
    scene.store(instance)
    assert scene.where(instance) == {}
    (shown,) = scene.ask("show", instance.sop_instance_uid)
    assert (shown["rules"], shown["deliveries"]) == (["junk"], [])
    assert shown["state"] in ("settled", "purging", "purged")
    spool = scene.gateway.config.spool_dir / "incoming"
    wait_until(lambda: not list(spool.rglob(f"{shown['instance_id']}.dcm")), 60, "its file to go")


def test_what_a_rule_holds_is_not_sent_and_says_why(scene: Scene) -> None:
    instance = make_instance(seed=11, Modality="CT", PatientID=None, StudyDescription="HEAD")
    scene.store(instance)
    assert scene.where(instance) == {}
    (shown,) = scene.ask("show", instance.sop_instance_uid)
    assert shown["state"] == "held"
    assert "who is this" in shown["reason"]
    assert [one["instance_id"] for one in scene.ask("list", "--state", "held", "--uid", instance.sop_instance_uid)] == [
        shown["instance_id"]
    ]


def test_what_no_rule_matches_is_held_and_sent_after_the_rules_were_changed_and_it_was_released(scene: Scene) -> None:
    instances = [make_instance(seed=20 + number, Modality="US", StudyDescription="LIVER") for number in range(3)]
    scene.store(*instances)
    uids = {one.sop_instance_uid for one in instances}
    held = {one["sop_instance_uid"]: one for one in scene.ask("list", "--state", "held")}
    assert uids <= held.keys()
    assert {held[uid]["reason"] for uid in uids} == {"no rule matches"}
    assert scene.gateway.metric("gateway_unrouted_instances") >= 3
    assert all(scene.where(one) == {} for one in instances)

    old = held[instances[0].sop_instance_uid]["revision"]
    replace(scene.gateway.config.rules_dir / "10-rules.yaml", RULES + LATER)
    wait_until(
        lambda: any(line["revision"] != old for line in scene.gateway.log_lines(event="rules_loaded")),
        60,
        "the changed rules to be in force",
    )
    # New rules alone move nothing: a person decides about what is held.
    assert {one["sop_instance_uid"] for one in scene.ask("list", "--state", "held")} >= uids
    assert scene.ask("release", "--uid", instances[0].sop_instance_uid, "--yes") == {
        "released": 1,
        "overtaken": 0,
        "unconfigured": 0,
        "quarantined": 0,
    }
    wait_until(lambda: scene.where(instances[0]), 60, "the released one")
    assert [scene.where(one) for one in instances[1:]] == [{}, {}]
    for one in instances[1:]:
        scene.ask("release", "--uid", one.sop_instance_uid, "--yes")
    wait_until(lambda: all(scene.where(one) for one in instances), 60, "all of them")
    for one in instances:
        assert scene.where(one) == {"third": [one.sha256]}
        (shown,) = scene.ask("show", one.sop_instance_uid)
        assert shown["rules"] == ["ultrasound"]
        assert shown["revision"] != old


def test_a_paused_destination_waits_in_the_queue_and_gets_it_all_when_resumed(scene: Scene) -> None:
    assert scene.gateway.cli("pause", "second").returncode == 0
    instances = [make_instance(seed=30 + number, Modality="CT", StudyDescription="CHEST") for number in range(5)]
    scene.send(*instances)
    wait_until(lambda: all(scene.where(one) for one in instances), 60, "the other destination to have them")
    assert all(scene.where(one) == {"first": [one.sha256]} for one in instances)
    queue = scene.ask("queue")["destinations"]
    assert queue["second"]["paused"] is True
    assert sum(queue["second"]["by_age_s"].values()) == 5
    assert queue["second"]["by_age_s"]["300"] == 5  # none is older than five minutes
    assert sum(queue["first"]["by_age_s"].values()) == 0
    assert len(scene.ask("list", "--state", "ready", "--destination", "second")) == 5
    assert scene.gateway.metric("gateway_queue_depth", destination="second", state="ready") == 5

    assert scene.gateway.cli("resume", "second").returncode == 0
    wait_until(
        lambda: all("second" in scene.where(one) for one in instances), 60, "the resumed destination to have them"
    )
    settle(scene.gateway)
    queue = scene.ask("queue")["destinations"]
    assert queue["second"]["paused"] is False
    assert sum(queue["second"]["by_age_s"].values()) == 0


def test_lists_shows_and_queues_say_what_the_archives_have(scene: Scene) -> None:
    """Over everything that the tests before have sent: delivered and at the archive are the same thing."""
    scene.store(*(make_instance(seed=40 + number, Modality="CT", StudyDescription="CHEST") for number in range(4)))
    rows = scene.ask("list", "--limit", "10000")
    said = Counter(
        (delivery["destination"], row["sop_instance_uid"])
        for row in rows
        for delivery in row["deliveries"]
        if delivery["state"] == "delivered"
    )
    have = Counter(
        {(name, uid): len(copies) for name, one in scene.archives.items() for uid, copies in one.contents().items()}
    )
    assert said == have
    assert scene.gateway.metric("gateway_instances_received_total") == len(rows)
    queue = scene.ask("queue")["destinations"]
    for name, archive in scene.archives.items():
        assert queue[name]["configured"] is True
        assert sum(queue[name]["by_age_s"].values()) == 0
        assert scene.gateway.metric("gateway_deliveries_total", destination=name, outcome="success") == archive.count
    (shown,) = scene.ask("show", rows[0]["instance_id"])
    # Its file may leave the spool between the two questions; nothing else may change.
    assert shown | {"state": ""} == rows[0] | {"state": ""}
    for words in (["queue"], ["list"], ["list", "--instances"], ["show", rows[0]["instance_id"]]):
        done = scene.gateway.cli(*words)  # what people read says no less than what scripts read
        assert done.returncode == 0
        assert done.stdout.strip()
