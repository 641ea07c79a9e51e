"""Log lines: one structured line an event, on standard error.

Rules:
  - every string is escaped before it is written, whoever it came from: a line is one line, and a terminal is not
    steered by an AE title;
  - the text of an exception is written only if it is one of `gateway.errors` (those carry no attribute value) or an
    OSError; of any other only the type and the place are;
  - what libraries say through `logging` and `warnings` is written as library, level and place, without the words:
    pydicom's warnings quote attribute values;
  - a line that cannot be written (full disk, closed pipe) is counted, and never an error of the caller;
  - what is told again and again is told now and then (`gateway.telemetry.sampling`), but at level debug;
  - nor does it hold the caller up: who reads our standard error and stops (a pager, a stuck log collector) costs lines,
    and a fifth of a second a minute.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import json
import logging
import os
import select
import stat
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, BinaryIO, Protocol

from gateway.errors import GatewayError
from gateway.telemetry.registry import problems
from gateway.telemetry.sampling import Line, Sampler, is_sampled

PEER_TEXT_LIMIT = 64  # characters of an AE title, host or other string from a peer
TEXT_LIMIT = 512  # characters of any other field
_ITEMS_LIMIT = 20
PATIENCE_S = 0.2  # how long a line may wait for a slow reader
IMPATIENT_S = 60.0  # for so long after a loss no line waits at all
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_OURS = frozenset({"process", "event", "level", "time", "timestamp"})
_WITHHELD = '"[withheld]"'
_quoted = json.encoder.encode_basestring_ascii
_WITHHELD_WORDS = ("patient", "accession", "study_", "series_", "birth", "sop_instance")


class Counting(Protocol):
    """What counts lines that could not be written."""

    def inc(self) -> None:
        """Count one."""


class Escaped(str):
    """Text that is escaped already, and is written as it is."""

    __slots__ = ()


def escape(text: str, limit: int = PEER_TEXT_LIMIT) -> Escaped:
    """`text` in printable ASCII on one line, at most `limit` characters long; `...` marks what was cut.

    Control characters, backslashes and everything outside ASCII become Python escapes (`\\r`, `\\x1b`, `\\u202e`).
    """
    plain = text[: limit + 1]
    if not (plain.isascii() and plain.isprintable()) or "\\" in plain:
        plain = plain.encode("unicode_escape", "surrogatepass").decode("ascii")
    return Escaped(plain if len(plain) <= limit else plain[: limit - 3] + "...")


def describe(error: BaseException) -> dict[str, str]:
    """The fields that tell of an exception, without a word that might come from a data set."""
    fields = {"error": type(error).__name__}
    if isinstance(error, GatewayError | OSError):
        fields["error_text"] = escape(str(error), TEXT_LIMIT)
    else:
        frames = traceback.extract_tb(error.__traceback__)
        if frames:
            last = frames[-1]
            fields["error_place"] = f"{Path(last.filename).name}:{last.lineno} {last.name}"
    if isinstance(error, BaseExceptionGroup):
        parts = {" ".join(describe(part).values()): None for part in _leaves(error)}
        fields["error_parts"] = "; ".join(list(parts)[:_ITEMS_LIMIT])
    return fields


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What a group of exceptions is about, however deep task groups have wrapped it."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def clean(value: object) -> Any:
    """`value` as something JSON knows, with every string in it escaped and every collection bounded."""
    if value is None or isinstance(value, bool | int | float):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Escaped):
        return value
    if isinstance(value, str | PurePath):
        return escape(str(value), TEXT_LIMIT)
    if isinstance(value, Mapping):
        return {escape(str(key)): clean(item) for key, item in list(value.items())[:_ITEMS_LIMIT]}
    if isinstance(value, list | tuple | set | frozenset) and not hasattr(value, "_fields"):
        return [clean(item) for item in list(value)[:_ITEMS_LIMIT]]
    if isinstance(value, BaseException):
        return " ".join(describe(value).values())
    return f"<{type(value).__name__}>"


def _clean_field(name: str, value: object) -> Any:
    """What is written of a field: escaped, and withheld where its name says patient data."""
    return "[withheld]" if _withheld(name) else clean(value)


@functools.lru_cache(maxsize=1024)
def _withheld(name: str) -> bool:
    return any(word in name for word in _WITHHELD_WORDS)


class Stream(Protocol):
    """Where lines go: a binary file, or `Pipe`."""

    def write(self, data: bytes, /) -> object:
        """Take one line. Raises OSError or ValueError where that cannot be."""

    def isatty(self) -> bool:
        """Whether a person looks on."""


class Pipe:
    """A pipe or socket that somebody else reads: what does not fit in time is not written (BlockingIOError).

    The descriptor stays as it is: O_NONBLOCK would be set for every process that shares it. Kernels that cannot write
    without waiting (pipes before Linux 6.4) wait.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""  # of a line that was taken in part
        self._patient_from = 0.0
        self._mutex = threading.Lock()

    def write(self, data: bytes, /) -> object:
        """Write one line."""
        with self._mutex:
            whole = self._rest + data
            try:
                taken = self._write(whole)
            except BlockingIOError:
                taken = self._write_late(whole)
            self._rest = whole[taken:]
        return len(data)

    def _write_late(self, data: bytes) -> int:
        began = time.monotonic()
        if began >= self._patient_from and self._wait():
            with contextlib.suppress(BlockingIOError):  # another process was faster
                return self._write(data)
        self._patient_from = began + IMPATIENT_S
        raise BlockingIOError(errno.EAGAIN, "nobody reads")

    def _write(self, data: bytes) -> int:
        try:
            return os.pwritev(self._descriptor, [data], -1, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
        return os.write(self._descriptor, data)

    def _wait(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(PATIENCE_S * 1000))

    def isatty(self) -> bool:
        """Never."""
        return False


def standard_error() -> Stream:
    """Standard error, which stays open."""
    mode = os.fstat(2).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return Pipe(2)
    return open(2, "wb", buffering=0, closefd=False)


class _Log:
    """This process's log: one write a line, straight to the descriptor.

    A field named like one of ours (process, event, level, time) is left out.
    """

    def __init__(self, process: str, level: str, stream: Stream, lost: Counting | None) -> None:
        self._process = process
        self._least = _LEVELS[level.lower()]
        self._stream = stream
        self._lost = lost
        self._second = (0, "")  # and how it is written; one value, because threads share it
        self._sampler = Sampler() if self._least > _LEVELS["debug"] else None
        self._sampling = threading.Lock()

    def emit(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        """Write one line, if its level is wanted, and it is not one of too many."""
        if _LEVELS[level] < self._least:
            return
        sampler = self._sampler
        if sampler is None:
            self._write(level, event, fields)
            return
        now_s = time.monotonic()
        if now_s < sampler.due_s and not is_sampled(level, event):
            self._write(level, event, fields)
            return
        with self._sampling:
            lines = sampler.take(Line(level, event, dict(fields)), now_s)
        for line in lines:
            self._write(line.level, line.event, line.fields)

    def due(self) -> None:
        """Tell of the lines that were left out, where it is time: no other line may come that would bring it along."""
        sampler, now_s = self._sampler, time.monotonic()
        if sampler is None or now_s < sampler.due_s:
            return
        with self._sampling:
            lines = sampler.due(now_s)
        for line in lines:
            self._write(line.level, line.event, line.fields)

    def rest(self) -> None:
        """Tell of the lines that were left out, and of which nothing was told yet: the process ends."""
        if self._sampler is not None:
            with self._sampling:
                lines = list(self._sampler.rest())
            for line in lines:
                self._write(line.level, line.event, line.fields)

    def _write(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        try:
            self._stream.write(self._line(level, event, fields).encode("utf-8", "backslashreplace") + b"\n")
        except (OSError, ValueError):
            # A full disk under a redirected stderr must not turn into a failed C-STORE.
            if self._lost is not None:
                self._lost.inc()

    def _line(self, level: str, event: str, fields: Mapping[str, object]) -> str:
        """JSON: a line an instance is written by three processes, so it is put together here, value by value."""
        parts = [f'{{"process": {_quoted(self._process)}, "event": {_quoted(event)}, "level": "{level}", "time": "']
        parts.append(self._now())
        parts.append('"')
        for name, value in fields.items():
            if name in _OURS:
                continue
            if type(value) is str and len(value) <= PEER_TEXT_LIMIT and value.isascii() and value.isprintable():
                written = _quoted(value if "\\" not in value else escape(value))
            elif type(value) is int:
                written = str(value)
            else:
                written = json.dumps(clean(value))
            parts.append(f", {_quoted(name)}: {written if not _withheld(name) else _WITHHELD}")
        parts.append("}")
        return "".join(parts)

    def _now(self) -> str:
        """The time as ISO 8601 has it, UTC."""
        second, rest_ns = divmod(time.time_ns(), 1_000_000_000)
        known, text = self._second
        if second != known:
            text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = (second, text)
        return f"{text}{rest_ns // 1000:06d}Z"


class _ConsoleLog(_Log):
    """The same for people, in colours on a terminal."""

    def __init__(self, process: str, level: str, stream: Stream, lost: Counting | None) -> None:
        from structlog.dev import ConsoleRenderer

        super().__init__(process, level, stream, lost)
        self._render = ConsoleRenderer(colors=stream.isatty(), sort_keys=False)

    def _line(self, level: str, event: str, fields: Mapping[str, object]) -> str:
        line: dict[str, Any] = {"process": self._process, "event": event, "level": level, "timestamp": self._now()}
        for name, value in fields.items():
            if name not in _OURS:
                line[name] = _clean_field(name, value)
        return str(self._render(None, level, line))


class _Withholding(logging.Handler):
    """Where the records of libraries end: their place and level become a line, their words do not."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        fields: dict[str, object] = {"library": record.name, "place": f"{record.module}:{record.lineno}"}
        if record.exc_info and record.exc_info[1] is not None:
            fields |= describe(record.exc_info[1])
        emit("warning" if record.levelno < logging.ERROR else "error", "library_message", fields)


_log: _Log | None = None


def configure(process: str, style: str, level: str, stream: BinaryIO | None, lost: Counting | None) -> None:
    """Set up this process's log. `style` is auto (console on a terminal), json or console; `level` as in logging."""
    global _log
    target: Stream = standard_error() if stream is None else stream
    if _log is None:
        atexit.register(_tell_rest)
    if style == "auto":
        style = "console" if target.isatty() else "json"
    _log = (_Log if style == "json" else _ConsoleLog)(process, level, target, lost)


def capture_others() -> None:
    """Send what would reach standard error around this log through it: logging, warnings, uncaught exceptions."""
    root = logging.getLogger()
    root.handlers[:] = [_Withholding(level=logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)

    def crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            emit("error", "crashed", describe(error.with_traceback(trace)))

    def thread_crashed(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            name = arguments.thread.name if arguments.thread else ""
            emit("error", "thread_crashed", {"thread": name, **describe(arguments.exc_value)})

    sys.excepthook = crashed
    threading.excepthook = thread_crashed


def _tell_rest() -> None:
    if _log is not None:
        _log.rest()


def tell_due() -> None:
    """Tell of the lines that were left out, where it is time. For every process to call at least each minute."""
    if _log is not None:
        _log.due()


def emit(level: str, event: str, fields: Mapping[str, object]) -> None:
    """Write one line. `level` is debug, info, warning or error; the latter two count as problems, written or not."""
    if _LEVELS[level] >= _LEVELS["warning"]:
        problems.inc()
    if _log is None:
        configure("unconfigured", "auto", "info", None, None)
    assert _log is not None  # noqa: S101 - configured above
    _log.emit(level, event, fields)
