"""One gateway a state folder.

The lock is a flock on `<state folder>/lock`, whose content is the supervisor's process id, for people to read. Children
inherit its descriptor and so hold it too: a supervisor that was killed leaves the lock to its children, and the next
gateway begins only when the last of them is dead. What it then voids and adopts has no living owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from gateway.errors import AlreadyRunning

_WAIT_S = 1.2  # the children of a killed supervisor die within milliseconds; a second gateway is told within 2 s
_STEP_S = 0.05


class StateLock:
    """The lock on a state folder, held from construction until `release`."""

    def __init__(self, state_dir: Path, wait_s: float = _WAIT_S) -> None:
        """Take the lock. Raises AlreadyRunning, naming the process that holds it, after `wait_s`."""
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = state_dir / "lock"
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_s
        while not self._try():
            if time.monotonic() >= deadline:
                message = self._who()
                os.close(self._descriptor)
                raise AlreadyRunning(message)
            time.sleep(_STEP_S)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                raise
            return False
        return True

    def _who(self) -> str:
        text = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
        if not text.isdecimal():
            return f"another gateway holds {self.path}; stop it first"
        if Path(f"/proc/{text}").exists():
            return f"another gateway, process {text}, holds {self.path}; stop it first, or use another state_dir"
        return f"the children of a gateway that ended (process {text}) still hold {self.path}; try again in a moment"

    def fileno(self) -> int:
        """The descriptor that children inherit."""
        return self._descriptor

    def release(self) -> None:
        """Give the lock up: it is free when no child holds it any more. Does nothing the second time."""
        if self._descriptor >= 0:
            os.close(self._descriptor)  # not LOCK_UN, which would take it from the children too
            self._descriptor = -1
