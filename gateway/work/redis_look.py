"""A look at Redis before anything depends on it: `gateway check`, and every start.

Asked for is what the queue needs: that it answers, is new enough, lets this user have every command, throws nothing
away when it is full, and keeps what it has over a restart. Nothing is changed in it but two keys of a name of their
own, which are deleted again.

Imports redis-py: only what speaks to Redis imports this.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from gateway.work.broker import Broker
from gateway.work.redis_trouble import TROUBLE, reason
from gateway.work.redis_url import Client, RedisAddress, connect

OLDEST = (6, 2)  # BLMOVE
_PROBES: Mapping[str, tuple[object, ...]] = {
    "BLMOVE": ("{list}", "{list}", "LEFT", "RIGHT", "0.01"),
    "CLIENT INFO": (),
    "CLIENT SETNAME": ("gateway-check",),
    "DEL": ("{list}",),
    "EXISTS": ("{list}",),
    "EXPIRE": ("{list}", "1"),
    "HEXISTS": ("{hash}", "a"),
    "HGET": ("{hash}", "a"),
    "HGETALL": ("{hash}",),
    "HINCRBY": ("{hash}", "a", "1"),
    "HINCRBYFLOAT": ("{hash}", "a", "1"),
    "HSET": ("{hash}", "a", "1"),
    "INFO": ("server",),
    "LLEN": ("{list}",),
    "LMOVE": ("{list}", "{list}", "LEFT", "RIGHT"),
    "LRANGE": ("{list}", "0", "0"),
    "LREM": ("{list}", "1", "a"),
    "PERSIST": ("{list}",),
    "PING": (),
    "PUBLISH": ("rq:gateway.check", "a"),
    "RPUSH": ("{list}", "a"),
    "SADD": ("{list}", "a"),
    "SCARD": ("{list}",),
    "SISMEMBER": ("{list}", "a"),
    "SRANDMEMBER": ("{list}", "1"),
    "SREM": ("{list}", "a"),
    "MULTI": (),
    "EXEC": (),
    "XADD": ("{list}", "*", "a", "1"),
    "ZADD": ("{list}", "1", "a"),
    "ZRANGEBYSCORE": ("{list}", "0", "0"),
    "ZREM": ("{list}", "a"),
    "ZREMRANGEBYSCORE": ("{list}", "0", "0"),
}

COMMANDS = (*sorted(name.lower().replace(" ", "|") for name in _PROBES), "subscribe", "unsubscribe")
"""What gateway and RQ use, as an ACL has them; docs/scaling.md has the whole line."""


def look(address: RedisAddress) -> Broker:
    """What the Redis at an address is like. Raises nothing of what is wrong with it."""
    client = connect(address)
    try:
        with contextlib.closing(client):
            client.ping()
            return _examine(client)
    except TROUBLE as error:
        return Broker(away=f"Redis (queue.url): {reason(error)}")


def evicts(address: RedisAddress) -> str | None:
    """Whether it throws keys away when it is full, in words; "" where it does not, None where it does not say.

    One command: for who looks again now and then. Raises nothing of what is wrong with it.
    """
    try:
        with contextlib.closing(connect(address)) as client:
            return _evicts(client.info("memory"))
    except (*TROUBLE, NoPermissionError):
        return None


def _examine(client: Client) -> Broker:
    lacking = _lacking(client)
    errors = []
    if lacking:
        errors.append(
            f"Redis (queue.url): its ACL does not let this user have {', '.join(lacking)}; docs/scaling.md has the "
            "whole list"
        )
    info = _info(client)
    version = str(info.get("redis_version", ""))
    if version and tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        errors.append(f"Redis (queue.url): it is version {version}, and 6.2 or newer is needed")
    warnings = []
    if not _persists(client, info):
        warnings.append(
            "Redis (queue.url): it keeps neither an append-only file nor snapshots: after a restart it is empty, and "
            "what waited is found in the ledger seconds later (redis.conf: appendonly yes)"
        )
    return Broker(version, "", _evicts(info), tuple(errors), tuple(warnings))


def _info(client: Client) -> dict[str, Any]:
    try:
        info: dict[str, Any] = client.info()
    except NoPermissionError:
        return {}
    return info


def _evicts(info: Mapping[str, Any]) -> str:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return ""
    return (
        f"Redis (queue.url): its maxmemory-policy is {policy}: it would throw jobs and workers away when it is full, "
        "without a word; set maxmemory-policy noeviction in redis.conf"
    )


def _persists(client: Client, info: Mapping[str, Any]) -> bool:
    if info.get("aof_enabled"):
        return True
    try:
        return bool(client.config_get("save").get("save"))
    except NoPermissionError:  # an ACL user need not have CONFIG; what has been saved so far is told to everyone
        return bool(info.get("rdb_saves")) or not info


def _lacking(client: Client) -> list[str]:
    """The commands that this user must not have; tried, because only an administrator may ask."""
    names = {
        "list": f"rq:gateway.check:{secrets.token_hex(8)}:list",
        "hash": f"rq:gateway.check:{secrets.token_hex(8)}",
    }
    lacking = []
    with client.client() as one:  # MULTI and EXEC belong to a connection
        for command, words in _PROBES.items():
            if not _allowed(one, command, [str(word).format(**names) for word in words]):
                lacking.append(command)
        for name in names.values():
            _allowed(one, "DEL", [name])
    with client.pubsub() as messages:
        try:
            messages.subscribe("rq:gateway.check")
            messages.get_message(timeout=1.0)
        except NoPermissionError:
            lacking.append("SUBSCRIBE")
    return sorted(lacking)


def _allowed(client: Client, command: str, words: list[str]) -> bool:
    try:
        client.execute_command(command, *words)
    except NoPermissionError:
        return False
    except RedisError as error:
        if type(error).__name__ in ("ConnectionError", "TimeoutError", "AuthenticationError"):
            raise
    return True
