"""What `queue.url` may say of Redis, and that no complaint about it repeats any of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import QueueError
from gateway.work.redis_url import RedisAddress, connect, parse

GOOD = {
    "redis://broker": RedisAddress((("broker", 6379),)),
    "redis://broker:6380/3": RedisAddress((("broker", 6380),), database=3),
    "redis://:s3cret@broker": RedisAddress((("broker", 6379),), "", 0, None, "s3cret"),
    "redis://gw:p%40ss%2F%3A@[::1]:6379/0": RedisAddress((("::1", 6379),), "", 0, "gw", "p@ss/:"),
    "redis://gw:a:b@broker/0": RedisAddress((("broker", 6379),), "", 0, "gw", "a:b"),
    "rediss://broker": RedisAddress((("broker", 6379),), tls={}),
    "rediss://broker/1?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false": RedisAddress(
        (("broker", 6379),), database=1, tls={"ssl_ca_certs": "/etc/ca.pem", "ssl_check_hostname": False}
    ),
    "redis+sentinel://h1,h2:26380,[::1]/main/2": RedisAddress(
        (("h1", 26379), ("h2", 26380), ("::1", 26379)), "main", 2
    ),
    "rediss+sentinel://gw:pw@h1/main?sentinel_username=s&sentinel_password=t": RedisAddress(
        (("h1", 26379),), "main", 0, "gw", "pw", {}, "s", "t"
    ),
}


@pytest.mark.parametrize("url", GOOD)
def test_urls_as_values(url: str) -> None:
    assert parse(url) == GOOD[url]


BAD = {
    "http://secret@h/0": "must begin with one of",
    "redis://:secret@": "names no host",
    "redis://secret#@h/0": "written as %23",
    "redis://user:sec@ret@h/0": "written as %40",
    "redis://:secret@h1,h2/0": "only redis\\+sentinel:// can have",
    "redis://:secret@h:port/0": "no number from 1 to 65535",
    "redis://:secret@h:0/0": "no number from 1 to 65535",
    "redis://:secret@::1/0": "without brackets",
    "redis://:[secret@h/0": "is no URL",
    "redis://:secret@h/main": "the number of a database",
    "redis://:secret@h/0/1": "the number of a database",
    "redis://:secret@h/0?ssl_ca_certs=secret": "not known: this scheme has none",
    "rediss://:secret@h/0?socket_timeout=secret": "not known: it may have ssl_",
    "rediss://h/0?ssl_cert_reqs=secret": "none, optional or required",
    "rediss://h/0?ssl_check_hostname=secret": "neither true nor false",
    "redis+sentinel://:secret@h1,h2": "names no master",
    "redis+sentinel://:secret@h1/main/x": "the number of a database",
}


@pytest.mark.parametrize("url", BAD)
def test_what_is_wrong_with_a_url_without_a_word_of_it(url: str) -> None:
    with pytest.raises(QueueError, match=f"^queue.url .*{BAD[url]}") as caught:
        parse(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.__cause__)


@given(st.text(max_size=30), st.sampled_from(["redis://", "rediss://", "redis+sentinel://", ""]))
def test_any_text_is_an_address_or_refused(text: str, scheme: str) -> None:
    try:
        address = parse(scheme + text)
    except QueueError as error:
        assert str(error).startswith("queue.url ")
        return
    assert address.hosts


def test_a_password_is_not_shown() -> None:
    assert "s3cret" not in repr(parse("redis+sentinel://gw:s3cret@h/main?sentinel_password=s3cret"))


def test_sentinels_are_asked_with_their_own_password_and_the_master_with_its() -> None:
    client = connect(parse("rediss+sentinel://gw:pw@h1,h2/main/2?sentinel_password=t&ssl_ca_certs=/ca.pem"))
    pool = client.connection_pool
    assert pool.service_name == "main"
    assert {pool.connection_kwargs[key] for key in ("username", "password", "db")} == {"gw", "pw", 2}
    asked = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["password"]) for one in asked] == [("h1", 26379, "t"), ("h2", 26379, "t")]
    assert all(one["ssl_ca_certs"] == "/ca.pem" for one in [*asked, pool.connection_kwargs])
