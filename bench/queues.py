"""Workload `queue`: the local work queue beside Redis with RQ, the same instances through one worker to one archive.

`Redis CPU ms` is what redis-server itself takes an instance; `jobs` how many jobs of RQ the instances took.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack

from bench.dcmsend import make_files
from bench.forwarding import LOADS
from bench.goals import Figures, Goal, Verdict
from bench.measure import Scale, folder_of, forwarded, tell
from bench.peers import GatewaySide, StorescpSide
from bench.processes import own_cpu_s
from bench.report import in_turn
from tests.harness.redis import RedisServer


def queue(scale: Scale) -> list[Verdict]:
    """Small instances and CTs, over one association."""
    return [verdict for load in LOADS for verdict in _beside(scale, load)]


def _beside(scale: Scale, load: str) -> list[Verdict]:
    count, pixel_bytes = LOADS[load]
    with ExitStack() as stack:
        folder = folder_of(stack)
        archive = stack.enter_context(StorescpSide(folder / "archive"))
        redis = stack.enter_context(RedisServer())
        one = {"worker": 1}
        local = stack.enter_context(GatewaySide(folder / "local", [archive.port], processes=one))
        rq = stack.enter_context(GatewaySide(folder / "rq", [archive.port], processes=one, queue={"url": redis.url()}))
        files = make_files(folder / "files", scale(count), pixel_bytes, seed=5)

        def by_rq() -> Figures:
            process = redis.process
            assert process is not None
            cpu_s, jobs = own_cpu_s(process.pid), rq.gateway.metric("gateway_jobs_total")
            found = forwarded(rq, [archive], files)
            return found | {
                "Redis CPU ms": (own_cpu_s(process.pid) - cpu_s) / len(files.paths) * 1000,
                "jobs": rq.gateway.metric("gateway_jobs_total") - jobs,
            }

        found = in_turn({"rq": by_rq, "local": functools.partial(forwarded, local, [archive], files)}, scale.rounds)
    return tell(f"queue {load}", found, [Goal("rq", "CPU ms", 1.15, "local")])
