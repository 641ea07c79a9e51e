"""The trail's files, as the one process writes that has the lock of their folder.

Rules:
  - files are only ever appended to (O_APPEND), and made anew past a size; the chain goes on from one to the next;
  - `append` returns when its records are on the disk: one write and one flush for all of them;
  - what a write that failed did leave counts as written when it was flushed, and is read from the disk itself: a kernel
    tells of a flush that failed once, and then shows records that are in memory alone. What follows is another file;
  - what a power cut or a full disk left behind the last whole record stays there, and a record says so;
  - where the file is another, or is gone, when records are to be written, they go into one that exists;
  - a chain that is broken otherwise, or lacks a record that was written, is gone on with all the same, behind a record
    of its own that says where: what happens from now on has to be told to somebody. `gateway audit verify` finds both.

The console's process writes (`gateway.flow.keeper`); before that runs, and after it has ended, the supervisor.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.audit.chain import Entry, Head, Record, Torn, fault_of, line_of, read_line, torn_entry
from gateway.audit.files import files_in, lines_of, name_of
from gateway.audit.lost import fault_of_known
from gateway.errors import TrailError

SEGMENT_BYTES = 64 << 20
REFS_MAX = 50_000  # messages that are remembered by name: many times what is ever in doubt
BROKEN = "broken"  # the kind of a record that says that what is before it was changed
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Found:
    """What the end of the trail was like when it was opened."""

    head: Head
    torn: Torn = field(default_factory=Torn)  # what is behind the last whole record
    lacks_end: bool = False  # that record lacks the end of its line
    fault: str = ""  # what is wrong with the last file, in words


class Trail:
    """See the module's docstring.

    :param key: that of the chain; b"" for none. :param known: a record that was written, as far as others know.
    :raises TrailError: the folder cannot be used, or another process writes there.
    """

    def __init__(
        self,
        folder: Path,
        clock_ms: Callable[[], int],
        key: bytes = b"",
        segment_bytes: int = SEGMENT_BYTES,
        known: Head | None = None,
    ) -> None:
        self.folder = folder
        self._clock_ms = clock_ms
        self._key = key
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._path = folder
        self._size = 0
        self._is_doubtful = False  # a flush has failed, or is under way
        self._head = known or Head()
        self._refs: deque[str] = deque(maxlen=REFS_MAX)
        self.fault = ""  # what was found wrong when it was opened, until somebody was told
        with self._told():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._open()
            except BaseException:
                self.close()
                raise

    @property
    def head(self) -> Head:
        """The last record."""
        return self._head

    def written(self, batch: str) -> set[str]:
        """Which messages of a batch are there already: their `ref` begins with its name. :raises TrailError."""
        with self._told():
            self._open_again()  # what a write that failed has left is among them
        return {ref for ref in self._refs if ref.startswith(batch)}

    def append(self, entries: Sequence[Entry]) -> Head:
        """Write records, in this order; they are on the disk when this returns. :raises TrailError: none counts."""
        with self._told():
            self._open_again()
            try:
                self._append(entries)
            except BaseException:
                self._close()  # how much of it is there is found out by the next
                raise
        return self._head

    def close(self) -> None:
        """Close the files, and let others write. Does nothing the second time."""
        self._close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _append(self, entries: Sequence[Entry]) -> None:
        if self._size >= self._segment_bytes:
            self._begin(self._head.seq + 1)
        self._append_here(entries)

    def _append_here(self, entries: Sequence[Entry]) -> None:
        head, lines = self._head, bytearray()
        for entry in entries:
            line, head = line_of(entry, head, self._key)
            lines += line
        _write(self._fd, lines)
        self._is_doubtful = True
        os.fdatasync(self._fd)
        self._is_doubtful = False
        self._size += len(lines)
        self._head = head
        self._refs.extend(entry.ref for entry in entries if entry.ref)

    def _open_again(self) -> None:
        """Open the files where a write failed, or somebody took them away; behind a flush that failed, in a file of its
        own."""
        if self._fd >= 0 and self._is_there():
            return
        self._close()
        is_doubtful, self._is_doubtful = self._is_doubtful, False
        try:
            self._open()
            if is_doubtful and self._size:
                self._begin(self._head.seq + 1)
        except BaseException:
            self._is_doubtful = is_doubtful
            self._close()
            raise

    def _is_there(self) -> bool:
        """Whether what is written now can be found by the file's name."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        """Find the end of the chain, and note what is wrong there."""
        if not files_in(self.folder):
            self._begin(1)
        paths = files_in(self.folder)
        _settle(paths[-1])
        found = _end_of(paths, self._key)
        fault = found.fault or fault_of_known(paths, found.head, self._head)
        self._close()
        self._fd, self._path = os.open(paths[-1], os.O_RDWR | os.O_APPEND | os.O_CLOEXEC), paths[-1]
        if found.lacks_end:
            _write(self._fd, b"\n")
        self._refs.clear()
        self._refs.extend(record.fields["ref"] for record in _records(paths[-2:]) if record.fields["ref"])
        self._size = os.fstat(self._fd).st_size
        self._head, self.fault = found.head, fault or self.fault
        notes: list[Entry] = []
        if found.torn:
            if found.torn.lacks_end:
                _write(self._fd, b"\n")
                found.torn.add(b"\n")
            notes.append(torn_entry(self._clock_ms(), found.torn))
        if fault:
            notes.append(Entry(self._clock_ms(), BROKEN, {"text": fault, "file": paths[-1].name}))
        if notes:
            self._append_here(notes)  # in the file that they are about

    def _begin(self, first_seq: int) -> None:
        path = self.folder / name_of(first_seq)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._close()
        self._fd, self._path, self._size = fd, path, 0
        folder_fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES) and self._fd < 0:
                raise TrailError(f"audit trail {self.folder}: another process writes there") from error
            raise TrailError(f"audit trail {self.folder}: {error.strerror}; it must be a folder with room") from error


