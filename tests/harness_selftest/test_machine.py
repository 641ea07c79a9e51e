"""Faults of the machine really happen: failing system calls, full and dying disks, cut and slow networks."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.harness.machine import LoopExt4, Network, Tmpfs, limit_descriptors, restore_descriptors
from tests.harness.strace import Strace, inject, kill_points
from tests.harness.tools import Process, require, run, wait_until

WRITER = """
import os, sys, time
path, go = sys.argv[1], sys.argv[2]
print("up", flush=True)
while not os.path.exists(go):
    time.sleep(0.01)
for number in range(4):
    fd = os.open(f"{path}-{number}", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"x")
    try:
        os.fdatasync(fd)
        print("synced", number, flush=True)
    except OSError as error:
        print("failed", number, error.errno, flush=True)
    os.close(fd)
"""


def start_writer(tmp_path: Path) -> Process:
    process = Process([sys.executable, "-c", WRITER, tmp_path / "f", tmp_path / "go"], tmp_path / "out", "writer")
    process.wait_for_output("up")
    return process


def test_an_attached_strace_fails_the_nth_call(tmp_path: Path) -> None:
    require("strace")
    with start_writer(tmp_path) as writer:
        injections = [inject("fdatasync", error="EIO", when=2)]
        with Strace.attach(writer.pid, tmp_path / "trace", injections=injections) as strace:
            (tmp_path / "go").touch()
            writer.wait()
        assert writer.stdout_path.read_text().splitlines()[1:] == [
            "synced 0",
            f"failed 1 {errno.EIO}",
            "synced 2",
            "synced 3",
        ]
        assert strace.counts()["fdatasync"] == 4
        assert [call.injected for call in strace.calls() if call.name == "fdatasync"] == [False, True, False, False]


def test_it_kills_at_a_call_and_detaches_from_the_living(tmp_path: Path) -> None:
    require("strace")
    with start_writer(tmp_path) as writer:
        Strace.attach(writer.pid, tmp_path / "trace").detach()
        assert writer.running
        with Strace.attach(writer.pid, tmp_path / "trace2", injections=[inject("fdatasync", kill=True, when=3)]):
            (tmp_path / "go").touch()
            assert writer.wait() == -signal.SIGKILL
        assert "synced 1" in writer.output()
        assert "synced 2" not in writer.output()


def test_it_delays_a_call(tmp_path: Path) -> None:
    require("strace")
    with start_writer(tmp_path) as writer:
        with Strace.attach(writer.pid, tmp_path / "trace", injections=[inject("fdatasync", delay_enter_s=0.4, when=1)]):
            begun = time.monotonic()
            (tmp_path / "go").touch()
            writer.wait()
        assert time.monotonic() - begun >= 0.4


def test_a_command_is_run_under_strace_and_its_kill_points_listed(tmp_path: Path) -> None:
    require("strace")
    (tmp_path / "go").touch()
    argv: list[str | Path] = [sys.executable, "-c", WRITER, tmp_path / "f", tmp_path / "go"]
    run(Strace.command(tmp_path / "trace", argv, trace="fdatasync,openat", paths=[tmp_path / "f-1"])).check()
    run(Strace.command(tmp_path / "all", argv, trace="fdatasync")).check()
    from tests.harness.strace import read_trace

    assert [call.name for call in read_trace(tmp_path / "trace")] == ["openat", "fdatasync"]
    assert kill_points(read_trace(tmp_path / "all")) == [("fdatasync", n) for n in (1, 2, 3, 4)]


def test_a_tmpfs_runs_full_of_bytes_and_of_inodes(tmp_path: Path) -> None:
    with Tmpfs(tmp_path / "t", 4 << 20, inodes=64) as disk:
        filler = disk.fill(leave_bytes=1 << 20)
        assert 0 < disk.free_bytes() <= 1 << 20
        filler = disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "x").write_bytes(bytes(8192))
        filler.unlink()
        made = disk.use_up_inodes()
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "y").touch()
        made[0].unlink()
        (disk.path / "y").touch()
    assert not any((tmp_path / "t").iterdir())


def test_a_power_cut_keeps_what_was_flushed_and_loses_the_rest(tmp_path: Path) -> None:
    with LoopExt4(tmp_path / "disk", 64 << 20) as disk:
        with (disk.path / "flushed").open("wb") as file:
            file.write(b"a" * 5000)
            file.flush()
            os.fsync(file.fileno())
        with (disk.path / "cached").open("wb", buffering=0) as file:
            file.write(b"b" * 5000)
            disk.power_cut()
            with pytest.raises(OSError, match="Input/output error"):
                os.fdatasync(file.fileno())
        disk.replug()
        assert (disk.path / "flushed").read_bytes() == b"a" * 5000
        assert not (disk.path / "cached").exists() or (disk.path / "cached").read_bytes() != b"b" * 5000
    assert not disk.image.exists()


def test_a_disk_error_turns_it_read_only_until_it_is_repaired(tmp_path: Path) -> None:
    with LoopExt4(tmp_path / "disk", 64 << 20) as disk:
        with (disk.path / "kept").open("wb") as file:
            file.write(b"a")
            file.flush()
            os.fsync(file.fileno())
        disk.force_read_only()
        with pytest.raises(OSError, match="Read-only"):
            (disk.path / "new").touch()
        assert (disk.path / "kept").read_bytes() == b"a"
        disk.repair()
        (disk.path / "new").touch()


def test_a_network_is_slow_and_cut_and_mended(tmp_path: Path) -> None:
    with Network() as network:
        server = (
            "import socket; s = socket.create_server(('0.0.0.0', 4242)); print('up', flush=True)\n"
            "while True:\n c, _ = s.accept()\n n = 0\n while (d := c.recv(65536)):\n  n += len(d)\n  c.sendall(b'.')"
        )
        with Process(network.command([sys.executable, "-c", server]), tmp_path, "server") as process:
            process.wait_for_output("up")
            with socket.create_connection((network.address, 4242), timeout=5) as sock:
                sock.sendall(b"x")
                assert sock.recv(1) == b"."
                network.rate(256)
                begun = time.monotonic()
                sock.sendall(bytes(64 * 1024))
                got = 0
                while time.monotonic() - begun < 1.0:
                    sock.settimeout(0.2)
                    try:
                        got += len(sock.recv(100))
                    except TimeoutError:
                        continue
                assert got >= 1
                network.rate(0)
                network.cut()
                sock.sendall(b"y")
                sock.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    while sock.recv(1000):
                        pass
                network.mend()
                sock.settimeout(10)
                assert sock.recv(1)
            with network.inside():
                inner = socket.socket()
            inner.settimeout(5)
            inner.connect(("127.0.0.1", 4242))  # its loopback, not ours
            inner.close()
        name = network.name
    assert name not in run(["ip", "netns", "list"]).stdout


def test_descriptors_of_a_running_process_are_limited(tmp_path: Path) -> None:
    code = (
        "import os,sys,time\nprint('up', flush=True)\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
        "try:\n while True: os.dup(0)\nexcept OSError as e: print('EMFILE', e.errno, flush=True)\ntime.sleep(60)"
    )
    with Process([sys.executable, "-c", code, tmp_path / "go"], tmp_path / "out") as process:
        process.wait_for_output("up")
        before = limit_descriptors(process.pid, 10)
        (tmp_path / "go").touch()
        process.wait_for_output(f"EMFILE {errno.EMFILE}")
        restore_descriptors(process.pid, before)
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(rf"Max open files\s+{before[0]}\s", limits)
    wait_until(lambda: not process.running)
