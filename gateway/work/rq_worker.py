"""The worker's end of RQ: takes one job at a time from one queue, and keeps itself registered.

To RQ and its tools it is a SimpleWorker (same process, no fork) that listens on `gateway.route` alone, so by BLMOVE: a
worker that dies between taking and starting loses no job. Its loop is ours, because RQ's ends where Redis does not
answer, sleeps where it is away, and does more than it should for whoever can write to Redis:

  - no commands are heard (`rq` could stop jobs, or the worker), and `rq suspend` is not heeded: nothing in Redis can
    hold routing up. A worker is stopped by its supervisor;
  - maintenance is ours (`upkeep`): RQ's calls the callbacks of jobs whose worker died, and enqueues what depends on
    them. A job that is lost is lost: what it was about stands in the ledger;
  - jobs that are not ours are refused before RQ sees them (`gateway.work.rq_jobs`): taken out of the queue, and deleted
    if they belong to it;
  - no timer of RQ's runs: a worker has its own alarm, an instance at a time.

`RouteWorkers.turn` raises nothing of what is wrong with Redis: it says that Redis is away, and tries again by itself.

Imports rq: only what speaks to Redis imports this.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from redis.exceptions import ResponseError
from rq.executions import Execution
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.utils import now
from rq.worker import SimpleWorker
from rq.worker.base import WorkerStatus

from gateway.work.redis_link import Connect, Link, Told
from gateway.work.redis_trouble import TROUBLE
from gateway.work.redis_url import Client
from gateway.work.rq_jobs import (
    FAILURE_TTL_S,
    QUEUE,
    RESULT_TTL_S,
    TIMEOUT_S,
    WORKERS_KEY,
    Refusal,
    RouteJob,
    RouteQueue,
    check,
    is_job_id,
)

UPKEEP_S = 20.0
HEARTBEAT_S = 5.0
WORKER_TTL_S = 45  # that says nothing, while it runs no job: a job may take TIMEOUT_S, and a minute
MAX_EXPIRED = 100

_QUEUE_KEY = f"rq:queue:{QUEUE}"
_TAKEN_KEY = f"{_QUEUE_KEY}:intermediate"
_STARTED_KEY, _FINISHED_KEY, _FAILED_KEY = f"rq:wip:{QUEUE}", f"rq:finished:{QUEUE}", f"rq:failed:{QUEUE}"


class NoPenalty(BaseDeathPenalty):
    """No timer: SIGALRM is the worker's own."""

    def setup_death_penalty(self) -> None:
        """Nothing."""

    def cancel_death_penalty(self) -> None:
        """Nothing."""


class RouteWorker(SimpleWorker):
    """As RQ and its tools see it."""

    death_penalty_class = NoPenalty

    def _set_connection(self, connection: Client) -> Client:
        return connection  # its timeouts are ours

    def execute_job(self, job: Job, queue: Queue) -> None:
        """What a SimpleWorker does, in two transactions instead of seven, without what no job of ours asks for."""
        with self.connection.pipeline() as pipeline:
            execution = Execution.create(job, TIMEOUT_S + 60, pipeline, self.name)
            job.prepare_for_execution(self.name, pipeline)
            pipeline.persist(job.key)
            pipeline.lrem(_TAKEN_KEY, 1, job.id)
            self.set_state(WorkerStatus.BUSY, pipeline)
            pipeline.expire(self.key, TIMEOUT_S + 60)
            pipeline.execute()
        job.perform()
        job.ended_at = now()
        with self.connection.pipeline() as pipeline:
            job._handle_success(RESULT_TTL_S, pipeline, self.name, execution.id, execution.created_at, job.ended_at)
            job.cleanup(RESULT_TTL_S, pipeline, remove_from_queue=False)
            execution.delete(job, pipeline)
            self.increment_successful_job_count(pipeline)
            self.increment_total_working_time(job.ended_at - execution.created_at, pipeline)
            self.set_state(WorkerStatus.IDLE, pipeline)
            pipeline.expire(self.key, WORKER_TTL_S)
            pipeline.execute()


