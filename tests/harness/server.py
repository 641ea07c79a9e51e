"""What the database servers of a test share: a folder that an unprivileged user may enter, and a tree of processes
that is frozen, thawed and killed as one.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.harness.evidence import descendants
from tests.harness.tools import Process, program, wait_until


class ServerFolder:
    """A temporary folder owned by whom the server runs as: ourselves, or `user` where we are root.

    pytest's own folders are closed to other users, so it lies beside them.
    """

    def __init__(self, prefix: str, user: str = "") -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)  # at exit, at the latest
        self._owner = None
        self.wrapper: list[str] = []
        if user and os.geteuid() == 0:
            self._owner = _user(user)
            ids = [f"--reuid={self._owner.pw_uid}", f"--regid={self._owner.pw_gid}"]
            self.wrapper = [program("setpriv"), *ids, "--clear-groups"]
            self.give(self.path)

    def give(self, *paths: Path) -> None:
        """Make the server's user the owner."""
        for path in paths:
            if self._owner is not None:
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)

    def write(self, name: str, text: str) -> Path:
        """Write a file that the server's user, and nobody else, may read."""
        path = self.path / name
        path.touch(mode=0o600)
        path.write_text(text)
        self.give(path)
        return path

    def remove(self) -> None:
        """Remove it and what is in it."""
        self._remove()


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return pwd.getpwnam("nobody")


def freeze(process: Process) -> list[int]:
    """SIGSTOP a process and everything below it, until there is nobody new; their pids."""
    stopped: list[int] = []
    while fresh := [pid for pid in (process.pid, *descendants(process.pid)) if pid not in stopped]:
        _signal(fresh, signal.SIGSTOP)
        stopped += fresh
    return stopped


def thaw(pids: Iterable[int]) -> None:
    """SIGCONT, the children first."""
    _signal(reversed(list(pids)), signal.SIGCONT)


def kill(process: Process) -> None:
    """SIGKILL a process and everything below it, as the kernel does when the power goes; wait until they are gone."""
    if not process.running:
        return
    family = freeze(process)
    _signal(family, signal.SIGKILL)
    process.popen.wait(30)
    wait_until(lambda: not any(lives(pid) for pid in family), 30, f"{process.name} to be gone")


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def lives(pid: int) -> bool:
    """True while it holds memory and sockets; a zombie holds none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@contextlib.contextmanager
def frozen(process: Process) -> Iterator[None]:
    """Everything of a server stands still for the length of a block: nobody is refused, nobody answered."""
    pids = freeze(process)
    try:
        yield
    finally:
        thaw(pids)
