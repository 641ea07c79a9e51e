"""The work queue of many machines: Redis, with RQ for the workers' part of it.

  - ROUTE: a job for RQ's workers (`gateway.work.rq_jobs`), in one queue for all of them. Each job, once run, routes
    whatever the ledger has; so there are never more of them in Redis than there are workers, however much waits.
  - DELIVER: a message on a channel to the forwarders of other hosts; those of this host are woken by a datagram.

Nothing here is needed for an instance to be delivered: Redis away, emptied or full costs the wake-up, and who waits
looks at the ledger anyway. `notify` therefore leaves the talking to a thread (`gateway.work.redis_link`). While Redis
is away the workers of this host are woken by datagrams too.

Imports redis-py and rq, when the first queue is opened: QueueError where they are not installed.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.errors import QueueError
from gateway.work.base import Stage
from gateway.work.local import LocalQueue
from gateway.work.redis_url import NOT_INSTALLED, Client, RedisAddress, connect

try:
    from gateway.work.redis_link import Listener, Sender, Told
    from gateway.work.rq_jobs import MAX_IDS, QUEUE, WORKERS_KEY, RouteQueue, enqueue
except ImportError as error:
    raise QueueError(NOT_INSTALLED) from error

CHANNEL = "rq:gateway.deliver"
MAX_PENDING = 256  # jobs, however many workers Redis claims to know
WORKERS_AGE_S = 2.0


class RqQueue:
    """A `WorkQueue` over Redis and the sockets of one run folder. `stage` is what this end waits for.

    :param told: hears when Redis is lost and found.
    """

    def __init__(
        self,
        address: RedisAddress,
        folder: Path,
        stage: Stage | None = None,
        told: Told = lambda link, why: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._local = LocalQueue(folder, stage)
        self._home = _home(folder)
        self._ids: deque[str] = deque(maxlen=MAX_IDS)
        self._route = self._deliver = False
        self._workers, self._counted_at = 1, -WORKERS_AGE_S
        self._queue: RouteQueue | None = None
        self._closed = False
        self._sender = Sender(lambda: connect(address), self._send, told)
        self._listener: Listener | None = None
        if stage is Stage.DELIVER:
            self._listener = Listener(lambda: connect(address), CHANNEL, self._heard, told)

    def notify(self, stage: Stage, instance_ids: Sequence[str] = ()) -> None:
        """Wake up everyone who waits for `stage`, on any host."""
        if self._closed:
            return
        if stage is Stage.ROUTE:
            self._ids.extend(instance_ids)
            self._route = True
        else:
            self._deliver = True
        self._sender.wake()
        if stage is Stage.DELIVER or self._sender.lost:
            self._local.notify(stage)

    def wake(self) -> None:
        """Wake up who waits on this end. From any thread, and from a signal handler."""
        self._local.wake()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until woken up, or for `timeout_s`; True when woken."""
        return await self._local.wait(timeout_s)

    def wait_sync(self, timeout_s: float) -> bool:
        """`wait` for a process without an event loop."""
        return self._local.wait_sync(timeout_s)

    def close(self) -> None:
        """End the threads, after what was notified has been sent, if Redis takes it at once."""
        if self._closed:
            return
        self._closed = True
        if self._listener is not None:
            self._listener.close()
        self._sender.close()
        self._local.close()

    # ── in the threads ────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, client: Client) -> None:
        """Send what was notified; where that fails, it is still to be sent."""
        if self._deliver:
            self._deliver = False  # before: what is notified from now on is for the next time
            try:
                client.publish(CHANNEL, self._home)
            except BaseException:
                self._deliver = True
                raise
        if self._route:
            self._route = False
            try:
                self._enqueue(client)
            except BaseException:
                self._route = True
                raise

    def _enqueue(self, client: Client) -> None:
        now = self._clock()
        with client.pipeline(transaction=False) as pipeline:
            pipeline.llen(f"rq:queue:{QUEUE}")
            if now - self._counted_at >= WORKERS_AGE_S:
                pipeline.scard(WORKERS_KEY)
            waiting, *counted = pipeline.execute()
        if counted:
            self._workers, self._counted_at = max(1, min(MAX_PENDING, counted[0])), now
        ids = [self._ids.popleft() for _ in range(len(self._ids))]
        if waiting < self._workers:  # else one of those that wait comes to what was recorded for this one
            if self._queue is None or self._queue.connection is not client:
                self._queue = RouteQueue(client)
            enqueue(self._queue, ids)

    def _heard(self, home: bytes | None) -> None:
        if home != self._home:  # else a datagram came already
            self._local.wake()


def _home(folder: Path) -> bytes:
    """What no run folder of another host, nor of this one after a restart, is called."""
    found = folder.stat()
    booted = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    return b"%s-%x-%x" % (booted, os.major(found.st_dev) << 20 | os.minor(found.st_dev), found.st_ino)
