"""A worker of RQ on a real ledger: what a job has it do, what it does without one, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from gateway import telemetry
from gateway.app import jobs
from gateway.app.broker import Refused
from gateway.errors import LedgerDamaged
from gateway.flow.route import Router
from gateway.ledger.base import RuleSet
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import InstanceState, Role
from gateway.rules.plan import load
from gateway.spool import Spool
from gateway.telemetry import registry
from gateway.work.base import Stage
from gateway.work.redis_url import connect, parse
from gateway.work.rq import RqQueue
from gateway.work.rq_jobs import QUEUE, Refusal, RouteQueue, enqueue
from gateway.work.rq_worker import RouteWorkers
from tests.contract.ledger_scene import arrival
from tests.harness.redis import RedisServer, client_of

NOW_MS = 1_700_000_000_000


class Worker:
    """A worker's loop. Its instances have no files: each that is routed is quarantined."""

    def __init__(self, url: str, folder: Path) -> None:
        self.client: Any = client_of(url)
        self.ledger = SqliteLedger.open(folder / "ledger.db", create=True)
        files = {"10.yaml": "rules: [{name: all, hold: x}]"}
        self.ledger.store_rules(RuleSet(load(files, None).revision, files), NOW_MS)
        self.session = self.ledger.open_session(Role.WORKER, "host", 1, NOW_MS)
        self.queue = RqQueue(parse(url), folder / "run", Stage.ROUTE)
        self.router = Router(self.ledger, self.session, Spool(folder / "spool", 0, 0), self.queue, self.clock_ms, 60.0)
        self.now_s = 0.0
        self.ran = 0
        self.turns = 0
        self.workers = RouteWorkers(
            lambda: connect(parse(url)), "host.0.test", jobs.route, lambda link, why: None, Refused(), self.clock_s
        )
        self._names = count()

    def clock_s(self) -> float:
        return self.now_s

    def clock_ms(self) -> int:
        return NOW_MS + int(self.now_s * 1000)

    def record(self, instances: int) -> list[str]:
        ids = [f"{next(self._names):032x}" for _ in range(instances)]
        self.ledger.record_arrivals([arrival(one) for one in ids], NOW_MS)
        return ids

    def waiting(self) -> int:
        """How many instances nobody has routed."""
        return self.ledger.gauges().instances.get(InstanceState.RECEIVED, 0)

    def run(self, until: Callable[[], bool]) -> None:
        """The loop, until that is so."""

        def beat() -> None:
            self.turns += 1

        def ran() -> None:
            self.ran += 1

        jobs.JobLoop(self.router, self.queue, beat, until, 60.0, ran, self.clock_s).run(self.workers)

    def close(self) -> None:
        self.workers.close()
        self.queue.close()
        self.ledger.close()


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[Worker]:
    made = Worker(redis_url, tmp_path)
    yield made
    made.close()


def test_a_job_routes_whatever_waits_whichever_instances_it_names(worker: Worker) -> None:
    ids = worker.record(150)
    enqueue(RouteQueue(worker.client), ids[:1])
    worker.run(lambda: worker.ran > 0)
    assert worker.waiting() == 0
    (name,) = worker.client.zrange(f"rq:finished:{QUEUE}", 0, -1)
    assert Job.fetch(name.decode(), worker.client, JSONSerializer).return_value() == "done"


def test_without_a_job_an_idle_worker_looks_every_few_seconds(worker: Worker) -> None:
    turns = iter(range(100))

    def until() -> bool:
        if worker.turns == 1 and not worker.client.exists("recorded"):
            worker.client.set("recorded", 1)
            worker.record(1)
        worker.now_s += 1
        return (worker.waiting() == 0 and worker.turns > 1) or next(turns) > 10

    worker.run(until)
    assert worker.waiting() == 0
    assert worker.ran == 0
    assert worker.now_s <= jobs.LOOK_S + 3


def test_while_there_is_more_it_goes_on_without_a_job_and_takes_those_that_come(worker: Worker) -> None:
    worker.record(400)  # more than one batch, and a job ends after some seconds
    enqueue(RouteQueue(worker.client), [])

    def beat_takes_time() -> bool:
        worker.now_s += 3
        return worker.waiting() == 0

    worker.run(beat_takes_time)
    assert worker.waiting() == 0
    assert worker.ran == 1


def test_what_goes_wrong_in_a_job_ends_the_worker_and_redis_hears_one_word(worker: Worker) -> None:
    worker.record(1)
    enqueue(RouteQueue(worker.client), [])

    def failing(*_: object) -> list[object]:
        raise LedgerDamaged("the ledger is damaged: s3cret")

    worker.ledger.claim_instances = failing  # type: ignore[assignment, method-assign]
    with pytest.raises(LedgerDamaged):
        worker.run(lambda: False)
    (name,) = worker.client.zrange(f"rq:finished:{QUEUE}", 0, -1)
    assert Job.fetch(name.decode(), worker.client, JSONSerializer).return_value() == "failed"
    everything = [worker.client.dump(key) for key in worker.client.keys("*")]
    assert not any(b"s3cret" in value for value in everything)


def test_while_redis_is_away_it_is_woken_by_the_receivers_of_its_host(tmp_path: Path) -> None:
    with RedisServer() as redis:
        worker = Worker(redis.url(), tmp_path)
        redis.kill()
        receiver = RqQueue(parse(redis.url()), tmp_path / "run")
        worker.record(1)

        def until() -> bool:
            receiver.notify(Stage.ROUTE)
            return worker.waiting() == 0

        worker.run(until)
        assert worker.waiting() == 0
        assert worker.workers.away
        redis.start()
        enqueue(RouteQueue(redis.client()), [])

        def later() -> bool:
            worker.now_s += 1
            return worker.ran > 0

        worker.run(later)
        receiver.close()
        worker.close()


def test_nobody_else_can_have_the_function_do_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_serving", None)
    assert jobs.route(["0" * 32]) == "this is no worker of the gateway"


def test_refused_jobs_are_counted_each_and_told_of_once_a_second(capfd: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("worker-0", format="json")
    now = 0.0
    refused = Refused(lambda: now)
    for refusal in (Refusal.FUNCTION, Refusal.FUNCTION, Refusal.DATA):
        refused(refusal)
    now = 1.5
    refused(Refusal.CALLBACKS)
    lines = [line for line in capfd.readouterr().err.splitlines() if "job_refused" in line]
    assert ['"count": 1' in lines[0], '"count": 3' in lines[1], len(lines)] == [True, True, 2]
    assert {str(each) for each in Refusal} == registry.JOB_REFUSALS
