"""The way in: a pool of files created ahead of time, and the writer of one instance.

An `Intake` belongs to one receiver process and its generation. `fill` blocks and runs in a thread; `begin`, the
writer's `write`, `finish`, `discard` and `close` run on the event loop: they do a few short system calls and never wait
for the disk (`Flusher` has the kernel do that).

A fill makes one batch folder with `pool_size` empty files and makes the folder, the generation's folder and `incoming`
durable; only then do the names enter the pool. So an acknowledgement needs no folder flush. When the room ends
half-way, what was made is used. After a failed folder flush the whole batch is given up, and the next fill begins with
new folders.

A writer gathers GATHER_BYTES in memory, so that a small instance is two system calls: the data, then header and record.
The checksum is taken on the way. A large instance is written back while it arrives, WRITEBACK_BYTES at a time, and the
watermark is looked at as often. The header, with the record, is always written last.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import xxhash

from gateway.errors import SpoolError, SpoolFull
from gateway.model import Arrival, AssociationFacts
from gateway.spool import record, system
from gateway.spool.directory import (
    FILE_MODE,
    FOLDER_MODE,
    INCOMING,
    ROOM_MAX_AGE_S,
    Room,
    Spool,
    fsync_folder,
)

GATHER_BYTES = 64 * 1024
WRITEBACK_BYTES = 4 * 1024 * 1024
SUFFIX = ".dcm"

GENERATION = re.compile(r"[0-9a-f-]{8,64}", re.ASCII)


class ArrivalMeta(NamedTuple):
    """What is known of an instance when its data set begins: the command's UIDs and the association's facts."""

    facts: AssociationFacts
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    received_at_ms: int


class WriterState(StrEnum):
    """`open → finished → flushing → durable → closed`; `failed` and `closed` are for good."""

    OPEN = "open"
    FINISHED = "finished"
    FLUSHING = "flushing"
    DURABLE = "durable"
    FAILED = "failed"
    CLOSED = "closed"


class Intake:
    """The pool of one generation. `generation` matches [0-9a-f-]{8,64} and is never used again by another process."""

    def __init__(self, spool: Spool, generation: str, pool_size: int) -> None:
        if GENERATION.fullmatch(generation) is None:
            raise ValueError(f"not a generation: {generation!r}")
        if pool_size < 1:
            raise ValueError("pool_size must be at least 1")
        self.spool = spool
        self.generation = generation
        self.pool_size = pool_size
        self._pool: deque[str] = deque()
        self._filling = threading.Lock()
        self._batch = 0
        self._ids = _instance_ids()
        self._closed = False

    @property
    def available(self) -> int:
        """How many instances can begin before the next fill."""
        return len(self._pool)

    def fill(self) -> None:
        """Add one batch of `pool_size` files. Blocking. Raises SpoolFull when not one could be made, SpoolError."""
        with self._filling:
            if self._closed:
                raise SpoolError("the intake is closed")
            folder = self._make_batch_folder()
            made: list[str] = []
            try:
                try:
                    for _ in range(self.pool_size):
                        name = f"{folder}/{next(self._ids)}{SUFFIX}"
                        self._make(self.spool.full_path(name))
                        made.append(name)
                except OSError:
                    if not made:
                        raise
                    # Fewer than asked for: those there are will serve; the next fill meets the same error first.
                path = self.spool.full_path(folder)
                for _ in range(3):  # batch, generation, incoming
                    fsync_folder(path)
                    path = os.path.dirname(path)
            except OSError as error:
                self._give_up(folder, made)
                raise system.spool_error(error, f"cannot fill the pool in {folder}") from error
            self._pool.extend(made)

    def _make(self, path: str) -> None:
        """An empty file: one that a purge has emptied, else a new one."""
        if not self.spool.free.take(path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))

    def _make_batch_folder(self) -> str:
        generation = f"{INCOMING}/{self.generation}"
        while True:
            folder = f"{generation}/{self._batch:06d}"
            self._batch += 1
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self.spool.full_path(generation), FOLDER_MODE)
                os.mkdir(self.spool.full_path(folder), FOLDER_MODE)
            except FileExistsError:
                continue
            except FileNotFoundError as error:
                if os.path.isdir(os.path.dirname(self.spool.full_path(generation))):
                    continue  # a purge removed the empty generation folder between the two calls
                raise system.spool_error(error, f"cannot make {folder}: is the spool mounted?") from error
            except OSError as error:
                raise system.spool_error(error, f"cannot make {folder}") from error
            return folder

    def _give_up(self, folder: str, made: list[str]) -> None:
        # Also the generation's folder, if nothing else is in it: made anew, its entry is written anew.
        with contextlib.suppress(OSError):
            for name in made:
                os.unlink(self.spool.full_path(name))
            self.spool.remove_empty(self.spool.full_path(folder))

    def begin(self, meta: ArrivalMeta) -> SpoolWriter:
        """A writer on the next file of the pool.

        Raises SpoolFull when the pool is empty or the room is below the watermark, SpoolError when no file opens.
        """
        room = self.spool.room(ROOM_MAX_AGE_S)
        if room.low:
            raise _too_little(self.spool, room)
        while True:
            try:
                name = self._pool.popleft()
            except IndexError:
                raise SpoolFull("no file is left in the pool: the spool's file system is full or too slow") from None
            try:
                fd = os.open(self.spool.full_path(name), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # someone removed it; it was empty
            except OSError as error:
                self._pool.appendleft(name)
                raise system.spool_error(error, f"cannot open {name}") from error
            return SpoolWriter(self.spool, self.generation, name, fd, meta)

    def close(self) -> None:
        """Remove the unused files. Blocking. Writers that were begun stay usable. Raises SpoolError."""
        with self._filling:
            self._closed = True
            unused: list[str] = []
            with contextlib.suppress(IndexError):
                while True:
                    unused.append(self._pool.popleft())
            self.spool.unlink(unused)


class SpoolWriter:
    """One instance on its way into the spool; not for two threads at once. See the module's docstring.

    :param floor_bytes: give up when less is free than this, instead of below the watermark.

    Every error leaves it `failed`: it can then only be discarded. Wrong order of calls raises RuntimeError.
    """

    __slots__ = (
        "_buffer",
        "_end",
        "_fd",
        "_floor_bytes",
        "_generation",
        "_hash",
        "_header",
        "_meta",
        "_offset",
        "_spool",
        "_state",
        "_written_back",
        "instance_id",
        "length",
        "relative",
    )

    def __init__(
        self,
        spool: Spool,
        generation: str,
        relative: str,
        fd: int,
        meta: ArrivalMeta,
        *,
        floor_bytes: int | None = None,
    ) -> None:
        self.instance_id = relative[-32 - len(SUFFIX) : -len(SUFFIX)]
        self.relative = relative
        self.length = 0  # data set bytes so far
        self._spool = spool
        self._floor_bytes = floor_bytes
        self._generation = generation
        self._fd = fd
        self._state = WriterState.OPEN
        self._hash = xxhash.xxh3_128()
        self._buffer = bytearray()
        self._meta = meta = _bounded(meta)
        self._header = record.encode_meta(
            self.instance_id, meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, meta.facts
        )
        self._offset = len(self._header) + record.RECORD_BYTES
        self._end = self._offset  # where the next byte of the file goes
        self._written_back = self._offset

    @property
    def state(self) -> WriterState:
        """Where the file stands."""
        return self._state

    def write(self, view: memoryview | bytes) -> None:
        """Take the next bytes of the data set; `view` may be reused afterwards.

        Raises SpoolFull (ENOSPC, EDQUOT, or the watermark was passed), SpoolError.
        """
        self._require(WriterState.OPEN)
        self._hash.update(view)
        size = len(view)
        self.length += size
        if len(self._buffer) + size < GATHER_BYTES:
            self._buffer += view
            return
        try:
            self._end = _write_all(self._fd, [self._buffer, view] if self._buffer else [view], self._end)
            self._buffer = bytearray()
            if self._end - self._written_back >= WRITEBACK_BYTES:
                system.start_writeback(self._fd, self._written_back, self._end - self._written_back)
                self._written_back = self._end
                room = self._spool.room()
                if room.low if self._floor_bytes is None else room.free_bytes < self._floor_bytes:
                    self._state = WriterState.FAILED
                    raise _too_little(self._spool, room)
        except OSError as error:
            self._state = WriterState.FAILED
            raise system.spool_error(error, f"cannot write {self.relative}") from error

    def finish(self) -> Arrival:
        """Write what is left, then the record. Not durable yet: `Flusher.start` is next. Raises as `write` does."""
        self._require(WriterState.OPEN)
        meta = self._meta
        done = record.Record(
            instance_id=self.instance_id,
            generation=self._generation,
            offset=self._offset,
            length=self.length,
            checksum=self._hash.digest(),
            sop_class_uid=meta.sop_class_uid,
            sop_instance_uid=meta.sop_instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            received_at_ms=meta.received_at_ms,
            facts=meta.facts,
        )
        try:
            if self._buffer:
                self._end = _write_all(self._fd, [self._buffer], self._end)
            _write_all(self._fd, [record.encode_header(self._header, done)], 0)
        except OSError as error:
            self._state = WriterState.FAILED
            raise system.spool_error(error, f"cannot write {self.relative}") from error
        self._buffer = bytearray()
        self._state = WriterState.FINISHED
        return done.arrival(self.relative)

    def begin_flush(self) -> int:
        """`Flusher` only: the descriptor to flush, this once."""
        self._require(WriterState.FINISHED)
        self._state = WriterState.FLUSHING
        return self._fd

    def end_flush(self, error: SpoolError | None) -> None:
        """`Flusher` only: what became of it."""
        self._state = WriterState.DURABLE if error is None else WriterState.FAILED

    def discard(self) -> bool:
        """Close and remove the file. Freeing a large one takes a while: call in a thread then.

        True when it is gone. False when it could not be removed: it stays as an incomplete file until its generation
        is dead. RuntimeError for a durable file (only a purge removes it) and while a flush runs.
        """
        self._require(WriterState.OPEN, WriterState.FINISHED, WriterState.FAILED)
        self._release()
        path = self._spool.full_path(self.relative)
        try:
            os.unlink(path)
            self._spool.remove_empty(os.path.dirname(path))
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file, which stays. Does nothing the second time. RuntimeError while a flush runs."""
        if self._state is WriterState.FLUSHING:
            raise RuntimeError(f"{self.relative} is being flushed")
        if self._state is not WriterState.CLOSED:
            self._release()

    def _release(self) -> None:
        # Linux releases the descriptor whatever close returns; errors of writeback were the flush's to report.
        self._state = WriterState.CLOSED
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _require(self, *states: WriterState) -> None:
        if self._state not in states:
            raise RuntimeError(f"{self.relative} is {self._state}, not {' or '.join(states)}")


