"""The work queue over Redis: jobs for workers, messages to forwarders, and a Redis that is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.work.base import Stage
from gateway.work.redis_url import parse
from gateway.work.rq import RqQueue
from gateway.work.rq_jobs import MAX_IDS, QUEUE, check
from tests.harness.redis import RedisServer, client_of
from tests.harness.tools import wait_until

IDS = [f"{number:032x}" for number in range(100)]
KEY = f"rq:queue:{QUEUE}"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of this test's own."""
    with RedisServer() as server:
        yield server


def jobs(client: Any) -> list[Any]:
    """The ids that each waiting job names."""
    return [check(client.hgetall(b"rq:job:" + name)) for name in client.lrange(KEY, 0, -1)]


def test_what_was_recorded_becomes_a_job_that_names_the_instances_and_nothing_else(
    redis_url: str, tmp_path: Path
) -> None:
    queue, client = RqQueue(parse(redis_url), tmp_path), client_of(redis_url)
    queue.notify(Stage.ROUTE, IDS[:3])
    wait_until(lambda: client.llen(KEY), 5, "a job")
    assert jobs(client) == [tuple(IDS[:3])]
    (name,) = client.lrange(KEY, 0, -1)
    job = client.hgetall(b"rq:job:" + name)
    assert job[b"description"] == b"route what the ledger has received"
    assert not {b"retries_left", b"meta", b"repeats_left"} & set(job)
    assert int(job[b"result_ttl"]) >= 60 and int(job[b"failure_ttl"]) > 0 and int(job[b"timeout"]) > 0
    queue.close()


def test_there_are_never_more_jobs_than_workers_however_much_waits(redis_url: str, tmp_path: Path) -> None:
    queue, client = RqQueue(parse(redis_url), tmp_path), client_of(redis_url)
    for number in range(200):
        queue.notify(Stage.ROUTE, [IDS[number % 100]] * 30)
        if number % 50 == 49:
            wait_until(lambda: client.llen(KEY) == 1, 5, "a job, and no other")
    queue.close()
    assert client.llen(KEY) == 1
    client.sadd(f"rq:workers:{QUEUE}", *(f"rq:worker:{number}" for number in range(3)))
    now = 0.0
    queue = RqQueue(parse(redis_url), tmp_path, clock=lambda: now)
    for count in (2, 3):
        queue.notify(Stage.ROUTE, IDS)
        wait_until(lambda: client.llen(KEY) == count, 5, "another job")  # noqa: B023 - called here only
    queue.notify(Stage.ROUTE, IDS)
    queue.close()
    assert client.llen(KEY) == 3, "three workers, three jobs"
    assert max(map(len, jobs(client))) <= MAX_IDS


def test_what_was_notified_just_before_the_end_is_sent(redis_url: str, tmp_path: Path) -> None:
    for _ in range(3):
        queue, client = RqQueue(parse(redis_url), tmp_path), client_of(redis_url)
        queue.notify(Stage.ROUTE, IDS[:1])
        queue.close()
        assert client.lpop(KEY)


def test_redis_away_costs_nothing_and_workers_of_this_host_are_woken_all_the_same(
    redis: RedisServer, tmp_path: Path
) -> None:
    redis.kill()
    told: list[tuple[str, str]] = []
    worker = RqQueue(parse(redis.url()), tmp_path, Stage.ROUTE)
    forwarder = RqQueue(parse(redis.url()), tmp_path, Stage.DELIVER)
    queue = RqQueue(parse(redis.url()), tmp_path, None, lambda *what: told.append(what))
    queue.notify(Stage.ROUTE, IDS)
    wait_until(lambda: told, 10, "it to be told")
    assert told == [("sender", "the connection was refused: does it run, and listen there?")]
    began = time.monotonic()
    for _ in range(1000):
        queue.notify(Stage.ROUTE, IDS)
        queue.notify(Stage.DELIVER)
    assert time.monotonic() - began < 5
    assert worker.wait_sync(5) and forwarder.wait_sync(5)
    redis.start()
    with redis.client() as client:
        wait_until(lambda: client.llen(KEY) == 1, 15, "the job that was to be sent")
    assert told[1:] == [("sender", "")]
    for each in (worker, forwarder, queue):
        each.close()


def test_a_listener_comes_back_by_itself_and_looks_once_then(redis: RedisServer, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    forwarder = RqQueue(parse(redis.url()), tmp_path / "one", Stage.DELIVER, lambda *what: told.append(what))
    notifier = RqQueue(parse(redis.url()), tmp_path / "two")
    assert forwarder.wait_sync(5)
    redis.kill()
    wait_until(lambda: told, 10, "it to be told")
    redis.start()
    assert forwarder.wait_sync(15), "what was said meanwhile is not known"
    assert [why == "" for _, why in told] == [False, True]
    notifier.notify(Stage.DELIVER)
    assert forwarder.wait_sync(5)
    forwarder.close()
    notifier.close()


@pytest.mark.timeout(60)
def test_a_listener_whose_redis_stands_still_notices(redis: RedisServer, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    forwarder = RqQueue(parse(redis.url()), tmp_path, Stage.DELIVER, lambda *what: told.append(what))
    assert forwarder.wait_sync(5)
    with redis.frozen():
        wait_until(lambda: told, 30, "it to be told")
    assert forwarder.wait_sync(20)
    assert told == [("listener", "it cannot be reached in time"), ("listener", "")]
    forwarder.close()


def test_no_descriptor_and_no_thread_is_left(redis_url: str, tmp_path: Path) -> None:
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for stage in (Stage.ROUTE, Stage.DELIVER, None) * 5:
        queue = RqQueue(parse(redis_url), tmp_path, stage)
        queue.notify(Stage.ROUTE)
        queue.notify(Stage.DELIVER)
        queue.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads


def test_with_the_local_queue_redis_and_rq_are_not_imported(tmp_path: Path) -> None:
    script = (
        "import sys; import gateway.app.worker, gateway.app.receiver, gateway.app.forwarder, gateway.app.console;"
        "import gateway.app.host, gateway.cli.check, gateway.cli.operate;"
        "print([name for name in ('redis', 'rq') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_without_the_packages_the_extra_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['redis'] = sys.modules['rq'] = None;"
        "from gateway.work.redis_url import connect, parse; from gateway.errors import QueueError\n"
        "try:\n connect(parse('redis://:secret@h'))\nexcept QueueError as error:\n print(error)\n"
        "try:\n import gateway.work.rq\nexcept QueueError as error:\n print(error)\n"
        "from gateway.work.redis_url import require_installed\n"
        "for name in ('redis', 'rq'):\n del sys.modules[name]\n"
        " try:\n  require_installed()\n except QueueError as error:\n  print(error)\n sys.modules[name] = None\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.count("install the extra `scale`") == 4
