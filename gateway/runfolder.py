"""The folder `run/` of the state folder: the unix sockets by which the processes of one host find each other.

Socket addresses are limited to 108 bytes, and a state folder may lie deep. So no address holds the folder's path: the
folder is opened once, and a socket is named `/proc/self/fd/<descriptor>/<name>`, which the kernel resolves to the same
file.

Rules:
  - a name holds a token of its process and is never used again. So whoever finds that nobody answers under a name may
    remove it, without a race against a successor;
  - the folder is readable by its owner alone: who may open it may talk to the gateway;
  - `clear` is for the supervisor, while it holds the state lock and before it starts a child.

Called by telemetry and console (metrics sockets), by the work queue (wake-up sockets) and by the supervisor.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

METRICS_SUFFIX = ".metrics"
WAKE_SUFFIX = ".wake"


class RunFolder:
    """An open run folder. Made when it is missing. Close it when the last socket is gone."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def address(self, name: str) -> str:
        """The address to bind or connect a unix socket of this name to, in this process."""
        return f"/proc/self/fd/{self._descriptor}/{name}"

    def names(self, suffix: str, prefix: str = "") -> list[str]:
        """The names that are there now, sorted."""
        found = os.listdir(self._descriptor)  # noqa: PTH208 - a descriptor, not a path
        return sorted(name for name in found if name.startswith(prefix) and name.endswith(suffix))

    def remove(self, name: str) -> None:
        """Remove a name; does nothing when it is gone already."""
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return

    def rename(self, old: str, new: str) -> None:
        """Give a socket its final name, once it can answer."""
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def clear(self) -> int:
        """Remove every socket that processes of an earlier run left behind. Returns how many."""
        removed = 0
        for name in os.listdir(self._descriptor):  # noqa: PTH208 - a descriptor, not a path
            if stat.S_ISSOCK(os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode):
                self.remove(name)
                removed += 1
        return removed

    def close(self) -> None:
        """Give the folder's descriptor back. Does nothing the second time."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def unique(stem: str, suffix: str) -> str:
    """A name that no other process used or will use: stem, process id, token."""
    return f"{stem}.{os.getpid()}-{os.urandom(4).hex()}{suffix}"
