"""The spool folder: paths, room, ballast, removal.

One `Spool` per process. `prepare` is called once by whoever may create folders (the supervisor, a receiver); readers
need no preparation. Everything but `path` and the counters may block on the disk.

The watermark: below `min_free_bytes`, or MIN_FREE_INODES where the file system counts inodes, or while it is read-only,
the room is `low` and nothing new is begun. The ballast is a file of `ballast_bytes` that is given up when the disk is
full all the same, so that the ledger on the same file system can still record outcomes; it is restored when there is
room again.

Removal: a purged file is emptied and kept for a pool (`gateway.spool.free`), as long as there are inodes; any other is
unlinked. A folder left empty goes with its last file. A pool's batch folder is filled completely before any of its
names is used, so an empty one is used up; a generation's folder may vanish under a live receiver and is then made again
by the next `Intake.fill`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.errors import SpoolError
from gateway.spool import shared, system
from gateway.spool.free import FREE, FreeFiles

INCOMING = "incoming"
DERIVED = "derived"
BALLAST = "ballast"
MIN_FREE_INODES = 1024
ROOM_MAX_AGE_S = 0.1
FOLDER_MODE = 0o700
FILE_MODE = 0o600

_RELATIVE = re.compile(rf"(?:{INCOMING}|{DERIVED})(?:/[0-9A-Za-z_-][0-9A-Za-z._-]{{0,127}}){{1,8}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Room:
    """What the spool's file system has left for us. `low` (few bytes or inodes, or read-only) closes the intake."""

    free_bytes: int
    total_bytes: int
    low: bool
    few_inodes: bool = False
    read_only: bool = False
    free_inodes: int = 0  # 0 of 0 where the file system does not count them
    total_inodes: int = 0


