"""One delivery over one association: contexts, streaming from the spool, and what came of it.

The data set is read in pieces by threads, checksummed as it is read, and the last piece leaves only when the checksum
over exactly the bytes handed to the socket equals the one taken at arrival. One piece is read ahead. At most two pieces
an association are in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import xxhash

from gateway.config.values import SOURCE_CALLING_AE_TITLE, Destination
from gateway.dicom.negotiation import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    propose,
    verification_context,
)
from gateway.dicom.pdu import AssociateRQ, ProposedContext
from gateway.errors import SpoolCorrupt
from gateway.model import DeliveryLease, PayloadFile
from gateway.net.driver import Ticker
from gateway.net.requestor import ClientAssociation, RequestorLimits, open_association
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


@dataclass(frozen=True, slots=True)
class Line:
    """A destination's associations: how to open one."""

    destination: Destination
    ticker: Ticker

    async def open(self, calling: str, wanted: Sequence[Context]) -> tuple[ClientAssociation, frozenset[Context]]:
        """Open an association for as many of the wanted contexts as fit into one, the first ones first.

        :returns: the association, and what was proposed on it.
        """
        batches = propose(wanted)
        proposed = batches[0]
        association = await self._open(calling, proposed)
        offered = frozenset((context.abstract_syntax, ts) for context in proposed for ts in context.transfer_syntaxes)
        return association, offered & frozenset(wanted)

    async def echo(self, calling: str) -> int | None:
        """A C-ECHO on an association of its own; its status, None where Verification is not accepted."""
        association = await self._open(calling, [verification_context()])
        try:
            status = await association.echo()
        except BaseException:
            association.abort("the echo failed")
            raise
        await association.release()
        return status

    async def _open(self, calling: str, contexts: Sequence[ProposedContext]) -> ClientAssociation:
        destination = self.destination
        request = AssociateRQ(
            called_ae_title=destination.ae_title,
            calling_ae_title=calling,
            contexts=tuple(contexts),
            max_pdu_length=destination.max_pdu_length,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        )
        limits = RequestorLimits(
            connect_timeout_s=destination.connect_timeout_s,
            association_timeout_s=destination.association_timeout_s,
            response_timeout_s=destination.response_timeout_s,
            progress_timeout_s=destination.progress_timeout_s,
            max_pdu_length=destination.max_pdu_length,
        )
        return await open_association(destination.host, destination.port, request, limits, self.ticker)


def wanted_contexts(first: DeliveryLease, others: Collection[DeliveryLease]) -> list[Context]:
    """What to propose: the first delivery's context, then those of what waits behind it, each once."""
    return list(dict.fromkeys([context_of(first), *map(context_of, others)]))


async def stream(spool: Spool, payload: PayloadFile, executor: Executor) -> AsyncIterator[tuple[bytes, bool]]:
    """The data set in pieces, each with True on the last.

    :raises SpoolMissing, SpoolCorrupt: before the last piece is handed out.
    """
    loop = asyncio.get_running_loop()
    file = await loop.run_in_executor(executor, SpoolFile.open, spool, payload)
    hasher = xxhash.xxh3_128()
    try:
        offset = 0
        ahead = loop.run_in_executor(executor, _read, file, offset, payload.length, hasher)
        while True:
            piece = await ahead
            offset += len(piece)
            last = offset >= payload.length
            if last:
                if hasher.digest() != payload.checksum:
                    raise SpoolCorrupt("the checksum of the data set does not hold")
                yield piece, True
                return
            ahead = loop.run_in_executor(executor, _read, file, offset, payload.length, hasher)
            yield piece, False
    finally:
        # The thread must be through with the file before it is closed; what it found no longer matters.
        await asyncio.wait([ahead])
        if not ahead.cancelled():
            ahead.exception()
        file.close()


def _read(file: SpoolFile, offset: int, length: int, hasher: xxhash.xxh3_128) -> bytes:
    piece = file.pread(offset, min(CHUNK_BYTES, length - offset))
    if not piece:
        raise SpoolCorrupt("the file is shorter than its record says")
    hasher.update(piece)
    return piece
