"""What is different on a spool that several hosts mount.

::

    <spool>/hosts/<home>/<session>       shows that a process of that host writes into this very folder
    <spool>/outcomes/<home>/             the journals of that host's forwarders (`gateway.ledger.journal`)
    <spool>/ballast-<home>               that host's ballast

Rules:
  - A purged file is not used again: another host may have it open, or in its cache, under its old name.
  - A file that is not there is lost only when it was not there for PATIENCE_S: what another host has just made may not
    be seen yet. Until then, and for as long as this host does not see its own folder below `hosts` (the mount is gone,
    or another one is in its place), it is this host's trouble, and nothing is said of the instance.
  - A file that the file system refuses to read is unreadable only when that was so REFUSALS times, over PATIENCE_S at
    least, and this host could write, flush and read another file of its own after each of them: else the server or the
    network is in trouble, and not the file.
  - The start of a host makes its folders (`join`), and no other process does: one that does not find them refuses to
    work, or a receiver would write into the empty folder that another file system is to be mounted on.
  - A host writes under its own home only. What it shows below `hosts` names sessions, so that what an earlier start has
    left is not taken for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOSTS = "hosts"
OUTCOMES = "outcomes"
PATIENCE_S = 4.0
REFUSALS = 5
REMEMBERED = 10_000
_MODE = 0o700


def join(root: Path, home: str) -> None:
    """Make the folders of a home, without what its earlier processes have shown. Raises OSError."""
    for name in (HOSTS, OUTCOMES):
        (root / name / home).mkdir(mode=_MODE, parents=True, exist_ok=True)
    for path in (root / HOSTS / home).iterdir():
        path.unlink(missing_ok=True)


def has_joined(root: Path, home: str) -> bool:
    """Whether this is the folder that the home has joined."""
    return (root / HOSTS / home).is_dir()


def show(root: Path, home: str, session_id: int) -> None:
    """Show other hosts that a session of this home sees this folder. Raises OSError."""
    folder = root / HOSTS / home
    fresh = folder / f".{session_id}.{secrets.token_hex(4)}"
    fresh.write_bytes(b"")
    fresh.rename(folder / str(session_id))


def hide(root: Path, home: str, session_id: int) -> None:
    """The session is over. What cannot be removed goes with the next start."""
    with contextlib.suppress(OSError):
        (root / HOSTS / home / str(session_id)).unlink()


def shown(root: Path, home: str) -> set[int]:
    """The sessions of a home that have shown themselves in this folder. Raises OSError; for no such folder nothing."""
    try:
        names = os.listdir(root / HOSTS / home)
    except FileNotFoundError:
        return set()
    return {int(name) for name in names if name.isdecimal()}


def works(root: Path, home: str) -> bool:
    """Whether a file can be written, flushed and read here now."""
    path = root / HOSTS / home / f".{secrets.token_hex(8)}"
    written = secrets.token_bytes(64)
    try:
        with path.open("xb", buffering=0) as file:
            file.write(written)
            os.fsync(file.fileno())
        return path.read_bytes() == written
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


class Refused:
    """Which files could not be read while all else could, how often, and since when. For several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: dict[str, tuple[int, float]] = {}

    def is_unreadable(self, relative: str, all_else_works: Callable[[], bool]) -> bool:
        """It was refused again: whether that is the file's own trouble."""
        if not all_else_works():
            self._found.pop(relative, None)
            return False
        now = self._clock()
        times, since = self._found.get(relative, (0, now))
        self._found[relative] = (times + 1, since)
        _forget_one(self._found)
        return times + 1 >= REFUSALS and now - since >= PATIENCE_S


def _forget_one(found: dict[str, Any]) -> None:
    """Keep no more than REMEMBERED."""
    if len(found) > REMEMBERED:
        with contextlib.suppress(StopIteration, RuntimeError):  # another thread was at it: the next call does it
            found.pop(next(iter(found)), None)


class Missing:
    """Which files were looked for and not found, and since when. For several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def found(self, relative: str) -> None:
        """It is there."""
        if self._since:
            self._since.pop(relative, None)

    def is_lost(self, relative: str) -> bool:
        """It is not there: whether that was so for long enough."""
        now = self._clock()
        since = self._since.setdefault(relative, now)
        _forget_one(self._since)
        return now - since >= PATIENCE_S
