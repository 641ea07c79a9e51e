"""A thread that sends the trail's records to a syslog server, in their order, and knows how far it has got.

Rules:
  - it reads the files themselves, so what it has not sent is lost only with them: a server may be away for weeks;
  - how far it has got stands in a file beside them, and moves only when the server has read everything up to there
    (see `gateway.audit.syslog`). Whatever breaks before that is sent again: nothing is lost, the order stays, and what
    comes twice is what was sent since;
  - a place counts only while the record that ends there is the one that was sent. Where it is another, or is gone, all
    that is there is sent from its beginning, which is told: twice is allowed, lost is not;
  - a connection is ended after a while (`Pace`), so that this is not much;
  - a server that ends its connections by itself, but never as it should, is believed after STRIKES of them, which is
    told. One that says nothing at all is not: it may hang, and what the kernel took for it is lost with it;
  - it tries again after a second, doubling to a minute, whatever it was that went wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.audit.chain import TAIL_BYTES, digest_said, read_line
from gateway.audit.files import files_in, first_seq_of, lines_of
from gateway.audit.read import milliseconds
from gateway.audit.server import AuditRepository
from gateway.audit.syslog import End, Link, connect, message_of, said

POSITION = "syslog.position"
READ_MAX = 200  # messages sent at once
STRIKES = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """When a connection is ended: so long without a message, so old, or after so many; and when it is tried again."""

    idle_s: float = 2.0
    age_s: float = 20.0
    window: int = 1000
    end_s: float = 10.0  # for the server to answer that
    again_min_s: float = 1.0
    again_max_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the trail: behind record `seq` with this hash ("": not known), which ends at `offset` of a file."""

    file: str = ""
    offset: int = 0
    seq: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be sent; `behind` is the place behind it."""

    at_ms: int
    xml: str
    behind: Position


@dataclass(frozen=True, slots=True)
class Tell:
    """Whom to tell, from the thread: the server was lost or found; how old the oldest message is that it has not; that
    it is believed to have read what it never said it had; that all is sent again, as the trail is another."""

    up: Callable[[bool, str], None]
    behind: Callable[[float], None]
    unsaid: Callable[[], None] = lambda: None
    again: Callable[[], None] = lambda: None


def holds(folder: Path, position: Position) -> bool:
    """Whether the record that a place is behind still ends there, or its file was moved away, and what is there follows
    it. :raises OSError."""
    if not position.hash:  # the beginning, or written by an older version
        return True
    try:
        return _digest_at(folder, position) == position.hash
    except FileNotFoundError:
        lines = (line for path in files_in(folder) for line in lines_of(path))
        first = next((record for line in lines if (record := read_line(line.raw)) is not None), None)
        return first is not None and first.prev == position.hash


def _digest_at(folder: Path, position: Position) -> str:
    """The hash of the record that ends at a place; "" where none does."""
    with (folder / position.file).open("rb") as file:
        file.seek(max(0, position.offset - TAIL_BYTES))
        return digest_said(file.read(TAIL_BYTES))


def after(folder: Path, position: Position) -> Iterator[Outgoing]:
    """The records behind a place, which has to hold, as far as they are there, and whole."""
    for path in files_in(folder):  # as they are now: no other comes behind a record that is being written
        if first_seq_of(path) <= position.seq and path.name < position.file:
            continue
        offset = position.offset if path.name == position.file else 0
        for line in lines_of(path, offset):
            record = read_line(line.raw)
            if record is None:
                continue
            behind = Position(path.name, line.offset + len(line.raw), record.seq, record.digest)
            yield Outgoing(milliseconds(str(record.fields["time"])), str(record.fields.get("xml", "")), behind)


class Sender:
    """See the module's docstring. :param host: what messages call this host; `process` their PROCID."""

    def __init__(
        self,
        folder: Path,
        server: AuditRepository,
        host: str,
        process: str,
        tell: Tell,
        clock_ms: Callable[[], int],
        pace: Pace | None = None,
    ) -> None:
        self._folder = folder
        self._server = server
        self._host, self._process = host, process
        self._tell = tell
        self._clock_ms = clock_ms
        self._pace = pace or Pace()
        self._there = threading.Event()
        self._stopping = threading.Event()
        self._position = Position()
        self._link: Link | None = None
        self._sent = 0  # since the position
        self._since_s = self._last_s = 0.0
        self._reached = self._position
        self._up: bool | None = None
        self._strikes = 0
        self._unsaid_told = False
        self._thread = threading.Thread(target=self._run, name="audit syslog", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the files."""
        self._there.set()

    def stop(self, patience_s: float = 5.0) -> None:
        """Send what there is, as far as that is quick, and end the thread."""
        self._stopping.set()
        self._there.set()
        self._thread.join(patience_s)

    def _run(self) -> None:
        self._position = self._reached = read_position(self._folder)
        again_s = self._pace.again_min_s
        while True:
            try:
                self._require_place()
                if not self._turn() and self._stopping.is_set():
                    self._end()
                    return
                again_s = self._pace.again_min_s
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the messages wait
                self._broken(error)
                if self._stopping.wait(again_s):
                    return
                again_s = min(again_s * 2, self._pace.again_max_s)

    def _require_place(self) -> None:
        """Go back where the trail is no more what it was when it was sent."""
        if self._position.file and not self._position.hash:  # of an older version, which is believed once
            self._believe()
        if holds(self._folder, self._reached):
            return
        if self._link is not None:
            self._link.close()
            self._link = None
        if not holds(self._folder, self._position):
            self._position = Position()
            self._tell.again()
            write_position(self._folder, self._position)
        self._reached, self._sent = self._position, 0

    def _believe(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # moved away
            self._position = replace(self._position, hash=_digest_at(self._folder, self._position))
            if not self._position.hash:  # nothing ends there
                self._position = Position()
                self._tell.again()
            write_position(self._folder, self._position)
            self._reached = self._position

    def _turn(self) -> bool:
        """Send what there is, or wait. False: there was nothing."""
        self._there.clear()
        batch: list[Outgoing] = []
        for outgoing in after(self._folder, self._reached):
            batch.append(outgoing)
            if len(batch) == READ_MAX:
                break
        now_s = time.monotonic()
        if self._sent and (
            self._sent >= self._pace.window
            or now_s - self._since_s >= self._pace.age_s
            or (not batch and now_s - self._last_s >= self._pace.idle_s)
        ):
            self._end()
        if not batch:
            self._tell_behind(None)
            if not self._stopping.is_set():
                self._there.wait(self._pace.idle_s / 4 if self._sent else 5.0)
            return False
        self._send(batch, now_s)
        return True

    def _send(self, batch: list[Outgoing], now_s: float) -> None:
        if not self._sent:
            self._tell_behind(batch[0])
        if self._link is None:
            self._link = connect(self._server)
        messages = [message_of(each.at_ms, self._host, self._process, each.xml) for each in batch if each.xml]
        self._link.send(messages)
        self._since_s = self._since_s if self._sent else now_s
        self._last_s = now_s
        self._sent += max(1, len(messages))
        self._reached = batch[-1].behind

    def _end(self) -> None:
        """End the connection; what was sent over it counts if the server has read it. :raises OSError: it may not."""
        if self._link is None:
            return
        link, self._link = self._link, None
        ended = link.end(self._pace.end_s)
        if ended is End.READ:
            self._strikes, self._unsaid_told = 0, False
        elif ended is End.UNSAID:
            self._strikes += 1
        if ended is End.BROKEN or (ended is End.UNSAID and self._strikes < STRIKES):
            raise ConnectionError(
                link.why or "the connection was not ended in order: what the server has read is not known"
            )
        if ended is End.UNSAID and not self._unsaid_told:
            self._unsaid_told = True
            self._tell.unsaid()
        self._position, self._sent = self._reached, 0
        write_position(self._folder, self._position)
        if self._up is not True:
            self._up = True
            self._tell.up(True, "")

    def _broken(self, error: Exception) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        self._reached, self._sent = self._position, 0
        if self._up is not False:
            self._up = False
            why = said(error) if isinstance(error, OSError) else type(error).__name__
            self._tell.up(False, f"{self._server.host}:{self._server.port}: {why}")
        with contextlib.suppress(OSError):  # if that is what is wrong, it was told
            self._tell_behind(next(after(self._folder, self._position), None))

    def _tell_behind(self, oldest: Outgoing | None) -> None:
        """How old the oldest is that the server has not read, as far as that is known."""
        if oldest is not None:
            self._tell.behind(max(0.0, (self._clock_ms() - oldest.at_ms) / 1000))
        elif not self._sent:
            self._tell.behind(0.0)


def read_position(folder: Path) -> Position:
    """How far the server has got; the beginning where nothing says so."""
    try:
        found = json.loads((folder / POSITION).read_text(encoding="ascii"))
        position = Position(str(found["file"]), int(found["offset"]), int(found["seq"]), str(found.get("hash", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Position()
    return position if 0 <= position.offset < 1 << 62 else Position()


def write_position(folder: Path, position: Position) -> None:
    """Remember how far the server has got: after a power cut it is this place or the one before."""
    text = json.dumps({"file": position.file, "offset": position.offset, "seq": position.seq, "hash": position.hash})
    fresh = folder / f"{POSITION}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode("ascii"))
        os.fdatasync(fd)
    finally:
        os.close(fd)
    fresh.replace(folder / POSITION)
