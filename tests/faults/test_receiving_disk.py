"""The disk below the receiver fails, stalls, fills up or turns read-only: nobody is told Success who must not be."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.receiving_kit import LONG, OUT_OF_RESOURCES, Scene, scene
from tests.harness.archive import Behaviour, OurArchive
from tests.harness.backends import LEDGER
from tests.harness.data import make_instance, make_instances
from tests.harness.machine import LoopExt4, Tmpfs
from tests.harness.strace import FLUSHES_IN_THREADS, SYNC_CALLS, Call, Strace, inject
from tests.harness.tools import program, require, run, wait_until

FLUSHES = SYNC_CALLS[:3]
MIB = 1 << 20
POOL = 8
STALL_S = 10.0 if LONG else 3.0


@pytest.fixture(scope="module")
def on_ext4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway whose spool is an ext4 of its own, its ledger elsewhere."""
    require("loop", "strace")
    folder = tmp_path_factory.mktemp("ext4")
    with (
        LoopExt4(folder / "disk", 128 * MIB) as disk,
        scene(
            folder / "gateway", spool={"dir": str(disk.path / "spool"), "min_free": "4 MiB", "pool_size": POOL}
        ) as found,
    ):
        yield found


def descriptor(call: Call) -> str:
    """The descriptor that a system call works on."""
    match = re.search(rf"{call.name}\((\d+)", call.line)
    assert match, call.line
    return match.group(1)


def flushed_again(calls: list[Call]) -> list[Call]:
    """Flushes of a descriptor whose flush had failed, with no close in between."""
    failed: set[str] = set()
    again = []
    for call in calls:
        if call.name == "close":
            failed.discard(descriptor(call))
        elif call.name in ("fsync", "fdatasync"):
            if descriptor(call) in failed:
                again.append(call)
            if call.injected:
                failed.add(descriptor(call))
    return again


@pytest.mark.parametrize("associations", [1, 6])
def test_a_flush_that_fails_is_refused_and_the_descriptor_is_not_flushed_again(
    on_ext4: Scene, tmp_path: Path, associations: int
) -> None:
    """EIO from fdatasync: 0xA700 for each, no file left, and then all is well."""
    instances = list(make_instances(6, pixel_bytes=4000, seed=10 + associations))
    trace = tmp_path / "trace"
    failing = [FLUSHES_IN_THREADS, inject(FLUSHES, error="EIO")]
    with Strace.attach(on_ext4.receiver(), trace, trace=[*FLUSHES, "close"], injections=failing) as strace:
        refused = on_ext4.send(instances, associations=associations, pause_s=0)
        calls = strace.calls()
    assert dict(refused.statuses) == {OUT_OF_RESOURCES: 6}
    assert sum(call.injected for call in calls) >= 1
    assert not flushed_again(calls)
    on_ext4.wait_no_files(5)
    taken = on_ext4.send(instances, associations=associations, until_success=True)  # the pool is filled again first
    assert taken.statuses[0] == 6
    on_ext4.judge()


def test_without_a_durable_folder_no_name_in_it_is_given_out(on_ext4: Scene, tmp_path: Path) -> None:
    """EIO from fsync alone, which flushes the pool's folders: what was pooled before is used up, then 0xA700."""
    instances = list(make_instances(3 * POOL, pixel_bytes=3000, seed=20))
    failing = [inject("fsync", error="EIO")]
    with Strace.attach(on_ext4.receiver(), tmp_path / "trace", trace=["fsync", "close"], injections=failing) as strace:
        first = on_ext4.send(instances)
        calls = strace.calls()
    assert 1 <= first.statuses[0] <= 2 * POOL, "what was pooled before the fault"
    assert first.statuses[OUT_OF_RESOURCES] == len(instances) - first.statuses[0]
    assert any(call.injected for call in calls)
    assert not flushed_again(calls)
    again = on_ext4.send(instances, until_success=True)
    assert again.statuses[0] == len(instances)
    on_ext4.judge()


def test_while_the_pool_is_empty_who_sends_waits_and_nobody_is_refused(on_ext4: Scene, tmp_path: Path) -> None:
    """The folders of the pool take their time to become durable: more is sent than was pooled, and all is taken."""
    instances = list(make_instances(4 * POOL, pixel_bytes=3000, seed=25))
    stalling = [inject("fsync", delay_enter_s=1.0)]
    with Strace.attach(on_ext4.receiver(), tmp_path / "trace", trace=["fsync"], injections=stalling):
        sender = on_ext4.sender(instances, associations=4, timeout_s=60).start()
        wait_until(
            lambda: sender.acknowledged > POOL or sender.statuses[OUT_OF_RESOURCES], 30, "the pool to be used up"
        )
        assert on_ext4.serves()
        sender.join(60)
    assert dict(sender.statuses) == {0: len(instances)}
    on_ext4.judge()