class Spool:
    """The spool below `directory`. See the module's docstring.

    :param home: of this host, where several hosts mount the folder (`gateway.spool.shared`); "": it is this host's.
    """

    def __init__(self, directory: Path, min_free_bytes: int, ballast_bytes: int, home: str = "") -> None:
        self.directory = directory
        self.home = home
        self.min_free_bytes = min_free_bytes
        self.ballast_bytes = ballast_bytes
        self._root = os.path.abspath(directory)
        self.free = FreeFiles(f"{self._root}/{FREE}", gives=not home)
        self._ballast = f"{self._root}/{BALLAST}-{home}" if home else f"{self._root}/{BALLAST}"
        self._missing = shared.Missing()
        self._refused = shared.Refused()
        self._room: Room | None = None
        self._room_at = 0.0

    def prepare(self, *, join: bool = False) -> None:
        """Create what is missing, durably, and the ballast where there is room. Raises SpoolError, SpoolFull.

        :param join: on a shared spool: make this host's folders too, as its start does. Else they must be there.
        """
        try:
            if not join:
                self._require_joined()
            missing = [path for path in (self.directory, *self.directory.absolute().parents) if not path.exists()]
            for path in reversed(missing):
                path.mkdir(mode=FOLDER_MODE, exist_ok=True)
                fsync_folder(str(path.absolute().parent))
            for name in (INCOMING, DERIVED, FREE):
                os.makedirs(os.path.join(self._root, name), FOLDER_MODE, exist_ok=True)
            if self.home and join:
                self._join()
            fsync_folder(self._root)
        except OSError as error:
            raise system.spool_error(error, f"cannot prepare the spool {self._root}") from error
        self.restore_ballast()

    def _require_joined(self) -> None:
        try:
            joined = not self.home or shared.has_joined(self.directory, self.home)
        except OSError as error:
            raise system.spool_error(error, f"cannot look at {self._root}") from error
        if not joined:
            raise SpoolError(f"{self._root} does not hold what the start of this host put there: is it mounted?")

    def _join(self) -> None:
        shared.join(self.directory, self.home)
        self.free.clear()  # of the time when this was one host's
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._root}/{BALLAST}")

    def path(self, relative: str) -> Path:
        """The file at a path relative to the spool. Raises SpoolError for anything that is not one of ours."""
        return Path(self.full_path(relative))

    def full_path(self, relative: str) -> str:
        """`path` as text, for the hot paths."""
        if _RELATIVE.fullmatch(relative) is None:
            raise SpoolError(f"not a path inside the spool: {relative[:200]!r}")
        return f"{self._root}/{relative}"

    # ── room ──────────────────────────────────────────────────────────────────────────────────────────────────

    def room(self, max_age_s: float = 0.0) -> Room:
        """Free and total bytes for an ordinary user, at most `max_age_s` old. Raises SpoolError."""
        now = time.monotonic()
        kept = self._room
        if kept is not None and now - self._room_at < max_age_s:
            return kept
        try:
            found = os.statvfs(self._root)
        except OSError as error:
            raise system.spool_error(error, f"cannot ask for the room of {self._root}") from error
        free = found.f_bavail * found.f_frsize
        few_inodes = found.f_files > 0 and found.f_favail < MIN_FREE_INODES
        read_only = bool(found.f_flag & os.ST_RDONLY)  # remounted so by a person, or by the kernel after an error
        low = read_only or few_inodes or free < self.min_free_bytes
        self._room_at = now
        self._room = room = Room(
            free, found.f_blocks * found.f_frsize, low, few_inodes, read_only, found.f_favail, found.f_files
        )
        return room

    def free_ballast(self) -> bool:
        """Give the ballast's room up. True when there was one. Raises SpoolError."""
        try:
            os.unlink(self._ballast)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise system.spool_error(error, f"cannot remove the ballast in {self._root}") from error
        self._room = None
        return True

    def restore_ballast(self) -> bool:
        """Have the ballast in place if that leaves `min_free_bytes` free; says whether it is. Raises SpoolError."""
        name = self._ballast
        with contextlib.suppress(OSError):  # what is wrong with it shows when it is made
            if os.stat(name).st_size == self.ballast_bytes:
                return True
        if self.ballast_bytes <= 0 or self.room().free_bytes - self.ballast_bytes < self.min_free_bytes:
            return False
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
            try:
                os.posix_fallocate(fd, 0, self.ballast_bytes)
            finally:
                os.close(fd)
        except OSError as error:
            with contextlib.suppress(OSError):  # half a ballast is made whole the next time
                os.unlink(name)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return False
            raise system.spool_error(error, f"cannot make the ballast in {self._root}") from error
        self._room = None
        return True

    # ── removal ───────────────────────────────────────────────────────────────────────────────────────────────

    def unlink(self, paths: Iterable[str]) -> None:
        """Remove files as `try_unlink` does. All are tried; raises SpoolError after."""
        failed = self.try_unlink(paths)
        if failed:
            first = next(iter(failed.values()))
            raise SpoolError(f"{len(failed)} files or folders were not removed; the first: {first}")

    def holds(self, relative: str) -> bool:
        """Whether the file is still under its name. What was read of it before is then its own (`gateway.spool.free`).

        On a shared spool no file is used again, and whatever was read is its own.
        Raises SpoolError when the file system does not say.
        """
        if self.home:
            return True
        try:
            os.stat(self.full_path(relative), follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise system.spool_error(error, f"cannot look for {relative}") from error
        return True

    def found(self, relative: str) -> None:
        """A file that was opened is there."""
        self._missing.found(relative)

    def is_lost(self, relative: str) -> bool:
        """Whether a file that is not there is lost, and not just to be looked for again (`gateway.spool.shared`).

        Raises SpoolError where this is not the folder that this host has prepared.
        """
        if not self.home:
            return True
        self._require_joined()
        return self._missing.is_lost(relative)

    def is_unreadable(self, relative: str) -> bool:
        """Whether a file that was refused to a reader is damaged, and not just to be read again. Blocking."""
        works = partial(shared.works, self.directory, self.home)
        return not self.home or self._refused.is_unreadable(relative, works)

    def try_unlink(self, paths: Iterable[str], *, keep: bool = False) -> dict[str, SpoolError]:
        """Remove files (a missing one is fine, where the spool is there) and the folders left empty, durably: none
        comes back with a power cut.

        With `keep` a file may be emptied and kept for a pool instead. Returns what was not removed, or not durably, and
        why: by the path that was given.
        """
        failed: dict[str, SpoolError] = {}
        missing: list[str] = []
        folders: dict[str, list[str]] = {}
        places = self.free.places() if keep and not self.home and not self.room(ROOM_MAX_AGE_S).few_inodes else 0
        for relative in paths:
            try:
                full = self.full_path(relative)
                if places > 0:
                    self.free.keep(full)
                    places -= 1
                else:
                    os.unlink(full)
            except FileNotFoundError:
                missing.append(relative)
            except SpoolError as error:
                failed[relative] = error
                continue
            except OSError as error:
                failed[relative] = system.spool_error(error, f"cannot remove {relative}")
                continue
            folders.setdefault(os.path.dirname(full), []).append(relative)
        for folder, removed in folders.items():
            try:
                self.remove_empty(folder)
                fsync_folder(self._nearest(folder))
            except FileNotFoundError:
                continue  # another purge emptied it meanwhile, and flushes its parent
            except OSError as error:
                reason = system.spool_error(error, f"cannot make the removal in {folder} durable")
                failed |= dict.fromkeys(removed, reason)
        if missing:
            try:
                self._require_joined()  # else they are missing because all is
            except SpoolError as error:
                failed |= dict.fromkeys(missing, error)
        return failed

    def _nearest(self, folder: str) -> str:
        while folder != self._root and not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        return folder

    def free_inodes(self) -> None:
        """Remove the empty files that are kept for pools. Raises SpoolError."""
        try:
            self.free.clear()
        except OSError as error:
            raise system.spool_error(error, f"cannot remove the free files of {self._root}") from error
        self._room = None

    def remove_empty(self, folder: str) -> None:
        """Remove a folder (absolute) if it is empty, then its parents likewise; never `incoming` or `derived`.

        Raises OSError when a folder could not be removed although it may be empty.
        """
        top = {os.path.join(self._root, INCOMING), os.path.join(self._root, DERIVED)}
        while folder not in top and folder.startswith(self._root + "/"):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass  # someone else was faster; its parent may still be ours to remove
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return
                raise
            folder = os.path.dirname(folder)


def fsync_folder(folder: str) -> None:
    """Make a folder's entries durable, through a descriptor of its own. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
