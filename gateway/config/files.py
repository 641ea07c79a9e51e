"""Reading text that a person wrote: bounded, UTF-8, and complaints instead of tracebacks."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import ConfigurationError, Problem

MAX_FILE_BYTES = 4 * 1024 * 1024


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark.

    :raises ConfigurationError: it cannot be read, is not UTF-8, or is larger than MAX_FILE_BYTES.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the name has a NUL in it"
        raise ConfigurationError([Problem(str(path), 0, 0, f"cannot be read: {reason}")]) from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigurationError([Problem(str(path), 0, 0, f"is larger than {MAX_FILE_BYTES} bytes")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        message = f"is not UTF-8: byte {raw[error.start]:#04x}"
        raise ConfigurationError([Problem(str(path), line, column, message)]) from None
