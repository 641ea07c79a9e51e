"""Looks at a SQLite ledger that a writer keeps open, over read-only connections of their own.

A look must neither wait for writers nor make them wait: it takes no lock, can write nothing, and its one transaction is
short, or the write-ahead log could not be moved into the database behind it. SQLite asks a look every STEPS
instructions, a millisecond or so, whether it may go on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from gateway.errors import LookTooWide
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.looking import TOO_WIDE, Allowance, Looks
from gateway.ledger.sqlite.database import translated
from gateway.ledger.sqlite.watch import SqliteWatch, identity, require_same

T = TypeVar("T")

STEPS = 20_000
BUSY_TIMEOUT_S = 1.0


def open_look(path: Path, **times: float) -> Looks:
    """A look at the ledger at `path`. Raises `LedgerDamaged` when it is not there, and `LedgerError`.

    :param times: those of `Looks`.
    """
    SqliteView(path).close()
    return Looks(partial(SqliteView, path), SqliteWatch(path), **times)


class SqliteView:
    """See `gateway.ledger.looking.View`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known_file = identity(path)
        with translated(f"ledger {path}"):
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro",
                uri=True,
                isolation_level=None,
                timeout=BUSY_TIMEOUT_S,
                cached_statements=128,
                check_same_thread=False,
            )
            try:
                self._connection.execute("PRAGMA mmap_size = 0")
                self._connection.execute("PRAGMA temp_store = MEMORY")
            except BaseException:
                self._connection.close()
                raise

    def look(self, work: Callable[[Transaction], T], allowance: Allowance) -> T:
        """See `View.look`."""
        require_same(self._path, self._known_file)
        connection = self._connection
        with translated(f"ledger {self._path}"):
            connection.set_progress_handler(lambda: allowance.is_over, STEPS)
            try:
                connection.execute("BEGIN")
                return work(Transaction(connection.execute, connection.executemany, {}))
            except sqlite3.OperationalError as error:
                if allowance.is_over:
                    raise LookTooWide(TOO_WIDE) from error
                raise
            finally:
                connection.set_progress_handler(None, 0)
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """See `View.close`."""
        self._connection.close()
