"""A fast storage SCP that remembers what it stored and misbehaves on request.

`OurArchive` accepts every abstract and transfer syntax (the first proposed), hashes each data set as it comes and
keeps `sop_instance_uid → [Stored]`. One thread an association; nothing is parsed but the command set, so several
thousand small instances a second are no trouble.

What it does is a script: `on_associate(Association, number) -> Admission` and `on_store(StoreFacts) -> Behaviour`, both
called for every association and instance, so that a test can answer by UID, by number, or by the try. An instance
counts as stored before its response is written, unless the behaviour says `store=False` or cuts the data set short.
`journal` appends every stored instance to a JSON lines file, for checkers in other processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness import wire
from tests.harness.archiveconversation import Conversation, Ended, reset
from tests.harness.archivescript import ACCEPT, SUCCESS, Admission, Behaviour, Stored, StoreFacts, by_uid, first
from tests.harness.wire import Association

__all__ = ["ACCEPT", "SUCCESS", "Admission", "Behaviour", "OurArchive", "StoreFacts", "Stored", "by_uid", "first"]


_ESTABLISHED = 1  # TCP_ESTABLISHED of tcp(7)


def _is_open(sock: socket.socket) -> bool:
    """Whether the other end still has it: what a killed process had is closed by the kernel, though nobody here has
    looked at it yet."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
    except OSError:  # closed by the conversation that had it, just now
        return False


@dataclass(slots=True)
class _Tally:
    """What happened besides storing."""

    connections: int = 0
    most_open: int = 0  # connections at one time whose other end has not closed them, or died
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
        self.lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self._journal = None if journal is None else os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    # ── what it knows ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def count(self) -> int:
        """How many data sets were stored, duplicates counted."""
        return self._count

    def contents(self) -> dict[str, list[str]]:
        """sop_instance_uid → SHA-256 of every copy stored, in order."""
        with self.lock:
            return {uid: [stored.sha256 for stored in copies] for uid, copies in self._stored.items()}

    def stored(self, sop_instance_uid: str) -> list[Stored]:
        """Every copy of an instance, in order."""
        with self.lock:
            return list(self._stored.get(sop_instance_uid, ()))

    def all_stored(self) -> list[Stored]:
        """Everything stored, in order of time."""
        with self.lock:
            return sorted((one for copies in self._stored.values() for one in copies), key=lambda one: one.at_s)

    def duplicates(self) -> int:
        """How many copies came beyond the first of each UID and content."""
        with self.lock:
            return sum(len(copies) - len({one.sha256 for one in copies}) for copies in self._stored.values())

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Self:
        """Listen. The port stays the same over restarts."""
        assert self._listener is None, "it is running"
        self.stopping.clear()
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
        self.stopping.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        with self.lock:
            connections = list(self._open)
        for sock in connections:
            reset(sock)
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
        while not self.stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.tally.connections += 1
                number = self.tally.connections
                self._open.add(sock)
                self.tally.most_open = max(self.tally.most_open, sum(map(_is_open, self._open)))
            self._spawn(self._serve, sock, number, name=f"archive-{self.port}-{number}")

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Conversation(self, sock, number).run()
        except (OSError, Ended):
            pass
        finally:
            with self.lock:
                self._open.discard(sock)
            sock.close()

    # ── called by conversations ───────────────────────────────────────────────────────────────────────────────────

    def facts(self, command: Mapping[int, bytes], syntax: str, association: int, calling: str) -> StoreFacts:
        uid = wire.ui(command, wire.AFFECTED_SOP_INSTANCE_UID)
        with self.lock:
            self.tally.requests[uid] += 1
            self.tally.request_times_s.append(time.monotonic())
            attempt, number = self.tally.requests[uid], len(self.tally.request_times_s)
        sop_class = wire.ui(command, wire.AFFECTED_SOP_CLASS_UID)
        return StoreFacts(uid, sop_class, syntax, attempt, number, association, calling)

    def keep(self, stored: Stored, data: bytes | None) -> None:
        with self.lock:
            self._stored[stored.sop_instance_uid].append(stored)
            self._count += 1
            if data is not None:
                self.data[stored.sop_instance_uid].append(data)
            if self._journal is not None:
                line = {"sop_instance_uid": stored.sop_instance_uid, "sha256": stored.sha256, "at_s": stored.at_s}
                os.write(self._journal, json.dumps(line).encode() + b"\n")
