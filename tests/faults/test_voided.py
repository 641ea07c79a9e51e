"""Processes that somebody else took for dead: they end, are started again, and what they held is others'."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from gateway.ledger.sqlite import SqliteLedger
from gateway.model import Role
from tests.faults.crash_kit import Load
from tests.faults.delivering_kit import Delivering
from tests.harness.tools import wait_until


@pytest.mark.timeout(300)
def test_a_process_whose_session_was_voided_ends_and_another_takes_its_place(tmp_path: Path) -> None:
    with Delivering(tmp_path, ["pacs", "dr"]) as scene:
        scene.start()
        load = Load(scene, associations=2, round_size=10).start()
        for role in (Role.RECEIVER, Role.WORKER, Role.FORWARDER, Role.CONSOLE):
            load.wait_acknowledged(load.acknowledged + 20)
            pid = scene.gateway.pid_of(role)
            with contextlib.closing(SqliteLedger.open(scene.config.ledger_path, create=False)) as ledger:
                (its,) = [row.session_id for row in ledger.processes() if row.role is role]
                ledger.void_session(its, 1)
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
        in_flight = 4  # associations to two archives
        scene.judge_all_delivered()
        assert sum(archive.duplicates() for archive in scene.archives.values()) <= 2 * in_flight
