"""What the database servers of a test share: a folder that an unprivileged user may enter, a life, and a tree of
processes that is frozen, thawed and killed as one.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

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


class Server(ABC):
    """A server with a folder of its own. Made by a class that says how it is started (`_argv`), and starts it.

    A context manager, or ended by `close`. `kill` is SIGKILL for all of its processes; `start` afterwards finds what it
    had on disk.
    """

    def __init__(self, name: str, folder: ServerFolder) -> None:
        self.process: Process | None = None
        self._name = name
        self._folder = folder
        self._frozen: list[int] = []

    @abstractmethod
    def _argv(self) -> list[str | Path]:
        """How it is started."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it can be used by now."""

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start (again) on the same port with what is on disk, and wait until it answers."""
        assert self.process is None or not self.process.running, "it is running"
        argv = [*self._folder.wrapper, *self._argv()]
        self.process = process = Process(argv, self._folder.path / "log", self._name, cwd=self._folder.path)

        def answers() -> bool:
            assert process.running, f"{self._name} exited with {process.returncode}:\n{process.output()[-3000:]}"
            return self._answers()

        wait_until(answers, timeout_s, lambda: f"{self._name} to answer:\n{process.output()[-3000:]}")
        return self

    def kill(self) -> None:
        """SIGKILL for every process of it."""
        self._frozen = []
        kill(self._running())

    def freeze(self) -> None:
        """It stands still: connections open, requests are taken by the kernel, nothing is answered."""
        self._frozen = freeze(self._running())

    def thaw(self) -> None:
        """It goes on. Harmless when it was not frozen."""
        thaw(self._frozen)
        self._frozen = []

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """`freeze` for the length of a block: nobody is refused, nobody answered."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    @property
    def folder(self) -> Path:
        """Where its files and its log are."""
        return self._folder.path

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running

    def output(self) -> str:
        """What it wrote to its log."""
        return self.process.output() if self.process else ""

    def close(self) -> None:
        """End it whatever its state, and remove its folder."""
        if self.process is not None:
            kill(self.process)
        self._folder.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> Process:
        assert self.process is not None, "it was not started"
        return self.process