@pytest.mark.chaos
def test_while_a_flush_stalls_its_sender_is_told_nothing_and_others_are_served(on_ext4: Scene, tmp_path: Path) -> None:
    """The answer comes after the stall, never before; an echo on another association is answered meanwhile."""
    instance = make_instance(pixel_bytes=4000, seed=30)
    stalling = [FLUSHES_IN_THREADS, inject(FLUSHES, delay_enter_s=STALL_S)]
    with Strace.attach(on_ext4.receiver(), tmp_path / "trace", injections=stalling) as strace:
        begun = time.monotonic()
        sender = on_ext4.sender([instance], timeout_s=60).start()
        wait_until(lambda: strace.out.exists() and "fdatasync" in strace.out.read_text(), 30, "the flush to begin")
        assert on_ext4.serves()
        assert not sender.done, "answered although the flush had not returned"
        sender.join(60)
        took = time.monotonic() - begun
    assert dict(sender.statuses) == {0: 1}
    assert took >= STALL_S
    on_ext4.judge()


def test_a_gateway_that_dies_during_a_stalled_flush_has_promised_nothing(on_ext4: Scene, tmp_path: Path) -> None:
    """The sender gets no answer, sends again to the next gateway, and the archive has the instance."""
    instance = make_instance(pixel_bytes=4000, seed=31)
    stalling = [FLUSHES_IN_THREADS, inject(FLUSHES, delay_enter_s=STALL_S)]
    with Strace.attach(on_ext4.receiver(), tmp_path / "trace", injections=stalling) as strace:
        sender = on_ext4.sender([instance], timeout_s=60, until_success=True).start()
        wait_until(lambda: strace.out.exists() and "fdatasync" in strace.out.read_text(), 30, "the flush to begin")
        old = on_ext4.gateway.kill_role("receiver")
    on_ext4.gateway.wait_replaced("receiver", old)
    sender.join(60)
    assert sender.statuses[None] == 1
    assert sender.statuses[0] == 1
    on_ext4.gateway.wait_ready()
    on_ext4.judge()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Scene, Tmpfs]]:
    """A gateway whose spool is a tmpfs of 32 MiB and 2,000 inodes; the watermark is as low as it goes."""
    with (
        Tmpfs(tmp_path / "disk", 32 * MIB, 2000) as disk,
        scene(
            tmp_path / "gateway",
            spool={"dir": str(disk.path / "spool"), "min_free": "0 B", "ballast": "1 MiB", "pool_size": POOL},
        ) as found,
    ):
        yield found, disk


def test_an_object_that_fills_the_disk_is_refused_and_its_part_removed(small_disk: tuple[Scene, Tmpfs]) -> None:
    """ENOSPC in the middle of 48 MiB on a disk of 32: 0xA700, the room is back, and the next object is taken.

    Then the disk is full of other things, and has no inode left: refused both times, and taken again after.
    """
    found, disk = small_disk
    before = disk.free_bytes()
    too_large = make_instance(pixel_bytes=48 * MIB, seed=40)
    assert dict(found.send([too_large]).statuses) == {OUT_OF_RESOURCES: 1}
    found.wait_no_files(5)
    wait_until(lambda: disk.free_bytes() >= before - MIB, 20, "the room to be free again")
    small = list(make_instances(4, pixel_bytes=200_000, seed=41))
    assert dict(found.send(small[:1]).statuses) == {0: 1}
    found.gateway.wait_idle()

    filler = disk.fill()
    assert dict(found.send(small[1:2]).statuses) == {OUT_OF_RESOURCES: 1}
    filler.unlink()
    assert found.send(small[1:2], until_success=True).statuses[0] == 1

    inodes = disk.use_up_inodes(leave=2)
    wait_until(lambda: "spool_low" in found.gateway.readiness()[1], 10, "readyz to tell")
    more = make_instances(10, pixel_bytes=1000, seed=42)  # the room is looked at ten times a second
    wait_until(lambda: found.send([next(more)]).statuses[OUT_OF_RESOURCES], 10, "a refusal")
    for path in inodes:
        path.unlink()
    assert found.send(small[2:], until_success=True).statuses[0] == 2
    found.gateway.wait_ready(10)
    found.judge()


