"""Processes that somebody else took for dead: they end, are started again, and what they held is others'."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.model import Role
from gateway.spool import Spool, scan
from tests.faults.crash_kit import Load
from tests.faults.delivering_kit import Delivering
from tests.harness.data import make_instance
from tests.harness.ledgers import opened
from tests.harness.tools import wait_until
from tests.unit.spool_kit import make_intake, make_meta, store


@pytest.mark.timeout(300)
def test_a_process_whose_session_was_voided_ends_and_another_takes_its_place(tmp_path: Path) -> None:
    with Delivering(tmp_path, ["pacs", "dr"]) as scene:
        scene.start()
        load = Load(scene, associations=2, round_size=10).start()
        leased = 0
        for role in (Role.RECEIVER, Role.WORKER, Role.FORWARDER, Role.CONSOLE):
            load.wait_acknowledged(load.acknowledged + 20)
            pid = scene.gateway.pid_of(role)
            with opened(scene.config.ledger_source) as ledger:
                (its,) = [row.session_id for row in ledger.processes() if row.role is role]
                voided = ledger.void_session(its, 1)
                assert voided is not None
                leased += voided.deliveries
            scene.gateway.wait_replaced(role, pid)
            wait_until(
                lambda role=role: [
                    said for said in scene.gateway.log_lines(event="session_voided") if said["process"] == f"{role}-0"
                ],
                10,
                "it to say why",
            )
            scene.gateway.wait_ready()
        load.stop()
        scene.judge_all_delivered()
        assert sum(archive.duplicates() for archive in scene.archives.values()) <= leased


@pytest.mark.timeout(300)
def test_what_a_host_that_is_gone_has_left_is_adopted_delivered_and_served_by_another(tmp_path: Path) -> None:
    """The other host is a receiver's and a forwarder's session of another state folder, and what lies in the spool."""
    with Delivering(tmp_path, ["pacs", "dr"]) as scene:
        scene.start()
        one = make_instance(Modality="CT")
        with opened(scene.config.ledger_source) as ledger:
            now_ms = time.time_ns() // 1_000_000
            generation = f"{now_ms:012x}-0badcafe"
            ledger.open_session(Role.RECEIVER, "host-b", 1, now_ms, generation, "b" * 32)
            forwarder = ledger.open_session(Role.FORWARDER, "host-b", 2, now_ms, "", "b" * 32)
            (served,) = [row for row in ledger.processes() if row.destinations]
            ledger.ask_for_destinations(forwarder, served.destinations)
            intake = make_intake(Spool(scene.config.spool_dir, 0, 0), generation, 2)
            meta = make_meta(sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
            store(intake, one.data, meta._replace(transfer_syntax_uid=one.transfer_syntax_uid))
            wait_until(
                lambda: {row.host for row in ledger.processes() if row.destinations} == {"host-b"}, 30, "a handover"
            )
        scene.gateway.wait_delivered(1, "pacs", 90)
        scene.gateway.wait_delivered(1, "dr", 30)
        assert {said["role"] for said in scene.gateway.log_lines(event="taken_for_dead", host="host-b")} == {
            "receiver",
            "forwarder",
        }
        assert scene.gateway.metric("gateway_sessions_voided_total") == 2
        assert scene.archive("pacs").stored(one.sop_instance_uid)
        incomplete = [found for found in scan(Spool(scene.config.spool_dir, 0, 0)) if found.generation == generation]
        assert incomplete, "it may live: what it has not finished stays"
