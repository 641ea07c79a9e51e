"""Destinations that are dead, stuck, slow or cut off, and a forwarder that is killed: nobody else notices."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.flow.destination import CLAIM
from tests.faults.crash_kit import scaled
from tests.faults.delivering_kit import Delivering
from tests.harness.archive import Admission, Behaviour, StoreFacts
from tests.harness.backends import about_sqlite
from tests.harness.data import make_instance, make_instances
from tests.harness.proxy import TcpProxy
from tests.harness.tools import wait_until

PROBE_MIN_S, PROBE_MAX_S = 0.2, 1.0  # of the harness's configuration
SLOW_BYTES_PER_S = 32_000  # 256 kbit/s
COHORT = 8  # connections that a window of four may need to find out that nobody is there


def test_a_dead_destination_delays_no_other_and_gets_everything_when_it_is_back(tmp_path: Path) -> None:
    """Dead three ways: it refuses connections, it resets them, it never answers. Probes go there, no instances."""
    count = 300
    dead = ("off", "resets", "silent")
    with Delivering(tmp_path, ["pacs", "dr", *dead]) as scene:
        scene.start()
        alive_s = _time_to_deliver(scene, count, seed=1)
        scene.settle()
        for name in dead:  # associations that are still open end, too
            scene.archive(name).stop()
        scene.archive("resets").on_associate = lambda request, number: Admission(close="rst")
        scene.archive("silent").on_associate = lambda request, number: Admission(silent=True)
        scene.config.document["destinations"]["silent"]["association_timeout"] = "500 ms"
        scene.reload()
        for name in dead[1:]:
            scene.archive(name).start()
        before = {name: scene.archive(name).tally.connections for name in dead}
        since = time.monotonic()
        dead_s = _time_to_deliver(scene, count, seed=2)
        for name in dead:
            wait_until(lambda name=name: scene.metric_up(name) == 0, 30, f"{name} to be down")  # type: ignore[misc]
            scene.wait_states(name, ready=count)
        for name in ("resets", "silent"):
            connections = scene.archive(name).tally.connections - before[name]
            down_s = time.monotonic() - since
            assert connections <= COHORT + down_s / (PROBE_MIN_S * 0.8), f"{connections} in {down_s:.1f} s to {name}"
            assert scene.archive(name).count == count, "nothing was tried there"
        print(f"{count} to two archives: {alive_s:.2f} s with five alive, {dead_s:.2f} s with two")
        assert dead_s < 2 * alive_s + 2, "the others are as fast as before"
        scene.archive("off").start()
        for name in ("resets", "silent"):
            scene.archive(name).on_associate = lambda request, number: Admission()
        report = scene.judge_all_delivered()
        assert report.duplicates.total() == 0
        for name in dead:
            assert {one.attempts for one in scene.deliveries(name).values()} == {1}


def _time_to_deliver(scene: Delivering, count: int, seed: int) -> float:
    """Seconds from the first byte sent until both `pacs` and `dr` have everything."""
    before = {name: scene.archive(name).count for name in ("pacs", "dr")}
    begun = time.monotonic()
    scene.send(make_instances(count, seed=seed), associations=2)
    for name, already in before.items():
        wait_until(lambda name=name, already=already: scene.archive(name).count == already + count, 120, name)  # type: ignore[misc]
    return time.monotonic() - begun


@pytest.mark.chaos
def test_a_forwarder_killed_after_the_peer_stored_makes_one_duplicate_at_most(tmp_path: Path) -> None:
    """The peer has stored and not answered yet: kill, the forwarder or all. As often as there are instances."""
    kills = scaled(4, 60)
    held = threading.Event()

    def answer(facts: StoreFacts) -> Behaviour:
        return Behaviour() if facts.attempt > 1 else Behaviour(wait_for=held)

    with Delivering(tmp_path, {"pacs": {"max_associations": 1}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_store = answer
        scene.start()
        instances = list(make_instances(kills))
        scene.send(instances)
        for number in range(kills):
            wait_until(lambda: len(pacs.contents()) > number, 60, "the next instance to be stored")  # noqa: B023
            if number % 4 < 3:
                pid = scene.gateway.kill_role("forwarder")
                scene.gateway.wait_replaced("forwarder", pid)
            else:  # everybody: a new supervisor also restarts it without the pauses that many deaths bring
                scene.gateway.kill_all()
                scene.gateway.start()
        held.set()
        report = scene.judge_all_delivered()
        print(f"{kills} kills: {report.duplicates['pacs']} duplicates")
        assert report.duplicates["pacs"] <= kills
        assert max(len(copies) for copies in pacs.contents().values()) <= 2


@about_sqlite
def test_a_forwarder_that_cannot_record_outcomes_claims_no_more_and_its_journal_tells(tmp_path: Path) -> None:
    """The ledger is locked by somebody else while the archive answers Success, then the forwarder is killed.

    However much waits, an association has stored one instance at most that nobody will know of.
    """
    gate = threading.Event()
    with Delivering(tmp_path, {"pacs": {"max_associations": 1}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_store = lambda facts: Behaviour(wait_for=gate)
        scene.start()
        scene.cli("pause", "pacs")
        scene.send(make_instances(CLAIM + 8))
        scene.wait_states("pacs", ready=CLAIM + 8)
        scene.cli("resume", "pacs")
        wait_until(lambda: pacs.count == 1, 30, "the first to be stored")
        scene.wait_states("pacs", ready=8, leased=CLAIM)
        with _ledger_locked(scene.config.ledger_path):
            gate.set()
            wait_until(lambda: pacs.count == CLAIM, 30, "all that was claimed")
            with pytest.raises(AssertionError):  # there is all the time it needs to do more, and it must not
                wait_until(lambda: pacs.count > CLAIM, 1.0)
            pid = scene.gateway.kill_role("forwarder")
        scene.gateway.wait_replaced("forwarder", pid)
        report = scene.judge_all_delivered()
        assert report.duplicates["pacs"] <= 1


@contextlib.contextmanager
def _ledger_locked(ledger: Path) -> Iterator[None]:
    descriptor = os.open(f"{ledger}.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


FAULTS = ("cut in the middle of a PDV", "the peer stops reading", "the answer is lost", "half-open")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_network_costs_a_duplicate_at_most_and_holds_nobody_up(tmp_path: Path, fault: str) -> None:
    """The slot is free again by the deadline, what was under way goes again, and the neighbour's traffic flows on."""
    large = make_instance(pixel_bytes=8 << 20)  # more than the kernels hold
    small = list(make_instances(20, seed=2))
    limits = {"max_associations": 2, "progress_timeout": "1 s", "response_timeout": "1 s"}
    with Delivering(tmp_path, {"pacs": dict(limits), "dr": {}}) as scene, contextlib.ExitStack() as stack:
        pacs = scene.archive("pacs")
        proxy = stack.enter_context(TcpProxy(pacs.port, buffer_bytes=65536))
        scene.config.document["destinations"]["pacs"]["port"] = proxy.port
        scene.start()
        if fault == FAULTS[0]:
            proxy.up.cut_after = 1_000_000
        elif fault == FAULTS[1]:
            pacs.on_store = lambda facts: Behaviour(stop_reading_after=500_000)
        elif fault == FAULTS[2]:
            pacs.on_store = lambda facts: _stall(proxy)
        scene.send([large])
        if fault == FAULTS[3]:
            wait_until(lambda: proxy.up.passed > 500_000, 30, "the large one to be on its way")
            proxy.up.stalled = proxy.down.stalled = True
        begun = time.monotonic()
        deferred = wait_until(
            lambda: scene.gateway.log_lines(event="delivery_deferred", destination="pacs"),
            60,
            lambda: f"the slot to be freed\n{scene.gateway.log()[-3000:]}",
            interval_s=0.05,
        )
        print(f"{fault}: {deferred[0]['reason']} after {time.monotonic() - begun:.1f} s")
        scene.send(small)
        scene.gateway.wait_delivered(1 + len(small), "dr")
        pacs.stop()
        pacs.on_store = lambda facts: Behaviour()
        pacs.start()
        proxy.up.cut_after = None
        proxy.up.stalled = proxy.down.stalled = False
        proxy.cut_all()
        scene.judge_all_delivered()
        most = 1 if fault in FAULTS[:2] else 2
        assert len(pacs.stored(large.sop_instance_uid)) <= most
        assert max(len(copies) for copies in pacs.contents().values()) <= 2


