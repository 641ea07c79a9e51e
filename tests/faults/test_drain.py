"""Roles that drain: they finish what they have and take no more, over a restart too, and nothing is lost with them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crash_kit import Load
from tests.faults.delivering_kit import Delivering
from tests.harness import wire
from tests.harness.archivescript import Behaviour
from tests.harness.data import make_instances
from tests.harness.rawpeer import RawScu, Rejected
from tests.harness.tools import wait_until

CONGESTION = (2, 3, 1)  # PS3.8 9.3.4: rejected-transient, presentation related, temporary-congestion


def hosts(scene: Delivering, role: str) -> list[dict[str, Any]]:
    """What `gateway hosts` says of a role."""
    rows: list[dict[str, Any]] = json.loads(scene.cli("hosts", "--json"))["processes"]
    return [row for row in rows if row["role"] == role]


def host_of(scene: Delivering) -> str:
    """The name of the host."""
    return str(hosts(scene, "console")[0]["host"])


def associate(scene: Delivering) -> RawScu:
    """An association for C-ECHO. Raises `Rejected`."""
    scu = RawScu(scene.port)
    scu.associate([(wire.VERIFICATION, wire.IMPLICIT_LE)])
    return scu


def rejection(scene: Delivering) -> tuple[int, int, int] | None:
    """How an association is rejected; None where it is not."""
    try:
        associate(scene).release()
    except Rejected as rejected:
        return rejected.result, rejected.source, rejected.reason
    return None


@pytest.mark.timeout(300)
def test_a_drained_receiver_finishes_its_associations_and_takes_none_over_a_restart_too(tmp_path: Path) -> None:
    with Delivering(tmp_path, ["pacs"]) as scene:
        scene.start()
        host = host_of(scene)
        scu = associate(scene)
        context_id = scu.context_for(wire.VERIFICATION, wire.IMPLICIT_LE)
        scene.cli("drain", host, "--roles", "receiver")
        wait_until(lambda: scene.gateway.log_lines(event="draining"), 30, "the receiver to know")
        assert rejection(scene) == CONGESTION
        assert scene.gateway.readiness() == (503, '{"ready":false,"reasons":["drained"]}')
        wait_until(lambda: sum(row["in_hand"] for row in hosts(scene, "receiver")) == 1, 30, "it to be told of")
        assert [row["is"] for row in hosts(scene, "worker")] == ["working"]

        waiting = threading.Thread(target=lambda: scene.cli("drain", host, "--roles", "receiver", "--wait"))
        waiting.start()
        assert scu.echo(context_id) == 0
        assert waiting.is_alive()
        scu.release()
        waiting.join(30)
        assert not waiting.is_alive()
        assert [row["is"] for row in hosts(scene, "receiver")] == ["drained"]

        scene.gateway.stop()
        scene.gateway.start(ready=False)
        wait_until(lambda: scene.gateway.log_lines(event="host_drained", host=host), 30, "the start to say so")
        wait_until(lambda: len(scene.gateway.log_lines(event="child_ready", child="receiver-0")) == 2, 60, "a start")
        assert rejection(scene) == CONGESTION
        scene.cli("drain", host, "--undo")
        wait_until(lambda: rejection(scene) is None, 30, "associations to be taken again")
        scene.gateway.wait_ready()
        scene.send(make_instances(5, seed=1))
        scene.judge_all_delivered()


@pytest.mark.timeout(300)
def test_a_drained_worker_claims_nothing_and_what_came_meanwhile_is_routed_afterwards(tmp_path: Path) -> None:
    with Delivering(tmp_path, ["pacs"], processes={"worker": 2}) as scene:
        scene.start()
        host = host_of(scene)
        scene.cli("drain", host, "--roles", "worker", "--wait")
        scene.send(make_instances(20, seed=1))
        assert [(row["is"], row["instances"]) for row in hosts(scene, "worker")] == [("drained", 0)] * 2
        scene.gateway.wait_replaced("worker", scene.gateway.kill_role("worker"))
        scene.send(make_instances(20, seed=2))
        states = {row.state for row in scene.gateway.ledger().instances.values()}
        assert states == {"received"}
        scene.cli("drain", host, "--undo")
        scene.judge_all_delivered()


@pytest.mark.timeout(300)
def test_a_drained_forwarder_finishes_what_it_sends_and_gives_up_its_destinations(tmp_path: Path) -> None:
    answer = threading.Event()
    keys = {"pacs": {"max_associations": 1}, "dr": {"max_associations": 1}}
    with Delivering(tmp_path, keys, processes={"forwarder": 2}) as scene:
        scene.archive("pacs").on_store = lambda facts: Behaviour(wait_for=answer)
        scene.start()
        host = host_of(scene)
        scene.send(make_instances(30, seed=1))
        wait_until(lambda: scene.archive("pacs").tally.requests, 30, "something to be on its way")
        scene.gateway.wait_delivered(30, "dr")
        scene.cli("drain", host, "--roles", "forwarder")
        wait_until(
            lambda: sorted(row["destinations"] for row in hosts(scene, "forwarder")) == [[], ["pacs"]],
            30,
            "all but the one that sends to be given up",
        )
        wait_until(lambda: sum(row["deliveries"] for row in hosts(scene, "forwarder")) == 1, 30, "the rest to go back")
        wait_until(
            lambda: sorted(row["is"] for row in hosts(scene, "forwarder")) == ["drained", "draining"], 30, "the other"
        )
        answer.set()
        scene.cli("drain", host, "--roles", "forwarder", "--wait")
        assert scene.states("pacs") == {"delivered": 1, "ready": 29}
        scene.gateway.wait_replaced("forwarder", scene.gateway.kill_role("forwarder"))
        scene.gateway.wait_ready()
        wait_until(lambda: [row["is"] for row in hosts(scene, "forwarder")] == ["drained"] * 2, 30, "it to drain too")
        assert scene.states("pacs") == {"delivered": 1, "ready": 29}
        assert scene.gateway.metric("gateway_destination_owned") == 0
        assert scene.gateway.metric("gateway_hosts_draining", role="forwarder") == 1
        scene.cli("drain", host, "--undo")
        scene.judge_all_delivered()
        assert scene.archive("pacs").duplicates() == 0


@pytest.mark.timeout(300)
def test_draining_all_roles_and_back_under_traffic_loses_nothing(tmp_path: Path) -> None:
    with Delivering(tmp_path, ["pacs", "dr"], processes={"worker": 2, "forwarder": 2}) as scene:
        scene.start()
        host = host_of(scene)
        load = Load(scene, associations=2, round_size=10).start()
        for roles in ("worker,forwarder", "receiver,worker,forwarder"):
            before = load.acknowledged
            wait_until(lambda before=before: load.acknowledged > before + 20, 60, "traffic")
            scene.cli("drain", host, "--roles", roles, "--wait")
            assert all(row["is"] == "drained" for role in roles.split(",") for row in hosts(scene, role))
            scene.cli("drain", host, "--undo")
        load.stop()
        scene.judge_all_delivered()
        assert sum(archive.duplicates() for archive in scene.archives.values()) == 0
