"""Several forwarders: each destination is served by one of them at a time, within its own bounds."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.flow.owners import chosen
from gateway.model import Role
from tests.faults.crash_kit import scaled
from tests.faults.delivering_kit import Delivering
from tests.harness.archivescript import Behaviour, StoreFacts
from tests.harness.data import make_instances
from tests.harness.gatewayconfig import send_everything_to
from tests.harness.ledgers import opened
from tests.harness.tools import wait_until

LIMITS = {"pacs": 1, "dr": 1, "vna": 2}
MANY = tuple(f"archive-{number}" for number in range(6))  # that all come to one forwarder: 1 in 32


@pytest.mark.timeout(300)
def test_two_forwarders_keep_to_max_associations_and_deliver_everything(tmp_path: Path) -> None:
    """Also a destination that comes with a reload, which at the same time asks for another number of processes: that
    waits for a restart."""
    keys = {name: {"max_associations": limit, "idle_timeout": "10 min"} for name, limit in LIMITS.items()}
    with Delivering(tmp_path, keys, processes={"forwarder": 2}) as scene:
        for archive in scene.archives.values():
            archive.on_store = slowly
        document = scene.config.document
        late = document["destinations"].pop("vna")
        scene.config.rules = {"10-all.yaml": send_everything_to(["pacs", "dr"])}
        scene.start()
        assert len(scene.gateway.roles()["forwarder"]) == 2
        scene.send(make_instances(60, seed=1))
        for name in ("pacs", "dr"):
            scene.gateway.wait_delivered(60, name)

        document["destinations"]["vna"] = late
        document["processes"]["forwarder"] = 3
        scene.config.rules = {"10-all.yaml": send_everything_to(list(LIMITS))}
        loaded = len(scene.gateway.log_lines(event="rules_loaded"))
        scene.reload()
        wait_until(lambda: len(scene.gateway.log_lines(event="rules_loaded")) > loaded, 60, "the rules")
        scene.send(make_instances(60, seed=2))
        for name, count in (("pacs", 120), ("dr", 120), ("vna", 60)):
            scene.gateway.wait_delivered(count, name)
        assert_within_bounds(scene, LIMITS)


@pytest.mark.timeout(300)
def test_a_gateway_is_ready_when_each_destination_has_its_forwarder(tmp_path: Path) -> None:
    with Delivering(tmp_path, MANY) as scene:
        scene.start()
        assert set(owners(scene)) == set(MANY)
        for said in ("destinations_not_read", "destinations_not_owned"):
            assert not scene.gateway.log_lines(event=said)


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_when_a_forwarder_is_killed_the_other_serves_its_destinations_until_it_is_back(tmp_path: Path) -> None:
    keys = {name: {"max_associations": 1} for name in MANY}
    with Delivering(tmp_path, keys, processes={"forwarder": 2}) as scene:
        for archive in scene.archives.values():
            archive.on_store = slowly
        scene.start()
        wait_balanced(scene)
        with sending(scene):
            for _ in range(scaled(1, 3)):
                victim = next(pid for pid in owners(scene).values())
                its = {name for name, pid in owners(scene).items() if pid == victim}
                before = {name: scene.archives[name].count for name in its}
                os.kill(victim, signal.SIGKILL)
                wait_until(
                    lambda its=its, victim=victim: its <= {n for n, pid in owners(scene).items() if pid != victim},
                    30,
                    lambda: f"the others to take over: {owners(scene)}",
                )
                wait_until(
                    lambda before=before: all(scene.archives[name].count > n for name, n in before.items()),
                    30,
                    "deliveries to go on",
                )
                wait_balanced(scene)
        scene.judge_all_delivered()
        assert_within_bounds(scene, dict.fromkeys(MANY, 1))
        for name in MANY:  # once: who gave it up says nothing of it any more
            assert scene.metric_up(name) == 1


def slowly(facts: StoreFacts) -> Behaviour:
    """An archive that takes its time, so that another association would pay."""
    return Behaviour(delay_s=0.03)


def assert_within_bounds(scene: Delivering, limits: dict[str, int]) -> None:
    """No archive ever had more connections at one time than its destination may have."""
    most = {name: scene.archives[name].tally.most_open for name in limits}
    assert all(0 < most[name] <= limit for name, limit in limits.items()), most


def owners(scene: Delivering) -> dict[str, int]:
    """Destination → pid of the forwarder that has it."""
    with opened(scene.config.ledger_source) as ledger:
        return {name: row.pid for row in ledger.processes() for name in row.destinations}


def wait_balanced(scene: Delivering) -> None:
    """Wait until two forwarders live and share the destinations."""

    def balanced() -> bool:
        with opened(scene.config.ledger_source) as ledger:
            seen = ledger.forwarding()
            forwarders = [row for row in ledger.processes() if row.role is Role.FORWARDER]
        due = {name: chosen(name, seen.forwarders) for name in scene.archives}
        has = {each.name: each.owner.session_id for each in seen.destinations if each.owner is not None}
        return len(forwarders) == 2 and has == due

    wait_until(balanced, 60, lambda: f"two forwarders to share: {owners(scene)}\n{scene.gateway.log()[-3000:]}")


@contextlib.contextmanager
def sending(scene: Delivering, rounds_of: int = 10) -> Iterator[None]:
    """Instances keep coming for the length of a block."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def send() -> None:
        seed = 0
        try:
            while not stop.is_set():
                seed += 1
                scene.send(make_instances(rounds_of, seed=seed))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=send, name="sending", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert not failed, failed
