"""The jobs that the gateway has RQ run: how they look, and what becomes of any that look otherwise.

A job says "look at the ledger": it names one function of ours and the ids of instances, and nothing of a data set. RQ
does far more for a job than to call a function: it imports callbacks, unpickles, calls web addresses (webhooks),
enqueues what depends on it, repeats it. Whoever can write to Redis could so have anything run here. Therefore:

  - `check` looks at a job's hash as it lies in Redis, before RQ sees it. What is not exactly a job as `enqueue` makes
    it is refused, with one of the words of `Refusal`; no string of it is used, imported or shown;
  - `RouteJob` is what RQ gets instead of its own class. It takes nothing from the hash but the ids and the times; to
    all of RQ a job that is refused does not exist; its function is handed over by us, not found by its name.

Imports rq: only what speaks to RQ imports this.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import now

from gateway.work.redis_url import Client

QUEUE = "gateway.route"
WORKERS_KEY = f"rq:workers:{QUEUE}"
FUNCTION = "gateway.app.jobs.route"
DESCRIPTION = "route what the ledger has received"
MAX_IDS = 64
TIMEOUT_S = 120  # after which, and a minute, a job whose worker has died is given up; its worker has its own alarm
RESULT_TTL_S = 60
FAILURE_TTL_S = 86_400

_MAX_DATA_BYTES = 8192
_MAX_FIELD_BYTES = 4096
_JOB_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INSTANCE_ID = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")

_TIMES = frozenset({b"created_at", b"enqueued_at", b"started_at", b"ended_at", b"last_heartbeat"})
_CALLBACKS = frozenset({b"success_callback_name", b"failure_callback_name", b"stopped_callback_name"})
# What RQ itself writes into a job of ours, and whose value is not used.
_IDLE = frozenset({b"description", b"worker_name", b"status", b"timeout", b"result_ttl", b"failure_ttl", b"exc_info"})
_KNOWN = _TIMES | _CALLBACKS | _IDLE | {b"data", b"origin", b"group_id"}


class Refusal(StrEnum):
    """What is wrong with a job that is refused."""

    ID = "id"  # it is not called as RQ calls jobs
    FIELDS = "fields"  # it has fields that no job of ours has: webhooks, dependencies, retries, meta, …
    CALLBACKS = "callbacks"
    DATA = "data"  # no JSON of the right form: pickled, too long, garbage
    FUNCTION = "function"
    ARGUMENTS = "arguments"


def is_job_id(job_id: str) -> bool:
    """Whether a job of ours can be called so."""
    return _JOB_ID.fullmatch(job_id) is not None


def check(raw: Mapping[bytes, bytes]) -> tuple[str, ...] | Refusal:
    """The instance ids of a job's hash, or why it is none of ours. Nothing of it is imported, called or unpickled."""
    if any(raw.get(name) for name in _CALLBACKS):
        return Refusal.CALLBACKS
    if not set(raw) <= _KNOWN or raw.get(b"group_id") or raw.get(b"origin") != QUEUE.encode():
        return Refusal.FIELDS
    if any(len(value) > _MAX_FIELD_BYTES for name, value in raw.items() if name != b"data"):
        return Refusal.FIELDS
    if any(raw[name] and _time(raw[name]) is None for name in _TIMES & set(raw)):
        return Refusal.FIELDS
    call = _call(raw.get(b"data", b""))
    if not isinstance(call, list) or len(call) != 4:
        return Refusal.DATA
    function, instance, arguments, keywords = call
    if function != FUNCTION or instance is not None:
        return Refusal.FUNCTION
    if keywords != {} or not isinstance(arguments, list) or len(arguments) != 1:
        return Refusal.ARGUMENTS
    ids = arguments[0]
    if not isinstance(ids, list) or len(ids) > MAX_IDS or not all(map(_is_instance_id, ids)):
        return Refusal.ARGUMENTS
    return tuple(ids)


def _time(value: bytes) -> datetime | None:
    text = value.decode("ascii", "replace")
    if _TIME.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # the 31st of June
        return None


def _is_instance_id(value: object) -> bool:
    return isinstance(value, str) and _INSTANCE_ID.fullmatch(value) is not None


def _call(data: bytes) -> object:
    if len(data) > _MAX_DATA_BYTES:
        return None
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, _MAX_DATA_BYTES)
        if not unpacker.eof or unpacker.unused_data:
            return None
        return json.loads(text)
    except (zlib.error, ValueError, RecursionError):
        return None


class RouteJob(Job):
    """What RQ gets of a job. `run` is what it does, given by who runs it."""

    run: ClassVar[Callable[[Sequence[str]], str]]

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Take what is in Redis, as far as it is ours. :raises NoSuchJobError: it is none of our jobs."""
        ids = check(raw_data)
        if isinstance(ids, Refusal):
            raise NoSuchJobError("not a job of the gateway")
        self.created_at = _time(raw_data.get(b"created_at", b"")) or now()
        self.enqueued_at = _time(raw_data.get(b"enqueued_at", b""))
        self.origin = QUEUE
        self.func_name, self.args, self.kwargs, self.instance = FUNCTION, (list(ids),), {}, None
        self.description = DESCRIPTION
        self.timeout, self.result_ttl, self.failure_ttl = TIMEOUT_S, RESULT_TTL_S, FAILURE_TTL_S
        self._status = JobStatus.QUEUED

    @property
    def func(self) -> Any:
        """Nothing is found by its name."""
        return type(self).run

    @property
    def success_callback(self) -> None:
        """There is none."""

    @property
    def failure_callback(self) -> None:
        """There is none."""

    @property
    def stopped_callback(self) -> None:
        """There is none."""

    def send_webhooks(self, status: Any, *, exc_string: str | None = None) -> None:
        """There are none."""


class RouteQueue(Queue):
    """The queue of these jobs. Nothing depends on any of them, whatever Redis says."""

    def __init__(self, connection: Client, job_class: type[RouteJob] = RouteJob) -> None:
        super().__init__(
            QUEUE, default_timeout=TIMEOUT_S, connection=connection, job_class=job_class, serializer=JSONSerializer
        )

    def move_dependents_to_ready(self, *arguments: Any, **keywords: Any) -> dict[str, list[str]]:
        """Nothing."""
        return {}

    def enqueue_ready_jobs_by_queue(self, *arguments: Any, **keywords: Any) -> None:
        """Nothing."""

    def enqueue_dependents(self, *arguments: Any, **keywords: Any) -> dict[str, list[str]]:
        """Nothing."""
        return {}


def enqueue(queue: RouteQueue, instance_ids: Sequence[str]) -> None:
    """Put a job into Redis. No Retry: what comes after a failure stands in the ledger."""
    queue.enqueue_call(
        FUNCTION,
        args=(list(instance_ids[:MAX_IDS]),),
        timeout=TIMEOUT_S,
        result_ttl=RESULT_TTL_S,
        failure_ttl=FAILURE_TTL_S,
        description=DESCRIPTION,
    )
