"""Senders that write down what they were told.

`Journal` is a JSON lines file: one `sending` line before an instance goes out, one `told` line when the answer is in
(or `status: null` when the association ended without one). Each line is one write to a file opened for appending, so
that it survives the death of the sender. `JournalSender` runs M associations over one list of instances, reconnects
when the gateway dies, tries again as told, and knows how long each acknowledgement took.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import xxhash

from tests.harness.data import Instance, LargeFile
from tests.harness.rawpeer import Aborted, Closed, RawScu, Rejected

SUCCESS = 0x0000


@dataclass(frozen=True, slots=True)
class Told:
    """One line of a journal. `status` is None for `sending` lines and where no answer came."""

    event: str  # "sending" | "told"
    sop_instance_uid: str
    sha256: str
    xxh3: str  # hexadecimal xxh3-128 of the data set; "" when the writer did not say
    status: int | None
    at_s: float  # time.monotonic()
    sender: str

    @property
    def acknowledged(self) -> bool:
        """Told Success, or a warning, which a sender takes for one (PS3.4 Table B.2-1)."""
        return self.event == "told" and self.status is not None and (self.status == SUCCESS or self.status >> 12 == 0xB)


class Journal:
    """Appends what a sender did and was told. Threads and processes may share the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def sending(self, sop_instance_uid: str, sha256: str, xxh3: str = "", sender: str = "") -> None:
        """An instance is about to go out."""
        self._write("sending", sop_instance_uid, sha256, xxh3, None, sender)

    def told(self, sop_instance_uid: str, sha256: str, status: int | None, xxh3: str = "", sender: str = "") -> None:
        """The answer is in; None: the association ended, or time ran out, without one."""
        self._write("told", sop_instance_uid, sha256, xxh3, status, sender)

    def _write(self, event: str, uid: str, sha256: str, xxh3: str, status: int | None, sender: str) -> None:
        line: dict[str, Any] = {
            "event": event,
            "sop_instance_uid": uid,
            "sha256": sha256,
            "xxh3": xxh3,
            "status": status,
            "at_s": time.monotonic(),
            "sender": sender,
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(path: Path) -> list[Told]:
    """Every whole line of a journal. Only the three fields that `checker` needs must be there."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue  # the last line of a writer that was killed
        found.append(
            Told(
                said.get("event", "told"),
                said["sop_instance_uid"],
                said["sha256"],
                said.get("xxh3", ""),
                said["status"],
                said.get("at_s", 0.0),
                said.get("sender", ""),
            )
        )
    return found


@functools.lru_cache(maxsize=100_000)
def _xxh3(data: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(data)


class JournalSender:
    """M associations that send a list of instances to `127.0.0.1:port` and journal every answer.

    `until_success`: an instance that was refused or not answered is sent again (after the others) until Success, or
    until `tries` is used up. `per_association`: release and associate anew after so many instances (0: never).
    `pause_s` lies between tries to connect while the gateway is away, and after a refusal.
    """

    def __init__(
        self,
        port: int,
        journal: Journal,
        instances: Iterable[Instance],
        *,
        host: str = "127.0.0.1",
        associations: int = 1,
        calling: str | Sequence[str] = "JOURNAL",
        called: str = "GATEWAY",
        until_success: bool = True,
        tries: int = 1000,
        per_association: int = 0,
        max_pdu: int = 16384,
        timeout_s: float = 30.0,
        pause_s: float = 0.05,
    ) -> None:
        self._address = (host, port)
        self._journal = journal
        self._todo: deque[tuple[Instance, int]] = deque((instance, 1) for instance in instances)
        self._left = len(self._todo)
        self._contexts = list(dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one, _ in self._todo))
        assert len(self._contexts) <= 128, "more than 128 presentation contexts"
        callings = [calling] if isinstance(calling, str) else list(calling)
        self._callings = [callings[index % len(callings)] for index in range(associations)]
        self._called = called
        self._until_success, self._tries = until_success, tries
        self._per_association = per_association
        self._max_pdu, self._timeout_s, self._pause_s = max_pdu, timeout_s, pause_s
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.statuses: Counter[int | None] = Counter()
        self.latencies_s: list[float] = []
        self.connects = 0
        self.problems: Counter[str] = Counter()

    @property
    def acknowledged(self) -> int:
        """How many Successes came in."""
        return self.statuses[SUCCESS]

    @property
    def done(self) -> bool:
        """True when nothing is left to send."""
        return self._left == 0

    def start(self) -> Self:
        """Begin to send, in threads."""
        for index, calling in enumerate(self._callings):
            thread = threading.Thread(target=self._work, args=(calling,), name=f"sender-{index}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def join(self, timeout_s: float = 60.0) -> Self:
        """Wait until everything is sent; AssertionError, after stopping, when that takes longer."""
        ends = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            self.stop()
            raise AssertionError(f"{self._left} instances not sent after {timeout_s:g} s: {dict(self.problems)}")
        return self

    def run(self, timeout_s: float = 60.0) -> Self:
        """`start` and `join`."""
        return self.start().join(timeout_s)

    def stop(self) -> None:
        """Stop after the instances under way (which wait at most `timeout_s` for their answers)."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(self._timeout_s + 10)

    def percentile_s(self, percent: float) -> float:
        """A percentile of the time from first byte to response, of those acknowledged."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def _work(self, calling: str) -> None:
        scu: RawScu | None = None
        sent_here = 0
        while not self._stopping.is_set():
            with self._lock:
                if self._left == 0:
                    break
                taken = self._todo.popleft() if self._todo else None
            if taken is None:  # others still have the last ones, and may give them back
                self._stopping.wait(0.01)
                continue
            if scu is not None and self._per_association and sent_here >= self._per_association:
                self._let_go(scu)
                scu = None
            if scu is None:
                scu, sent_here = self._connect(calling), 0
                if scu is None:
                    with self._lock:
                        self._todo.appendleft(taken)
                    self._stopping.wait(self._pause_s)
                    continue
            status = self._send(scu, taken[0], calling)
            sent_here += 1
            if status is None:
                scu.close()
                scu = None
            self._settle(taken, status)
        if scu is not None:
            self._let_go(scu)

    def _settle(self, taken: tuple[Instance, int], status: int | None) -> None:
        instance, attempt = taken
        again = status != SUCCESS and self._until_success and attempt < self._tries
        with self._lock:
            self.statuses[status] += 1
            if again:
                self._todo.append((instance, attempt + 1))
            else:
                self._left -= 1
        if again and status is not None:
            self._stopping.wait(self._pause_s)

    def _problem(self, error: Exception) -> None:
        with self._lock:
            self.problems[f"{type(error).__name__}: {error}"] += 1

    def _connect(self, calling: str) -> RawScu | None:
        scu: RawScu | None = None
        try:
            scu = RawScu(self._address[1], self._address[0], self._timeout_s)
            scu.associate(self._contexts, self._called, calling, max_pdu=self._max_pdu)
        except (OSError, Closed, Aborted, Rejected) as error:
            self._problem(error)
            if scu is not None:
                scu.close()
            return None
        with self._lock:
            self.connects += 1
        return scu

    def _send(self, scu: RawScu, instance: Instance, calling: str) -> int | None:
        """Send one instance; its status, None when the association is of no use any more."""
        uid, sha, xxh3 = instance.sop_instance_uid, instance.sha256, _xxh3(instance.data)
        self._journal.sending(uid, sha, xxh3, calling)
        status: int | None = None
        begun = time.monotonic()
        try:
            context_id = scu.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
            status = scu.store(context_id, instance.sop_class_uid, uid, instance.data)
        except (OSError, Closed, Aborted, LookupError, AssertionError) as error:
            self._problem(error)
        took = time.monotonic() - begun
        self._journal.told(uid, sha, status, xxh3, calling)
        if status == SUCCESS:
            with self._lock:
                self.latencies_s.append(took)
        return status

    @staticmethod
    def _let_go(scu: RawScu) -> None:
        with contextlib.suppress(OSError, Closed, Aborted, AssertionError):
            scu.release()
        scu.close()


def send_large(
    port: int,
    large: LargeFile,
    journal: Journal,
    *,
    calling: str = "LARGE",
    called: str = "GATEWAY",
    timeout_s: float = 300,
) -> int | None:
    """Send a file that is too large for memory over an association of its own, journaled; the status, None: none."""
    digest = xxhash.xxh3_128()
    with large.path.open("rb") as file:
        file.seek(large.offset)
        while piece := file.read(1 << 20):
            digest.update(piece)
    xxh3 = digest.hexdigest()
    status: int | None = None
    journal.sending(large.sop_instance_uid, large.sha256, xxh3, calling)
    with RawScu(port, timeout_s=timeout_s) as scu, large.path.open("rb") as file:
        try:
            scu.associate([(large.sop_class_uid, large.transfer_syntax_uid)], called, calling)
            file.seek(large.offset)
            pieces = iter(lambda: file.read(scu.max_pdu - 6), b"")
            status = scu.recv_store_status(
                scu.send_store_stream(1, large.sop_class_uid, large.sop_instance_uid, pieces), timeout_s
            )
            scu.release()
        except (OSError, Closed, Aborted, Rejected):
            pass
    journal.told(large.sop_instance_uid, large.sha256, status, xxh3, calling)
    return status


def journal_of_files(journal: Journal, told: Iterable[tuple[str, bytes, int | None]], sender: str = "") -> None:
    """Write down what another sender (dcmsend, pynetdicom) was told: (SOP Instance UID, data set bytes, status)."""
    for uid, data, status in told:
        sha, xxh3 = hashlib.sha256(data).hexdigest(), xxhash.xxh3_128_hexdigest(data)
        journal.sending(uid, sha, xxh3, sender)
        journal.told(uid, sha, status, xxh3, sender)
