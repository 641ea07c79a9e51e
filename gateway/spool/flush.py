"""One flush for many: how files become durable.

`Flusher.flush` is called in a thread with every writer that waits at that moment. One or two are flushed by fdatasync
each. From three on one syncfs serves all of them, where that is known to be sound: 20 files of 9 KB take 0.8 ms so,
and 3.5 ms one by one.

What makes syncfs sound:
  - Linux 5.17: the first release in which syncfs(2) returns both the errors of writeback (5.8) and those of the file
    system's own sync (a journal that has been aborted);
  - ext4, XFS, Btrfs, tmpfs: local file systems whose sync ends with a flush of the device's cache;
  - afterwards each file is asked for its own writeback error. syncfs reports an error once per descriptor: one that
    belongs to a file still being written may have been reported to, and used up by, an earlier group.

syncfs also waits for what others write to the same file system. Beside a 1 GiB instance that is written back as it
arrives it still wins (groups of 20: 3 ms against 27 ms, worst 24 against 204). Behind a program that fills the page
cache it loses (worst 290 ms against 46): one that took longer than SLOW_S makes the flusher use fdatasync for
SLOW_PAUSE_S.

A file whose flush failed is never flushed again: after a failure the kernel may have marked its pages clean, so that a
second flush would succeed without having written anything.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from gateway.errors import SpoolError
from gateway.spool import system

GROUP_MIN = 3
SLOW_S = 0.25
SLOW_PAUSE_S = 5.0

_SYNCFS_TYPES = frozenset(
    {system.EXT4_SUPER_MAGIC, system.XFS_SUPER_MAGIC, system.BTRFS_SUPER_MAGIC, system.TMPFS_MAGIC}
)


class Flushable(Protocol):
    """A file that waits for its flush. `begin_flush` raises RuntimeError when it must not be flushed (again)."""

    @property
    def relative(self) -> str: ...

    def begin_flush(self) -> int:
        """The descriptor to flush."""

    def end_flush(self, error: SpoolError | None) -> None:
        """What became of it."""


class Flusher:
    """See the module's docstring. `flush_calls` counts device flushes."""

    def __init__(self) -> None:
        self.flush_calls = 0
        self._folder_fd = -1
        self._syncfs_from = 0.0
        self._counting = threading.Lock()

    def open(self, folder: str) -> None:
        """Allow group flushes for the file system of `folder`, where they are sound. Raises OSError."""
        if self._folder_fd < 0 and syncfs_is_sound(folder):
            self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the descriptor back; flushes go on one by one."""
        if self._folder_fd >= 0:
            fd, self._folder_fd = self._folder_fd, -1
            os.close(fd)

    def flush(self, files: Sequence[Flushable]) -> list[SpoolError | None]:
        """Make all files durable; None for each that is. Blocking. Raises RuntimeError for one not ready for it."""
        fds = [file.begin_flush() for file in files]
        if len(fds) >= GROUP_MIN and self._folder_fd >= 0 and time.monotonic() >= self._syncfs_from:
            results, calls = self._flush_group(files, fds), 1
        else:
            results, calls = [_flush_one(file, fd) for file, fd in zip(files, fds, strict=True)], len(fds)
        for file, result in zip(files, results, strict=True):
            file.end_flush(result)
        with self._counting:
            self.flush_calls += calls
        return results

    def _flush_group(self, files: Sequence[Flushable], fds: Sequence[int]) -> list[SpoolError | None]:
        started = time.monotonic()
        try:
            system.syncfs(self._folder_fd)
        except OSError as error:
            return [system.spool_error(error, f"cannot flush {file.relative} (syncfs)") for file in files]
        finished = time.monotonic()
        if finished - started > SLOW_S:
            self._syncfs_from = finished + SLOW_PAUSE_S
        return [_own_error(file, fd) for file, fd in zip(files, fds, strict=True)]


def syncfs_is_sound(folder: str) -> bool:
    """Whether one syncfs may stand for an fdatasync of each file below `folder`."""
    return system.kernel_version() >= (5, 17) and system.filesystem_type(folder) in _SYNCFS_TYPES


def _flush_one(file: Flushable, fd: int) -> SpoolError | None:
    try:
        os.fdatasync(fd)
    except OSError as error:
        return system.spool_error(error, f"cannot flush {file.relative}")
    return None


def _own_error(file: Flushable, fd: int) -> SpoolError | None:
    try:
        system.check_writeback(fd)
    except OSError as error:
        return system.spool_error(error, f"cannot flush {file.relative} (writeback)")
    return None
