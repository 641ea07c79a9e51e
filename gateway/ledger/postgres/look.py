"""Looks at the ledger's PostgreSQL, over connections of their own.

A look waits for nobody and makes nobody wait: a transaction that can only read, of one consistent view. A statement
ends at the deadline by the server's own clock. A connection that was lost since the last look is opened again at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from gateway.errors import LookTooWide
from gateway.ledger.logic.transaction import Cursor, Transaction
from gateway.ledger.look import DEADLINE_S
from gateway.ledger.looking import TOO_WIDE, Allowance, Looks
from gateway.ledger.postgres.connection import connect, is_away, told
from gateway.ledger.postgres.dialect import translated

T = TypeVar("T")

# Other cores are for whoever receives; and what is looked for is little, and found by an index.
_PLANS = "SET max_parallel_workers_per_gather TO 0; SET random_page_cost TO 1.1"
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


def open_look(url: str, name: str, **times: float) -> Looks:
    """A look at the ledger at `url`; `name` is what PostgreSQL shows of it. Connects with the first look.

    :param times: those of `Looks`.
    """
    return Looks(partial(PostgresView, url, name, times.get("deadline_s", DEADLINE_S)), None, **times)


class PostgresView:
    """See `gateway.ledger.looking.View`."""

    def __init__(self, url: str, name: str, deadline_s: float = DEADLINE_S) -> None:
        self._url, self._name = url, name
        timeout_ms = int(deadline_s * 1000)
        self._settings = f"SET statement_timeout TO {timeout_ms}; SET jit TO off; {_PLANS}"
        self._connection: psycopg.Connection[Any] | None = None

    def look(self, work: Callable[[Transaction], T], allowance: Allowance) -> T:
        """See `View.look`."""
        fresh = self._connection is None
        try:
            return self._look(work, allowance)
        except psycopg.Error as error:
            if not is_away(error) or fresh or allowance.is_over:
                raise _as_ours(error) from error
        try:
            return self._look(work, allowance)
        except psycopg.Error as error:
            raise _as_ours(error) from error

    def _look(self, work: Callable[[Transaction], T], allowance: Allowance) -> T:
        connection = self._usable()
        allowance.cut_by(partial(_cut_off, connection))
        try:
            connection.execute(_BEGIN)
            return work(Transaction(partial(_execute, connection, allowance), _refused, {}))
        finally:
            self._end(connection)

    def _usable(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            connection = connect(self._url, self._name)
            connection.execute(self._settings.encode())
            self._connection = connection
        return self._connection

    def _end(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """See `View.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()


def _execute(connection: psycopg.Connection[Any], allowance: Allowance, statement: str, parameters: Any = ()) -> Cursor:
    if allowance.is_over:
        raise LookTooWide(TOO_WIDE)
    return connection.execute(translated(statement), parameters)


def _refused(*_: object) -> Cursor:
    raise AssertionError("a look writes nothing")


def _as_ours(error: psycopg.Error) -> Exception:
    return LookTooWide(TOO_WIDE) if isinstance(error, errors.QueryCanceled) else told(error)


def _cut_off(connection: psycopg.Connection[Any]) -> None:
    """End the connection under whoever waits for an answer of it: it cannot be closed from another thread."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
