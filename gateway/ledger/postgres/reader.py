"""The ledger's gauges for an event loop, over a connection of their own (psycopg's asynchronous one).

A scrape waits for nobody and makes nobody wait. A connection that was lost is opened again by the next scrape. The
statements are those of `SqlLedger.gauges`. Called by the metrics listener.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import psycopg

from gateway.ledger.logic.gauges import STATEMENTS, assemble
from gateway.ledger.postgres.connection import adapt, parameters, translated_errors
from gateway.ledger.postgres.dialect import translated
from gateway.model import LedgerGauges

_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
ANSWER_S = 10.0


class PostgresReader:
    """One connection of one event loop; calls run one after the other."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def gauges(self) -> LedgerGauges:
        """As `Ledger.gauges`: one consistent view. Raises `LedgerAway`, `LedgerError`."""
        # In a task of its own: a cancelled scrape must not leave a transaction open behind it.
        reading = asyncio.create_task(self._read(), name="ledger gauges")
        return await asyncio.shield(reading)

    async def _read(self) -> LedgerGauges:
        async with self._one_at_a_time:
            with translated_errors():
                try:
                    async with asyncio.timeout(ANSWER_S):
                        rows = await self._rows()
                except TimeoutError as error:
                    await self._drop()
                    raise psycopg.OperationalError(f"no answer within {ANSWER_S:g} s") from error
                except BaseException:
                    await self._drop()
                    raise
            return assemble(*rows)

    async def _rows(self) -> Sequence[Sequence[Any]]:
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(self._url, **parameters(self._name))
            adapt(self._connection)
        await self._connection.execute(_BEGIN)
        rows = [await (await self._connection.execute(translated(sql), ())).fetchall() for sql in STATEMENTS]
        await self._connection.execute("COMMIT")
        return rows

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._drop()
