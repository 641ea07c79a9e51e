"""Looks at a ledger under test, for tests that are no coroutines themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.ledger.base import Ledger
from gateway.ledger.looking import Looks
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres import look as of_server
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite import look as of_file

T = TypeVar("T")


def looks_at(ledger: Ledger) -> Looks:
    """A look at an open ledger, whatever it is."""
    if isinstance(ledger, SqliteLedger):
        return of_file.open_look(ledger._file.path)
    assert isinstance(ledger, PostgresLedger)
    return of_server.open_look(ledger._database._url, "look")  # type: ignore[attr-defined]


def seen(ledger: Ledger, what: Callable[[Looks], Awaitable[T]]) -> T:
    """What one call of a look gives."""

    async def scenario() -> T:
        look = looks_at(ledger)
        try:
            return await what(look)
        finally:
            await look.close()

    return asyncio.run(scenario())