def _write(fd: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _settle(path: Path) -> None:
    """Have a file be read from the disk: what a flush that failed has left in memory alone is forgotten."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def _records(paths: Sequence[Path]) -> Iterator[Record]:
    """The records of files."""
    for path in paths:
        for line in lines_of(path):
            record = read_line(line.raw)
            if record is not None:
                yield record


def _end_of(paths: Sequence[Path], key: bytes) -> Found:
    """Where the chain ends; the last file with a record is looked at, and whether the one before it is keyed."""
    before: Head | None = None
    is_keyed = bool(key) and any(record.is_keyed for record in _records(paths[-2:-1]))
    torn, fault = Torn(), ""
    for line in lines_of(paths[-1]):
        record = read_line(line.raw)
        if record is None:
            torn.add(line.raw)
            continue
        if torn and record.fields.get("torn_bytes") != torn.length:
            fault = fault or f"line {line.number} of {paths[-1].name} follows something that is no record"
        torn = Torn()
        wrong = fault_of(record, before, key)
        if is_keyed and not record.is_keyed:
            wrong = wrong or "is not keyed, though those before it are"
        is_keyed = is_keyed or (bool(key) and record.is_keyed)
        if wrong:
            fault = fault or f"line {line.number} of {paths[-1].name} (record {record.seq}) {wrong}"
        elif record.kind == BROKEN:
            fault = ""  # somebody has said so already
        before = Head(record.seq, record.digest)
    last = read_line(torn.only + b"\n") if torn else None
    if last is not None and not fault_of(last, before, key):
        return Found(Head(last.seq, last.digest), lacks_end=True, fault=fault)
    if before is not None:
        return Found(before, torn, fault=fault)
    if len(paths) > 1:  # a power cut came between a new file and its first record
        earlier = _end_of(paths[:-1], key)
        return Found(earlier.head, torn, fault=earlier.fault)
    return Found(Head(), torn, fault=fault)
