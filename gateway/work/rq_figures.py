"""How many jobs of RQ stand where in Redis, for metrics.

Imports redis-py and rq: only where Redis is the queue.
"""

from __future__ import annotations

import threading

from gateway.work.redis_trouble import TROUBLE
from gateway.work.redis_url import Client, RedisAddress, connect
from gateway.work.rq_jobs import QUEUE, WORKERS_KEY

ANSWER_S = 1.5  # a scrape waits no longer
COUNTED_MAX = 1000  # of those that were started, or have failed


class JobCounter:
    """Counts jobs, each time anew. Its connection is kept, and made again after trouble; any thread may ask."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._client: Client | None = None
        self._one_at_a_time = threading.Lock()

    def count(self) -> tuple[int, int, int, int] | None:
        """Jobs queued, started and failed, and workers; None when Redis does not say. Blocks."""
        with self._one_at_a_time:
            try:
                if self._client is None:
                    self._client = connect(self._address, ANSWER_S)
                with self._client.pipeline(transaction=False) as pipeline:
                    pipeline.llen(f"rq:queue:{QUEUE}")
                    for registry in ("wip", "failed"):  # ZCARD is not among the rights that the gateway asks for
                        pipeline.zrangebyscore(f"rq:{registry}:{QUEUE}", "-inf", "+inf", start=0, num=COUNTED_MAX)
                    pipeline.scard(WORKERS_KEY)
                    queued, started, failed, workers = pipeline.execute()
            except TROUBLE:
                self._client = None
                return None
            return queued, len(started), len(failed), workers
