"""Row 16: a job that somebody else puts into Redis runs nothing, is told of, and is gone."""

from __future__ import annotations

import ast
import inspect
import json
import os
import pickle
import textwrap
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rq import Callback, Queue, Repeat, Retry
from rq.command import send_shutdown_command
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.webhook import Webhook

from gateway.work import rq_jobs
from gateway.work.redis_url import connect, parse
from gateway.work.rq_jobs import FUNCTION, QUEUE, Refusal, RouteQueue, check, enqueue
from gateway.work.rq_worker import RouteWorkers
from tests.harness.redis import RedisServer, client_of

ID = "0123456789abcdef" * 2
TAKEN = f"rq:queue:{QUEUE}:intermediate"


class Side:
    """A worker beside somebody else's hands on the same Redis."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = client_of(url)
        self.queue = Queue(QUEUE, connection=self.client, serializer=JSONSerializer)
        self.ran: list[tuple[str, ...]] = []
        self.refused: list[Refusal] = []
        self.lost: list[str] = []
        self.now = 0.0
        address = parse(url)
        self.worker = RouteWorkers(
            lambda: connect(address), "host.0.test", self.run, self.told, self.refused.append, clock=lambda: self.now
        )

    def run(self, ids: Any) -> str:
        self.ran.append(tuple(ids))
        return "done"

    def told(self, link: str, why: str) -> None:
        self.lost.append(why)

    def turns(self) -> None:
        """Let the worker take whatever is there."""
        while self.client.llen(self.queue.key):
            self.worker.turn(0.0)
        assert not self.lost, self.lost

    def push(self, fields: dict[str, Any], job_id: str = "00000000-0000-4000-8000-000000000001") -> None:
        """A job by hand."""
        self.client.hset(f"rq:job:{job_id}", mapping=fields)
        self.client.rpush(self.queue.key, job_id)

    def leftovers(self) -> list[bytes]:
        """What is left of jobs."""
        return [*self.client.lrange(TAKEN, 0, -1), *self.client.keys("rq:job:*")]


@pytest.fixture
def side(redis_url: str) -> Iterator[Side]:
    side = Side(redis_url)
    yield side
    side.worker.close()


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A file that nobody must make."""
    return tmp_path / "made-by-a-job"


def good_data(*arguments: Any, function: str = FUNCTION, instance: Any = None, keywords: Any = None) -> bytes:
    return zlib.compress(json.dumps([function, instance, list(arguments), keywords or {}]).encode())


def good(**fields: Any) -> dict[str, Any]:
    return {"data": good_data([ID]), "origin": QUEUE, "status": "queued", **fields}


def test_our_own_job_is_run(side: Side) -> None:
    enqueue(RouteQueue(side.client), [ID])
    side.turns()
    assert side.ran == [(ID,)]
    assert not side.refused
    (job,) = [Job.fetch(name, side.client, JSONSerializer) for name in side.queue.finished_job_registry.get_job_ids()]
    assert job.return_value() == "done"
    assert 0 < side.client.ttl(job.key) <= rq_jobs.RESULT_TTL_S
    assert side.client.lrange(TAKEN, 0, -1) == []


def touch(trap: Path, side: Side) -> None:
    side.queue.enqueue("pathlib.Path.touch", args=(str(trap),))


def shell(trap: Path, side: Side) -> None:
    side.queue.enqueue(os.system, f"touch {trap}")


def another_of_ours(trap: Path, side: Side) -> None:
    side.queue.enqueue("gateway.app.recover.recover", [ID])


def ours_by_another_way(trap: Path, side: Side) -> None:
    side.queue.enqueue("gateway.app.jobs.time.os.system", f"touch {trap}")


@pytest.mark.parametrize("made", [touch, shell, another_of_ours, ours_by_another_way], ids=lambda each: each.__name__)
def test_another_function_is_refused(side: Side, trap: Path, made: Callable[[Path, Side], None]) -> None:
    made(trap, side)
    side.turns()
    assert side.refused == [Refusal.FUNCTION]
    assert not trap.exists() and not side.ran
    assert side.leftovers() == []


@pytest.mark.parametrize("when", ["on_success", "on_failure", "on_stopped"])
def test_a_callback_is_refused(side: Side, trap: Path, when: str) -> None:
    side.queue.enqueue_call(FUNCTION, args=([ID],), **{when: Callback("os.system")})
    side.turns()
    assert side.refused == [Refusal.CALLBACKS]
    assert not side.ran and side.leftovers() == []


