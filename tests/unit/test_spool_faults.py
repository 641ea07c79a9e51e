"""Faults that the kernel hands out: a kill at each system call, EIO and ENOSPC at the calls that matter.

strace is attached once the script of `spool_script` has its pool and waits, so the n-th system call means the n-th of
the work itself.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.spool import FoundState, remove_incomplete, scan
from tests.harness.durable import flush
from tests.harness.tools import program, require, run
from tests.unit.spool_kit import GENERATION, files_in, make_intake, make_meta, make_spool, store
from tests.unit.spool_script import POOL_SIZE, content

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Traced:
    """What the script said, how it ended, and the system calls it made."""

    lines: tuple[str, ...]
    returncode: int
    trace: str

    @property
    def acknowledged(self) -> set[str]:
        return {line.split()[1] for line in self.lines if line.startswith("acknowledged ")}

    def starting(self, word: str) -> list[str]:
        return [line for line in self.lines if line.startswith(f"{word} ")]

    def calls(self, name: str) -> int:
        return len(re.findall(rf"\b{name}\(", self.trace))


def run_traced(tmp_path: Path, steps: Sequence[str], *faults: str) -> Traced:
    """Run the script on `tmp_path`/spool with faults injected, in strace's words."""
    trace = tmp_path / "trace"
    argv = [sys.executable, "-m", "tests.unit.spool_script", str(tmp_path / "spool"), *steps]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as script:
        assert script.stdin is not None and script.stdout is not None and script.stderr is not None
        assert script.stdout.readline() == "ready\n", script.stderr.read()
        command = [program("strace"), "-f", "-o", str(trace), "-p", str(script.pid)]
        for fault in faults:
            command += ["-e", f"inject={fault}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            attached = strace.stderr.readline()
            assert "attached" in attached, attached
            try:
                script.stdin.write("go\n")
                script.stdin.close()
                lines = script.stdout.read().splitlines()
                said = script.stderr.read()
                returncode = script.wait(60)
            finally:
                script.kill()
                strace.wait(30)
    assert "Traceback" not in said, said
    return Traced(tuple(lines), returncode, trace.read_text())


def check_nothing_lost(tmp_path: Path, traced: Traced) -> None:
    """Acknowledged ⊆ complete and intact; what is left is removed, and the next receiver goes on."""
    spool = make_spool(tmp_path / "spool")
    complete = {
        found.instance_id: found.arrival for found in scan(spool, verify=True) if found.state is FoundState.COMPLETE
    }
    assert traced.acknowledged <= complete.keys()
    for arrival in complete.values():
        assert arrival is not None
        data = spool.path(arrival.path).read_bytes()[arrival.offset :]
        assert data == content(int(arrival.sop_instance_uid.split(".")[-1]), arrival.length)
    removal = remove_incomplete(spool, [GENERATION], known=traced.acknowledged)
    assert removal.kept == ()
    assert {path.stem for path in files_in(spool)} == complete.keys()


STEPS = ("1", "large", "3", "fill", "2")


def calls_of(traced: Traced) -> list[tuple[str, int]]:
    """Every system call of the trace as (name, which one of that name); strace counts each name by itself."""
    counts: Counter[str] = Counter()
    calls = []
    for line in traced.trace.splitlines():
        if match := re.match(r"\d+ +(\w+)\(", line):
            counts[match[1]] += 1
            calls.append((match[1], counts[match[1]]))
    return calls


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_killed_at_any_system_call_no_acknowledged_instance_is_lost(tmp_path: Path) -> None:
    require("strace")
    whole = tmp_path / "whole"
    whole.mkdir()
    undisturbed = run_traced(whole, STEPS, "getppid:error=EIO:when=1")
    assert undisturbed.returncode == 0
    assert len(undisturbed.acknowledged) == 7
    calls = calls_of(undisturbed)
    acknowledged = []
    for number, (name, which) in enumerate(calls):
        folder = tmp_path / str(number)
        folder.mkdir()
        traced = run_traced(folder, STEPS, f"{name}:signal=SIGKILL:when={which}")
        # 0: a call of the interpreter's own (memory) that this run did not make.
        assert traced.returncode in (-signal.SIGKILL, 0), traced.lines
        check_nothing_lost(folder, traced)
        acknowledged.append(len(traced.acknowledged))
    assert len(calls) > 40, "the kills did not reach the work"
    assert set(acknowledged) >= set(range(7)), "a kill between any two acknowledgements"


IN_THREADS = "io_submit:error=EAGAIN"  # the kernel takes no flush: then fdatasync is called, and its fault is met


def test_a_failed_flush_is_refused_and_never_tried_again(tmp_path: Path) -> None:
    require("strace")
    traced = run_traced(tmp_path, ("1", "1"), IN_THREADS, "fdatasync:error=EIO:when=1")
    [refused] = traced.starting("refused")
    assert "SpoolError" in refused
    assert "Input/output error" in refused
    assert len(traced.acknowledged) == 1
    assert traced.calls("fdatasync") == 2, "one for each file, none again"
    # The failed file is gone, so that nothing adopts what the sender was told is not stored.
    check_nothing_lost(tmp_path, traced)
    assert {path.stem for path in files_in(make_spool(tmp_path / "spool"))} == traced.acknowledged


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_failed_folder_flush_gives_nothing_out(tmp_path: Path, when: int) -> None:
    """The batch folder's, the generation's and incoming's own flush."""
    require("strace")
    traced = run_traced(tmp_path, ("fill", "fill", "3"), f"fsync:error=EIO:when={when}")
    [unfilled] = traced.starting("unfilled")
    assert unfilled.startswith(f"unfilled {POOL_SIZE} SpoolError")
    assert traced.starting("filled") == [f"filled {2 * POOL_SIZE}"]
    assert len(traced.acknowledged) == 3
    batches = {path.parent.name for path in files_in(make_spool(tmp_path / "spool"))}
    assert batches == {"000000", "000002"}, "the batch whose folder was not flushed is gone"
    check_nothing_lost(tmp_path, traced)


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO"])
@pytest.mark.parametrize("when", [1, 2, 5])
def test_a_failed_write_is_refused_and_leaves_nothing(tmp_path: Path, error: str, when: int) -> None:
    """Of a small instance the data or the record, of a large one a piece in the middle."""
    require("strace")
    steps = ("large", "1") if when == 5 else ("1", "large")
    traced = run_traced(tmp_path, steps, f"pwritev,pwritev2,pwrite64:error={error}:when={when}")
    [refused] = traced.starting("refused")
    assert refused.split()[2] == ("SpoolError" if error == "EIO" else "SpoolFull")
    assert len(traced.acknowledged) == 1
    complete = [found for found in scan(make_spool(tmp_path / "spool")) if found.state is not FoundState.EMPTY]
    assert {found.instance_id for found in complete} == traced.acknowledged
    check_nothing_lost(tmp_path, traced)


@pytest.mark.parametrize(
    ("inject", "kind"),
    [
        ("pread64:error=EIO:when=1", "UnreadableFile"),
        ("openat:error=EACCES:when=2", "UnreadableFile"),
        ("openat:error=ENOENT:when=2", "SpoolMissing"),
        ("openat:error=EMFILE:when=2", "SpoolError"),
    ],
)
def test_trouble_in_reading_is_told_apart(tmp_path: Path, inject: str, kind: str) -> None:
    require("strace")
    traced = run_traced(tmp_path, ("1", "read"), inject)
    [unreadable] = traced.starting("unreadable")
    assert unreadable.split()[1] == kind
    assert len(traced.acknowledged) == 1


def test_after_a_power_cut_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    """The image is copied while it is mounted: what the kernel has not been made to write is not in the copy."""
    require("loop")
    mount, umount = program("mount"), program("umount")
    image, copy = tmp_path / "image", tmp_path / "copy"
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    run([program("mkfs.ext4"), "-q", image]).check()
    disk = tmp_path / "disk"
    disk.mkdir()
    run([mount, "-o", "loop,commit=300", image, disk]).check()
    try:
        spool = make_spool(disk / "spool")
        intake = make_intake(spool, pool_size=20)
        arrivals = [store(intake, content(1, 9_216)), store(intake, content(2, 2_000_128))]
        group = [intake.begin(make_meta()) for _ in range(5)]
        for number, writer in enumerate(group):
            writer.write(content(number, 50_176))
            arrivals.append(writer.finish())
        assert flush(group) == [None] * 5
        unflushed = intake.begin(make_meta())
        unflushed.write(content(9, 9_216))
        unflushed.finish()
        run(["cp", image, copy]).check()
        for writer in (*group, unflushed):
            writer.close()
    finally:
        run([umount, disk]).check()
    run([mount, "-o", "loop", copy, disk]).check()
    try:
        after = make_spool(disk / "spool")
        states = {found.instance_id: found for found in scan(after, verify=True)}
        assert {states[arrival.instance_id].arrival for arrival in arrivals} == set(arrivals)
        assert states[unflushed.instance_id].state is not FoundState.COMPLETE, "the copy holds more than was flushed"
        assert len(states) == 20
    finally:
        run([umount, disk]).check()
