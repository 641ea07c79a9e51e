"""Studies and instances: a search, a study's page, an instance's page, and the instance as a file. Patient data."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from gateway.console.services.seen import Viewer
from gateway.dicom.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.flow.send import DataSet
from gateway.ledger.look import Cell, InstanceDetail, InstancePage, Moment, StudyDetail, StudyFilter, StudyPage, Twin
from gateway.model import PayloadFile
from gateway.spool import Spool, SpoolFile

if TYPE_CHECKING:
    from gateway.console.context import Context


@dataclass(frozen=True, slots=True)
class Matrix:
    """Instances of a study, and what each destination gets of them."""

    page: InstancePage
    destinations: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Cell]]  # by instance id, then by destination


async def studies(context: Context, which: StudyFilter, limit: int, after: str = "") -> StudyPage:
    """A search. :raises LookTooWide, LookRefused, LedgerError."""
    return await context.look.studies(which, limit, after)


async def study(context: Context, study_key: int) -> StudyDetail | None:
    """A study's page; None where there is none. :raises LedgerError."""
    return await context.look.study(study_key)


async def matrix(context: Context, study_key: int, limit: int, after: str = "") -> Matrix:
    """Instances of a study, by series and order of arrival, and their deliveries. :raises LedgerError, LookRefused."""
    page = await context.look.study_instances(study_key, limit, after)
    cells = await context.look.matrix([row.instance_id for row in page.rows])
    names = sorted({name for by_name in cells.values() for name in by_name})
    return Matrix(page, tuple(names), cells)


async def instance(context: Context, instance_id: str) -> InstanceDetail | None:
    """An instance's page; None where there is none. :raises LedgerError."""
    return await context.look.instance(instance_id)


async def find_instances(context: Context, uid: str) -> Sequence[Twin]:
    """The arrivals of a SOP Instance UID, or the instance of an id. :raises LedgerError."""
    return await context.look.find_instances(uid)


async def timeline(context: Context, of: str | int) -> list[Moment]:
    """What happened to an instance (its id) or a study (its key). :raises LedgerError."""
    return await context.look.timeline(of)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Download:
    """An instance as a DICOM Part 10 file: how long it is, and its bytes."""

    name: str  # ours: no text of a sender
    length: int
    pieces: AsyncGenerator[bytes, None]


async def download(context: Context, instance_id: str, chain: str, viewer: Viewer, reason: str) -> Download | None:
    """An instance, or a copy that transforms made of it, as a file; None where there is none, or no more.

    Audited before its first byte. The data set is that of the spool, unchanged, behind file meta information of ours;
    its checksum is compared before the last piece leaves: one that does not hold ends the file early.

    :raises LedgerError. SpoolError: also from `pieces`.
    """
    clock_ms = context.clock_ms
    actor, address = viewer.actor, viewer.address
    payload = await context.ledger.call(
        lambda ledger: ledger.payload_for(instance_id, chain, actor, reason, clock_ms(), address)
    )
    if payload is None:
        return None
    await asyncio.to_thread(_see, context.spool, payload)
    head = head_of(payload)
    return Download(f"{instance_id}.dcm", len(head) + payload.length, _pieces(context.spool, head, payload))


def _see(spool: Spool, payload: PayloadFile) -> None:
    """See that there is something to be read. :raises SpoolError."""
    SpoolFile.open(spool, payload).close()


async def _pieces(spool: Spool, head: bytes, payload: PayloadFile) -> AsyncGenerator[bytes, None]:
    executor = ThreadPoolExecutor(1, thread_name_prefix="download")
    data = DataSet(spool, payload, executor)
    try:
        yield head
        async with aclosing(data.pieces()) as pieces:
            async for piece, _ in pieces:
                yield piece
    finally:
        data.close()
        executor.shutdown(wait=False)


def head_of(payload: PayloadFile) -> bytes:
    """Preamble and file meta information, PS3.10 7.1."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(payload.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(payload.sop_instance_uid)
    meta.TransferSyntaxUID = UID(payload.transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    head = io.BytesIO()
    head.write(bytes(128) + b"DICM")
    write_file_meta_info(head, meta, enforce_standard=True)
    return head.getvalue()
