"""What the console's metrics are told of the spool and of the queue in Redis."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import Config
from gateway.console.figures import JobFigures, SpoolFigures
from gateway.spool import Spool
from gateway.work.redis_url import is_redis, parse


def spool_figures(spool: Spool) -> SpoolFigures:
    """Look at the spool's file system. Blocks; raises SpoolError."""
    room = spool.room()
    return SpoolFigures(
        room.free_bytes, room.low, room.total_bytes, spool.min_free_bytes, room.free_inodes, room.total_inodes
    )


def look_at_jobs(config: Config) -> Callable[[], JobFigures | None] | None:
    """What looks at RQ's jobs; None where the queue is not Redis."""
    if not is_redis(config.queue.url):
        return None
    from gateway.work.rq_figures import JobCounter

    counter = JobCounter(parse(config.queue.url))

    def look() -> JobFigures | None:
        counted = counter.count()
        return None if counted is None else JobFigures(*counted)

    return look
