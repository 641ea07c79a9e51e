"""Twenty senders at once: nobody is starved, nobody is held up by one that stands still, and what they cause is
batched: fewer flushes and fewer ledger commits an instance than one sender alone causes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.archive import OurArchive
from tests.harness.data import Instance, make_instance, make_instances
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.machine import LoopExt4
from tests.harness.rawpeer import RawScu
from tests.harness.sender import Journal, JournalSender, read_journal
from tests.harness.tools import require, wait_until
from tests.load.load_kit import batching, device_flushes

SENDERS = 20
EACH = 40


@pytest.fixture
def archive() -> Iterator[OurArchive]:
    with OurArchive() as archive:
        yield archive


@pytest.fixture
def gateway(tmp_path: Path, archive: OurArchive) -> Iterator[GatewayProcess]:
    config = GatewayConfig(tmp_path / "gateway", {"archive": archive.port})
    config.document["listeners"]["main"]["progress_timeout"] = "10 min"
    with GatewayProcess(config) as gateway:
        yield gateway


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal") as journal:
        yield journal


def start_senders(port: int, journal: Journal, count: int, each: int, seed: int = 1) -> list[JournalSender]:
    """Senders `S0`, `S1`… with an association and instances of their own."""
    return [
        JournalSender(
            port, journal, list(make_instances(each, seed=seed * 100 + number)), calling=f"S{number}", timeout_s=120
        ).start()
        for number in range(count)
    ]


def test_each_of_twenty_senders_makes_progress(gateway: GatewayProcess, archive: OurArchive, journal: Journal) -> None:
    """When the fastest sender has its last acknowledgement, the slowest has a tenth of its own at least."""
    for sender in start_senders(gateway.config.port, journal, SENDERS, EACH):
        sender.join(120)
        assert sender.statuses == {0: EACH}
    done: Counter[str] = Counter()
    for told in sorted(read_journal(journal.path), key=lambda told: told.at_s):
        done[told.sender] += told.acknowledged
        if done[told.sender] == EACH:
            break
    assert len(done) == SENDERS
    assert min(done.values()) >= EACH // 10, done
    gateway.wait_delivered(SENDERS * EACH, "archive", timeout_s=120)
    assert archive.count == SENDERS * EACH


def test_a_sender_that_stands_still_inside_an_object_holds_up_nobody(
    gateway: GatewayProcess, archive: OurArchive, journal: Journal
) -> None:
    """Nineteen are through while the twentieth is in the middle of its object; then it goes on, and is acknowledged."""
    slow = make_instance(seed=99, pixel_bytes=512 * 1024)
    go_on, half_way = threading.Event(), threading.Event()
    status: list[int] = []
    thread = threading.Thread(
        target=lambda: status.append(send_in_two_parts(slow, gateway.config.port, half_way, go_on)), daemon=True
    )
    thread.start()
    try:
        assert half_way.wait(60)
        for sender in start_senders(gateway.config.port, journal, SENDERS - 1, EACH // 2):
            sender.join(120)
            assert sender.statuses == {0: EACH // 2}
        gateway.wait_delivered((SENDERS - 1) * EACH // 2, "archive", timeout_s=120)
        assert not archive.stored(slow.sop_instance_uid)
    finally:
        go_on.set()
        thread.join(60)
    assert status == [0]
    wait_until(lambda: archive.stored(slow.sop_instance_uid), 60, "the slow sender's instance at the archive")
    assert archive.contents()[slow.sop_instance_uid] == [slow.sha256]


def send_in_two_parts(instance: Instance, port: int, half_way: threading.Event, go_on: threading.Event) -> int:
    """C-STORE with a pause in the middle of the data set; the status."""

    def pieces() -> Iterator[bytes]:
        middle = len(instance.data) // 2
        yield instance.data[:middle]
        half_way.set()
        assert go_on.wait(300)
        yield instance.data[middle:]

    with RawScu(port, timeout_s=120) as scu:
        scu.associate([(instance.sop_class_uid, instance.transfer_syntax_uid)], calling="SLOW")
        status = scu.recv_store_status(
            scu.send_store_stream(1, instance.sop_class_uid, instance.sop_instance_uid, pieces())
        )
        scu.release()
    return status


def test_flushes_and_commits_an_instance_fall_as_senders_rise(tmp_path: Path, archive: OurArchive) -> None:
    """Of the spool's own disk the kernel counts fewer flushes for 4 senders than for 1, and fewer still for 20; the
    metrics listener likewise of commits. Tried again where others keep the machine from running them at once.
    """
    require("loop")
    with LoopExt4(tmp_path / "disk") as disk, Journal(tmp_path / "journal") as journal:
        config = GatewayConfig(tmp_path / "gateway", {"archive": archive.port}, spool={"dir": str(disk.path / "spool")})
        with GatewayProcess(config) as gateway:
            told: list[str] = []

            def falls() -> bool:
                series = [
                    measure(gateway, journal, disk.path, senders, each, len(told))
                    for senders, each in ((1, 200), (4, 75), (20, 25))
                ]
                flushes, commits = zip(*series, strict=True)
                told.append(f"1, 4, 20 senders: flushes an instance {flushes}, commits an instance {commits}")
                return all(one[1] < 0.9 * one[0] and one[2] < 0.8 * one[1] for one in (flushes, commits))

            wait_until(falls, 90, lambda: "\n".join(told))


def measure(
    gateway: GatewayProcess, journal: Journal, disk: Path, senders: int, each: int, turn: int
) -> tuple[float, float]:
    """Flushes and commits an instance of `senders` × `each` small ones, all flushed, recorded and delivered."""
    before, flushes = batching(gateway), device_flushes(disk)
    for sender in start_senders(gateway.config.port, journal, senders, each, seed=100 * turn + senders):
        sender.join(120)
    flushes = device_flushes(disk) - flushes
    gateway.wait_idle(120)
    counted = batching(gateway) - before
    assert counted.flushed == senders * each
    return flushes / counted.flushed, counted.commits_an_instance
