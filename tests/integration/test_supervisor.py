"""The supervisor with real children: what dies comes back, what hangs is killed, and nothing outlives it."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import AlreadyRunning, UsageError
from gateway.runfolder import RunFolder
from gateway.supervisor import ChildSpec, ListenerAddress, StateLock, bind_listeners
from gateway.supervisor.child import Child
from tests.harness.tools import wait_until

ROOT = Path(__file__).parents[2]
WITHIN_S = 20.0
QUICK = {"hang_timeout_s": 1.0, "start_timeout_s": 15.0, "stop_timeout_s": 5.0}
FOUR_ROLES = [[role, "loop", QUICK] for role in ("console", "forwarder", "worker", "receiver")]


class Host:
    """A supervisor in a process of its own, and the journal of what happened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, children: list[Any], prefix: tuple[str, ...] = (), **wanted: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.integration.supervised", "supervisor", str(self.folder)]
        process = subprocess.Popen(
            [*prefix, *command, json.dumps({"children": children, **wanted})],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            close_fds=not prefix,
        )
        self.processes.append(process)
        return process

    def journal(self, what: str = "", **fields: Any) -> list[dict[str, Any]]:
        path = self.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [json.loads(line) for line in lines]
        return [
            entry
            for entry in entries
            if (not what or entry["what"] == what) and all(entry.get(name) == value for name, value in fields.items())
        ]

    def wait(self, what: str, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
        return until(lambda: found if len(found := self.journal(what, **fields)) >= count else [], f"{count} {what}")

    def child_pids(self) -> list[int]:
        return [entry["pid"] for entry in self.journal("child")]


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.02)
    return result


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for process in host.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
    until(lambda: not any(is_alive(pid) for pid in host.child_pids()), "every child dead")


