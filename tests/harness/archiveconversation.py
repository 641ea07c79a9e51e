"""One association of the scripted archive, in a thread of its own. See `archive`."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import time
from typing import TYPE_CHECKING

from tests.harness import wire
from tests.harness.archivescript import Admission, Behaviour, Stored, StoreFacts
from tests.harness.wire import Association

if TYPE_CHECKING:
    from tests.harness.archive import OurArchive


class Ended(Exception):
    """The association is over."""


class Conversation:
    """One association of an archive."""

    def __init__(self, archive: OurArchive, sock: socket.socket, number: int) -> None:
        self._archive = archive
        self._sock = sock
        self._number = number
        self._reader = wire.Reader(sock)
        self._syntaxes: dict[int, str] = {}
        self._request = Association("", "")
        self._command = bytearray()
        self._store: _Store | None = None

    def run(self) -> None:
        self._negotiate()
        while True:
            found = self._reader.pdu()
            if found is None:
                raise Ended
            kind, body = found
            if kind == wire.P_DATA_TF:
                tally = self._archive.tally
                tally.most_pdu_bytes = max(tally.most_pdu_bytes, len(body))
                for context_id, is_command, last, piece in wire.parse_pdvs(body):
                    if is_command:
                        self._on_command(context_id, piece, last)
                    else:
                        self._on_data(piece, last)
            elif kind == wire.A_RELEASE_RQ:
                self._sock.sendall(wire.release_rp())
                with self._archive.lock:
                    self._archive.tally.released += 1
                raise Ended
            else:
                if kind == wire.A_ABORT:
                    with self._archive.lock:
                        self._archive.tally.aborts_received += 1
                raise Ended

    def _negotiate(self) -> None:
        found = self._reader.pdu()
        if found is None or found[0] != wire.A_ASSOCIATE_RQ:
            raise Ended
        self._request = wire.parse_associate(found[1])
        with self._archive.lock:
            self._archive.tally.associations.append(self._request)
        admission = self._archive.on_associate(self._request, self._number)
        if admission.delay_s:
            self._archive.stopping.wait(admission.delay_s)
        if admission.silent:
            self._wait_for_end()
        if admission.close:
            self._end(admission.close)
        if admission.abort is not None:
            self._sock.sendall(wire.abort(*admission.abort))
            raise Ended
        if admission.reject is not None:
            self._sock.sendall(wire.associate_rj(*admission.reject))
            raise Ended
        results = {}
        for context in self._request.contexts:
            results[context.context_id] = self._answer(context, admission)
        self._syntaxes = {number: syntax for number, (result, syntax) in results.items() if result == 0}
        max_pdu = self._archive.max_pdu if admission.max_pdu is None else admission.max_pdu
        self._sock.sendall(wire.associate_ac(self._request, results, max_pdu=max_pdu))

    @staticmethod
    def _answer(context: wire.Context, admission: Admission) -> tuple[int, str]:
        """PS3.8 Table 9-18: 0 acceptance, 3 abstract syntax, 4 transfer syntaxes not supported."""
        refused = context.abstract_syntax in admission.refuse_classes
        if refused or (admission.refuse_verification and context.abstract_syntax == wire.VERIFICATION):
            return 3, wire.IMPLICIT_LE
        for syntax in context.transfer_syntaxes:
            if admission.accept is None or syntax in admission.accept:
                return 0, syntax
        return 4, wire.IMPLICIT_LE

    def _wait_for_end(self) -> None:
        """Keep the connection, reading nothing, until the archive stops."""
        self._archive.stopping.wait()
        raise Ended

    def _end(self, how: str) -> None:
        if how == "rst":
            reset(self._sock)
        elif how in ("abort", "p-abort"):
            self._sock.sendall(wire.abort(2 if how == "p-abort" else 0, 0))
        raise Ended

    def _on_command(self, context_id: int, piece: memoryview, last: bool) -> None:
        self._command += piece
        if not last:
            return
        command = wire.parse_command(bytes(self._command))
        self._command.clear()
        field_ = wire.us(command, wire.COMMAND_FIELD)
        if field_ == wire.C_ECHO_RQ:
            with self._archive.lock:
                self._archive.tally.echoes += 1
            response = wire.c_echo_rsp(wire.us(command, wire.MESSAGE_ID))
            self._sock.sendall(wire.p_data(context_id, response, command=True, last=True))
        elif field_ == wire.C_STORE_RQ and context_id in self._syntaxes:
            facts = self._archive.facts(command, self._syntaxes[context_id], self._number, self._request.calling)
            behaviour = self._archive.on_store(facts)
            message_id = wire.us(command, wire.MESSAGE_ID)
            self._store = _Store(facts, behaviour, context_id, message_id, self._archive.keep_data)
        else:
            self._end("p-abort")

    def _on_data(self, piece: memoryview, last: bool) -> None:
        store = self._store
        if store is None:
            self._end("p-abort")
            return
        behaviour = store.behaviour
        store.take(piece)
        if behaviour.cut and (store.length >= behaviour.cut_after or last):
            self._end(behaviour.cut)
        if behaviour.stop_reading_after is not None and store.length >= behaviour.stop_reading_after:
            self._wait_for_end()
        if behaviour.bytes_per_s:
            self._archive.stopping.wait(len(piece) / behaviour.bytes_per_s)
        if behaviour.early_response_after is not None and store.length >= behaviour.early_response_after:
            self._respond_early(store)
        if last:
            self._store = None
            self._finish(store)

    def _finish(self, store: _Store) -> None:
        behaviour = store.behaviour
        if behaviour.store:
            self._archive.keep(store.stored(self._request), store.kept())
        if behaviour.delay_s:
            self._archive.stopping.wait(behaviour.delay_s)
        if behaviour.wait_for is not None:
            while not behaviour.wait_for.wait(0.05):
                if self._archive.stopping.is_set():
                    raise Ended
        if behaviour.respond and not store.answered:
            self._respond(store)
        if behaviour.end:
            self._end(behaviour.end)
        if not behaviour.respond:
            self._wait_for_peer_or_end()

    def _respond_early(self, store: _Store) -> None:
        if not store.answered:
            store.answered = True
            self._respond(store)

    def _respond(self, store: _Store) -> None:
        facts, behaviour = store.facts, store.behaviour
        uid, sop_class = facts.sop_instance_uid, facts.sop_class_uid
        response = wire.c_store_rsp(
            (store.message_id + behaviour.message_id_offset) & 0xFFFF,
            behaviour.status,
            None if behaviour.omit_uids else behaviour.sop_class_uid or sop_class,
            None if behaviour.omit_uids else behaviour.sop_instance_uid or uid,
            behaviour.command_field,
        )
        self._sock.sendall(wire.p_data(store.context_id, response, command=True, last=True))

    def _wait_for_peer_or_end(self) -> None:
        """No response is coming: keep reading until the peer gives up or the archive stops."""
        while self._reader.pdu() is not None:
            pass
        raise Ended


class _Store:
    """One data set on its way in."""

    def __init__(self, facts: StoreFacts, behaviour: Behaviour, context_id: int, message_id: int, keep: bool) -> None:
        self.facts = facts
        self.behaviour = behaviour
        self.context_id = context_id
        self.message_id = message_id
        self.length = 0
        self.answered = False
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] | None = [] if keep else None

    def take(self, piece: memoryview) -> None:
        self._hash.update(piece)
        self.length += len(piece)
        if self._pieces is not None:
            self._pieces.append(bytes(piece))

    def kept(self) -> bytes | None:
        return None if self._pieces is None else b"".join(self._pieces)

    def stored(self, request: Association) -> Stored:
        return Stored(
            self.facts.sop_instance_uid,
            self.facts.sop_class_uid,
            self.facts.transfer_syntax_uid,
            self._hash.hexdigest(),
            self.length,
            request.calling,
            request.called,
            time.monotonic(),
        )


def reset(sock: socket.socket) -> None:
    """RST, and wake a thread that reads from the socket."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        sock.close()
