"""What is wrong with Redis, in words that are ours: what it answers may quote what somebody sent it.

Imports redis-py: only what speaks to Redis imports this.
"""

from __future__ import annotations

import re
import ssl

from redis import exceptions as said

TROUBLE = (said.RedisError, OSError)
"""What a call of redis-py raises when Redis is away, refuses, or is full."""

_COMMAND = re.compile(r"'([a-z|]{2,30})' command")


def reason(error: BaseException) -> str:
    """Why a call failed, for a person."""
    text = str(error)
    for part in (error, error.__cause__, error.__context__):
        if isinstance(part, ssl.SSLError) or "SSL" in type(part).__name__:
            return f"TLS: {_tls(part)}"
    if isinstance(error, said.AuthenticationError | said.AuthenticationWrongNumberOfArgsError) or "NOAUTH" in text:
        return "authentication failed: look at the name and the password in queue.url"
    if isinstance(error, said.NoPermissionError):
        command = _COMMAND.search(text)
        what = f"the command {command[1].upper()}" if command else "a command, key or channel"
        return f"its ACL does not let this user have {what} (see `gateway check`)"
    named = _NAMED.get(type(error))
    if named is not None:
        return named
    if isinstance(error, said.ConnectionError | OSError):
        return _connection(error, text)
    if isinstance(error, said.ResponseError):
        return "it refused a command"
    return f"it answered what was not understood ({type(error).__name__})"


_NAMED: dict[type[BaseException], str] = {
    said.TimeoutError: "it does not answer in time",
    said.BusyLoadingError: "it is still loading its data",
    said.OutOfMemoryError: "its memory is full (maxmemory)",
    said.ReadOnlyError: "it is a replica, which cannot be written to",
}


def _connection(error: BaseException, text: str) -> str:
    if "No master found" in text or type(error).__name__ == "MasterNotFoundError":
        return "no Sentinel knows its master, or none answers"
    for part in (error, error.__cause__, error.__context__):
        if isinstance(part, ConnectionRefusedError):
            return "the connection was refused: does it run, and listen there?"
        if isinstance(part, TimeoutError):
            return "it cannot be reached in time"
        if isinstance(part, OSError) and part.strerror:
            return f"it cannot be reached: {part.strerror}"
    return "the connection was lost"


def _tls(error: BaseException | None) -> str:
    verify = getattr(error, "verify_message", "")
    if verify:
        return f"its certificate was not accepted: {verify}"
    return "the handshake failed: does it speak TLS there, and are the files of queue.url right?"
