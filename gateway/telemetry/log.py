"""Log lines: one structured line an event, on standard error.

Rules:
  - every string is escaped before it is written, whoever it came from: a line is one line, and a terminal is not
    steered by an AE title;
  - the text of an exception is written only if it is one of `gateway.errors` (those carry no attribute value) or an
    OSError; of any other only the type and the place are;
  - what libraries say through `logging` and `warnings` is written as library, level and place, without the words:
    pydicom's warnings quote attribute values;
  - a line that cannot be written (full disk, closed pipe) is counted, and never an error of the caller;
  - nor does it hold the caller up: who reads our standard error and stops (a pager, a stuck log collector) costs lines,
    and a fifth of a second a minute.
"""

from __future__ import annotations

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

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from gateway.errors import GatewayError

PEER_TEXT_LIMIT = 64  # characters of an AE title, host or other string from a peer
TEXT_LIMIT = 512  # characters of any other field
_ITEMS_LIMIT = 20
PATIENCE_S = 0.2  # how long a line may wait for a slow reader
IMPATIENT_S = 60.0  # for so long after a loss no line waits at all
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_GIVEN = "_given"
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
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item) for item in list(value)[:_ITEMS_LIMIT]]
    if isinstance(value, BaseException):
        return " ".join(describe(value).values())
    return f"<{type(value).__name__}>"


def _clean_fields(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """A structlog processor: put what `emit` was given behind what is ours (event, level, time, process), escaped, and
    withheld where the name says patient data. A field named like one of ours is left out."""
    given: Mapping[str, object] = line.pop(_GIVEN)
    for name, value in given.items():
        if name in line:
            continue
        if type(value) is str and len(value) <= PEER_TEXT_LIMIT and value.isascii() and value.isprintable():
            line[name] = value if "\\" not in value else escape(value)
        else:
            line[name] = clean(value)
        if _withheld(name):
            line[name] = "[withheld]"
    return line


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


class _Lines:
    """The logger at the end of structlog's chain: one write a line, straight to the descriptor."""

    def __init__(self, stream: Stream, lost: Counting | None) -> None:
        self._stream = stream
        self._lost = lost

    def msg(self, line: str) -> None:
        """Write one line."""
        try:
            self._stream.write(line.encode("utf-8", "backslashreplace") + b"\n")
        except (OSError, ValueError):
            # A full disk under a redirected stderr must not turn into a failed C-STORE.
            if self._lost is not None:
                self._lost.inc()

    debug = info = warning = error = critical = log = msg


class _Withholding(logging.Handler):
    """Where the records of libraries end: their place and level become a line, their words do not."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        fields: dict[str, object] = {"library": record.name, "place": f"{record.module}:{record.lineno}"}
        if record.exc_info and record.exc_info[1] is not None:
            fields |= describe(record.exc_info[1])
        emit("warning" if record.levelno < logging.ERROR else "error", "library_message", fields)


_logger: FilteringBoundLogger | None = None


def configure(process: str, style: str, level: str, stream: BinaryIO | None, lost: Counting | None) -> None:
    """Set up this process's log. `style` is auto (console on a terminal), json or console; `level` as in logging."""
    global _logger
    _logger = _build(process, style, level, stream, lost)


def _build(
    process: str, style: str, level: str, stream: BinaryIO | None, lost: Counting | None
) -> FilteringBoundLogger:
    target: Stream = standard_error() if stream is None else stream
    terminal = target.isatty()
    if style == "auto":
        style = "console" if terminal else "json"
    renderer: Processor
    if style == "json":
        # Without structlog's fallback for foreign types, json takes its fast way; there are none after _clean_fields.
        renderer = structlog.processors.JSONRenderer(serializer=lambda fields, **_: json.dumps(fields))
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=terminal, sort_keys=False)
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(target, lost),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time" if style == "json" else "timestamp"),
            _clean_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level.lower()]),
        process=process,
    ).bind()
    return logger


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


def emit(level: str, event: str, fields: Mapping[str, object]) -> None:
    """Write one line. `level` is debug, info, warning or error."""
    global _logger
    if _logger is None:
        _logger = _build("unconfigured", "auto", "info", None, None)
    _logger.log(_LEVELS[level], event, **{_GIVEN: fields})
