"""A fast storage SCP that remembers what it stored and misbehaves on request.

`OurArchive` accepts every abstract and transfer syntax (the first proposed), hashes each data set as it comes and
keeps `sop_instance_uid → [Stored]`. One thread an association; nothing is parsed but the command set, so several
thousand small instances a second are no trouble.

What it does is a script: `on_associate(AssociationFacts) -> Admission` and `on_store(StoreFacts) -> Behaviour`, both
called for every association and instance, so that a test can answer by UID, by number, or by the try. An instance
counts as stored before its response is written, unless the behaviour says `store=False` or cuts the data set short.
`journal` appends every stored instance to a JSON lines file, for checkers in other processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.harness import wire
from tests.harness.wire import Association


@dataclass(frozen=True, slots=True)
class Stored:
    """One data set that came in whole and was kept. `at_s` is time.monotonic()."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    length: int
    calling: str
    called: str
    at_s: float


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """A C-STORE-RQ as a script sees it. `attempt` counts the requests for this UID from 1, `number` all of them."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    attempt: int
    number: int
    association: int
    calling: str


@dataclass(frozen=True, slots=True)
class Admission:
    """How an association is answered.

    `accept` names the transfer syntaxes that are accepted (None: any), `refuse_classes` abstract syntaxes answered
    with result 3, `refuse_verification` the same for C-ECHO. `silent` never answers; `close` ends the connection.
    """

    reject: tuple[int, int, int] | None = None  # result, source, reason
    abort: tuple[int, int] | None = None  # source, reason
    silent: bool = False
    close: Literal["", "fin", "rst"] = ""
    accept: frozenset[str] | None = None
    refuse_classes: frozenset[str] = frozenset()
    refuse_verification: bool = False
    max_pdu: int | None = None
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What is done with one instance. The default stores it and answers Success.

    Cuts (`cut_after` data set bytes, then `cut`) and `stop_reading_after` happen while it comes in, the rest when it
    is complete. `wait_for` holds the response until the event is set. `end` happens after the response (or, with
    `respond=False`, instead of it).
    """

    status: int = 0x0000
    store: bool = True
    respond: bool = True
    delay_s: float = 0.0
    wait_for: threading.Event | None = None
    message_id_offset: int = 0
    command_field: int = wire.C_STORE_RSP
    omit_uids: bool = False
    sop_instance_uid: str | None = None
    sop_class_uid: str | None = None
    cut: Literal["", "abort", "p-abort", "fin", "rst"] = ""
    cut_after: int = 0
    stop_reading_after: int | None = None
    bytes_per_s: float = 0.0
    end: Literal["", "abort", "p-abort", "fin", "rst"] = ""


SUCCESS = Behaviour()
ACCEPT = Admission()


def by_uid(behaviours: Mapping[str, Behaviour], otherwise: Behaviour = SUCCESS) -> Callable[[StoreFacts], Behaviour]:
    """A script that looks the instance up."""
    return lambda facts: behaviours.get(facts.sop_instance_uid, otherwise)


def first(count: int, behaviour: Behaviour, then: Behaviour = SUCCESS) -> Callable[[StoreFacts], Behaviour]:
    """A script that treats the first `count` tries of each instance in one way, later ones in another."""
    return lambda facts: behaviour if facts.attempt <= count else then


class _Ended(Exception):
    """The association is over."""


@dataclass(slots=True)
class _Tally:
    """What happened besides storing."""

    connections: int = 0
    associations: list[Association] = field(default_factory=list)
    echoes: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    request_times_s: list[float] = field(default_factory=list)
    released: int = 0
    aborts_received: int = 0
    most_pdu_bytes: int = 0


