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


class DataSet:
    """A payload's data set on its way out: `read_cached` where it lies in memory, else `pieces`. Close it."""

    def __init__(self, spool: Spool, payload: PayloadFile, executor: Executor) -> None:
        self._spool = spool
        self._payload = payload
        self._executor = executor
        self._file: SpoolFile | None = None
        self._hasher = xxhash.xxh3_128()
        self._offset = 0

    def read_cached(self, buffer: bytearray) -> memoryview | None:
        """The whole of it, in `buffer`, where it fits and reading it takes no wait for the disk; else None.

        :raises SpoolMissing, SpoolCorrupt, SpoolError: as `pieces` does.
        """
        payload = self._payload
        if payload.length > len(buffer):
            return None
        view = memoryview(buffer)[: payload.length]
        self._file = SpoolFile.open(self._spool, payload)
        return view if self._file.read_cached(view) and self._is_last(view) else None

    async def pieces(self) -> AsyncGenerator[tuple[bytes, bool], None]:
        """The data set in pieces, each with True on the last. Close the generator: a thread may be reading.

        :raises SpoolMissing, SpoolCorrupt: before the last piece is handed out.
        """
        loop = asyncio.get_running_loop()
        reading: asyncio.Future[tuple[bytes, bool]] | None = None
        try:
            last = False
            while not last:
                reading = reading or loop.run_in_executor(self._executor, self._read)
                piece, last = await asyncio.shield(reading)
                reading = None if last else loop.run_in_executor(self._executor, self._read)
                yield piece, last
        finally:
            if reading is not None:
                await asyncio.wait([reading])  # the thread must be through with the file before it is closed
                reading.exception()  # whatever it found no longer matters

    def _read(self) -> tuple[bytes, bool]:
        """In a thread: the next piece, and whether it is the last: then the checksum held, and the file is closed.

        :raises SpoolMissing, SpoolCorrupt, SpoolError: as `SpoolFile` does, and where length or checksum do not hold.
        """
        payload = self._payload
        if self._file is None:
            self._file = SpoolFile.open(self._spool, payload)
        piece = self._file.pread(self._offset, min(CHUNK_BYTES, payload.length - self._offset))
        if not piece:
            raise SpoolCorrupt("the file is shorter than its record says")
        return piece, self._is_last(piece)

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