@pytest.mark.skipif(LEDGER != "sqlite", reason="a shared spool has journals in it, which stay open for writing")
def test_a_read_only_disk_refuses_is_not_ready_and_recovers(small_disk: tuple[Scene, Tmpfs]) -> None:
    """0xA700 while it is read-only, /readyz says 503; after the remount the same sender gets Success."""
    found, disk = small_disk
    instances = list(make_instances(2, pixel_bytes=100_000, seed=50))
    assert dict(found.send(instances[:1]).statuses) == {0: 1}
    found.gateway.wait_idle()
    remount(disk, "ro")
    try:
        assert dict(found.send(instances[1:]).statuses) == {OUT_OF_RESOURCES: 1}
        wait_until(lambda: found.gateway.readiness()[0] == 503, 10, lambda: f"503: {found.gateway.readiness()}")
    finally:
        remount(disk, "rw")
    assert found.send(instances[1:], until_success=True).statuses[0] == 1
    found.gateway.wait_ready(10)
    found.judge()


def remount(disk: Tmpfs, mode: str) -> None:
    """Make the file system read-only, or writable again; waits for files that are open for writing."""

    def done() -> bool:
        return run([program("mount"), "-o", f"remount,{mode}", disk.path]).returncode == 0

    wait_until(done, 20, f"the remount ({mode})", interval_s=0.1)


def test_below_the_watermark_intake_refuses_while_forwarding_drains(tmp_path: Path) -> None:
    """The archive answers nothing at first, so the spool fills to the watermark: 0xA700, /readyz names spool_low.

    Then it answers: all that was acknowledged arrives while new instances are still refused, and intake opens again.
    """
    answering = threading.Event()
    archive = OurArchive(on_store=lambda facts: Behaviour(wait_for=answering))
    with (
        Tmpfs(tmp_path / "disk", 48 * MIB) as disk,
        scene(
            tmp_path / "gateway",
            archive=archive,
            destination={"response_timeout": "120 s"},
            spool={"dir": str(disk.path / "spool"), "min_free": "24 MiB", "ballast": "1 MiB", "pool_size": POOL},
        ) as found,
    ):
        gateway = found.gateway
        accepted = 0
        for instance in make_instances(46, pixel_bytes=MIB, seed=60):
            told = found.send([instance]).statuses
            assert told[0] + told[OUT_OF_RESOURCES] == 1
            if told[OUT_OF_RESOURCES]:
                break
            accepted += 1
        assert accepted >= 10, "the watermark leaves room for 23"
        assert disk.free_bytes() > 2 * MIB, "refused only because the disk was full"
        wait_until(lambda: "spool_low" in gateway.readiness()[1], 10, lambda: f"spool_low: {gateway.readiness()}")
        filler = disk.fill(leave_bytes=4 * MIB)
        answering.set()
        gateway.wait_delivered(accepted, "pacs", 60)
        assert dict(found.send([make_instance(pixel_bytes=MIB, seed=61)]).statuses) == {OUT_OF_RESOURCES: 1}
        filler.unlink()
        gateway.wait_ready(15)
        assert found.send([make_instance(pixel_bytes=MIB, seed=61)], until_success=True).statuses[0] == 1
        found.judge()


def test_on_a_full_disk_outcomes_are_recorded_thanks_to_the_ballast_and_nothing_is_sent_again(tmp_path: Path) -> None:
    """Ledger and spool on one disk, deliveries in flight, and the disk runs full.

    What the archive then answers is recorded, each instance was sent once, senders are refused and not lied to, and
    the gateway takes instances again when there is room, without a restart.
    """
    answering = threading.Event()
    archive = OurArchive(on_store=lambda facts: Behaviour(wait_for=answering))
    with (
        Tmpfs(tmp_path / "disk", 48 * MIB) as disk,
        scene(
            tmp_path / "gateway",
            archive=archive,
            destination={"response_timeout": "120 s", "max_associations": 4},
            state_dir=str(disk.path / "state"),
            spool={"dir": str(disk.path / "state/spool"), "min_free": "8 MiB", "ballast": "4 MiB", "pool_size": POOL},
        ) as found,
    ):
        gateway = found.gateway
        receiver = found.receiver()
        instances = list(make_instances(30, pixel_bytes=50_000, seed=70))
        assert dict(found.send(instances).statuses) == {0: 30}
        wait_until(lambda: len(archive.tally.requests) >= 1, 20, "a delivery to be under way")
        filler = disk.fill()
        answering.set()
        gateway.wait_delivered(30, "pacs", 60)
        assert not gateway.log_lines(event="crashed")
        assert archive.count == 30, "sent again because an outcome was not recorded"
        late = make_instance(pixel_bytes=50_000, seed=71)
        filler = disk.fill(name="more")
        told = found.send([late])
        assert told.statuses[0] + told.statuses[OUT_OF_RESOURCES] + told.statuses[None] == 1
        for name in ("filler", "more"):
            with contextlib.suppress(FileNotFoundError):
                filler.with_name(name).unlink()
        assert found.send([make_instance(pixel_bytes=50_000, seed=72)], until_success=True).statuses[0] == 1
        assert found.receiver() == receiver, "the receiver was restarted"
        report = found.judge()
        assert report.duplicates["pacs"] == 0