class RouteWorkers:
    """One process's worker. Made without a word to Redis; used by one thread.

    :param name: of the worker, never used before.
    :param run: what a job does; it gets the instance ids and returns a word for Redis. It must not raise.
    :param told: hears when Redis is lost and found.
    :param refused: hears of each job that was refused, and why.
    """

    def __init__(
        self,
        connect: Connect,
        name: str,
        run: Callable[[Sequence[str]], str],
        told: Told,
        refused: Callable[[Refusal], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        class OurJob(RouteJob):
            pass

        OurJob.run = staticmethod(run)
        self._job_class = OurJob
        self._connect = connect
        self._name = name
        self._refused = refused
        self._clock = clock
        self._link = Link("jobs", told, clock)
        self._worker: RouteWorker | None = None
        self._beat_at = self._upkeep_at = -float("inf")
        self._taken_before: set[bytes] = set()
        for logger in ("rq.worker", "rq.job", "rq.queue", "rq.registry"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)  # whatever there is to tell is told by us

    @property
    def away(self) -> bool:
        """Redis is not there."""
        return self._link.lost

    def turn(self, wait_s: float) -> bool:
        """Take a job and run it, waiting for one for `wait_s` at most. True when one was run.

        Returns at once where Redis is away and it is too early to try again.
        """
        if self._link.due_in_s:
            return False
        try:
            worker = self._there()
            self._care(worker)
            ran = self._take(worker, wait_s)
        except TROUBLE as error:
            if self._worker is not None:
                self._worker.connection.close()
                self._worker.connection.connection_pool.disconnect()
            self._link.failed(error)
            return False
        self._link.works()
        return ran

    def close(self) -> None:
        """Sign off, if Redis is there."""
        if self._worker is None:
            return
        try:
            if not self._link.lost:
                self._worker.register_death()  # type: ignore[no-untyped-call]
            self._worker.connection.close()
        except TROUBLE as error:
            self._link.failed(error)

    # ── its place in Redis ────────────────────────────────────────────────────────────────────────────────────────

    def _there(self) -> RouteWorker:
        if self._worker is None:
            client = self._connect()
            self._worker = RouteWorker(
                [RouteQueue(client, self._job_class)],
                name=self._name,
                connection=client,
                job_class=self._job_class,
                serializer=JSONSerializer,
                worker_ttl=WORKER_TTL_S,
                maintenance_interval=int(UPKEEP_S),
            )
        return self._worker

    def _care(self, worker: RouteWorker) -> None:
        at = self._clock()
        if at - self._beat_at >= HEARTBEAT_S:
            with worker.connection.pipeline(transaction=False) as pipeline:
                pipeline.sismember(WORKERS_KEY, worker.key)
                pipeline.hexists(worker.key, "birth")
                known = all(pipeline.execute())
            if known:
                worker.heartbeat(WORKER_TTL_S)
            else:  # the first time, or Redis was emptied
                worker.connection.delete(worker.key)
                worker.register_birth()  # type: ignore[no-untyped-call]
                worker.set_state("idle")
            self._beat_at = at
        if at - self._upkeep_at >= UPKEEP_S:
            self._upkeep(worker)
            self._upkeep_at = at

    def _upkeep(self, worker: RouteWorker) -> None:
        """Clear away what is over, and what dead workers had. Any number of workers may do it at once."""
        client: Client = worker.connection
        now_s = time.time()
        self._forget_workers(client)
        with client.pipeline(transaction=False) as pipeline:
            for key in (_FINISHED_KEY, _FAILED_KEY):
                pipeline.zremrangebyscore(key, 0, now_s)
            pipeline.zrangebyscore(_STARTED_KEY, 0, now_s, start=0, num=MAX_EXPIRED)
            pipeline.lrange(_TAKEN_KEY, 0, MAX_EXPIRED)
            *_, started, taken = pipeline.execute()
        for entry in started:
            client.zrem(_STARTED_KEY, entry)
            self._give_up(client, entry.partition(b":")[0], now_s)
        for entry in self._taken_before & set(taken):  # taken, and not started for as long as an upkeep takes to come
            client.lrem(_TAKEN_KEY, 1, entry)
            self._give_up(client, entry, now_s)
        self._taken_before = set(taken)

    def _forget_workers(self, client: Client) -> None:
        """Take those whose keys have expired out of the sets of workers; some at a time, whatever stands in there."""
        names = client.srandmember(WORKERS_KEY, MAX_EXPIRED)
        with client.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.exists(name)
            there = pipeline.execute()
        gone = [name for name, exists in zip(names, there, strict=True) if not exists]
        for key in (WORKERS_KEY, RouteWorker.redis_workers_keys) if gone else ():
            client.srem(key, *gone)

    def _give_up(self, client: Client, job_id: bytes, now_s: float) -> None:
        """A job whose worker has died: shown as failed for a day. What it was about stands in the ledger."""
        name = job_id.decode("ascii", "replace")
        if not is_job_id(name) or client.hget(f"rq:job:{name}", "origin") != QUEUE.encode():
            return
        with client.pipeline() as pipeline:
            pipeline.hset(f"rq:job:{name}", "status", "failed")
            pipeline.expire(f"rq:job:{name}", FAILURE_TTL_S)
            pipeline.zadd(_FAILED_KEY, {name: now_s + FAILURE_TTL_S})
            pipeline.execute()

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, worker: RouteWorker, wait_s: float) -> bool:
        client: Client = worker.connection
        if wait_s > 0:
            taken = client.blmove(_QUEUE_KEY, _TAKEN_KEY, wait_s)
        else:
            taken = client.lmove(_QUEUE_KEY, _TAKEN_KEY)
        if taken is None:
            return False
        job = self._look(client, taken)
        if job is None:
            return False
        worker.execute_job(job, worker.queues[0])
        return True

    def _look(self, client: Client, taken: bytes) -> RouteJob | None:
        """The job, or None where it is not there any more, or not ours."""
        name = taken.decode("ascii", "replace")
        raw = _read(client, name) if is_job_id(name) else Refusal.ID
        found = raw if isinstance(raw, Refusal) else check(raw) if raw else None
        if isinstance(raw, dict) and isinstance(found, tuple):
            job = self._job_class(name, connection=client, serializer=JSONSerializer)
            job.restore(raw)
            return job
        client.lrem(_TAKEN_KEY, 1, taken)
        if isinstance(raw, dict) and raw.get(b"origin") == QUEUE.encode():  # else it may be somebody else's
            client.delete(f"rq:job:{name}")
        if isinstance(found, Refusal):
            self._refused(found)
        return None


def _read(client: Client, job_id: str) -> dict[bytes, bytes] | Refusal:
    """A job's hash; {} where there is none: it has expired, or Redis was emptied."""
    try:
        found: dict[bytes, bytes] = client.hgetall(f"rq:job:{job_id}")
    except (MemoryError, ResponseError) as error:
        if isinstance(error, ResponseError) and "WRONGTYPE" not in str(error):
            raise
        return Refusal.FIELDS  # more than a worker may hold, or no hash
    return found
