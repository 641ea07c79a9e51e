"""A Redis of a test's own: who may enter, what survives, and who is master after a failure."""

from __future__ import annotations

import pytest
import redis

from tests.harness.redis import USER, RedisSentinel, RedisServer, client_of
from tests.harness.tools import require

WRONG = "another"


def test_what_was_appended_survives_a_kill() -> None:
    with RedisServer(appendfsync="always") as server:
        with server.client() as client:
            client.set("key", "kept")
        server.kill()
        assert not server.running
        server.start()
        with server.client() as client:
            assert client.get("key") == b"kept"
        server.flush_all()
        with server.client() as client:
            assert client.get("key") is None


def test_without_an_append_only_file_nothing_survives() -> None:
    with RedisServer(appendonly=False) as server, server.client() as client:
        client.set("key", "value")
        server.kill()
        server.start()
        assert client.get("key") is None


def test_nobody_enters_without_the_password() -> None:
    with RedisServer() as server:
        with client_of(server.url(password=WRONG)) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        with client_of(f"redis://127.0.0.1:{server.port}") as client, pytest.raises(redis.AuthenticationError):
            client.ping()
    with RedisServer(password="") as server, client_of(f"redis://127.0.0.1:{server.port}") as client:
        assert client.ping()


def test_an_acl_user_may_do_what_his_rules_say() -> None:
    with RedisServer(user=USER, rules="~rq:* &* +@all -flushall") as server, server.client() as client:
        client.set("rq:key", "value")
        with pytest.raises(redis.ResponseError, match=r"NOPERM|permission"):
            client.set("another", "value")
        with pytest.raises(redis.ResponseError, match=r"NOPERM|permission"):
            server.flush_all()


def test_with_tls_it_takes_encrypted_connections_only() -> None:
    require("cryptography")
    with RedisServer(tls=True) as server:
        with server.client() as client:
            assert client.ping()
        with client_of(f"redis://127.0.0.1:{server.port}") as plain, pytest.raises(redis.ConnectionError):
            plain.ping()


def test_a_full_one_refuses_and_a_frozen_one_does_not_answer() -> None:
    with RedisServer(maxmemory="64mb") as server, server.client() as client:
        server.set("maxmemory", "1")
        with pytest.raises(redis.OutOfMemoryError):
            client.set("key", "value")
        server.set("maxmemory", "0")
        assert client.set("key", "value")
        with server.frozen(), server.client(socket_timeout=0.2) as other, pytest.raises(redis.TimeoutError):
            other.ping()
        assert client.get("key") == b"value"


def test_sentinels_make_the_replica_master_when_the_master_dies() -> None:
    require("redis-sentinel")
    with RedisSentinel() as sentinel:
        with sentinel.master.client() as client:
            client.set("key", "kept")
            assert client.wait(1, 5000) == 1
        successor = sentinel.fail_over()
        with successor.client() as client:
            assert client.get("key") == b"kept"
            client.set("key", "written")
        assert sentinel.url().startswith("redis+sentinel://:")


def test_the_shared_one_is_handed_out_empty(redis_url: str) -> None:
    with client_of(redis_url) as client:
        assert client.dbsize() == 0
