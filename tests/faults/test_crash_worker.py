"""A worker that dies of one instance, and a role that stands still."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.faults.crash_kit import LONG, READY_WITHIN_S, Scene, leased_deliveries
from tests.harness.archive import Behaviour
from tests.harness.data import make_instances
from tests.harness.gatewayprocess import GatewayProcess, all_stopped, command_line
from tests.harness.sender import JournalSender
from tests.harness.strace import Strace, inject
from tests.harness.tools import require, wait_until

MOST_ATTEMPTS = 5


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_an_instance_that_kills_its_worker_is_quarantined_and_its_neighbours_arrive(tmp_path: Path) -> None:
    """Each worker is killed as it opens the instance. After five tries that is quarantined; all others are delivered,
    those of its batch too; and nobody has tried it more often."""
    require("strace")
    with Scene(tmp_path) as scene:
        # Without workers first, so that the whole batch waits, the poison in its middle.
        scene.gateway = GatewayProcess(scene.config, options=["--roles", "receiver,console"])
        scene.gateway.start(ready=False)
        instances = list(make_instances(20, seed=9))
        JournalSender(scene.port, scene.journal, instances).run()
        wait_until(lambda: len(scene.gateway.ledger().instances) == 20, 30, "20 arrivals")
        poison = instances[10].sop_instance_uid
        assert scene.gateway.stop() == 0
        instance_id = scene.gateway.ledger().by_uid()[poison][0].instance_id
        [path] = scene.config.spool_dir.rglob(f"{instance_id}.dcm")
        words = Strace.command(
            tmp_path / "poison.trace", trace="openat", injections=[inject("openat", kill=True)], paths=[path]
        )
        scene.gateway = GatewayProcess(scene.config, wrapper=words)
        scene.gateway.start(ready=False)
        for name in scene.archives:
            scene.gateway.wait_delivered(19, name, 120)
        wait_until(lambda: state(scene, poison) == "quarantined", 120, lambda: f"it is {state(scene, poison)}")
        deaths = scene.gateway.log_lines(event="child_ended", child="worker-0", status="SIGKILL")
        assert len(deaths) == MOST_ATTEMPTS
        told = scene.gateway.log_lines(event="quarantined", instance_id=instance_id)
        assert [line["reason"] for line in told] == ["routing failed 5 times"]
        report = scene.judge().assert_clean()
        assert report.duplicates.total() == 0
        assert [one.sop_instance_uid for one in report.undelivered] == [poison]


def state(scene: Scene, uid: str) -> str:
    """The state of an instance in the ledger."""
    rows = scene.gateway.ledger().by_uid().get(uid, ())
    return rows[0].state if rows else "unknown"


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("role", ["forwarder", "receiver", "worker", "console"] if LONG else ["forwarder"])
def test_a_role_that_stands_still_is_replaced_and_the_others_go_on(tmp_path: Path, role: str) -> None:
    """The forwarder stops for good in the middle of a delivery; senders are served meanwhile; it is killed after its
    term, and what it held goes out: what was on its way twice, nothing else."""
    one_at_a_time = {"max_associations": 1}
    with Scene(tmp_path, archives=("pacs",), worker={"time": "1 s"}, destination_defaults=one_at_a_time) as scene:
        gateway = scene.gateway.start(timeout_s=READY_WITHIN_S)
        instances = list(make_instances(40, seed=4))
        JournalSender(scene.port, scene.journal, instances[:20]).run()
        gateway.wait_delivered(20, "pacs")
        scene.archives["pacs"].on_store = lambda facts: Behaviour(delay_s=0.1)
        JournalSender(scene.port, scene.journal, instances[20:30]).run()
        if role == "forwarder":
            wait_until(lambda: leased_deliveries(scene.config.ledger_source) > 0, 30, "deliveries under way")
        pid = gateway.kill_role(role, number=signal.SIGSTOP)
        wait_until(lambda: all_stopped(pid), 10, f"{role} to stand still")
        leased = leased_deliveries(scene.config.ledger_source)
        try:
            if role != "receiver":
                JournalSender(scene.port, scene.journal, instances[30:]).run(10)
            wait_until(lambda: not command_line(pid), 60, f"{role} to be killed")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if role == "receiver":
            JournalSender(scene.port, scene.journal, instances[30:]).run(60)
        gateway.wait_replaced(role, pid, timeout_s=READY_WITHIN_S)
        scene.settle()
        report = scene.judge().assert_clean(delivered=True)
        print(f"{role}: {leased} leased when it stood still; {report}")
        assert report.duplicates.total() <= (role == "forwarder")
        assert gateway.log_lines(event="child_hangs", child=f"{role}-0")
        assert gateway.stop() == 0