def test_nothing_is_unpickled(side: Side, trap: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {trap}",))

    pickled = pickle.dumps((FUNCTION, None, (Trap(),), {}))
    side.push(good(data=pickled))
    side.turns()
    side.push(good(data=zlib.compress(pickled)))
    side.turns()
    side.push(good(meta=pickle.dumps(Trap())))
    side.turns()
    side.push(good(result=pickle.dumps(Trap())))
    side.turns()
    Queue(QUEUE, connection=side.client, serializer=DefaultSerializer).enqueue(FUNCTION, [ID])
    side.turns()
    assert side.refused == [Refusal.DATA, Refusal.DATA, Refusal.FIELDS, Refusal.FIELDS, Refusal.DATA]
    assert not trap.exists() and not side.ran and side.leftovers() == []


EXTRAS: dict[str, dict[str, Any]] = {
    "retry": {"retry": Retry(max=3)},
    "repeat": {"repeat": Repeat(times=3)},
    "webhook": {"webhooks": [Webhook("http://127.0.0.1:9/", "finished")]},
    "meta": {"meta": {"a": 1}},
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_rq_would_do_besides_is_refused(side: Side, extra: str) -> None:
    side.queue.enqueue_call(FUNCTION, args=([ID],), **EXTRAS[extra])
    side.turns()
    assert side.refused == [Refusal.FIELDS]
    assert not side.ran and side.leftovers() == []


FIELDS: dict[str, dict[str, Any]] = {
    "a group": {"group_id": "g"},
    "dependencies": {"dependency_ids": '["x"]', "dependency_id": "x"},
    "a rate limit": {"rate_limit_key": "k", "rate_limit_concurrency": "1"},
    "another queue": {"origin": "elsewhere"},
    "a time that is none": {"created_at": "yesterday"},
    "a day that is none": {"enqueued_at": "2026-06-31T99:99:99Z"},
    "a field that is long": {"description": "x" * 5000},
    "an unknown field": {"something": ""},
}


@pytest.mark.parametrize("what", FIELDS)
def test_fields_that_no_job_of_ours_has_are_refused(side: Side, what: str) -> None:
    side.push(good(**FIELDS[what]))
    side.turns()
    assert side.refused == [Refusal.FIELDS]
    assert not side.ran
    assert side.client.lrange(TAKEN, 0, -1) == []


CALLS: dict[str, tuple[bytes, Refusal]] = {
    "no data": (b"", Refusal.DATA),
    "garbage": (b"\x00\xff\x00garbage", Refusal.DATA),
    "a bomb": (zlib.compress(b"[" * 50_000_000), Refusal.DATA),
    "deep JSON": (zlib.compress(b"[" * 8000), Refusal.DATA),
    "not four things": (zlib.compress(b'["gateway.app.jobs.route"]'), Refusal.DATA),
    "more behind it": (good_data([ID]) + b"x", Refusal.DATA),
    "an instance to call it on": (good_data([ID], instance="os"), Refusal.FUNCTION),
    "a function that is no text": (zlib.compress(b'[["os"], null, [[]], {}]'), Refusal.FUNCTION),
    "keywords": (good_data([ID], keywords={"a": 1}), Refusal.ARGUMENTS),
    "ids that are not in a list": (good_data(ID), Refusal.ARGUMENTS),
    "two lists": (good_data([ID], [ID]), Refusal.ARGUMENTS),
    "no list": (good_data(), Refusal.ARGUMENTS),
    "too many ids": (good_data([ID] * (rq_jobs.MAX_IDS + 1)), Refusal.ARGUMENTS),
    "an id that is a path": (good_data(["../../etc/passwd".ljust(32, "x")]), Refusal.ARGUMENTS),
    "an id with a line end": (good_data([ID + "\n"]), Refusal.ARGUMENTS),
    "an id that is a number": (good_data([12]), Refusal.ARGUMENTS),
}


@pytest.mark.parametrize("what", CALLS)
def test_calls_that_are_not_exactly_ours_are_refused(side: Side, what: str) -> None:
    data, refusal = CALLS[what]
    side.push(good(data=data))
    side.turns()
    assert side.refused == [refusal]
    assert not side.ran and side.leftovers() == []


def test_ids_without_a_job_and_ids_that_are_none(side: Side) -> None:
    side.client.rpush(side.queue.key, "00000000-0000-4000-8000-00000000000a")  # expired, or Redis was emptied
    side.client.rpush(side.queue.key, b"\xff\xfe", "../../x", "\x1b[31m", "")
    side.client.set("rq:job:00000000-0000-4000-8000-00000000000b", "no hash")
    side.client.rpush(side.queue.key, "00000000-0000-4000-8000-00000000000b")
    side.turns()
    assert side.refused == [*[Refusal.ID] * 4, Refusal.FIELDS]
    assert side.client.lrange(TAKEN, 0, -1) == []
    enqueue(RouteQueue(side.client), [ID])
    side.turns()
    assert side.ran == [(ID,)], "and the next one is run"


def test_another_application_s_job_that_is_only_named_in_our_queue_stays(side: Side) -> None:
    theirs = Queue("reports", connection=side.client, serializer=JSONSerializer).enqueue("reports.make", 2026)
    side.client.rpush(side.queue.key, theirs.id)
    side.turns()
    assert side.refused == [Refusal.FIELDS]
    assert side.client.exists(theirs.key)


def test_what_hangs_on_our_job_is_not_touched(side: Side, trap: Path) -> None:
    """RQ would enqueue a dependent, and the worker that cleans up after a dead one would call its callback."""
    enqueue(RouteQueue(side.client), [ID])
    (ours,) = side.queue.job_ids
    dependent = Queue("reports", connection=side.client, serializer=JSONSerializer).enqueue_call(
        "os.system", args=(f"touch {trap}",), depends_on=Job(ours, side.client, JSONSerializer)
    )
    side.turns()
    assert side.ran == [(ID,)]
    assert side.client.llen("rq:queue:reports") == 0
    assert side.client.exists(dependent.key)


def test_registries_that_somebody_filled_run_nothing(side: Side, trap: Path) -> None:
    job = Job.create(
        "os.system",
        args=(f"touch {trap}",),
        connection=side.client,
        origin=QUEUE,
        serializer=JSONSerializer,
        on_failure=Callback("os.system"),
    )
    job.save()
    side.client.hset(job.key, "status", "started")
    for registry in ("wip", "ready", "deferred", "scheduled", "failed", "finished"):
        side.client.zadd(f"rq:{registry}:{QUEUE}", {f"{job.id}:x" if registry == "wip" else job.id: 1.0})
    side.client.zadd(f"rq:wip:{QUEUE}", {b"\xff:\xff": 1.0, "garbage": 1.0})
    side.client.rpush(TAKEN, job.id, b"\xff")
    side.client.sadd(f"rq:workers:{QUEUE}", b"\xff", "rq:worker:gone", "no worker")
    for _ in range(3):
        side.now += 60
        side.worker.turn(0.0)
    assert not side.lost and not side.ran and not trap.exists()
    assert side.client.zrange(f"rq:wip:{QUEUE}", 0, -1) == []
    assert side.client.lrange(TAKEN, 0, -1) == []
    assert side.client.llen(side.queue.key) == 0
    assert side.client.smembers(f"rq:workers:{QUEUE}") == {b"rq:worker:host.0.test"}


def test_commands_and_suspension_are_not_heeded(side: Side) -> None:
    side.worker.turn(0.0)
    assert side.client.pubsub_numsub("rq:pubsub:host.0.test") == [(b"rq:pubsub:host.0.test", 0)]
    send_shutdown_command(side.client, "host.0.test")
    side.client.set("rq:suspended", 1)
    enqueue(RouteQueue(side.client), [ID])
    side.turns()
    assert side.ran == [(ID,)]


def test_a_worker_that_died_with_a_job_leaves_it_as_failed_and_is_forgotten(side: Side) -> None:
    enqueue(RouteQueue(side.client), [ID])
    enqueue(RouteQueue(side.client), [ID])
    started, taken = side.queue.job_ids
    side.client.hset("rq:worker:dead", "state", "busy")
    side.client.sadd(f"rq:workers:{QUEUE}", "rq:worker:gone")
    side.client.lmove(side.queue.key, TAKEN)
    side.client.lmove(side.queue.key, TAKEN)
    side.client.lrem(TAKEN, 1, started)
    side.client.zadd(f"rq:wip:{QUEUE}", {f"{started}:execution": 1.0})
    side.worker.turn(0.0)
    assert set(side.queue.failed_job_registry.get_job_ids()) == {started}
    assert side.client.smembers(f"rq:workers:{QUEUE}") == {b"rq:worker:host.0.test"}
    side.now += 21
    side.worker.turn(0.0)
    assert set(side.queue.failed_job_registry.get_job_ids()) == {started, taken}
    assert side.client.lrange(TAKEN, 0, -1) == []
    assert all(side.client.ttl(f"rq:job:{name}") > 0 for name in (started, taken))
    assert side.ran == []


def test_it_registers_anew_in_a_redis_that_was_emptied(side: Side, shared_redis: RedisServer) -> None:
    side.worker.turn(0.0)
    shared_redis.flush_all()
    side.now += 6
    side.worker.turn(0.0)
    assert side.client.hget("rq:worker:host.0.test", "queues") == QUEUE.encode()
    assert side.client.smembers("rq:workers") == {b"rq:worker:host.0.test"}
    side.now += 6
    side.worker.turn(0.0)
    side.worker.close()
    assert side.client.smembers("rq:workers") == set()


def test_every_field_that_rq_reads_of_a_job_is_judged() -> None:
    """Also those of an RQ that comes: what its `restore` knows, `check` must have an opinion of."""
    source = ast.parse(textwrap.dedent(inspect.getsource(Job.restore)))
    read = {
        node.value.encode()
        for node in ast.walk(source)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()
    }
    raw = {key.encode(): value if isinstance(value, bytes) else value.encode() for key, value in good().items()}
    assert check(raw) == (ID,)
    taken = {name for name in read if check(raw | {name: b"1"}) == (ID,)}
    assert taken <= {b"status", b"worker_name", b"description", b"timeout", b"result_ttl", b"failure_ttl", b"exc_info"}
    assert {b"success_callback_name", b"webhooks", b"meta", b"retries_left"} <= read - taken
