"""The receiver dies at every system call between an instance's first byte and its C-STORE-RSP."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import xxhash

from tests.faults.crash_kit import ADOPTED_WITHIN_S, LONG, READY_WITHIN_S, Scene, scaled
from tests.harness.data import Instance, make_instance
from tests.harness.gatewayprocess import command_line
from tests.harness.rawpeer import Aborted, Closed, RawScu
from tests.harness.strace import SYNC_CALLS, Strace, inject, kill_points, read_trace
from tests.harness.tools import require, wait_until

SUCCESS = 0x0000
KILLS_A_SUPERVISOR = 4  # then the gateway is started anew: the backoff doubles with every death of a child
PROMISE = (*SYNC_CALLS, "pwritev2", "sendto")
SIZES = {
    "small": 9_000,  # two writes and one flush
    "streamed": 300_000,  # written as it arrives
    "large": 9 << 20,  # written back as it arrives, and flushed in a lane of its own
}


class Campaign:
    """Stores one instance for each point, with the receiver killed there."""

    def __init__(self, scene: Scene, pixel_bytes: int) -> None:
        self.scene = scene
        self.gateway = scene.gateway
        self._instances = (make_instance(pixel_bytes=pixel_bytes, seed=seed) for seed in itertools.count(pixel_bytes))
        self._numbers = itertools.count()
        self._deaths = 0
        self.kills = 0
        self.unanswered = 0

    def points(self) -> list[tuple[str, int]]:
        """Every (system call, n-th) that one store makes, from its first byte to its row in the ledger."""
        out = self.scene.folder / "points.trace"
        one = next(self._instances)
        with self._associated(one) as scu, Strace.attach(self.gateway.pid_of("receiver"), out, trace="all"):
            assert self._store(scu, one) == SUCCESS
            self._wait_recorded(one)
        points = kill_points(read_trace(out))
        assert {"io_submit", "io_getevents", "pwritev2"} <= {name for name, _ in points}, points
        return points

    def strike(self, name: str, number: int) -> bool:
        """Store one instance with the receiver killed at its n-th call of this name; False when it outlived that."""
        if self._deaths >= KILLS_A_SUPERVISOR:
            self.gateway.kill()
            self.gateway.start(timeout_s=READY_WITHIN_S)
            self._deaths = 0
        one = next(self._instances)
        receiver = self.gateway.pid_of("receiver")
        out = self.scene.folder / f"strike-{next(self._numbers)}.trace"
        with self._associated(one) as scu:
            strace = Strace.attach(receiver, out, injections=[inject(name, kill=True, when=number)])
            try:
                status = self._store(scu, one)
                if status is not None:
                    wait_until(lambda: _dead(receiver) or self._recorded(one), 30, f"what became of {name} {number}")
                else:
                    wait_until(lambda: _dead(receiver), 30, f"the receiver to die of {name} {number}")
            finally:
                strace.detach()
        assert status in (SUCCESS, None), f"told {status:#06x} for {name} {number}"
        if not _dead(receiver):
            return False
        self.kills += 1
        self.unanswered += status is None
        self._deaths += 1
        self.gateway.wait_replaced("receiver", receiver, timeout_s=READY_WITHIN_S)
        self.gateway.wait_ready(READY_WITHIN_S)
        self.scene.wait_accounted_for(ADOPTED_WITHIN_S)
        return True

    def _wait_recorded(self, one: Instance) -> None:
        wait_until(lambda: self._recorded(one), 30, "the ledger to know it")

    def _recorded(self, one: Instance) -> bool:
        return one.sop_instance_uid in self.gateway.ledger().by_uid()

    def _associated(self, one: Instance) -> RawScu:
        scu = RawScu(self.scene.port, timeout_s=30)
        scu.associate([(one.sop_class_uid, one.transfer_syntax_uid)], "GATEWAY", "CRASH")
        return scu

    def _store(self, scu: RawScu, one: Instance) -> int | None:
        """What the sender is told, or None; journaled."""
        journal, xxh3 = self.scene.journal, xxhash.xxh3_128_hexdigest(one.data)
        status: int | None = None
        journal.sending(one.sop_instance_uid, one.sha256, xxh3)
        with contextlib.suppress(OSError, Closed, Aborted):
            status = scu.store(1, one.sop_class_uid, one.sop_instance_uid, one.data)
        journal.told(one.sop_instance_uid, one.sha256, status, xxh3)
        return status


def _dead(pid: int) -> bool:
    """True for a process that has ended, buried or not."""
    return not command_line(pid)


def _sample(points: Sequence[tuple[str, int]], count: int) -> list[tuple[str, int]]:
    """So many of the points: what the promise is made of (data, flush, answer), then of the others, evenly spread."""
    promise = [point for point in points if point[0] in PROMISE][: count * 2 // 3]
    others = [point for point in points if point[0] not in PROMISE]
    left = count - len(promise)
    return promise + others[:: max(1, len(others) // left)][:left]


@pytest.mark.chaos
@pytest.mark.timeout(scaled(600, 14400))
@pytest.mark.parametrize(("size", "sampled"), [("small", 9), ("streamed", 7), *([("large", 150)] if LONG else [])])
def test_a_receiver_killed_at_any_system_call_of_a_store_loses_nothing(tmp_path: Path, size: str, sampled: int) -> None:
    """Wherever the receiver dies, what its sender was told holds, and what it left is adopted or removed in 30 s."""
    require("strace")
    with Scene(tmp_path) as scene:
        scene.gateway.start(timeout_s=READY_WITHIN_S)
        campaign = Campaign(scene, SIZES[size])
        points = campaign.points()
        if LONG and size != "large":
            for name in dict.fromkeys(name for name, _ in points):
                # On from what was traced, until a whole store passes twice: no two stores make the same calls.
                outlived = 0
                for number in itertools.count(1):
                    outlived = 0 if campaign.strike(name, number) else outlived + 1
                    if outlived == 2:
                        break
        else:
            for name, number in _sample(points, sampled):
                campaign.strike(name, number)
            assert campaign.kills >= sampled // 2
        scene.settle()
        report = scene.judge().assert_clean(delivered=True)
        print(f"{size}: {campaign.kills} kills at {len(points)} points, {campaign.unanswered} unanswered; {report}")
        assert scene.ledger_problems() == []
        assert scene.gateway.stop() == 0
