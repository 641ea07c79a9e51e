"""A storage SCU for files: `gateway send` and the demo's modality.

Files are sent as they are: the bytes behind the file meta information, in the transfer syntax it names. What the peer
accepts no context for is reported, not converted. One association at a time; another one when a file needs a context
that the present one was not asked for, or when it broke.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.config.values import Destination
from gateway.dicom.part10 import FIRST_READ_BYTES, Part10, read_part10
from gateway.dicom.status import describe, is_success, is_warning
from gateway.errors import HeaderError, PeerError
from gateway.flow.accepts import Wanted
from gateway.flow.line import Line
from gateway.flow.send import Context
from gateway.net.driver import Ticker
from gateway.net.requestor import ClientAssociation

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileToSend:
    """A Part 10 file that was looked at."""

    path: Path
    part10: Part10
    size_bytes: int

    @property
    def context(self) -> Context:
        """The presentation context it needs."""
        return self.part10.sop_class_uid, self.part10.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one file. `status` is None when there was no answer; `text` then says why."""

    file: FileToSend
    status: int | None
    text: str
    seconds: float

    @property
    def stored(self) -> bool:
        """The peer answered with Success or a warning."""
        return self.status is not None and (is_success(self.status) or is_warning(self.status))


def look_at(path: Path) -> FileToSend:
    """Read a file's meta information. :raises HeaderError: it is no Part 10 file. :raises OSError: no reading it."""
    with path.open("rb") as file:
        part10 = read_part10(file.read(FIRST_READ_BYTES))
        size = os.fstat(file.fileno()).st_size
    if size <= part10.offset:
        raise HeaderError("the file has no data set")
    return FileToSend(path, part10, size)


def find_files(paths: Sequence[Path], refused: Callable[[Path, str], None]) -> list[FileToSend]:
    """Look at files, and at every file below folders, in name order. `refused` is told of those that can't be sent."""
    found = []
    for path in paths:
        candidates = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        for candidate in candidates:
            try:
                found.append(look_at(candidate))
            except HeaderError as error:
                refused(candidate, str(error))
            except OSError as error:
                refused(candidate, f"cannot be read: {error.strerror}")
    return found


async def send_files(files: Sequence[FileToSend], peer: Destination, told: Callable[[Sent], None]) -> None:
    """Send files to a peer in order, telling what became of each. Never raises for what the peer does, or for a file
    that cannot be read any more.

    When there is no association to be had, the files that are left are told of and not tried: a peer that does not
    answer would take a timeout for each.
    """
    line = Line(peer, Ticker())
    association: ClientAssociation | None = None
    offered: frozenset[Context] = frozenset()
    for index, file in enumerate(files):
        began = time.monotonic()
        if association is None or not association.usable or file.context not in offered:
            if association is not None:
                await association.release()
            wanted = [Wanted(context) for context in dict.fromkeys(item.context for item in files[index:])]
            try:
                association, offered = await line.open(peer.calling_ae_title, wanted)
            except PeerError as error:
                for left in files[index:]:
                    told(Sent(left, None, str(error), time.monotonic() - began))
                return
        try:
            status, text = await _send(association, file, peer)
        except PeerError as error:
            status, text = None, str(error)
        except OSError as error:  # the file's trouble, not the peer's: others may go
            status, text = None, f"cannot be read: {error.strerror or error}"
        told(Sent(file, status, text, time.monotonic() - began))
    if association is not None:
        await association.release()


async def _send(association: ClientAssociation, file: FileToSend, peer: Destination) -> tuple[int | None, str]:
    context_id = association.context_for(*file.context)
    if context_id is None:
        sop_class, transfer_syntax = file.context
        return None, f"the peer does not accept {sop_class} in transfer syntax {transfer_syntax}"
    with file.path.open("rb") as handle:  # before the message begins: what cannot be opened costs no association
        status = await association.store(
            context_id,
            file.part10.sop_class_uid,
            file.part10.sop_instance_uid,
            _pieces(handle, file),
            peer.priority.code,
        )
    return status, describe(status)


async def _pieces(handle: BinaryIO, file: FileToSend) -> AsyncIterator[tuple[bytes, bool]]:
    handle.seek(file.part10.offset)
    left = file.size_bytes - file.part10.offset
    while left > 0:
        piece = await asyncio.to_thread(handle.read, min(CHUNK_BYTES, left))
        if not piece:  # its last fragment must not leave: the peer would keep a part as the whole
            raise OSError("it became shorter while it was sent")
        left -= len(piece)
        yield piece, left == 0