class OurArchive:
    """See the module's docstring. `start` may be called again after `stop`: same port, memory kept."""

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        max_pdu: int = 131072,
        on_store: Callable[[StoreFacts], Behaviour] | None = None,
        on_associate: Callable[[Association, int], Admission] | None = None,
        journal: Path | None = None,
        keep_data: bool = False,
        receive_buffer_bytes: int | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.max_pdu = max_pdu
        self.on_store: Callable[[StoreFacts], Behaviour] = on_store or (lambda facts: SUCCESS)
        self.on_associate: Callable[[Association, int], Admission] = on_associate or (lambda request, number: ACCEPT)
        self.keep_data = keep_data
        self.receive_buffer_bytes = receive_buffer_bytes
        self.data: dict[str, list[bytes]] = defaultdict(list)
        self.tally = _Tally()
        self._stored: dict[str, list[Stored]] = defaultdict(list)
        self._count = 0
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._journal = None if journal is None else os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    # ── what it knows ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def count(self) -> int:
        """How many data sets were stored, duplicates counted."""
        return self._count

    def contents(self) -> dict[str, list[str]]:
        """sop_instance_uid → SHA-256 of every copy stored, in order."""
        with self._lock:
            return {uid: [stored.sha256 for stored in copies] for uid, copies in self._stored.items()}

    def stored(self, sop_instance_uid: str) -> list[Stored]:
        """Every copy of an instance, in order."""
        with self._lock:
            return list(self._stored.get(sop_instance_uid, ()))

    def all_stored(self) -> list[Stored]:
        """Everything stored, in order of time."""
        with self._lock:
            return sorted((one for copies in self._stored.values() for one in copies), key=lambda one: one.at_s)

    def duplicates(self) -> int:
        """How many copies came beyond the first of each UID and content."""
        with self._lock:
            return sum(len(copies) - len({one.sha256 for one in copies}) for copies in self._stored.values())

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Self:
        """Listen. The port stays the same over restarts."""
        assert self._listener is None, "it is running"
        self._stopping.clear()
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.receive_buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer_bytes)
        listener.bind((self.host, self.port))
        listener.listen(256)
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        self._spawn(self._accept_loop, listener, name=f"archive-{self.port}")
        return self

    def stop(self) -> None:
        """Stop listening, reset every connection, wait for the threads. Harmless when stopped."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._stopping.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        with self._lock:
            connections = list(self._open)
        for sock in connections:
            _reset(sock)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} does not end"
        self._threads.clear()

    def close(self) -> None:
        """Stop for good; closes the journal too."""
        self.stop()
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _spawn(self, target: Callable[..., None], *args: object, name: str) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept_loop(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.tally.connections += 1
                number = self.tally.connections
                self._open.add(sock)
            self._spawn(self._serve, sock, number, name=f"archive-{self.port}-{number}")

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Conversation(self, sock, number).run()
        except (OSError, _Ended):
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    # ── called by conversations ───────────────────────────────────────────────────────────────────────────────────

    def _facts(self, command: Mapping[int, bytes], syntax: str, association: int, calling: str) -> StoreFacts:
        uid = wire.ui(command, wire.AFFECTED_SOP_INSTANCE_UID)
        with self._lock:
            self.tally.requests[uid] += 1
            self.tally.request_times_s.append(time.monotonic())
            attempt, number = self.tally.requests[uid], len(self.tally.request_times_s)
        sop_class = wire.ui(command, wire.AFFECTED_SOP_CLASS_UID)
        return StoreFacts(uid, sop_class, syntax, attempt, number, association, calling)

    def _keep(self, stored: Stored, data: bytes | None) -> None:
        with self._lock:
            self._stored[stored.sop_instance_uid].append(stored)
            self._count += 1
            if data is not None:
                self.data[stored.sop_instance_uid].append(data)
            if self._journal is not None:
                line = {"sop_instance_uid": stored.sop_instance_uid, "sha256": stored.sha256, "at_s": stored.at_s}
                os.write(self._journal, json.dumps(line).encode() + b"\n")


class _Conversation:
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
                raise _Ended
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
                with self._archive._lock:
                    self._archive.tally.released += 1
                raise _Ended
            else:
                if kind == wire.A_ABORT:
                    with self._archive._lock:
                        self._archive.tally.aborts_received += 1
                raise _Ended

    def _negotiate(self) -> None:
        found = self._reader.pdu()
        if found is None or found[0] != wire.A_ASSOCIATE_RQ:
            raise _Ended
        self._request = wire.parse_associate(found[1])
        with self._archive._lock:
            self._archive.tally.associations.append(self._request)
        admission = self._archive.on_associate(self._request, self._number)
        if admission.delay_s:
            self._archive._stopping.wait(admission.delay_s)
        if admission.silent:
            self._wait_for_end()
        if admission.close:
            self._end(admission.close)
        if admission.abort is not None:
            self._sock.sendall(wire.abort(*admission.abort))
            raise _Ended
        if admission.reject is not None:
            self._sock.sendall(wire.associate_rj(*admission.reject))
            raise _Ended
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
        self._archive._stopping.wait()
        raise _Ended

    def _end(self, how: str) -> None:
        if how == "rst":
            _reset(self._sock)
        elif how in ("abort", "p-abort"):
            self._sock.sendall(wire.abort(2 if how == "p-abort" else 0, 0))
        raise _Ended

    def _on_command(self, context_id: int, piece: memoryview, last: bool) -> None:
        self._command += piece
        if not last:
            return
        command = wire.parse_command(bytes(self._command))
        self._command.clear()
        field_ = wire.us(command, wire.COMMAND_FIELD)
        if field_ == wire.C_ECHO_RQ:
            with self._archive._lock:
                self._archive.tally.echoes += 1
            response = wire.c_echo_rsp(wire.us(command, wire.MESSAGE_ID))
            self._sock.sendall(wire.p_data(context_id, response, command=True, last=True))
        elif field_ == wire.C_STORE_RQ and context_id in self._syntaxes:
            facts = self._archive._facts(command, self._syntaxes[context_id], self._number, self._request.calling)
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
            self._archive._stopping.wait(len(piece) / behaviour.bytes_per_s)
        if last:
            self._store = None
            self._finish(store)

    def _finish(self, store: _Store) -> None:
        facts, behaviour = store.facts, store.behaviour
        if behaviour.store:
            self._archive._keep(store.stored(self._request), store.kept())
        if behaviour.delay_s:
            self._archive._stopping.wait(behaviour.delay_s)
        if behaviour.wait_for is not None:
            while not behaviour.wait_for.wait(0.05):
                if self._archive._stopping.is_set():
                    raise _Ended
        if behaviour.respond:
            uid, sop_class = facts.sop_instance_uid, facts.sop_class_uid
            response = wire.c_store_rsp(
                (store.message_id + behaviour.message_id_offset) & 0xFFFF,
                behaviour.status,
                None if behaviour.omit_uids else behaviour.sop_class_uid or sop_class,
                None if behaviour.omit_uids else behaviour.sop_instance_uid or uid,
                behaviour.command_field,
            )
            self._sock.sendall(wire.p_data(store.context_id, response, command=True, last=True))
        if behaviour.end:
            self._end(behaviour.end)
        if not behaviour.respond:
            self._wait_for_peer_or_end()

    def _wait_for_peer_or_end(self) -> None:
        """No response is coming: keep reading until the peer gives up or the archive stops."""
        while self._reader.pdu() is not None:
            pass
        raise _Ended


class _Store:
    """One data set on its way in."""

    def __init__(self, facts: StoreFacts, behaviour: Behaviour, context_id: int, message_id: int, keep: bool) -> None:
        self.facts = facts
        self.behaviour = behaviour
        self.context_id = context_id
        self.message_id = message_id
        self.length = 0
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


def _reset(sock: socket.socket) -> None:
    """RST, and wake a thread that reads from the socket."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        sock.close()
