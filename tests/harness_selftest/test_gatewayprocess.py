"""The gateway as a child: a configuration that loads, roles found and killed by pid, nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import load
from tests.harness.archive import OurArchive
from tests.harness.checker import Evidence, check
from tests.harness.data import make_instances
from tests.harness.gatewayprocess import (
    ROLES,
    GatewayConfig,
    GatewayProcess,
    all_stopped,
    command_line,
    send_everything_to,
)
from tests.harness.sender import Journal, JournalSender
from tests.harness.strace import FLUSHES_IN_THREADS, SYNC_CALLS, Strace, inject
from tests.harness.tools import require, wait_until


def test_the_configuration_loads_and_is_changed_key_by_key(tmp_path: Path) -> None:
    config = GatewayConfig(
        tmp_path,
        {"pacs": 11113, "dr": {"port": 11114, "max_associations": 2}},
        spool={"min_free": "1 MiB"},
        destination_defaults={"attempts": 2},
        listeners={"main": {"ae_titles": ["GATEWAY"]}},
        sources={"ct1": {"ae_titles": ["CT1"]}},
    )
    loaded = load(config.write(), {})
    assert loaded.listeners["main"].port == config.port
    assert loaded.listeners["main"].ae_titles == ("GATEWAY",)
    assert loaded.spool.min_free_bytes == 1 << 20
    assert loaded.spool.dir == config.spool_dir
    assert loaded.destinations["dr"].max_associations == 2
    assert loaded.destinations["pacs"].attempts == 2
    assert loaded.destinations["pacs"].retry_min_s == 0.2
    assert set(loaded.sources) == {"loopback", "ct1"}
    assert [path.name for path in config.rules_dir.iterdir()] == ["10-all.yaml"]
    config.rules = {"20-other.yaml": send_everything_to(["dr"])}
    config.write()
    assert [path.name for path in config.rules_dir.iterdir()] == ["20-other.yaml"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[GatewayProcess, OurArchive]]:
    with OurArchive() as archive:
        gateway = GatewayProcess(GatewayConfig(tmp_path, {"pacs": archive.port}))
        try:
            yield gateway.start(watch=True), archive
        finally:
            gateway.close()


def test_instances_go_through_roles_die_and_nothing_is_lost(
    running: tuple[GatewayProcess, OurArchive], tmp_path: Path
) -> None:
    gateway, archive = running
    assert set(gateway.roles()) == set(ROLES)
    assert gateway.supervisor_pid() == gateway.process.pid  # type: ignore[union-attr]
    instances = list(make_instances(300, pixel_bytes=4000))
    with Journal(tmp_path / "journal.jsonl") as journal:
        sender = JournalSender(gateway.config.port, journal, instances, associations=3).start()
        wait_until(lambda: sender.acknowledged > 50, 30)
        for role in ROLES:
            old = gateway.kill_role(role)
            new = gateway.wait_replaced(role, old)
            assert new != old
            assert "_role" in command_line(new)
        sender.join(60)
    wait_until(lambda: len(archive.contents()) == 300, 60, lambda: f"{archive.count} arrived\n{gateway.log()[-2000:]}")
    gateway.wait_ready()
    gateway.wait_idle()
    assert gateway.metric("gateway_instances_received_total", source="loopback") > 0
    assert gateway.log_lines()
    evidence = Evidence(
        [journal.path],
        spool_dir=gateway.config.spool_dir,
        ledger=gateway.ledger(),
        archives={"pacs": archive.contents()},
        routing=lambda uid: ["pacs"],
        sinks=gateway.sinks,
    )
    check(evidence).assert_clean(delivered=True)
    family = [gateway.process.pid, *gateway.pids()]  # type: ignore[union-attr]
    assert gateway.stop() == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in family)


def test_a_role_is_traced_and_a_failing_flush_is_told_to_the_sender(
    running: tuple[GatewayProcess, OurArchive], tmp_path: Path
) -> None:
    require("strace")
    gateway, archive = running
    first, second = make_instances(2, pixel_bytes=4000)
    failing = [FLUSHES_IN_THREADS, inject(SYNC_CALLS[:3], error="EIO")]
    with Journal(tmp_path / "journal.jsonl") as journal:
        with Strace.attach(gateway.pid_of("receiver"), tmp_path / "trace", injections=failing) as strace:
            refused = JournalSender(gateway.config.port, journal, [first], until_success=False).run()
        assert dict(refused.statuses) == {0xA700: 1}
        assert any(call.injected for call in strace.calls())
        taken = JournalSender(gateway.config.port, journal, [second], until_success=False).run()
        assert dict(taken.statuses) == {0: 1}
    gateway.wait_delivered(1, "pacs")
    assert archive.contents() == {second.sop_instance_uid: [second.sha256]}


def test_a_frozen_role_runs_on_and_a_killed_supervisor_takes_all_with_it(
    running: tuple[GatewayProcess, OurArchive],
) -> None:
    gateway, _ = running
    with gateway.frozen("worker") as pid:
        assert all_stopped(pid)
    wait_until(lambda: not all_stopped(pid))
    family = gateway.pids()
    gateway.kill()
    assert gateway.process is not None
    assert gateway.process.returncode == -signal.SIGKILL
    assert not any(command_line(pid) for pid in family)
    gateway.start()
    assert gateway.readiness()[0] == 200
