"""Every process that writes the ledger dies in the middle of its commits, at each boundary of one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.faults.crash_kit import LONG, READY_WITHIN_S, Load, Scene, scaled
from tests.harness.backends import about_sqlite
from tests.harness.gatewayprocess import GatewayProcess, command_line
from tests.harness.strace import Strace, inject
from tests.harness.tools import require, wait_until

pytestmark = about_sqlite

KILLS_A_SUPERVISOR = 4  # then the gateway is started anew: the backoff doubles with every death of a child
ROLES = ("receiver", "worker", "forwarder", "console")


def boundaries() -> list[tuple[str, str, int]]:
    """(role, system call on the ledger's files, n-th) at which it dies.

    A commit is a pair of writes for each page of the log. The console flushes too: before it lets files be unlinked,
    and around its checkpoints.
    """
    if LONG:
        writes = [(role, "pwrite64", number) for number in range(1, 41) for role in ROLES]
        return writes + [("console", "fdatasync", number) for number in range(1, 21)]
    writes = [(role, "pwrite64", number) for number in (1, 4) for role in ROLES]
    return [*writes, ("console", "fdatasync", 1), ("console", "fdatasync", 2)]


def ledger_files(scene: Scene) -> list[Path]:
    """The files of the ledger, those of one that is being made among them."""
    path = scene.config.ledger_path
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", ".new", ".new-journal")]


@pytest.mark.chaos
@pytest.mark.timeout(scaled(600, 7200))
def test_a_role_killed_at_any_write_or_flush_of_a_commit_loses_nothing(tmp_path: Path) -> None:
    """The ledger is whole after each, and what was told, stored and sent still agree."""
    require("strace")
    with Scene(tmp_path) as scene:
        gateway = scene.gateway.start(timeout_s=READY_WITHIN_S)
        with Load(scene, pause_s=0.2) as load:
            for number, (role, call, nth) in enumerate(boundaries()):
                if number and number % KILLS_A_SUPERVISOR == 0:
                    gateway.kill()
                    gateway.start(timeout_s=READY_WITHIN_S)
                pid = gateway.pid_of(role)
                trace = tmp_path / f"{number}.trace"
                strace = Strace.attach(
                    pid, trace, injections=[inject(call, kill=True, when=nth)], paths=ledger_files(scene)
                )
                try:
                    wait_until(lambda pid=pid: not command_line(pid), 60, f"{role} to die of {call} {nth}")
                finally:
                    strace.detach()
                gateway.wait_replaced(role, pid, timeout_s=READY_WITHIN_S)
                gateway.wait_ready(READY_WITHIN_S)
            load.wait_acknowledged(load.acknowledged + 20)
        scene.settle()
        report = scene.judge().assert_clean(delivered=True)
        print(f"{number + 1} kills in commits; {report}")
        assert gateway.stop() == 0
        assert scene.ledger_problems() == []


@pytest.mark.chaos
@pytest.mark.timeout(scaled(600, 7200))
def test_a_start_killed_at_any_write_of_the_ledger_is_made_up_for_by_the_next(tmp_path: Path) -> None:
    """Killed while it makes its first ledger, or voids and adopts what a crash left, the gateway starts again."""
    require("strace")
    with Scene(tmp_path) as scene:
        struck = _strike_starts(scene, range(1, 200) if LONG else (1, 9, 27))
        assert not scene.config.spool_dir.exists() or scene.orphans() == []
        gateway = scene.gateway.start(timeout_s=READY_WITHIN_S)
        with Load(scene, pause_s=0.0) as load:
            load.wait_acknowledged(60)
            gateway.kill_all()
            later = _strike_starts(scene, range(1, 200) if LONG else (1, 4, 9))
            gateway.start(timeout_s=READY_WITHIN_S)
            load.wait_acknowledged(load.acknowledged + 20)
        scene.settle()
        report = scene.judge().assert_clean(delivered=True)
        print(f"first start killed at {struck} writes, a later one at {later}; {report}")
        assert struck and later
        assert gateway.stop() == 0
        assert scene.ledger_problems() == []


def _strike_starts(scene: Scene, numbers: Iterable[int]) -> list[int]:
    """Start the gateway so that it dies at the n-th write of the ledger, for each n until a start outlives it."""
    struck = []
    for number in numbers:
        if not _dies_at(scene, number):
            break
        struck.append(number)
    return struck


def _dies_at(scene: Scene, number: int) -> bool:
    words = Strace.command(
        scene.folder / f"start-{number}.trace",
        injections=[inject("pwrite64", kill=True, when=number)],
        trace="pwrite64",
        paths=ledger_files(scene),
    )
    gateway = GatewayProcess(scene.config, wrapper=words)
    started = gateway.log().count('"gateway_started"')
    try:
        process = gateway.start(ready=False).process
        assert process is not None
        wait_until(
            lambda: not process.running or gateway.log().count('"gateway_started"') > started,
            60,
            "the start to die or to succeed",
        )
        return not process.running
    finally:
        gateway.close()
