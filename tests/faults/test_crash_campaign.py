"""kill -9 at random moments, under load: any role, and the supervisor."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.crash_kit import READY_WITHIN_S, Load, Scene, leased_deliveries, scaled
from tests.harness.archive import Behaviour
from tests.harness.gatewayprocess import ROLES, all_stopped
from tests.harness.tools import wait_until

SUPERVISOR = "supervisor"
SEED = int(os.environ.get("GATEWAY_CHAOS_SEED", "20240229"))
# What lies between two kills: a time so short that many hit a start, an adoption or a clean-up; or so many copies.
LONGEST_LIFE_S = 1.2
MOST_ARRIVALS = 60


class Killer:
    """Kills one process after the other, at seeded random moments, and sees to it that a supervisor runs."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.gateway = scene.gateway
        self._random = random.Random(seed)
        self._pause = threading.Event()
        self.kills: Counter[str] = Counter()
        self.leased = 0  # deliveries that were leased when a forwarder died
        self.starts = 1
        self.refused_starts = 0

    def campaign(self, kills: int) -> None:
        """Kill until so many have died."""
        while self.kills.total() < kills:
            if self._random.random() < 0.5:
                self._pause.wait(self._random.uniform(0, LONGEST_LIFE_S))
            else:
                self._wait_arrived(self._random.randint(1, MOST_ARRIVALS))
            self.keep_running()
            self.kill(self._random.choice((*ROLES, SUPERVISOR)))

    def _wait_arrived(self, count: int) -> None:
        """Wait until so many more copies are in the archives: then everyone is at work."""
        archives = self.scene.archives.values()
        before = sum(archive.count for archive in archives)

        def arrived() -> bool:
            self.keep_running()
            return sum(archive.count for archive in archives) >= before + count

        wait_until(arrived, READY_WITHIN_S, lambda: f"{count} copies to arrive\n{self.gateway.log()[-3000:]}")

    def keep_running(self) -> None:
        """A supervisor runs after this. One may refuse to start while its predecessor's children still die."""
        process = self.gateway.process
        assert process is not None
        if process.running:
            return
        if process.returncode != -signal.SIGKILL:
            self.refused_starts += 1
            assert "still hold" in process.output()[-2000:], f"exit {process.returncode}: {process.output()[-3000:]}"
        self.gateway.start(ready=False)
        self.starts += 1

    def wait_ready(self) -> None:
        """The host is ready, after as many starts as that takes."""

        def ready() -> bool:
            self.keep_running()
            return self.gateway.readiness()[0] == 200

        wait_until(ready, READY_WITHIN_S, lambda: f"the gateway to be ready\n{self.gateway.log()[-3000:]}")

    def kill(self, target: str) -> None:
        """Kill a role's process, or the supervisor and with it everyone; a role that is not there is spared."""
        forwarders = self.gateway.roles().get("forwarder", [])
        if target == SUPERVISOR:
            with self._frozen(forwarders):
                self.leased += self._leased_now(forwarders)
                self._end(self.gateway.supervisor_pid())
            assert self.gateway.process is not None
            self.gateway.process.wait()
            self.gateway.start(ready=False)
            self.starts += 1
        elif pids := self.gateway.roles().get(target, []):
            # A process that is frozen claims nothing between our look at its leases and its end.
            with self._frozen(pids):
                self.leased += self._leased_now(pids) if target == "forwarder" else 0
                self._end(pids[0])
        else:
            return
        self.kills[target] += 1

    def _leased_now(self, forwarders: list[int]) -> int:
        return leased_deliveries(self.scene.config.ledger_source) if forwarders else 0

    @staticmethod
    def _end(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def _frozen(self, pids: list[int]) -> Iterator[None]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            wait_until(lambda pid=pid: all_stopped(pid) or not Path(f"/proc/{pid}/exe").exists(), 10, f"{pid} to stop")
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@pytest.mark.chaos
@pytest.mark.timeout(scaled(900, 7200))
def test_kills_at_random_under_load_lose_nothing(tmp_path: Path) -> None:
    """Senders see their associations end and send again. Every archive has everything that was acknowledged,
    unaltered; no more duplicates than deliveries were leased when a forwarder died; the ledger is whole."""
    with Scene(tmp_path, archives=("pacs", "dr", "vna")) as scene:
        slow = Behaviour(delay_s=0.003)
        scene.archives["dr"].on_store = lambda facts: slow
        scene.gateway.start(watch=True, timeout_s=READY_WITHIN_S)
        killer = Killer(scene, SEED)
        with Load(scene) as load:
            load.wait_acknowledged(50)
            killer.campaign(scaled(30, 1000))
            killer.keep_running()
            killer.wait_ready()
            load.wait_acknowledged(load.acknowledged + 50)
        scene.gateway.metrics()
        scene.settle(scaled(120, 600))
        scene.gateway.sinks.add_state_dir(scene.config.state_dir, scene.config.spool_dir)
        report = scene.judge().assert_clean(delivered=True)
        by_forwarder = report.forwarder_duplicates.total()
        print(
            f"{killer.kills.total()} kills {dict(killer.kills)} over {killer.starts} starts "
            f"({killer.refused_starts} refused); leased at the kills: {killer.leased}; "
            f"{load.unanswered} stores unanswered, {load.refused} refused; {report}"
        )
        assert killer.leased > 0, "the kills hit no delivery on its way"
        assert by_forwarder <= killer.leased, f"{by_forwarder} duplicates, {killer.leased} were in flight"
        assert report.duplicates.total() <= killer.leased + load.unanswered * len(scene.archives)
        assert scene.gateway.stop() == 0
        assert scene.ledger_problems() == []
