"""What `gateway check` and a start find out about a Redis: rights, certificates, settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.work.broker import Broker
from gateway.work.redis_look import COMMANDS, evicts, look
from gateway.work.redis_url import connect, parse
from gateway.work.rq_jobs import RouteQueue, enqueue
from gateway.work.rq_worker import RouteWorkers
from tests.harness.redis import PASSWORD, RedisSentinel, RedisServer
from tests.harness.tools import free_port, wait_until
from tests.unit.redis_rights import acl_line


@contextmanager
def redis(**keys: Any) -> Iterator[RedisServer]:
    with RedisServer(**keys) as server:
        yield server


def test_a_good_one_is_good_and_nothing_is_left_in_it() -> None:
    with redis() as server:
        found = look(parse(server.url()))
        assert found == Broker(version=found.version)
        assert re.fullmatch(r"\d+\.\d+\.\d+", found.version)
        with server.client() as client:
            assert client.keys("*") == []


def test_one_that_is_not_there() -> None:
    found = look(parse(f"redis://127.0.0.1:{free_port()}/0"))
    assert found == Broker(away="Redis (queue.url): the connection was refused: does it run, and listen there?")


@pytest.mark.parametrize("given", [{"password": "wr0ng"}, {"password": ""}, {"user": "nobody"}])
def test_a_wrong_name_or_password(given: dict[str, str]) -> None:
    with redis() as server:
        found = look(parse(server.url(**given)))
        assert found.away == "Redis (queue.url): authentication failed: look at the name and the password in queue.url"


def test_a_certificate_that_nobody_trusts_and_one_that_is_trusted() -> None:
    with redis(tls=True) as server:
        assert not look(parse(server.url())).away
        unknown = look(parse(server.url().partition("?")[0]))
        assert unknown.away.startswith("Redis (queue.url): TLS: its certificate was not accepted")
        plain = look(parse(server.url().partition("?")[0].replace("rediss:", "redis:")))
        assert plain.away
    with redis() as server:
        found = look(parse(server.url().replace("redis:", "rediss:")))
        assert found.away, "TLS to one that does not speak it"


def test_one_that_evicts_must_not_be_used() -> None:
    with redis(maxmemory_policy="allkeys-lru") as server:
        found = look(parse(server.url()))
        assert "maxmemory-policy is allkeys-lru" in found.evicts
        assert not found.errors


def test_one_that_keeps_nothing_is_warned_of() -> None:
    with redis(appendonly=False) as server:
        found = look(parse(server.url()))
        assert "neither an append-only file nor snapshots" in found.warnings[0]
    with redis(appendonly=False, save="3600 1") as server:
        assert not look(parse(server.url())).warnings


def test_the_rights_in_the_document_are_exactly_those_that_are_tried() -> None:
    words = acl_line().split()
    assert words[:3] == ["~rq:*", "&rq:*", "-@all"]
    assert words[3:] == [f"+{name}" for name in COMMANDS]


def test_they_are_enough_for_all_that_queue_and_worker_do() -> None:
    with redis(user="gateway", rules=acl_line()) as server:
        found = look(parse(server.url()))
        assert (found.away, found.evicts, found.errors) == ("", "", ())
        lost: list[str] = []
        ran: list[Any] = []

        def run(ids: Any) -> str:
            ran.append(ids)
            return "done"

        now = 0.0
        worker = RouteWorkers(
            lambda: connect(parse(server.url())), "w", run, lambda _, why: lost.append(why), print, lambda: now
        )
        client = connect(parse(server.url()))
        for _ in range(3):
            enqueue(RouteQueue(client), [])
            worker.turn(1.0)
            now += 30
        client.rpush("rq:queue:gateway.route", "garbage")
        worker.turn(0.0)
        worker.close()
        assert len(ran) == 3 and not lost


def test_rights_that_lack_are_named() -> None:
    with redis(user="gateway", rules=acl_line().replace("+blmove", "").replace("+publish", "")) as server:
        found = look(parse(server.url()))
        assert "does not let this user have BLMOVE, PUBLISH;" in found.errors[0]
    with redis(user="gateway", rules=acl_line().replace("~rq:*", "~other:*")) as server:
        assert "HSET" in look(parse(server.url())).errors[0]
    with redis(user="gateway", rules=acl_line().replace("&rq:*", "resetchannels")) as server:
        assert "PUBLISH, SUBSCRIBE;" in look(parse(server.url())).errors[0]


def test_eviction_is_seen_by_a_user_who_may_not_see_the_configuration() -> None:
    with redis(user="gateway", rules=acl_line(), maxmemory_policy="volatile-ttl") as server:
        assert "volatile-ttl" in look(parse(server.url())).evicts


def test_sentinels_lead_to_the_master_also_after_a_fail_over() -> None:
    with RedisSentinel() as sentinels:
        assert PASSWORD in parse(sentinels.url()).password or ""
        client = connect(parse(sentinels.url()))
        client.set("rq:a", "1")
        assert not look(parse(sentinels.url())).away
        sentinels.fail_over()
        wait_until(lambda: not look(parse(sentinels.url())).away, 20, "the Sentinels to name the new master")
        assert client.set("rq:a", "2"), "the old client too"
        client.close()
    assert "no Sentinel knows its master" in look(parse(sentinels.url())).away


def test_one_that_begins_to_evict_is_seen_at_the_next_look() -> None:
    with redis(user="gateway", rules=acl_line()) as server:
        assert evicts(parse(server.url())) == "", "by the rights that the document has"
    with redis() as server:
        address = parse(server.url())
        server.set("maxmemory-policy", "allkeys-lru")
        assert "maxmemory-policy is allkeys-lru" in (evicts(address) or "")
        server.set("maxmemory-policy", "noeviction")
        assert evicts(address) == ""
    assert evicts(address) is None, "it is away, which others tell"
