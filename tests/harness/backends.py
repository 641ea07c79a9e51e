"""The ledger and the queue that every test gateway uses, where the test does not say.

By default SQLite and the local queue. `GATEWAY_TEST_LEDGER=postgres` and `GATEWAY_TEST_QUEUE=redis` put the tests of
one machine on a server of their own, one a test process, and each gateway on a database of its own: the promises are
the same, so the tests are. A test that is about SQLite's file is marked `about_sqlite` and left out there.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection
from functools import cache
from typing import Any

import pytest

from tests.harness.postgres import PostgresServer
from tests.harness.redis import RedisServer

LEDGER = os.environ.get("GATEWAY_TEST_LEDGER", "sqlite")
QUEUE = os.environ.get("GATEWAY_TEST_QUEUE", "local")
_DATABASES = 16  # of a Redis, by default
_numbers = itertools.count()

about_sqlite = pytest.mark.skipif(LEDGER != "sqlite", reason="is about the file of a SQLite ledger")


def sections(said: Collection[str] = ()) -> dict[str, Any]:
    """The sections of gateway.yaml for a gateway that nobody knows yet; not those that its test has `said` itself."""
    found: dict[str, Any] = {}
    if LEDGER == "postgres" and "ledger" not in said:
        server = _postgres()
        found["ledger"] = {"url": server.url(server.create_database())}
    if QUEUE == "redis" and "queue" not in said:
        number = next(_numbers) % _DATABASES
        with _redis().client(number) as client:
            client.flushdb()
        found["queue"] = {"url": _redis().url(number)}
    return found


@cache
def _postgres() -> PostgresServer:
    return PostgresServer(max_connections="200")


@cache
def _redis() -> RedisServer:
    return RedisServer()
