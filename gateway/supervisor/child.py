"""One supervised process: how it is started, what it said, and when it is started again.

Plain bookkeeping, without a loop: `gateway.supervisor.loop` decides when, and hands in the time (seconds of the
monotonic clock).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.control import CHILD_VARIABLE, CONTROL_VARIABLE, MESSAGE_LIMIT, SOCKETS_VARIABLE

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 30.0
HEALTHY_AFTER_S = 10.0  # a worker that runs into its time limit was healthy: its instance was not
BEATS_A_TIMEOUT = 4  # a child beats four times within its hang timeout


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A process to keep running.

    `argv` starts it. `sockets` are handed to it under these names (`Control.sockets`); they belong to the supervisor,
    which closes them when all of the role is stopped, and to no other role. Silence for `hang_timeout_s`
    is death; until the first sign of life it has `start_timeout_s`. After SIGTERM it has `stop_timeout_s`.
    """

    role: str
    index: int
    argv: tuple[str, ...]
    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    hang_timeout_s: float = 20.0
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0

    @property
    def name(self) -> str:
        """`receiver-0`."""
        return f"{self.role}-{self.index}"


class ChildState(StrEnum):
    """Where a child stands."""

    WAITING = "waiting"  # to be started at `start_at`
    STARTING = "starting"  # started, not ready yet
    READY = "ready"
    STOPPED = "stopped"  # over, and not to be started again


class Child:
    """A `ChildSpec` and its process of now."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.state = ChildState.WAITING
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.line: socket.socket | None = None
        self.starts = 0
        self.start_at = 0.0
        self.started_at = 0.0
        self.heard_at: float | None = None
        self.ready_at: float | None = None
        self.kill_at: float | None = None  # when SIGTERM turns into SIGKILL
        self.killed = False
        self.reload_due = False
        self.cleaning_until: float | None = None  # the hook still runs for the process that died
        self.session_id: int | None = None
        self.generation: str | None = None
        self._failures = 0

    def start(self, now: float, inherit: tuple[int, ...]) -> None:
        """Start the process. Raises OSError when the system has none to give, or no descriptor to watch it by.

        There is none then. From the main thread only (PDEATHSIG).
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setblocking(False)
            sockets = {name: sock.fileno() for name, sock in self.spec.sockets.items()}
            try:
                process = subprocess.Popen(
                    self.spec.argv,
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), *sockets.values(), *inherit),
                    env=self._environment(theirs.fileno(), sockets),
                )
                self.pidfd = _watch(process)
            except BaseException:
                ours.close()
                raise
        self.process, self.line = process, ours
        self.state = ChildState.STARTING
        self.starts += 1
        self.started_at = now
        self.heard_at = self.ready_at = self.kill_at = None
        self.killed = self.reload_due = False
        self.session_id = self.generation = None

    def _environment(self, descriptor: int, sockets: Mapping[str, int]) -> dict[str, str]:
        spec = self.spec
        beat_s = spec.hang_timeout_s / BEATS_A_TIMEOUT
        own = {
            CONTROL_VARIABLE: str(descriptor),
            CHILD_VARIABLE: f"{spec.role}:{spec.index}:{os.getpid()}:{beat_s:g}",
            SOCKETS_VARIABLE: ",".join(f"{name}={number}" for name, number in sockets.items()),
        }
        return {**os.environ, **spec.environment, **own}

    def listen(self, now: float) -> bool:
        """Read what it said. True when it became ready with this."""
        became_ready = False
        while self.line is not None:
            try:
                message = self.line.recv(MESSAGE_LIMIT)
            except BlockingIOError:
                break
            except OSError:
                message = b""
            if not message:
                self.line.close()
                self.line = None
                break
            self.heard_at = now
            words = message.decode("ascii", "replace").split()
            if words[0] == "session" and len(words) >= 2 and words[1].isdecimal():
                self.session_id = int(words[1])
                self.generation = words[2] if len(words) > 2 else None
            elif words[0] == "ready" and self.state is ChildState.STARTING:
                self.state, self.ready_at, became_ready = ChildState.READY, now, True
        return became_ready

    def is_silent(self, now: float) -> bool:
        """It has said nothing for longer than it may."""
        if self.heard_at is None:
            return now - self.started_at > self.spec.start_timeout_s
        return now - self.heard_at > self.spec.hang_timeout_s

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; does nothing when there is no process."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it now."""
        self.killed = True
        self.signal(signal.SIGKILL)

    def bury(self, now: float) -> int:
        """Reap the process that has ended; set when to start the next. Returns its exit status (-n for signal n)."""
        assert self.process is not None  # noqa: S101 - the caller was told of its end by its own pidfd
        status = self.process.wait()
        self.listen(now)
        if self.line is not None:
            self.line.close()
            self.line = None
        os.close(self.pidfd)
        self.pidfd = -1
        self.process = None
        self.state = ChildState.WAITING
        if self.ready_at is not None and now - self.ready_at >= HEALTHY_AFTER_S:
            self._failures = 0
        self.postpone(now)
        return status

    def postpone(self, now: float) -> None:
        """Start it again after 0.1 s, twice as long each time, 30 s at most."""
        self.start_at = now + min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** min(self._failures, 16))
        self._failures += 1


def _watch(process: subprocess.Popen[bytes]) -> int:
    """A descriptor that tells of its end. Raises OSError; then the process is dead: nobody would learn of its end."""
    try:
        return os.pidfd_open(process.pid)
    except BaseException:
        process.kill()
        process.wait()
        raise
