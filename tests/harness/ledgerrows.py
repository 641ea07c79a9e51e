"""The tests' own look at a ledger, SQLite's file or PostgreSQL's URL: SQL that both understand, read-only.

`look(source)` is one consistent snapshot; what is called there returns rows. `Unreadable` when the ledger cannot be
read, whatever the reason: it is damaged, locked, gone, or its server is.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Source = Path | str  # a file, or postgresql://…
Ask = Callable[[str], list[tuple[Any, ...]]]


class Unreadable(Exception):
    """Why a ledger could not be read."""


@contextlib.contextmanager
def look(source: Source, timeout_s: float = 30.0) -> Iterator[Ask]:
    """One snapshot of a ledger. :raises Unreadable: while it is opened or read."""
    with _sqlite(source, timeout_s) if isinstance(source, Path) else _postgres(source, timeout_s) as ask:
        yield ask


def rows(source: Source, query: str, timeout_s: float = 10.0) -> list[tuple[Any, ...]]:
    """The rows of one query; none while the ledger cannot be read."""
    try:
        with look(source, timeout_s) as ask:
            return ask(query)
    except Unreadable:
        return []


@contextlib.contextmanager
def _sqlite(path: Path, timeout_s: float) -> Iterator[Ask]:
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.execute("BEGIN")
            yield lambda query: connection.execute(query).fetchall()
    except sqlite3.Error as error:
        raise Unreadable(str(error)) from error


@contextlib.contextmanager
def _postgres(url: str, timeout_s: float) -> Iterator[Ask]:
    import psycopg

    options = f"-c statement_timeout={int(timeout_s * 1000)} -c default_transaction_isolation=repeatable\\ read"
    try:
        with psycopg.connect(url, connect_timeout=max(2, int(timeout_s)), options=options) as connection:
            connection.read_only = True
            yield lambda query: connection.execute(query).fetchall()
    except psycopg.Error as error:
        raise Unreadable(str(error)) from error
