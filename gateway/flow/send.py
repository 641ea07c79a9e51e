"""What is sent: the context a delivery needs, and its data set streamed from the spool.

The data set is read in pieces by threads, checksummed as it is read, and the last piece leaves only when the checksum
over exactly the bytes handed to the socket equals the one taken at arrival. One piece is read ahead. At most two pieces
an association are in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor

import xxhash

from gateway.config.values import SOURCE_CALLING_AE_TITLE, Destination
from gateway.errors import SpoolCorrupt
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


async def stream(spool: Spool, payload: PayloadFile, executor: Executor) -> AsyncGenerator[tuple[bytes, bool], None]:
    """The data set in pieces, each with True on the last. Close the generator: it holds a file.

    :raises SpoolMissing, SpoolCorrupt: before the last piece is handed out.
    """
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(executor, SpoolFile.open, spool, payload)
    reading: asyncio.Future[SpoolFile] | asyncio.Future[bytes] = opening
    try:
        file = await asyncio.shield(opening)
        hasher = xxhash.xxh3_128()
        offset = 0
        ahead = reading = loop.run_in_executor(executor, _read, file, offset, payload.length, hasher)
        while True:
            piece = await asyncio.shield(ahead)
            offset += len(piece)
            last = offset >= payload.length
            if last:
                if hasher.digest() != payload.checksum:
                    raise SpoolCorrupt("the checksum of the data set does not hold")
                yield piece, True
                return
            ahead = reading = loop.run_in_executor(executor, _read, file, offset, payload.length, hasher)
            yield piece, False
    finally:
        # The thread must be through with the file before it is closed; what it found no longer matters.
        await asyncio.wait([reading])
        reading.exception()
        if opening.exception() is None:
            opening.result().close()


def _read(file: SpoolFile, offset: int, length: int, hasher: xxhash.xxh3_128) -> bytes:
    piece = file.pread(offset, min(CHUNK_BYTES, length - offset))
    if not piece:
        raise SpoolCorrupt("the file is shorter than its record says")
    hasher.update(piece)
    return piece
