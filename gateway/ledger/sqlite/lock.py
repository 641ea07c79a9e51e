"""The lock that all writers of one ledger take in turn: flock on a file of its own.

SQLite's busy handler polls, and starves whoever polls at the wrong moments; the kernel's flock queue does not. flock
has no timeout, so a contended wait happens in a thread of its own: the caller waits for that thread with a deadline,
and a grant that comes after the caller has given up is handed back at once. The uncontended way is one system call.

The lock belongs to the open file description: it ends with the process, however that dies.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path


class WriterLock:
    """One holder's handle. `acquire` and `release` are called by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mutex = threading.Lock()
        self._requests = threading.Semaphore(0)
        self._granted = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting = False  # the thread is on its way into, or inside, a blocking flock
        self._wanted = False  # somebody waits for what the thread waits for
        self._closed = False

    def acquire(self, timeout_s: float) -> bool:
        """Take the lock. False when it was not had within `timeout_s` seconds."""
        with self._mutex:
            if not self._waiting and self._try():
                return True
            self._granted.clear()
            self._wanted = True
            if not self._waiting:
                self._waiting = True
                self._requests.release()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._wait_in_turn, name="ledger-lock", daemon=True)
                    self._thread.start()
        self._granted.wait(timeout_s)
        with self._mutex:
            self._wanted = False
            return self._granted.is_set()

    def release(self) -> None:
        """Give the lock back."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release what is held and end the thread, at once or when its last wait ends. Idempotent."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            self._requests.release()
            if not self._waiting:
                os.close(self._fd)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_in_turn(self) -> None:
        while True:
            self._requests.acquire()
            if not self._waiting:
                return  # closed while idle
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            with self._mutex:
                self._waiting = False
                if self._closed:
                    os.close(self._fd)  # close() left the descriptor to us: it could have been reused meanwhile
                    return
                if self._wanted:
                    self._granted.set()
                else:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
