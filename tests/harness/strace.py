"""System calls that fail, stall or kill, by strace's fault injection; and how many there were.

`Strace.attach(pid, …)` traces a running process with all its threads, `Strace.command(argv, …)` gives the words to put
before a command. `inject` makes the option text. The count in `when` is strace's: per thread, from the attachment on.
Detaching leaves the process running.
"""

from __future__ import annotations

import re
import signal
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.tools import Process, program, wait_until

_CALL = re.compile(r"^\s*(\d+)\s+(?:\d+\.\d+\s+)?(\w+)\(")
SYNC_CALLS = ("fsync", "fdatasync", "syncfs", "sync_file_range")


@dataclass(frozen=True, slots=True)
class Call:
    """One line of a trace: the thread, the system call and the whole line."""

    thread: int
    name: str
    line: str

    @property
    def injected(self) -> bool:
        return "(INJECTED)" in self.line or "(DELAYED)" in self.line


def inject(
    calls: str | Sequence[str],
    *,
    error: str = "",
    kill: bool = False,
    signal_name: str = "",
    delay_enter_s: float = 0.0,
    delay_exit_s: float = 0.0,
    when: str | int = "",
) -> str:
    """An `inject=` expression: the calls fail with `error` (EIO, ENOSPC), stall, or bring a signal (`kill`: SIGKILL).

    `when`: 3 only the third, "3+" from the third on, "3+2" every second from the third on.
    """
    text = "inject=" + (calls if isinstance(calls, str) else ",".join(calls))
    if error:
        text += f":error={error}"
    if kill or signal_name:
        text += f":signal={'SIGKILL' if kill else signal_name}"
    if delay_enter_s:
        text += f":delay_enter={int(delay_enter_s * 1e6)}"
    if delay_exit_s:
        text += f":delay_exit={int(delay_exit_s * 1e6)}"
    return text + (f":when={when}" if when != "" else "")


FLUSHES_IN_THREADS = inject("io_submit", error="EAGAIN")
"""The kernel takes no flush from the gateway, so that threads of its own call fdatasync, where faults can be met."""


class Strace:
    """A strace that is attached to a process, or the words that start a command under one."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._process: Process | None = None
        self._pid = 0

    @staticmethod
    def _options(out: Path, trace: str | Sequence[str], injections: Sequence[str], paths: Sequence[Path]) -> list[str]:
        words = [program("strace"), "-f", "-ttt", "-s", "0", "-o", str(out)]
        names = trace if isinstance(trace, str) else ",".join(trace)
        injected = ",".join(one.removeprefix("inject=").split(":")[0] for one in injections)
        words += ["-e", "signal=none", "-e", f"trace={','.join(filter(None, (names, injected)))}"]
        for one in injections:
            words += ["-e", one]
        for path in paths:
            words += ["-P", str(path)]
        return words

    @classmethod
    def command(
        cls,
        out: Path,
        argv: Sequence[str | Path] = (),
        *,
        trace: str | Sequence[str] = (),
        injections: Sequence[str] = (),
        paths: Sequence[Path] = (),
    ) -> list[str]:
        """`strace … argv`: with an empty `argv`, a prefix for a command of somebody else's (GatewayProcess)."""
        return [*cls._options(out, trace or SYNC_CALLS, injections, paths), "--", *map(str, argv)]

    @classmethod
    def attach(
        cls,
        pid: int,
        out: Path,
        *,
        trace: str | Sequence[str] = (),
        injections: Sequence[str] = (),
        paths: Sequence[Path] = (),
    ) -> Self:
        """Attach to a process and its threads; returns when every thread that it has is traced.

        `trace`: names or strace classes (`%desc`, `all`); `paths` narrows to calls on these files.
        """
        self = cls(out)
        argv = [*cls._options(out, trace or SYNC_CALLS, injections, paths), "-p", str(pid)]
        process = Process(argv, out.parent, f"strace-{out.stem}-{pid}")
        self._process, self._pid = process, pid

        def attached() -> bool:
            if not process.running:  # an injected signal may have struck before all threads were seen
                assert injections and not _living(pid), f"strace ended: {process.output()}"
                return True
            try:
                return all(_tracer(pid, thread.name) == process.pid for thread in Path(f"/proc/{pid}/task").iterdir())
            except FileNotFoundError:  # it has died a moment ago; strace is about to end
                return False

        wait_until(attached, 15, lambda: f"strace to attach to {pid}: {process.output()}")
        return self

    def detach(self) -> None:
        """Let the process run on without strace. Harmless when it, or strace, has ended."""
        if self._process is None or not self._process.running:
            return
        if _living(self._pid):  # strace ends with the last thread it traces; told to while they die, it may hang
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(15)
        except AssertionError:
            self._process.kill()  # the kernel then lets go of what it traced

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def calls(self) -> list[Call]:
        """What was traced so far, in order; resumed and exit lines left out."""
        return read_trace(self.out)

    def counts(self) -> Counter[str]:
        """How often each system call was made."""
        return Counter(call.name for call in self.calls())


def read_trace(out: Path) -> list[Call]:
    """The calls in a strace output file."""
    if not out.exists():
        return []
    found = []
    for line in out.read_text(errors="replace").splitlines():
        if match := _CALL.match(line):
            found.append(Call(int(match.group(1)), match.group(2), line))
    return found


def kill_points(calls: Sequence[Call]) -> list[tuple[str, int]]:
    """Every (system call, n) at which `inject(name, kill=True, when=n)` can strike, given a trace of a run like it.

    strace counts per thread, so n goes up to the most that any one thread made.
    """
    per_thread: dict[str, Counter[int]] = defaultdict(Counter)
    for call in calls:
        per_thread[call.name][call.thread] += 1
    return [(name, n) for name, counted in per_thread.items() for n in range(1, max(counted.values()) + 1)]


def _living(pid: int) -> bool:
    """True for a process that has not ended: a zombie, or one on its way out, has no memory any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def _tracer(pid: int, thread: str) -> int:
    try:
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(re.search(r"^TracerPid:\s+(\d+)", status, re.MULTILINE).group(1))  # type: ignore[union-attr]
