"""Reading spool files: by pread only, bounded by what the ledger (or the record) says of the file.

A file that is not there raises SpoolMissing (on a spool that several hosts mount, only after a while). One that cannot
be read, or is not as long as it must be, raises SpoolCorrupt: it must not be sent.
What says nothing about the file itself (no descriptor left, no memory) raises SpoolError. On a spool that several hosts
mount, what the file system refuses does so only after several tries: the server, the network or this mount may be in
trouble (`gateway.spool.shared`).

The checksum is the reader's caller's business: it is taken over the bytes that go to the socket.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

import xxhash

from gateway.errors import SpoolCorrupt, SpoolError, SpoolMissing
from gateway.model import Arrival, PayloadFile
from gateway.spool import record
from gateway.spool.directory import Spool

_PIECE_BYTES = 1024 * 1024
# Trouble of this process or host, not of the file.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.ESTALE})


class UnreadableFile(SpoolCorrupt):
    """The file system refuses to read the file, or it is no regular file."""


class EmptyFile(SpoolCorrupt):
    """A file of the pool that was never written to."""


class DamagedInstance(SpoolCorrupt):
    """The record holds, the file does not agree with it."""


def _always(_relative: str) -> bool:
    return True


def _reading_error(error: OSError, relative: str, is_unreadable: Callable[[str], bool] = _always) -> SpoolError:
    text = f"cannot read {relative}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno == errno.ENOENT:
        return SpoolMissing(text)
    if error.errno == errno.ELOOP:  # a symbolic link, no file
        return UnreadableFile(text)
    passing = error.errno in _PASSING or not is_unreadable(relative)
    return SpoolError(text) if passing else UnreadableFile(text)


def _open(path: str, relative: str, is_unreadable: Callable[[str], bool] = _always) -> tuple[int, int]:
    """Descriptor and size of a regular file. Raises SpoolMissing, SpoolCorrupt, SpoolError.

    :param is_unreadable: whether what the file system refuses is the file's trouble.
    """
    try:
        # O_NONBLOCK: a FIFO put in the file's place must not hang the thread; without effect on regular files.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _reading_error(error, relative, is_unreadable) from error
    try:
        found = os.fstat(fd)
    except OSError as error:
        os.close(fd)
        raise _reading_error(error, relative, is_unreadable) from error
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise UnreadableFile(f"{relative} is not a regular file")
    return fd, found.st_size


def bring_in(spool: Spool, payloads: Iterable[PayloadFile]) -> None:
    """Have files looked up and read into memory by the kernel, as far as it likes. Blocking: call in a thread.

    What cannot be opened is left to whoever reads it.
    """
    for payload in payloads:
        with contextlib.suppress(SpoolError, OSError):
            fd, _ = _open(spool.full_path(payload.path), payload.path)
            try:
                os.posix_fadvise(fd, payload.offset, payload.length, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(fd)


class SpoolFile:
    """The data set of one payload, open for reading; offsets count from the data set's first byte.

    `read` makes it the ByteSource that `gateway.dicom.header` asks for. Calls from several threads are fine.
    """

    __slots__ = ("_fd", "_offset", "_spool", "length", "relative")

    def __init__(self, spool: Spool, fd: int, relative: str, offset: int, length: int) -> None:
        self._fd = fd
        self._spool = spool
        self._offset = offset
        self.length = length
        self.relative = relative

    @classmethod
    def open(cls, spool: Spool, payload: PayloadFile) -> SpoolFile:
        """Raises SpoolMissing, SpoolCorrupt (unreadable, or not of the length the payload says), SpoolError.

        On a spool that several hosts mount, one that is not there is SpoolMissing only after a while, and SpoolError
        until then: the caller tries again.
        """
        try:
            fd, size = _open(spool.full_path(payload.path), payload.path, spool.is_unreadable)
        except SpoolMissing as error:
            if spool.is_lost(payload.path):
                raise
            raise SpoolError(f"{error}; it may still appear") from error
        spool.found(payload.path)
        if size != payload.offset + payload.length:
            os.close(fd)
            raise SpoolCorrupt(f"{payload.path} has {size} bytes, not {payload.offset + payload.length}")
        return cls(spool, fd, payload.path, payload.offset, payload.length)

    def pread(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the data set. Raises SpoolCorrupt, SpoolError."""
        length = self._clip(offset, length)
        try:
            data = os.pread(self._fd, length, self._offset + offset)
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), self._offset + offset + len(data))
                if not more:
                    raise self._truncated(offset + len(data))
                data += more
        except OSError as error:
            raise _reading_error(error, self.relative, self._spool.is_unreadable) from error
        return data

    read = pread

    def read_cached(self, view: memoryview) -> bool:
        """Fill `view` from the beginning, where all of that lies in memory; False where it would wait for the disk, or
        the file system cannot tell. Raises as `pread` does.
        """
        try:
            return os.preadv(self._fd, [view], self._offset, os.RWF_NOWAIT) == len(view)
        except OSError as error:
            if self._spool.home or error.errno in (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                return False
            raise _reading_error(error, self.relative) from error

    def verify(self, checksum: bytes, tick: Callable[[], None] = lambda: None) -> None:
        """Read all of it. Raises SpoolCorrupt unless it has this xxh3-128, and as `pread` does.

        :param tick: called for each piece: a large one takes a while.
        """
        digest = xxhash.xxh3_128()
        for offset in range(0, self.length, _PIECE_BYTES):
            tick()
            digest.update(self.pread(offset, _PIECE_BYTES))
        if digest.digest() != checksum:
            raise SpoolCorrupt(f"the checksum of the data set in {self.relative} does not hold")

    def close(self) -> None:
        """Does nothing the second time."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> SpoolFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _clip(self, offset: int, length: int) -> int:
        if offset < 0 or length < 0:
            raise ValueError("offset and length must not be negative")
        if self._fd < 0:
            raise ValueError(f"{self.relative} is closed")
        return max(0, min(length, self.length - offset))

    def _truncated(self, at: int) -> SpoolCorrupt:
        return SpoolCorrupt(f"{self.relative} ends after {at} of {self.length} data set bytes")


def read_arrival(path: Path, relative: str, verify: bool = False) -> Arrival:
    """What the record of the file at `path` says, once record, file name and length hold; with `verify`, all bytes.

    Raises SpoolMissing, SpoolError, and SpoolCorrupt: as EmptyFile, UnreadableFile, DamagedInstance (the record itself
    holds), UnknownVersion (likewise), DamagedHeader, or plain where the header was never written to its end.
    """
    fd, size = _open(str(path), relative)
    try:
        if size == 0:
            raise EmptyFile(f"{relative} is empty")
        found = record.decode_header(os.pread(fd, record.HEADER_MAX_BYTES, 0))
        if found.instance_id != path.stem:
            raise DamagedInstance(f"{relative} holds the record of another instance")
        if size != found.offset + found.length:
            raise DamagedInstance(f"{relative} has {size} bytes, not {found.offset + found.length}")
        if verify and _checksum(fd, found.offset) != found.checksum:
            raise DamagedInstance(f"the checksum of the data set in {relative} does not hold")
    except OSError as error:
        raise _reading_error(error, relative) from error
    finally:
        os.close(fd)
    return found.arrival(relative)


def _checksum(fd: int, offset: int) -> bytes:
    digest = xxhash.xxh3_128()
    while piece := os.pread(fd, _PIECE_BYTES, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.digest()
