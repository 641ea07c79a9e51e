"""A ledger opened as the gateway does, wherever it is; and a PostgreSQL ledger for each test that asks, in one server a
test process.

The server starts with the first that asks, and ends with the process. Each test has a database of its own, copied from
one in which the tables are made already.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from gateway.ledger.base import Ledger
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.sqlite import SqliteLedger
from tests.harness.ledgerrows import Source
from tests.harness.postgres import PostgresServer


@contextmanager
def opened(source: Source) -> Iterator[Ledger]:
    """The ledger of a gateway, beside its own processes."""
    is_file = isinstance(source, Path)
    ledger = SqliteLedger.open(source, create=False) if is_file else PostgresLedger.open(str(source), create=False)
    try:
        yield ledger
    finally:
        ledger.close()


@cache
def postgres_server() -> PostgresServer:
    """The server of this test process. Who kills it starts one of its own."""
    # Nothing here is about power cuts: what is answered needs not be on a disk.
    server = PostgresServer(fsync="off", full_page_writes="off", max_connections="60")
    atexit.register(server.close)
    return server


@cache
def _template() -> str:
    return postgres_server().template("empty_ledger", lambda url: PostgresLedger.open(url).close())


def postgres_url() -> str:
    """The URL of a database of one's own, with an empty ledger in it."""
    template = _template()
    server = postgres_server()
    return server.url(server.create_database(template))
