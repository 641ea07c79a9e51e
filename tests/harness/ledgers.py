"""A PostgreSQL ledger for each test that asks, in one server a test process.

The server starts with the first that asks, and ends with the process. Each test has a database of its own, copied from
one in which the tables are made already.
"""

from __future__ import annotations

import atexit
from functools import cache

from gateway.ledger.postgres import PostgresLedger
from tests.harness.postgres import PostgresServer


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
