"""What `queue.url` says, and connections by it.

    redis://[user:password@]host[:6379][/database][?options]
    rediss://…                                              the same with TLS
    redis+sentinel://[user:password@]host[:26379],…/master[/database][?options]
    rediss+sentinel://…                                     TLS to Redis and to the Sentinels

Options are redis-py's own for TLS (`ssl_ca_certs`, `ssl_ca_path`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`,
`ssl_check_hostname`), and `sentinel_username` and `sentinel_password` for Sentinels that ask for them. A character of
a name or password that means something in a URL is written as %XX.

No text made here repeats anything of the URL. redis-py is imported when the first connection is made: a gateway with
the local queue never holds it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.errors import QueueError

Client = Any  # redis.Redis, which is typed in part only

LOCAL = "local"
CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 3.0  # longer than any call blocks on purpose
NOT_INSTALLED = (
    "queue.url names Redis, and redis and rq are not installed: install the extra `scale`, dicom-gateway[scale]"
)

_PORT, _SENTINEL_PORT = 6379, 26379
_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
_TLS_OPTIONS = frozenset(
    {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
_CERT_REQS = frozenset({"none", "optional", "required"})
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is, and as whom to speak to it. `master` is empty where no Sentinel is asked.

    `tls`: redis-py's options for it; None without TLS.
    """

    hosts: tuple[tuple[str, int], ...]
    master: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Mapping[str, str | bool] | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def is_redis(url: str) -> bool:
    """Whether `queue.url` names Redis."""
    return url != LOCAL


def require_installed() -> None:
    """:raises QueueError: redis-py or rq is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("redis", "rq")):
        raise QueueError(NOT_INSTALLED)


def parse(url: str) -> RedisAddress:
    """`queue.url` as values. :raises QueueError: what is wrong with it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong("is no URL: a bracket in it belongs to an IPv6 address, or is written as %5B or %5D") from None
    if parts.scheme not in _SCHEMES:
        raise _wrong(f"must begin with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    if parts.fragment or url.endswith("#"):
        raise _wrong("has a # in it; in a name or password it is written as %23")
    with_tls, by_sentinel = parts.scheme.startswith("rediss"), parts.scheme.endswith("+sentinel")
    userinfo, at, hosts = parts.netloc.rpartition("@")
    if "@" in userinfo:
        raise _wrong("has more than one @ in it; in a name or password it is written as %40")
    username, _, password = userinfo.partition(":")
    segments = [unquote(segment) for segment in parts.path.split("/")[1:] if segment]
    master = ""
    if by_sentinel:
        if not segments:
            raise _wrong("names no master: redis+sentinel://host:26379,host:26379/NAME/0")
        master = segments.pop(0)
    options = _options(parts.query, with_tls, by_sentinel)
    return RedisAddress(
        _hosts(hosts, _SENTINEL_PORT if by_sentinel else _PORT, by_sentinel),
        master,
        _database(segments),
        unquote(username) or None,
        unquote(password) if at and password else None,
        _tls(options) if with_tls else None,
        options.get("sentinel_username"),
        options.get("sentinel_password"),
    )


def connect(address: RedisAddress, read_timeout_s: float = READ_TIMEOUT_S) -> Client:
    """A client that connects at its first command, to be used by one thread.

    One command that finds its connection broken (Redis was restarted) is tried once more on another; a wait is never
    longer than `read_timeout_s`, and then redis-py's TimeoutError. Replies are bytes.

    :raises QueueError: redis-py is not installed.
    """
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as RedisConnectionError
        from redis.retry import Retry
        from redis.sentinel import Sentinel
    except ImportError:
        raise QueueError(NOT_INSTALLED) from None
    common: dict[str, Any] = {
        "socket_timeout": read_timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        "protocol": 2,
    }
    if address.tls is not None:
        common |= {"ssl": True, **address.tls}
    to_redis = {"db": address.database, "username": address.username, "password": address.password, **common}
    if not address.master:
        host, port = address.hosts[0]
        return Redis(host=host, port=port, **to_redis)
    login = {"username": address.sentinel_username, "password": address.sentinel_password}
    sentinels: Any = Sentinel(address.hosts, sentinel_kwargs=login | common, **to_redis)  # type: ignore[no-untyped-call]
    return sentinels.master_for(address.master)


def _wrong(what: str) -> QueueError:
    return QueueError(f"queue.url {what}")


def _hosts(text: str, default_port: int, several: bool) -> tuple[tuple[str, int], ...]:
    names = [name for name in text.split(",") if name]
    if not names:
        raise _wrong("names no host")
    if len(names) > 1 and not several:
        raise _wrong("names more than one host, which only redis+sentinel:// can have")
    return tuple(_host(name, default_port) for name in names)


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, separator, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not separator:
        host, port = text, str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise _wrong("has an IPv6 address without brackets")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _wrong("has a host without a name, or a port that is no number from 1 to 65535")
    return host, int(port)


def _database(segments: list[str]) -> int:
    if not segments:
        return 0
    text = segments[0]
    if len(segments) > 1 or not (text.isascii() and text.isdigit() and len(text) < 6):
        raise _wrong("must end with the number of a database, such as /0")
    return int(text)


def _options(query: str, with_tls: bool, by_sentinel: bool) -> dict[str, str]:
    known = (_TLS_OPTIONS if with_tls else frozenset()) | (_SENTINEL_OPTIONS if by_sentinel else frozenset())
    options = dict(parse_qsl(query, keep_blank_values=True))
    if set(options) - known:
        allowed = f"it may have {', '.join(sorted(known))}" if known else "this scheme has none"
        raise _wrong(f"has an option after its ? that is not known: {allowed}")
    return options


def _tls(options: Mapping[str, str]) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {name: value for name, value in options.items() if name in _TLS_OPTIONS}
    if options.get("ssl_cert_reqs", "required") not in _CERT_REQS:
        raise _wrong("has an ssl_cert_reqs that is not none, optional or required")
    if "ssl_check_hostname" in options:
        if (truth := _TRUTH.get(options["ssl_check_hostname"].lower())) is None:
            raise _wrong("has an ssl_check_hostname that is neither true nor false")
        found["ssl_check_hostname"] = truth
    return found
