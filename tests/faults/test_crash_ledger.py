"""The ledger is deleted or damaged: intake stops, nothing is sent again unasked, the spool gives all back."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.crash_kit import LONG, READY_WITHIN_S, Scene, scaled
from tests.harness.backends import about_sqlite
from tests.harness.data import make_instances
from tests.harness.sender import JournalSender
from tests.harness.strace import Strace, inject, kill_points, read_trace
from tests.harness.tools import listening, require, run, wait_until

pytestmark = about_sqlite

OUT_OF_RESOURCES = 0xA700
FILES = ("", "-wal", "-shm")


def delete(ledger: Path) -> None:
    for suffix in FILES:
        ledger.with_name(ledger.name + suffix).unlink(missing_ok=True)


def corrupt_pages(ledger: Path) -> None:
    """Random bytes over every page but the first, and over what the write-ahead log has of them."""
    for path, spared in ((ledger, 4096), (ledger.with_name(ledger.name + "-wal"), 32)):
        size = path.stat().st_size if path.exists() else 0
        if size > spared:
            with path.open("r+b") as file:
                file.seek(spared)
                file.write(random.Random(3).randbytes(size - spared))


def corrupt_one_page(ledger: Path) -> None:
    """One page in the middle: a tree that a start need not touch."""
    with ledger.open("r+b") as file:
        pages = os.fstat(file.fileno()).st_size // 4096
        file.seek(pages // 2 * 4096)
        file.write(random.Random(3).randbytes(4096))


def corrupt_first_page(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        file.write(random.Random(3).randbytes(4096))


def empty(ledger: Path) -> None:
    os.truncate(ledger, 0)


Harm = Callable[[Path], None]


def with_backlog(scene: Scene, count: int) -> None:
    """Have the gateway acknowledge so many instances: two archives have them all, the third is away."""
    scene.archives["vna"].stop()
    scene.gateway.start(timeout_s=READY_WITHIN_S)
    JournalSender(scene.port, scene.journal, make_instances(count, seed=5), associations=2).run()
    for name in ("pacs", "dr"):
        scene.gateway.wait_delivered(count, name)


def refuses_to_start(scene: Scene) -> str:
    """What it says; nobody can send meanwhile."""
    before = len(scene.gateway.log())
    process = scene.gateway.start(ready=False).process
    assert process is not None
    assert process.wait(30) != 0
    assert not listening(scene.port)
    said = scene.gateway.log()[before:]
    assert "gateway recover" in said, said[-2000:]
    return said


def recovers_everything(scene: Scene, count: int) -> None:
    """Recover, start, look that nothing moves, release, and have everything everywhere."""
    done = scene.gateway.cli("recover", "--json").check()
    assert json.loads(done.stdout)["recovered"] == count, done.output
    sent = {name: archive.count for name, archive in scene.archives.items()}
    scene.archives["vna"].start()
    scene.gateway.start(timeout_s=READY_WITHIN_S)
    # One that comes now goes its way past those that are held: so whatever moves had the time to.
    JournalSender(scene.port, scene.journal, make_instances(1, seed=6)).run()
    for name in scene.archives:
        scene.gateway.wait_delivered(1, name)
    assert {name: archive.count - 1 for name, archive in scene.archives.items()} == sent
    held = [row for row in scene.gateway.ledger().instances.values() if row.state == "held"]
    assert len(held) == count
    scene.judge(count_arrivals=False).assert_clean()
    scene.gateway.cli("release", "--state", "held", "--yes").check()
    scene.settle()
    report = scene.judge(count_arrivals=False).assert_clean(delivered=True)
    print(f"{count} recovered; {report}")
    assert scene.gateway.stop() == 0
    assert scene.ledger_problems() == []


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("harm", [corrupt_one_page, *((delete, corrupt_first_page, empty) if LONG else ())])
def test_a_ledger_lost_while_stopped_keeps_the_gateway_from_starting_until_it_is_recovered(
    tmp_path: Path, harm: Harm
) -> None:
    """The start says what is wrong and names `gateway recover`, which finds every instance of the spool; they are
    held, and are sent after a release, not before."""
    with Scene(tmp_path, archives=("pacs", "dr", "vna")) as scene:
        with_backlog(scene, 60)
        assert scene.gateway.stop() == 0
        harm(scene.config.ledger_path)
        refuses_to_start(scene)
        recovers_everything(scene, 60)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("harm", [delete, *((corrupt_pages,) if LONG else ())])
def test_a_ledger_lost_while_running_closes_intake(tmp_path: Path, harm: Harm) -> None:
    """Senders are refused with 0xA700 and /readyz says why; what was acknowledged until then is all recovered."""
    with Scene(tmp_path, archives=("pacs", "dr", "vna")) as scene:
        with_backlog(scene, 60)
        harm(scene.config.ledger_path)
        acknowledged = 60 + send_until_refused(scene)
        wait_until(lambda: scene.gateway.readiness()[0] == 503, 30, "the host not to be ready")
        # The receiver itself notices soon that it cannot count its heartbeat. It stays, and refuses.
        wait_until(lambda: "intake_closed" in scene.gateway.readiness()[1], 30, "the receiver to say so")
        beats = {"process": "receiver-0", "event": "beat_not_counted"}
        wait_until(lambda: scene.gateway.log_lines(**beats), 30, "a heartbeat that is not counted")
        assert send_one(scene, 10_000) == OUT_OF_RESOURCES, "intake opened again"
        scene.gateway.stop()
        refuses_to_start(scene)
        recovers_everything(scene, acknowledged)


def send_until_refused(scene: Scene) -> int:
    """Send instances until one is refused; how many were acknowledged before."""
    for number in range(200):
        if send_one(scene, number) != 0:
            return number
    raise AssertionError("intake goes on without a ledger")


def send_one(scene: Scene, number: int) -> int:
    """The status of one instance; 0xA700 too when the association is rejected for now."""
    one = make_instances(1, seed=100 + number)
    sender = JournalSender(scene.port, scene.journal, one, until_success=False, tries=1)
    sender.start()
    wait_until(lambda: sender.done or any("Rejected" in text for text in sender.problems), 60, "an answer")
    sender.stop()
    status = next(iter(sender.statuses), OUT_OF_RESOURCES)
    assert status in (0, OUT_OF_RESOURCES), f"{status} {sender.problems}"
    return status


@pytest.mark.chaos
@pytest.mark.timeout(scaled(600, 3600))
def test_a_recovery_killed_half_way_is_no_ledger(tmp_path: Path) -> None:
    """`gateway recover` is killed at one write after another: no start takes what it left for a ledger and sends all
    the spool again; and the recovery that is not killed finds everything."""
    require("strace")
    with Scene(tmp_path, archives=("pacs", "dr", "vna")) as scene:
        with_backlog(scene, 30)
        assert scene.gateway.stop() == 0
        trace = tmp_path / "recover.trace"
        run(Strace.command(trace, recovery(scene), trace=CALLS), 60, cwd=scene.folder, env=scene.gateway.env).check()
        points = kill_points(read_trace(trace))
        moves = [point for point in points if point[0] == "rename"]
        writes = [point for point in points if point[0] != "rename"]
        assert moves and len(writes) > 8
        for number, (name, nth) in enumerate(moves + writes[:: scaled(len(writes) // 6, 1)]):
            if scene.config.ledger_path.exists():
                corrupt_first_page(scene.config.ledger_path)
            words = Strace.command(
                tmp_path / f"recover-{number}.trace", recovery(scene), injections=[inject(name, kill=True, when=nth)]
            )
            assert run(words, 60, cwd=scene.folder, env=scene.gateway.env).returncode != 0, f"{name} {nth}"
            left = scene.gateway.ledger()
            held = [row for row in left.instances.values() if row.state == "held"]
            assert left.problem or len(held) == 30, f"killed at {name} {nth}, it left a ledger with {len(held)}"
        print(f"{number + 1} recoveries killed")
        if scene.config.ledger_path.exists():
            corrupt_first_page(scene.config.ledger_path)
        refuses_to_start(scene)
        recovers_everything(scene, 30)


WRITES = ("pwrite64", "fdatasync", "fsync")
CALLS = (*WRITES, "rename", "unlink", "ftruncate")


def recovery(scene: Scene) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "gateway", "recover", "--config", str(scene.config.path)]
