"""The host of the receiver is short of something, or stops: descriptors, the ledger's lock, the state folder, time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.receiving_kit import CONTEXTS, CT, ECHO, LONG, OUT_OF_RESOURCES, Scene, scene
from tests.harness import wire
from tests.harness.archive import OurArchive
from tests.harness.backends import about_sqlite
from tests.harness.data import make_instance, make_instances
from tests.harness.gatewayprocess import ROOT
from tests.harness.machine import limit_descriptors, restore_descriptors
from tests.harness.rawpeer import Aborted, Closed, RawScu
from tests.harness.tools import run, wait_until
from tests.harness.wire import CT_IMAGE_STORAGE

MIB = 1 << 20
# A writer has waited for its turn in vain (10 s); in the long version a session's beat has too (it comes every 10 s).
IN_VAIN = "beat_not_counted" if LONG else "arrivals_wait_for_ledger"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as found:
        yield found


# ── descriptors ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_out_of_descriptors_peers_are_hung_up_on_and_served_again_after(served: Scene) -> None:
    """EMFILE: who connects is closed, not left waiting; who is connected is refused; /readyz says 503; it heals."""
    pid = served.receiver()
    instances = list(make_instances(8, pixel_bytes=100_000, seed=1))
    sender = served.connect()
    status = sender.store(CT, CT_IMAGE_STORAGE, instances[0].sop_instance_uid, instances[0].data)
    assert status == 0
    limits = limit_descriptors(pid, max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 10)
    crowd: list[RawScu] = []
    try:
        # Of what was open for a moment a place may be left: then it is stored, and a few more peers are served.
        for one in instances[1:-1]:
            use_up_descriptors(served, crowd)
            status = sender.store(CT, CT_IMAGE_STORAGE, one.sop_instance_uid, one.data)
            if status != 0:
                break
        assert status == OUT_OF_RESOURCES
        assert sender.echo(ECHO) == 0
        told = wait_until(lambda: use_up_descriptors(served, crowd) or not_ready(served), 20, "readyz to say 503")
        assert "no_descriptors" in told
    finally:
        restore_descriptors(pid, limits)
        for peer in crowd:
            peer.close()
    wait_until(lambda: connects(served), 20, "new peers to be served")
    sender.release()
    served.gateway.wait_ready()
    assert dict(served.send([one, instances[-1]]).statuses) == {0: 2}
    assert served.receiver() == pid
    served.gateway.wait_idle()


def use_up_descriptors(served: Scene, crowd: list[RawScu]) -> None:
    """Peers connect, and stay, until five in a row are hung up on."""
    turned_away = 0
    while turned_away < 5:
        assert len(crowd) < 40, "there is no end of descriptors"
        crowd.append(RawScu(served.port))
        try:
            crowd[-1].associate(CONTEXTS)  # TimeoutError when it is left waiting
            turned_away = 0
        except Closed:
            turned_away += 1
            crowd.pop().close()


def not_ready(served: Scene) -> str:
    """What `/readyz` says, once it is not 200."""
    status, text = served.gateway.readiness()
    return text if status == 503 else ""


def connects(served: Scene) -> bool:
    with contextlib.suppress(Closed, OSError):
        return served.serves()
    return False


# ── the ledger's lock ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def ledger_locked(served: Scene) -> Iterator[None]:
    """Another process holds the lock that all writers of the ledger take in turn."""
    path = served.gateway.config.ledger_path
    with path.with_name(path.name + ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@about_sqlite
@pytest.mark.chaos
def test_while_the_ledger_is_busy_instances_are_taken_and_no_role_dies(served: Scene) -> None:
    """The lock is away for longer than any writer waits: Success for what is in the spool; recorded and sent after."""
    roles = served.gateway.roles()
    instances = list(make_instances(60, pixel_bytes=5000, seed=2))
    with ledger_locked(served):
        for instance in instances:
            assert dict(served.send([instance]).statuses) == {0: 1}
        wait_until(lambda: served.gateway.log_lines(event=IN_VAIN), 60, interval_s=0.2)
        assert served.archive.count == 0
    served.gateway.wait_delivered(60, "pacs", 60)
    assert served.gateway.roles() == roles, "a role died of a busy ledger"
    served.judge()


@about_sqlite
def test_what_was_taken_while_the_ledger_was_busy_is_adopted_when_the_receiver_dies(served: Scene) -> None:
    """The receiver is killed before it could record anything: the files are found, and everything arrives."""
    instances = list(make_instances(20, pixel_bytes=5000, seed=3))
    with ledger_locked(served):
        assert dict(served.send(instances).statuses) == {0: 20}
        old = served.gateway.kill_role("receiver")
    served.gateway.wait_replaced("receiver", old)
    served.gateway.wait_delivered(20, "pacs", 60)
    served.judge()


@about_sqlite
@pytest.mark.chaos
def test_past_10000_unrecorded_instances_intake_closes_and_opens_again(tmp_path: Path) -> None:
    """Within bounds: the 10,001st is refused with 0xA700, or its association rejected for now; all others arrive."""
    if not LONG:
        pytest.skip("10,000 instances: GATEWAY_CHAOS=long; tests/unit has the bound itself")
    with scene(tmp_path) as served:
        with ledger_locked(served):
            sender = served.send(make_instances(11_000, pixel_bytes=100, seed=4), associations=4, pause_s=0)
            assert 10_000 <= sender.statuses[0] <= 10_100
            assert sender.statuses[OUT_OF_RESOURCES] == 11_000 - sender.statuses[0]
            wait_until(lambda: "intake_closed" in served.gateway.readiness()[1], 20)
        served.gateway.wait_delivered(sender.statuses[0], "pacs", 300)
        served.gateway.wait_ready()
        served.judge()


# ── a second gateway ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_gateway_on_one_state_folder_exits_and_names_the_first(served: Scene) -> None:
    """Within two seconds (Python's own start not counted), exit code not 0, one clear sentence, no traceback."""
    argv = [sys.executable, "-m", "gateway"]
    env = {"PYTHONPATH": str(ROOT)}
    begun = time.monotonic()
    run([*argv, "check", "--config", served.gateway.config.path], 60, env=env)
    start_s = time.monotonic() - begun
    begun = time.monotonic()
    second = run([*argv, "run", "--config", served.gateway.config.path], 60, env=env)
    assert time.monotonic() - begun <= 2 + 2 * start_s
    assert second.returncode != 0
    assert f"process {served.gateway.supervisor_pid()}" in second.output
    assert "Traceback" not in second.output
    assert len(second.output.strip().splitlines()) == 1
    assert served.serves()
    assert dict(served.send([make_instance(seed=5)]).statuses) == {0: 1}
    served.judge()


# ── SIGTERM ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def begin_store(peer: RawScu, uid: str, data: bytes) -> None:
    command = wire.c_store_rq(1, CT_IMAGE_STORAGE, uid)
    peer.send(wire.p_data(CT, command, command=True, last=True))
    peer.send(wire.p_data(CT, data, command=False, last=False))


def test_sigterm_lets_a_transfer_end_and_aborts_what_is_idle_or_stands_still(tmp_path: Path) -> None:
    """Three peers at SIGTERM: one goes on sending and is told Success, twice; one is idle, one stands still in the
    middle of a data set: both are aborted. Nobody new is let in, and waits for nothing. All within 30 s, exit code 0,
    no partial file, nothing lost."""
    archive = OurArchive()
    with scene(tmp_path, archive=archive) as served:
        whole, half, more = make_instances(3, pixel_bytes=2 * MIB, seed=6)
        going, idle, still = served.connect(), served.connect(), served.connect()
        begin_store(going, whole.sop_instance_uid, whole.data[:MIB])
        begin_store(still, half.sop_instance_uid, half.data[:MIB])
        wait_until(lambda: len(served.files()) == 2, 20, "both to be under way")
        gateway = served.gateway
        begun = time.monotonic()
        os.kill(gateway.supervisor_pid(), signal.SIGTERM)
        with pytest.raises(Aborted):
            idle.expect(wire.P_DATA_TF, 20)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((gateway.config.host, gateway.config.port), timeout=20)
        served.journal.sending(whole.sop_instance_uid, whole.sha256)
        going.send(wire.p_data(CT, whole.data[MIB:], command=False, last=True, max_pdu=16384))
        status = going.recv_store_status(1, 20)
        served.journal.told(whole.sop_instance_uid, whole.sha256, status)
        assert status == 0
        served.journal.sending(more.sop_instance_uid, more.sha256)
        status = going.store(CT, CT_IMAGE_STORAGE, more.sop_instance_uid, more.data)
        served.journal.told(more.sop_instance_uid, more.sha256, status)
        assert status == 0, "it was between two instances, and not idle"
        with pytest.raises(Aborted):
            still.expect(wire.P_DATA_TF, 30)
        assert gateway.stop() == 0
        assert time.monotonic() - begun <= 30
        assert len(served.files()) <= 1, "a partial file is left"
        for peer in (going, idle, still):
            peer.close()
        gateway.start()
        served.gateway.wait_delivered(2, "pacs")
        served.judge()
        assert half.sop_instance_uid not in archive.contents()
