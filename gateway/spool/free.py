"""Files that are used again: what a purge empties becomes a file of a pool.

Making a file costs ext4 far more than moving one: for minutes it passes over the inodes of files removed lately, one by
one, so that a spool that takes and purges all the time spends a quarter of the receiver's time looking for an inode.
So a purge empties the file first and then moves it into `free/`, and a pool takes it from there under its new name.
Nothing of what was in it is left: its blocks are given back, as by a removal, and what is in `free/` has no content.

Whoever still reads a file of its old name (a process that was stopped for minutes) could then read what came later: so
before bytes of it go anywhere, it asks whether the name is still there (`Spool.holds`). A name is never used again.

A file that has a second name (a backup by `cp -al`) is not used again: what is under the other name would be emptied,
and would later hold another instance.

Calls may come from several processes: a name that another one took is passed over.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque

FREE = "free"
FREE_MAX = 4096  # files; in steady traffic a purge empties in a second what the pools take in the next


class FreeFiles:
    """The folder `free/` of a spool, as one process uses it."""

    def __init__(self, folder: str, *, gives: bool = True) -> None:
        self._folder = folder
        self._gives = gives  # else nothing is used again
        self._known: deque[str] = deque()

    def places(self) -> int:
        """How many more files may be kept."""
        try:
            return FREE_MAX - len(os.listdir(self._folder))
        except OSError:  # no such folder, no descriptor: what is purged is removed
            return 0

    def keep(self, path: str) -> None:
        """Empty the file at `path` (absolute) and keep it; one that has another name too is only removed under this.

        Raises OSError; then it is where it was, with its content or, where just the move failed, without.
        """
        if not _is_ours_alone(os.lstat(path)):
            os.unlink(path)
            return
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC))
        os.rename(path, f"{self._folder}/{os.path.basename(path)}")

    def take(self, path: str) -> bool:
        """Have an empty file at `path` (absolute, not there yet). False: there is none to be had. Raises OSError."""
        if not self._gives:
            return False
        if not self._known:
            with contextlib.suppress(OSError):
                self._known.extend(os.listdir(self._folder))
        while self._known:
            try:
                os.rename(f"{self._folder}/{self._known.popleft()}", path)
            except FileNotFoundError:
                continue
            found = os.lstat(path)
            if _is_ours_alone(found) and found.st_size == 0:
                return True
            os.unlink(path)  # none of ours
        return False

    def clear(self) -> None:
        """Remove them all: inodes are scarce. Raises OSError."""
        self._known.clear()
        for name in os.listdir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._folder}/{name}")


def _is_ours_alone(found: os.stat_result) -> bool:
    """A regular file without another name."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