def stop(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(WITHIN_S)


def test_roles_start_and_stop_in_order(host: Host) -> None:
    process = host.start(FOUR_ROLES)
    host.wait("ready", 4)
    assert stop(process) == 0
    left = [entry["name"] for entry in host.journal("left")]
    assert left == ["receiver-0", "worker-0", "forwarder-0", "console-0"]
    ended = [entry["child"] for entry in host.journal("child_ended")]
    assert ended == left, "each role is gone before the next one's turn"
    assert not any(entry["trouble"] for entry in host.journal("child_ended"))
    assert len(host.journal("voided")) == len(host.journal("adopted")) == 4


def test_a_killed_child_is_cleaned_up_after_and_then_comes_back(host: Host) -> None:
    process = host.start(FOUR_ROLES, adopt_delay_s=0.5)
    host.wait("ready", 4)
    (first,) = host.journal("child", name="receiver-0")
    os.kill(first["pid"], signal.SIGKILL)
    again = host.wait("child", 2, name="receiver-0")[1]
    (voided,), (adopted,) = host.wait("voided"), host.wait("adopted")
    assert voided["session_id"] == first["pid"] and adopted["generation"] == f"gen-receiver-0-{first['pid']}"
    assert max(voided["at"], adopted["at"]) < again["at"], "void and adopt come before the restart"
    (ended,) = host.journal("child_ended")
    assert ended["status"] == "SIGKILL" and ended["trouble"]
    host.wait("ready", 2, name="receiver-0")
    assert stop(process) == 0


def test_backoff_doubles(host: Host) -> None:
    process = host.start([["worker", "exit", QUICK]])
    host.wait("child_ended", 4)
    waits = [entry["starts_again_in_s"] for entry in host.journal("child_ended")[:4]]
    assert waits == [0.1, 0.2, 0.4, 0.8]
    starts = [entry["at"] for entry in host.journal("child_started")[:4]]
    assert all(later - earlier >= wait for earlier, later, wait in zip(starts, starts[1:], waits, strict=False))
    assert stop(process) == 0


def test_a_program_that_cannot_be_started_is_tried_again(host: Host) -> None:
    process = host.start([["worker", "missing", QUICK], ["console", "loop", QUICK]])
    host.wait("child_not_started", 3)
    host.wait("ready", name="console-0")
    assert stop(process) == 0


def test_a_process_that_cannot_be_watched_does_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def no_descriptor(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

    monkeypatch.setattr(os, "pidfd_open", no_descriptor)
    child = Child(ChildSpec("worker", 0, ("/bin/sleep", "60")))
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Too many open files"):
        child.start(0.0, ())
    assert not Path(f"/proc/{started[0]}").exists(), "killed and reaped"
    assert child.process is None and child.starts == 0
    assert os.listdir("/proc/self/fd") == descriptors


def test_a_silent_child_is_killed_and_replaced(host: Host) -> None:
    process = host.start([["worker", "hang", QUICK], ["console", "loop", QUICK]])
    (hangs,) = host.wait("child_hangs")
    assert hangs["child"] == "worker-0"
    (ready,) = host.journal("ready", name="worker-0")
    assert 1.0 <= hangs["at"] - ready["at"] < 4.0
    host.wait("ready", 2, name="worker-0")
    assert len(host.journal("child", name="console-0")) == 1
    assert stop(process) == 0


def test_a_frozen_child_is_killed_too(host: Host) -> None:
    process = host.start(FOUR_ROLES)
    host.wait("ready", 4)
    (forwarder,) = host.journal("child", name="forwarder-0")
    os.kill(forwarder["pid"], signal.SIGSTOP)
    host.wait("ready", 2, name="forwarder-0")
    assert not is_alive(forwarder["pid"])
    assert stop(process) == 0


def test_a_supervisor_that_was_frozen_itself_kills_nobody(host: Host) -> None:
    process = host.start([["worker", "loop", QUICK]])
    host.wait("ready")
    (child,) = host.child_pids()
    os.kill(child, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGSTOP)
    frozen_at = time.monotonic()
    until(lambda: time.monotonic() - frozen_at > 2.5, "longer than the hang timeout")
    os.kill(process.pid, signal.SIGCONT)
    os.kill(child, signal.SIGCONT)
    thawed_at = time.monotonic()
    until(lambda: time.monotonic() - thawed_at > 1.5, "a full hang timeout")
    assert host.journal("child_hangs") == [] and is_alive(child)
    assert stop(process) == 0


def test_a_child_that_does_not_stop_is_killed_at_its_deadline(host: Host) -> None:
    process = host.start([["receiver", "stubborn", {**QUICK, "stop_timeout_s": 0.7}], ["console", "loop", QUICK]])
    host.wait("ready", 2)
    began = time.monotonic()
    assert stop(process) == 0
    assert 0.7 <= time.monotonic() - began < 5
    (ended,) = host.journal("child_ended", child="receiver-0")
    assert ended["status"] == "SIGKILL"
    assert host.journal("left", name="console-0")[0]["at"] > ended["at"]


def test_a_second_signal_ends_it_at_once(host: Host) -> None:
    process = host.start([["receiver", "stubborn", {**QUICK, "stop_timeout_s": 60}]])
    host.wait("ready")
    process.send_signal(signal.SIGINT)
    (asked,) = host.wait("ignored")
    until(lambda: time.monotonic() > asked["at"] + 1.05, "a second later")
    assert stop(process, signal.SIGINT) == 0


def test_sighup_reaches_who_is_ready(host: Host) -> None:
    process = host.start([["worker", "stubborn", {**QUICK, "stop_timeout_s": 0.1}], ["receiver", "slow_start", QUICK]])
    host.wait("ready", name="worker-0")
    process.send_signal(signal.SIGHUP)
    host.wait("hup", name="worker-0")
    assert host.journal("child_ended") == []
    assert stop(process) == 0


def test_a_reload_that_fails_leaves_everybody_at_work(host: Host) -> None:
    process = host.start([["worker", "stubborn", {**QUICK, "stop_timeout_s": 0.1}]], reload_failures=1)
    host.wait("ready", name="worker-0")
    process.send_signal(signal.SIGHUP)
    host.wait("reload_failed", error="ValueError", trouble=True)
    process.send_signal(signal.SIGHUP)
    host.wait("hup", name="worker-0")
    assert host.journal("child_ended") == []
    assert stop(process) == 0


def test_a_reload_that_takes_long_holds_up_nobody_and_what_comes_meanwhile_is_one_more(host: Host) -> None:
    os.mkfifo(host.folder / "reload")
    worker, silent = ["worker", "stubborn", {**QUICK, "stop_timeout_s": 0.1}], ["console", "hang", QUICK]
    process = host.start([worker, silent], reload_waits=True)
    host.wait("ready", 2)
    process.send_signal(signal.SIGHUP)
    host.wait("reloading")
    hung = len(host.journal("child_hangs"))
    os.kill(host.journal("child", name="worker-0")[0]["pid"], signal.SIGKILL)
    host.wait("ready", 2, name="worker-0")
    host.wait("child_hangs", hung + 1, child="console-0")
    for count in (2, 3):
        process.send_signal(signal.SIGHUP)
        host.wait("reload", count)
    assert len(host.journal("reloading")) == 1 and host.journal("hup", name="worker-0") == []
    (host.folder / "reload").write_bytes(b"")
    host.wait("hup", name="worker-0")
    host.wait("reloading", 2)
    (host.folder / "reload").write_bytes(b"")
    host.wait("hup", 2, name="worker-0")
    assert stop(process) == 0
    assert len(host.journal("reloading")) == 2


def test_a_stop_waits_for_no_reload(host: Host) -> None:
    os.mkfifo(host.folder / "reload")
    process = host.start([["worker", "loop", QUICK]], reload_waits=True, patience_s=60.0)
    host.wait("ready")
    process.send_signal(signal.SIGHUP)
    host.wait("reloading")
    assert stop(process) == 0
    assert host.journal("over") != [] and host.journal("hup") == []


def test_children_die_with_a_killed_supervisor_and_the_next_one_starts(host: Host) -> None:
    first = host.start(FOUR_ROLES, listeners={"main": 0})
    host.wait("ready", 4)
    pids = host.child_pids()
    os.kill(pids[0], signal.SIGSTOP)  # a frozen one dies as well
    first.kill()
    first.wait()
    second = host.start(FOUR_ROLES)
    host.wait("ready", 8)
    assert not any(is_alive(pid) for pid in pids)
    assert stop(second) == 0


def test_a_child_that_is_still_starting_dies_too(host: Host) -> None:
    process = host.start([["worker", "loop", QUICK]])
    (started,) = host.wait("child_started")
    process.kill()
    process.wait()
    until(lambda: not is_alive(started["child_pid"]), "the child's end")


def test_children_hold_the_lock_that_a_killed_supervisor_left(host: Host) -> None:
    holder = StateLock(host.folder / "state")
    child = subprocess.Popen(["/bin/sleep", "60"], pass_fds=[holder.fileno()])
    holder.release()
    try:
        with pytest.raises(AlreadyRunning):
            StateLock(host.folder / "state", wait_s=0.1)
    finally:
        child.kill()
        child.wait()
    StateLock(host.folder / "state").release()


def test_a_second_gateway_is_told_within_two_seconds(host: Host) -> None:
    first = host.start([["worker", "loop", QUICK]])
    host.wait("ready")
    began = time.monotonic()
    second = host.start([["worker", "loop", QUICK]])
    assert second.wait(WITHIN_S) == 1
    seconds = time.monotonic() - began
    assert second.stderr is not None
    message = second.stderr.read().decode()
    assert seconds <= 2.0
    assert str(first.pid) in message and "state/lock" in message
    assert stop(first) == 0
    third = host.start([["worker", "loop", QUICK]])
    host.wait("ready", 2)
    assert stop(third) == 0


def test_a_clean_up_that_fails_is_repeated_and_does_not_hold_the_child_up_for_long(host: Host) -> None:
    process = host.start([["worker", "loop", QUICK]], adopt_failures=1, patience_s=0.3)
    host.wait("ready")
    os.kill(host.child_pids()[0], signal.SIGKILL)
    host.wait("ready", 2)
    (adopted,) = host.wait("adopted")
    (failed,) = host.journal("clean_up_failed")
    assert (failed["error"], failed["work"]) == ("ValueError", "adopt") and "busy" not in json.dumps(failed)
    assert adopted["at"] > host.journal("child")[1]["at"], "restarted when patience ended, cleaned up when possible"
    assert stop(process) == 0


def test_an_adoption_that_never_succeeds_holds_up_no_other_clean_up(host: Host) -> None:
    roles = ("receiver", "receiver", "worker")
    process = host.start([[role, "loop", QUICK] for role in roles], adopt_never="receiver-0", patience_s=0.3)
    host.wait("ready", 3)
    pids = {entry["name"]: entry["pid"] for entry in host.journal("child")}
    os.kill(pids["receiver-0"], signal.SIGKILL)
    host.wait("clean_up_failed", child="receiver-0")
    os.kill(pids["receiver-1"], signal.SIGKILL)
    os.kill(pids["worker-0"], signal.SIGKILL)
    host.wait("adopted", name="receiver-1")
    host.wait("adopted", name="worker-0")
    host.wait("ready", 6)
    assert {entry["session_id"] for entry in host.journal("voided")} == set(pids.values())
    host.wait("clean_up_failed", 2, child="receiver-0")
    assert stop(process) == 0


def test_a_slow_adoption_holds_up_no_session(host: Host) -> None:
    process = host.start([["receiver", "loop", QUICK], ["worker", "loop", QUICK]], adopt_delay_s=5.0, patience_s=1.0)
    host.wait("ready", 2)
    pids = {entry["name"]: entry["pid"] for entry in host.journal("child")}
    for name in ("receiver-0", "worker-0"):
        os.kill(pids[name], signal.SIGKILL)
        host.wait("voided", session_id=pids[name])
    assert host.journal("adopted") == []
    assert stop(process) == 0


def test_receivers_are_given_the_listening_socket_and_no_variable_leaks(host: Host) -> None:
    process = host.start([["receiver", "loop", QUICK], ["worker", "loop", QUICK]], listeners={"main": 0})
    host.wait("ready", 2)
    (receiver,) = host.journal("child", name="receiver-0")
    (worker,) = host.journal("child", name="worker-0")
    assert receiver["sockets"]["main"][0] == "127.0.0.1" and worker["sockets"] == {}
    assert receiver["environment"] == []
    with socket.create_connection(tuple(receiver["sockets"]["main"]), timeout=5):
        os.kill(receiver["pid"], signal.SIGKILL)
        again = host.wait("child", 2, name="receiver-0")[1]
        assert again["sockets"] == receiver["sockets"], "connections wait in the queue while the child restarts"
    assert stop(process) == 0


def test_at_a_stop_who_connects_after_the_last_receiver_is_refused(host: Host) -> None:
    process = host.start(
        [["receiver", "loop", QUICK], ["worker", "stubborn", {**QUICK, "stop_timeout_s": 60}]], listeners={"main": 0}
    )
    host.wait("ready", 2)
    (receiver,) = host.journal("child", name="receiver-0")
    address = tuple(receiver["sockets"]["main"])
    process.send_signal(signal.SIGTERM)
    host.wait("ignored", name="worker-0")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)

    def ended() -> bool:
        """Asked once more: a second signal counts a second after the first."""
        process.send_signal(signal.SIGTERM)
        return process.poll() is not None

    wait_until(ended, WITHIN_S, "it to give up waiting", interval_s=0.2)
    assert process.returncode == 0


def test_sockets_handed_over_by_systemd_are_used(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # A shell takes systemd's part: the socket at descriptor 3, and LISTEN_PID its own, which exec keeps.
        shell = 'exec 3<&"$0"; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=main exec "$@"'
        os.set_inheritable(listener.fileno(), True)
        prefix = ("/bin/bash", "-c", shell, str(listener.fileno()))
        process = host.start([["receiver", "loop", QUICK]], prefix=prefix, listeners={"main": 1})
        host.wait("ready")
        (receiver,) = host.journal("child")
        assert receiver["sockets"] == {"main": ["127.0.0.1", port]}
        assert receiver["environment"] == []
        assert stop(process) == 0


def test_an_address_that_cannot_be_had_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"main: cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            bind_listeners([ListenerAddress("main", "127.0.0.1", port)])
    with pytest.raises(UsageError, match="cannot listen on no-such-host"):
        bind_listeners([ListenerAddress("main", "no-such-host.invalid", 1)])


def told(run: RunFolder) -> str:
    """The supervisor's own metrics."""
    (name,) = run.names(".metrics")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(run.address(name))
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def test_its_metrics_name_every_child(host: Host) -> None:
    process = host.start([["worker", "loop", QUICK], ["console", "loop", QUICK]])
    host.wait("ready", 2)
    run = RunFolder(host.folder / "state" / "run")
    text = told(run)
    assert 'gateway_child_up{process="supervisor-0",child="worker-0"} 1' in text
    assert 'gateway_child_starts_total{process="supervisor-0",child="console-0"} 1' in text
    assert stop(process) == 0
    assert run.names(".metrics") == []


def test_its_metrics_say_whether_the_last_reload_was_refused(host: Host) -> None:
    process = host.start([["worker", "stubborn", {**QUICK, "stop_timeout_s": 0.1}]], reload_refusals=1)
    host.wait("ready")
    run = RunFolder(host.folder / "state" / "run")
    refused = 'gateway_configuration_refused{process="supervisor-0"} '
    assert refused + "0\n" in told(run)
    process.send_signal(signal.SIGHUP)
    until(lambda: refused + "1\n" in told(run), "the refusal to show")
    process.send_signal(signal.SIGHUP)
    until(lambda: refused + "0\n" in told(run), "the correction to show")
    assert stop(process) == 0


def test_an_idle_supervisor_sleeps_and_is_small(host: Host) -> None:
    """At most one wake-up a second with the default timeouts and four children, and a few MiB of its own."""
    process = host.start([[role, "loop"] for role in ("receiver", "worker", "forwarder", "console")])
    host.wait("ready", 4)

    def switches() -> int:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])

    before, began = switches(), time.monotonic()
    until(lambda: time.monotonic() - began > 6, "six seconds of idling")
    assert switches() - before <= 6
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    pss_kib = int(rollup.partition("\nPss:")[2].split()[0])
    anonymous_kib = int(rollup.partition("\nAnonymous:")[2].split()[0])
    print(f"supervisor: PSS {pss_kib} KiB, anonymous {anonymous_kib} KiB")
    assert anonymous_kib < 16 * 1024
    assert stop(process) == 0