def _stall(proxy: TcpProxy) -> Behaviour:
    proxy.down.stalled = True
    return Behaviour()


@pytest.mark.chaos
def test_a_slow_link_that_moves_is_let_finish(tmp_path: Path) -> None:
    """256 kbit/s: it takes many times every deadline, and arrives at the first try. Deadlines are about progress."""
    size = scaled(200_000, 20 << 20)
    limits = {"progress_timeout": "2 s", "response_timeout": "2 s", "max_associations": 1}
    with Delivering(tmp_path, {"pacs": limits}) as scene, contextlib.ExitStack() as stack:
        pacs = scene.archive("pacs")
        proxy = stack.enter_context(TcpProxy(pacs.port, buffer_bytes=8192))
        scene.config.document["destinations"]["pacs"]["port"] = proxy.port
        proxy.up.bytes_per_s = SLOW_BYTES_PER_S
        scene.start()
        slow = make_instance(pixel_bytes=size)
        begun = time.monotonic()
        scene.send([slow])
        scene.gateway.wait_delivered(1, "pacs", size / SLOW_BYTES_PER_S * 3 + 60)
        took_s = time.monotonic() - begun
        print(f"{size} bytes in {took_s:.1f} s")
        assert took_s > 2 * 2.0, "longer than the deadlines, or nothing was tested"
        assert pacs.tally.requests[slow.sop_instance_uid] == 1
        scene.judge_all_delivered()
