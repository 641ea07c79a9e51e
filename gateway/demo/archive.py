"""A small storage SCP that writes each instance to a Part 10 file: the archives of `gateway demo`.

It accepts anyone and anything, and keeps what it was sent as it was sent. It is for showing and trying, not for
keeping: nothing is flushed.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info

from gateway.dicom.dimse import Command, CommandField
from gateway.dicom.negotiation import IMPLEMENTATION_CLASS_UID, AcceptedContext, AcceptorPolicy, negotiate
from gateway.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ
from gateway.dicom.status import OUT_OF_RESOURCES, SUCCESS, UNRECOGNIZED_OPERATION
from gateway.net.acceptor import Acceptor
from gateway.net.driver import Ticker
from gateway.net.served import AcceptorLimits, ServerAssociation, Sink


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance in the archive, and the file it is in."""

    archive: str
    sop_instance_uid: str
    path: Path


class Archive:
    """A storage SCP on a free port of the loopback.

    :param folder: where files go; made if missing.
    :param stored: told of each instance.
    """

    def __init__(self, name: str, folder: Path, stored: Callable[[Stored], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.folder = folder
        self._stored = stored
        self._socket: socket.socket | None = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self._acceptor: Acceptor | None = None

    def start(self) -> None:
        """Serve on the running event loop; on the same port as before, after a `stop`."""
        listener = self._socket or socket.create_server(("127.0.0.1", self.port), backlog=64)
        self._acceptor = Acceptor(self, Ticker())
        self._acceptor.listen(self.name, listener, AcceptorLimits(), max_connections=64)

    async def stop(self) -> None:
        """Serve no more: who connects is refused."""
        self._socket = None
        if self._acceptor is not None:
            await self._acceptor.stop(grace_s=2.0)
            self._acceptor = None

    def tell(self, stored: Callable[[Stored], None]) -> None:
        """Have another be told of each instance from now on."""
        self._stored = stored

    # ── the acceptor's service ────────────────────────────────────────────────────────────────────────────────

    def admit(self, association: ServerAssociation, request: AssociateRQ) -> AssociateAC | AssociateRJ:
        return negotiate(request, AcceptorPolicy())

    def rejected(self, association: ServerAssociation, request: AssociateRQ, answer: AssociateRJ) -> None:
        return

    def command(self, association: ServerAssociation, context: AcceptedContext, command: Command) -> Sink | int:
        if command.command_field == CommandField.C_ECHO_RQ:
            return SUCCESS
        if command.command_field != CommandField.C_STORE_RQ:
            return UNRECOGNIZED_OPERATION
        return _FileSink(self.name, self.folder, context, command, self._stored)

    def closed(self, association: ServerAssociation, result: str) -> None:
        return

    def connection_ended(self, association: ServerAssociation, text: str) -> None:
        return


class _FileSink:
    """One instance on its way into a file."""

    def __init__(
        self,
        archive: str,
        folder: Path,
        context: AcceptedContext,
        command: Command,
        stored: Callable[[Stored], None],
    ) -> None:
        self._archive = archive
        # A name of our own: no text of a peer becomes part of a path.
        self._path = folder / f"{secrets.token_hex(8)}.dcm"
        self._uid = command.affected_sop_instance_uid
        self._stored = stored
        self._failed = False
        self._file: BinaryIO = self._path.open("wb")
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = command.affected_sop_class_uid
        meta.MediaStorageSOPInstanceUID = command.affected_sop_instance_uid
        meta.TransferSyntaxUID = context.transfer_syntax
        meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
        self._file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(self._file, meta)

    def write(self, data: memoryview) -> None:
        try:
            self._file.write(data)
        except OSError:
            self._failed = True

    def finish(self, done: Callable[[int], None]) -> None:
        self._file.close()
        if self._failed:
            self._path.unlink(missing_ok=True)
            done(OUT_OF_RESOURCES)
            return
        done(SUCCESS)
        self._stored(Stored(self._archive, self._uid, self._path))

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)
