"""Servers that many tests share, one of each a test process. Each test finds a database of its own, or an empty one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.postgres import PostgresServer
from tests.harness.redis import RedisServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server. Whoever kills, stops or freezes one starts a `PostgresServer` of his own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """A Redis. Whoever kills, stops, fills or freezes one starts a `RedisServer` of his own."""
    with RedisServer(appendonly=False) as server:
        yield server


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """The URL of a Redis that holds nothing."""
    shared_redis.flush_all()
    return shared_redis.url()
