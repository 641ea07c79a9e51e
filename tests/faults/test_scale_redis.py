"""Rows 15-17 on one host with SQLite and Redis: the broker lost, emptied, full or silent; a worker that dies with a job
in its hands; and jobs that somebody else put there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crash_kit import LONG, Load
from tests.faults.scale_kit import RECONCILED_WITHIN_S, Host, Site, frozen
from tests.harness.data import Instance, make_instances
from tests.harness.redis import RedisServer
from tests.harness.sender import JournalSender
from tests.harness.strace import Strace, inject
from tests.harness.tools import require, wait_until

QUEUE = "gateway.route"
MOST_ATTEMPTS = 5
SILENT_S = 600.0 if LONG else 0.0  # how long Redis is unreachable, besides the work done meanwhile


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Site]:
    """One gateway for all that does not end it. The verdict of each test is on all that was sent so far."""
    with Site(tmp_path_factory.mktemp("site"), {"one": Host()}, redis=redis) as found:
        yield found.start()
        found.stop()


def send(site: Site, instances: list[Instance]) -> None:
    """Send instances, and see each acknowledged at its first try."""
    door = site.door()
    sender = JournalSender(door.port, door.journal, instances, host=door.host).run()
    assert dict(sender.statuses) == {0: len(instances)}, sender.problems


def finished_jobs(redis: RedisServer) -> int:
    """How many jobs RQ has as finished."""
    with redis.client() as client:
        return int(client.zcard(f"rq:finished:{QUEUE}"))


# ── row 15 ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def killed(redis: RedisServer) -> Iterator[None]:
    redis.kill()
    yield
    redis.start()


@contextmanager
def emptied(redis: RedisServer) -> Iterator[None]:
    redis.flush_all()
    yield


@contextmanager
def full(redis: RedisServer) -> Iterator[None]:
    redis.set("maxmemory", "1")
    yield
    redis.set("maxmemory", "0")


@contextmanager
def silent(redis: RedisServer) -> Iterator[None]:
    with redis.frozen():
        yield
        threading.Event().wait(SILENT_S)


TROUBLES: tuple[Callable[[RedisServer], AbstractContextManager[None]], ...] = (killed, emptied, full, silent)


@pytest.mark.chaos
@pytest.mark.timeout(120 + int(SILENT_S))
def test_whatever_becomes_of_redis_intake_and_delivery_go_on(site: Site, redis: RedisServer) -> None:
    """Nobody is refused or sent twice, everything is everywhere, and at the end RQ routes again. Redis never held a
    name."""
    with Load(site.door(), round_size=15, associations=3) as load:
        load.wait_acknowledged(30)
        for trouble in TROUBLES:
            with trouble(redis):
                load.wait_acknowledged(load.acknowledged + 30)
                arrive(site, 30)
            load.wait_acknowledged(load.acknowledged + 15)
    site.settle()
    redis.flush_all()
    routed_by_rq(site, redis)
    site.settle()
    report = site.judge().assert_clean(delivered=True)
    assert (load.refused, load.unanswered) == (0, 0)
    assert report.duplicates.total() == 0, report
    print(f"{load.acknowledged} instances; {report}")


def arrive(site: Site, count: int) -> None:
    """Wait until so many more are in each archive."""
    wanted = {name: archive.count + count for name, archive in site.archives.items()}
    wait_until(
        lambda: all(archive.count >= wanted[name] for name, archive in site.archives.items()),
        RECONCILED_WITHIN_S,
        lambda: f"{wanted}: { ({name: archive.count for name, archive in site.archives.items()}) }\n{site.logs()}",
    )


def routed_by_rq(site: Site, redis: RedisServer) -> None:
    """Send until RQ has a finished job."""
    extra = make_instances(1000, seed=77, pixel_bytes=500)

    def finished() -> bool:
        send(site, [next(extra)])
        return finished_jobs(redis) > 0

    wait_until(finished, RECONCILED_WITHIN_S, lambda: f"RQ to finish a job\n{site.logs()}", interval_s=0.2)


# ── row 17 ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.chaos
def test_a_worker_that_dies_between_taking_a_job_and_starting_it_loses_nothing(site: Site, redis: RedisServer) -> None:
    """Redis has given the job to a worker that stands still, and is then killed."""
    worker = site.one.pid_of("worker")
    with redis.client() as client:
        for instance in make_instances(30, seed=5, pixel_bytes=500):
            with frozen([worker]):
                send(site, [instance])
                if taken_within(client, 1.0):
                    os.kill(worker, signal.SIGKILL)
                    break
            site.settle()  # it did not wait for a job just then
        else:
            raise AssertionError("the worker never waited for a job")
    site.one.wait_replaced("worker", worker)
    site.settle()
    report = site.judge().assert_clean(delivered=True)
    assert report.duplicates.total() == 0


def taken_within(client: Any, timeout_s: float) -> bool:
    """Whether Redis gives the job to the worker that waits for one."""
    try:
        return bool(wait_until(lambda: client.llen(f"rq:queue:{QUEUE}:intermediate"), timeout_s))
    except AssertionError:
        return False


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.skipif(not LONG, reason="takes 15 s; without Redis it is tested in test_crash_worker.py")
def test_an_instance_that_ends_every_worker_is_quarantined_and_its_neighbours_arrive(
    tmp_path: Path, redis: RedisServer
) -> None:
    """As the kernel does to a process that has used up its memory: SIGKILL, five times."""
    require("strace")
    with Site(tmp_path, {"one": Host()}, redis=redis) as site:
        site.start()
        instances = list(make_instances(20, seed=9))
        poison = instances[10].sop_instance_uid
        with site.one.frozen("worker") as worker:
            send(site, instances)
            wait_until(lambda: poison in site.one.ledger().by_uid(), 30, "the arrival")
            instance_id = site.one.ledger().by_uid()[poison][0].instance_id
            [path] = site.spool_dir.rglob(f"{instance_id}.dcm")
            ends = inject("openat", kill=True)
            words = {"trace": "openat", "injections": [ends], "paths": [path]}
            supervisor = Strace.attach(site.one.supervisor_pid(), tmp_path / "trace", **words)
            os.kill(worker, signal.SIGKILL)
        with supervisor:
            for name in site.archives:
                site.one.wait_delivered(19, name, 120)
            wait_until(lambda: state(site, poison) == "quarantined", 120, lambda: f"it is {state(site, poison)}")
        deaths = site.one.log_lines(event="child_ended", child="worker-0", status="SIGKILL")
        assert len(deaths) == MOST_ATTEMPTS + 1
        report = site.judge().assert_clean()
        assert report.duplicates.total() == 0
        assert [one.sop_instance_uid for one in report.undelivered] == [poison]


def state(site: Site, uid: str) -> str:
    """The state of an instance in the ledger."""
    found = site.one.ledger().by_uid().get(uid, ())
    return found[0].state if found else "unknown"


# ── row 16 ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def put_foreign_jobs(redis: RedisServer, marker: Path) -> int:
    """What somebody who can write to Redis would try, by RQ's own means; how many jobs that makes."""
    from rq import Callback, Queue, Retry
    from rq.job import Job
    from rq.serializers import JSONSerializer

    touch = f"touch {marker}"
    with redis.client() as client:
        pickled, plain = Queue(QUEUE, connection=client), Queue(QUEUE, connection=client, serializer=JSONSerializer)
        jobs: list[Any] = [
            pickled.enqueue("os.system", touch),
            plain.enqueue("os.system", touch),
            plain.enqueue("builtins.exec", f"import os; os.system({touch!r})", retry=Retry(max=3)),
            plain.enqueue("gateway.app.jobs.route", [], on_failure=Callback("os.system"), description=touch),
            plain.enqueue("gateway.app.jobs.route", ["../../etc/passwd"], depends_on=None, meta={"run": touch}),
            plain.enqueue("gateway.app.jobs.__dict__", touch),
        ]
        Job.create("os.system", (touch,), connection=client, origin=QUEUE).save()
        client.lpush(f"rq:queue:{QUEUE}", "no-such-job", b"\xff\xfe" * 100)
        return len(jobs) + 2


@pytest.mark.chaos
def test_jobs_that_are_not_ours_are_refused_and_told_and_nothing_runs(
    tmp_path: Path, site: Site, redis: RedisServer
) -> None:
    """What comes meanwhile and after is routed."""
    instances = list(make_instances(20, seed=3, pixel_bytes=500))
    worker = site.one.pid_of("worker")
    send(site, instances[:10])
    put_foreign_jobs(redis, tmp_path / "executed")
    send(site, instances[10:])
    with redis.client() as client:
        wait_until(lambda: client.llen(f"rq:queue:{QUEUE}") == 0, 30, lambda: f"the queue to be empty\n{site.logs()}")
    wait_until(lambda: site.one.metric("gateway_jobs_refused_total") >= 6, 30, "the refusals to be counted")
    site.settle()
    site.judge().assert_clean(delivered=True)
    assert site.log_lines(event="job_refused")
    assert "touch" not in site.one.log(), "a log repeats what a stranger wrote"
    assert site.one.pid_of("worker") == worker
    assert not (tmp_path / "executed").exists()
