"""The child's side of the supervisor: who am I, which sockets are mine, I live.

A role's main function calls `Control.attach()` before anything else. From then on the process dies with its
supervisor (PDEATHSIG), leaves SIGINT to it, and speaks to it over a socket pair whose descriptor came in the
environment. Messages are single datagrams (SOCK_SEQPACKET), and sending never blocks:

    beat                        the process turns; silence for longer than the role's hang timeout is death
    session <id> <generation>   what the supervisor must void, and whose spool files it must adopt, when this one dies
    ready                       the role does its work now

A process that was not started by a supervisor (a test, one role by hand) gets a detached Control: every call is there
and does nothing.

Environment: GATEWAY_CONTROL=<descriptor>, GATEWAY_CHILD=<role>:<index>:<supervisor's pid>:<beat interval in seconds>,
GATEWAY_SOCKETS=<name>=<descriptor>[,…].
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

CONTROL_VARIABLE = "GATEWAY_CONTROL"
CHILD_VARIABLE = "GATEWAY_CHILD"
SOCKETS_VARIABLE = "GATEWAY_SOCKETS"
MESSAGE_LIMIT = 256
BEAT_EVERY_S = 1.0  # at most

_PR_SET_PDEATHSIG = 1
_DETACHED_BEAT_S = 5.0


class Control:
    """One child's line to its supervisor. Made by `attach`."""

    def __init__(
        self, role: str, index: int, beat_interval_s: float, line: socket.socket | None, sockets: Mapping[str, int]
    ) -> None:
        self.role = role
        self.index = index
        self.beat_interval_s = beat_interval_s
        self._line = line
        self._beat_at = -math.inf
        self._sockets = dict(sockets)

    @classmethod
    def attach(cls, role: str = "", environment: MutableMapping[str, str] | None = None) -> Control:
        """Take up the line to the supervisor. `role` is who to be when there is none (index 0).

        The variables are taken out of the environment: they are not for the children of this process. Exits at once
        when the supervisor has died in the meantime.
        """
        variables = os.environ if environment is None else environment
        child = variables.pop(CHILD_VARIABLE, "")
        descriptor = variables.pop(CONTROL_VARIABLE, "")
        sockets = _named_descriptors(variables.pop(SOCKETS_VARIABLE, ""))
        if not child:
            return cls(role, 0, _DETACHED_BEAT_S, None, sockets)
        name, index, parent, interval = child.split(":")
        die_with_parent(int(parent))
        # A Ctrl-C reaches every process of the terminal. The supervisor turns it into a stop in order.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Until the role has its own handler: a reload must not end a process that has only just started.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        line = socket.socket(fileno=int(descriptor))
        line.setblocking(False)
        line.set_inheritable(False)
        for inherited in sockets.values():
            os.set_inheritable(inherited, False)
        return cls(name, int(index), float(interval), line, sockets)

    @property
    def name(self) -> str:
        """`receiver-0`: for the log, the metrics and the process list."""
        return f"{self.role}-{self.index}"

    def sockets(self) -> dict[str, socket.socket]:
        """The listening sockets that the supervisor handed over, by name. Call once: each is owned by the caller."""
        taken, self._sockets = self._sockets, {}
        return {name: socket.socket(fileno=descriptor) for name, descriptor in taken.items()}

    def beat(self) -> None:
        """I live. For processes without an event loop: call it at least every `beat_interval_s`, or as often as is
        convenient."""
        now = time.monotonic()
        if now - self._beat_at >= min(BEAT_EVERY_S, self.beat_interval_s / 2):
            self._beat_at = now
            self._send("beat")

    async def beat_forever(self, late: Callable[[float], None] | None = None) -> None:
        """Beat from the event loop, so that a loop that hangs is silent. Run as a task; cancel to stop.

        :param late: told each time how many seconds late the loop came to it.
        """
        import asyncio

        while True:
            self.beat()
            due = time.monotonic() + self.beat_interval_s
            await asyncio.sleep(self.beat_interval_s)
            if late is not None:
                late(max(0.0, time.monotonic() - due))

    def start_beating(
        self, group: asyncio.TaskGroup, late: Callable[[float], None] | None = None
    ) -> asyncio.Task[None]:
        """`beat_forever` as a named task of `group`."""
        return group.create_task(self.beat_forever(late), name="beat")

    def session(self, session_id: int, generation: str = "") -> None:
        """Name this process's ledger session, and the generation its spool files carry ("" when it writes none)."""
        self._send(f"session {session_id} {generation}".rstrip())

    def ready(self) -> None:
        """The role does its work now."""
        self._send("ready")

    def close(self) -> None:
        """Hang up. Does nothing the second time."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _send(self, message: str) -> None:
        if self._line is None:
            return
        try:
            self._line.send(message.encode("ascii"))
        except BlockingIOError:
            return  # the supervisor has beats of ours to read: that is as good as this one
        except OSError:
            # The supervisor is gone, and so are we in a moment (PDEATHSIG).
            self.close()


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; exit when `parent` is not the parent any more.

    prctl(2): the signal is sent when the *thread* that forked ends, so the supervisor starts children from its main
    thread only. SIGKILL, because nothing that still runs may hold the spool while the next supervisor adopts it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the supervisor died while this process was starting")


def _named_descriptors(text: str) -> dict[str, int]:
    pairs = (item.split("=", 1) for item in text.split(",") if item)
    return {name: int(descriptor) for name, descriptor in pairs}
