"""The counters of a SQLite ledger for an event loop, over a read-only connection of aiosqlite, which is a thread of its
own: a scrape never stands behind a search.

All statements of a watch are read in one transaction; what they mean is said where it is said for every database
(`gateway.ledger.logic`), which is then handed the rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiosqlite

from gateway.errors import LedgerDamaged, LedgerError
from gateway.ledger.logic import destinations, gauges, rules
from gateway.ledger.logic.look import state
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.look import Totals
from gateway.ledger.sqlite.database import translated
from gateway.model import LedgerGauges

T = TypeVar("T")

BUSY_TIMEOUT_S = 1.0
GAUGES = (*gauges.STATEMENTS, destinations.SQL["all"], rules.SQL["current"])
TOTALS = state.TOTALS


def identity(path: Path) -> tuple[int, int]:
    """Which file it is. Raises `LedgerDamaged` when it is not there."""
    try:
        found = path.stat()
    except OSError as error:
        raise LedgerDamaged(f"ledger {path}: missing; see `gateway recover`") from error
    return found.st_dev, found.st_ino


def require_same(path: Path, known: tuple[int, int]) -> None:
    """:raises LedgerDamaged: the file at `path` is not there, or another one."""
    if identity(path) != known:
        raise LedgerDamaged(f"ledger {path}: replaced while in use; see `gateway recover`")


class SqliteWatch:
    """See `gateway.ledger.looking.Watch`. Used by one event loop; calls run one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known_file = identity(path)
        self._connection: aiosqlite.Connection | None = None
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    async def gauges(self) -> LedgerGauges:
        """See `LedgerLook.gauges`."""
        return await self._read(GAUGES, gauges.read)

    async def totals(self) -> Totals:
        """See `LedgerLook.totals`."""
        return await self._read(TOTALS, state.totals)

    async def close(self) -> None:
        """Close the connection."""
        self._closed = True
        async with self._one_at_a_time:
            await self._close()

    async def _read(self, statements: Sequence[str], meaning: Callable[[Transaction], T]) -> T:
        require_same(self._path, self._known_file)
        # In a task of its own: one that is cancelled must not leave a transaction open behind it.
        rows = await asyncio.shield(asyncio.create_task(self._rows(statements), name="ledger counters"))
        return meaning(Transaction(lambda sql, _parameters=(): _Rows(rows[sql]), _refused, {}))

    async def _rows(self, statements: Sequence[str]) -> Mapping[str, list[Any]]:
        async with self._one_at_a_time:
            if self._closed:
                raise LedgerError("the ledger is closed for looks")
            with translated(f"ledger {self._path}"):
                connection = self._connection or await self._open()
                try:
                    await connection.execute("BEGIN")
                    found = {sql: list(await connection.execute_fetchall(sql)) for sql in statements}
                    await connection.execute("ROLLBACK")
                except BaseException:
                    await self._close()
                    raise
            return found

    async def _open(self) -> aiosqlite.Connection:
        self._connection = connection = await aiosqlite.connect(
            f"file:{quote(str(self._path))}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
        )
        await connection.execute("PRAGMA mmap_size = 0")
        return connection

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class _Rows:
    """Rows that were read, as the cursor that gave them."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows
        self.rowcount = len(rows)

    def fetchone(self) -> Any:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[Any]:
        return self._rows

    def close(self) -> None:
        return

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)


def _refused(*_: object) -> Any:
    raise TypeError("a watch only reads")
