"""What is sent: the context a delivery needs, and its data set streamed from the spool.

The data set is checksummed as it is read, and its last piece leaves only when the checksum over exactly the bytes that
are handed to the socket equals the one taken at arrival. One that fits into a piece and lies in memory is read at once:
that takes less time than it takes to ask a thread for it. All else is read by threads, a piece ahead. At most two
pieces an association are in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor

import xxhash

from gateway.config.values import SOURCE_CALLING_AE_TITLE, Destination
from gateway.errors import SpoolCorrupt, SpoolMissing
from gateway.model import DeliveryLease, PayloadFile
from gateway.spool import Spool, SpoolFile

CHUNK_BYTES = 1 << 20

Context = tuple[str, str]  # SOP class UID, transfer syntax UID


def context_of(lease: DeliveryLease) -> Context:
    """The abstract and transfer syntax that a delivery needs."""
    return lease.payload.sop_class_uid, lease.payload.transfer_syntax_uid


def calling_ae_title(destination: Destination, lease: DeliveryLease) -> str:
    """The calling AE title to use: the destination's, or the original sender's."""
    if destination.calling_ae_title == SOURCE_CALLING_AE_TITLE:
        return lease.calling_ae_title
    return destination.calling_ae_title


class Buffers:
    """Room for what is read at once: a piece each, used again when what was in it has left."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, length: int) -> bytearray:
        """Room for so many bytes, and the caller's alone; none for more than a piece."""
        if length > CHUNK_BYTES:
            return bytearray()
        return self._free.pop() if self._free else bytearray(CHUNK_BYTES)

    def give_back(self, buffer: bytearray) -> None:
        """Nobody looks at it any more: no transport either."""
        if buffer:
            self._free.append(buffer)


async def stream(
    spool: Spool, payload: PayloadFile, executor: Executor, buffer: bytearray
) -> AsyncGenerator[tuple[bytes | memoryview, bool], None]:
    """The data set in pieces, each with True on the last. Close the generator: it holds a file.

    :param buffer: where a data set goes that fits, and lies in memory. It is in use until the last byte was sent.
    :raises SpoolMissing, SpoolCorrupt: before the last piece is handed out.
    """
    loop = asyncio.get_running_loop()
    reader = _Reader(spool, payload)
    reading: asyncio.Future[tuple[bytes, bool]] | None = None
    try:
        if payload.length <= len(buffer):
            view = memoryview(buffer)[: payload.length]
            if reader.read_cached(view):
                yield view, True
                return
        last = False
        while not last:
            reading = reading or loop.run_in_executor(executor, reader.read)
            piece, last = await asyncio.shield(reading)
            reading = None if last else loop.run_in_executor(executor, reader.read)
            yield piece, last
    finally:
        if reading is not None:
            await asyncio.wait([reading])  # the thread must be through with the file before it is closed
            reading.exception()  # whatever it found no longer matters
        reader.close()


class _Reader:
    """Reads a payload piece by piece, in one thread at a time."""

    def __init__(self, spool: Spool, payload: PayloadFile) -> None:
        self._spool = spool
        self._payload = payload
        self._file: SpoolFile | None = None
        self._hasher = xxhash.xxh3_128()
        self._offset = 0

    def read(self) -> tuple[bytes, bool]:
        """The next piece, and whether it is the last: then the checksum held, and the file is closed.

        :raises SpoolMissing, SpoolCorrupt, SpoolError: as `SpoolFile` does, and where length or checksum do not hold.
        """
        payload = self._payload
        if self._file is None:
            self._file = SpoolFile.open(self._spool, payload)
        piece = self._file.pread(self._offset, min(CHUNK_BYTES, payload.length - self._offset))
        if not piece:
            raise SpoolCorrupt("the file is shorter than its record says")
        return piece, self._is_last(piece)

    def read_cached(self, view: memoryview) -> bool:
        """Fill `view` with the whole data set, where that takes no wait for the disk; else `read` begins. Raises as
        `read` does."""
        self._file = SpoolFile.open(self._spool, self._payload)
        return self._file.read_cached(view) and self._is_last(view)

    def _is_last(self, piece: bytes | memoryview) -> bool:
        """Whether it is, having seen to it that it may leave."""
        payload = self._payload
        self._hasher.update(piece)
        self._offset += len(piece)
        if not self._spool.holds(payload.path):  # then what was read may be what a pool put there since
            raise SpoolMissing(f"{payload.path} was purged while it was read")
        last = self._offset >= payload.length
        if last:
            self.close()
            if self._hasher.digest() != payload.checksum:
                raise SpoolCorrupt("the checksum of the data set does not hold")
        return last

    def close(self) -> None:
        """Does nothing the second time."""
        if self._file is not None:
            self._file.close()