def _write_all(fd: int, parts: list[bytearray | memoryview | bytes], offset: int) -> int:
    """Write `parts` one after the other at `offset`; returns where they end."""
    end = offset + sum(map(len, parts))
    offset += os.pwritev(fd, parts, offset)
    if offset < end:  # a short write: nearly always the last bytes before ENOSPC
        rest = memoryview(b"".join(parts))
        while offset < end:
            written = os.pwrite(fd, rest[len(rest) - (end - offset) :], offset)
            if written == 0:
                raise OSError(errno.EIO, "nothing was written")
            offset += written
    return end


def _bounded(meta: ArrivalMeta) -> ArrivalMeta:
    facts, sop_class_uid, sop_instance_uid, transfer_syntax_uid, received_at_ms = meta
    return ArrivalMeta(
        record.bounded_facts(facts),
        record.bounded(sop_class_uid, record.UID_MAX_BYTES),
        record.bounded(sop_instance_uid, record.UID_MAX_BYTES),
        record.bounded(transfer_syntax_uid, record.UID_MAX_BYTES),
        received_at_ms,
    )


def _too_little(spool: Spool, room: Room) -> SpoolFull:
    if room.read_only:
        return SpoolFull(f"the file system of {spool.directory} is read-only: see what the kernel says of it")
    what = "too few inodes" if room.few_inodes else f"{room.free_bytes} bytes free, min_free is {spool.min_free_bytes}"
    return SpoolFull(
        f"the room of {spool.directory} is below the watermark ({what}): make room, or wait until waiting instances "
        "are delivered and purged"
    )


def _instance_ids() -> Iterator[str]:
    """Ids in the form of UUIDv7 (RFC 9562 5.7), ever increasing within this process; rand_a counts (6.2, method 1)."""
    last_ms, count = 0, 0
    while True:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > last_ms:
            last_ms, count = now_ms, 0
        else:  # the same millisecond, or the clock was set back
            count += 1
            if count > 0xFFF:
                last_ms, count = last_ms + 1, 0
        value = last_ms << 80 | 0x7 << 76 | count << 64 | 0b10 << 62 | secrets.randbits(62)
        yield f"{value:032x}"
