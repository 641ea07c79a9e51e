"""The ledger's gauges for an event loop, over a read-only connection of their own (aiosqlite).

A scrape must neither wait for writers nor make them wait: this takes no lock and can write nothing. The statements
are those of `SqliteLedger.gauges`. Called by the metrics listener.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiosqlite

from gateway.errors import LedgerDamaged
from gateway.ledger.logic.gauges import STATEMENTS, assemble
from gateway.ledger.sqlite.database import translated
from gateway.model import LedgerGauges


class LedgerReader:
    """One read-only connection to a SQLite ledger that a writer keeps open.

    Used by one event loop; calls run one after the other.
    """

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self._path = path
        self._connection = connection
        self._known_file = _identity(path)
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path, busy_timeout_s: float = 1.0) -> LedgerReader:
        """Open the ledger at `path` for reading. Raises `LedgerDamaged` when it is not there, and `LedgerError`."""
        _identity(path)
        with translated(f"ledger {path}"):
            connection = await aiosqlite.connect(
                f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=busy_timeout_s
            )
            try:
                await connection.execute("PRAGMA mmap_size = 0")
                return cls(path, connection)
            except BaseException:
                await connection.close()
                raise

    async def gauges(self) -> LedgerGauges:
        """As `Ledger.gauges`: one consistent view. Raises `LedgerBusy`, `LedgerDamaged`, `LedgerError`."""
        if _identity(self._path) != self._known_file:
            raise LedgerDamaged(f"ledger {self._path}: replaced while in use; see `gateway recover`")
        # In a task of its own: a cancelled scrape must not leave a transaction open behind it.
        reading = asyncio.create_task(self._read(), name="ledger gauges")
        return await asyncio.shield(reading)

    async def _read(self) -> LedgerGauges:
        async with self._one_at_a_time:
            with translated(f"ledger {self._path}"):
                await self._connection.execute("BEGIN")
                try:
                    rows: list[Any] = [await self._connection.execute_fetchall(sql) for sql in STATEMENTS]
                finally:
                    await self._connection.execute("ROLLBACK")
            return assemble(*rows)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise LedgerDamaged(f"ledger {path}: missing; see `gateway recover`") from error
    return found.st_dev, found.st_ino
