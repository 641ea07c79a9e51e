"""Workload `latency`: one instance at rest, from its last byte at the gateway to the archive's C-STORE-RSP, beside
Orthanc.

Instances of 9 KB go one by one over a standing association, with a pause between them, so that each finds everything
asleep. The archive is one of ours: the moment counts at which it has all of the instance and answers. The gateway
flushes before it acknowledges, and forwards after that; Orthanc stores, and its script forwards.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from functools import partial
from itertools import count as counter

from bench.goals import Figures, Goal, Verdict
from bench.measure import SMALL_BYTES, Scale, folder_of, tell
from bench.peers import GatewaySide, OrthancSide, Side
from bench.report import in_turn, percentile
from tests.harness.archive import SUCCESS, Behaviour, OurArchive, StoreFacts
from tests.harness.data import make_instances
from tests.harness.rawpeer import RawScu

PAUSE_S = 0.05

_seeds = counter(1)


class Arrivals:
    """An archive's moments of answer, one at a time."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._at_s = 0.0

    def on_store(self, facts: StoreFacts) -> Behaviour:
        """The archive's script: it has the whole instance, and answers now."""
        self._at_s = time.monotonic()
        self._came.set()
        return SUCCESS

    def wait(self) -> float:
        """When the next one was answered."""
        assert self._came.wait(30), "it does not arrive"
        self._came.clear()
        return self._at_s


def latency(scale: Scale) -> list[Verdict]:
    """A hundred instances a round, through gateway and Orthanc."""
    arrivals = Arrivals()
    with ExitStack() as stack:
        folder = folder_of(stack)
        archive = stack.enter_context(OurArchive(on_store=arrivals.on_store))
        sides: dict[str, Side] = {
            "gateway": stack.enter_context(GatewaySide(folder / "gateway", [archive.port])),
            "orthanc": stack.enter_context(OrthancSide(folder, archive.port)),
        }
        found = in_turn(
            {name: partial(_one_by_one, side, arrivals, scale(100)) for name, side in sides.items()}, scale.rounds
        )
    goals = [
        Goal("gateway", "p50 ms", 8),
        Goal("gateway", "p99 ms", 25),
        Goal("gateway", "p50 ms", 1.0, "orthanc"),
    ]
    return tell("latency", found, goals)


def _one_by_one(side: Side, arrivals: Arrivals, count: int) -> Figures:
    side.idle()
    found = []
    with RawScu(side.port) as scu:
        instances = list(make_instances(count + 1, pixel_bytes=SMALL_BYTES, seed=next(_seeds)))
        scu.associate([(instances[0].sop_class_uid, instances[0].transfer_syntax_uid)], "ANY", "LATENCY")
        for instance in instances:
            time.sleep(PAUSE_S)  # the load: one at a time, everything at rest
            number = scu.send_store(1, instance.sop_class_uid, instance.sop_instance_uid, instance.data)
            sent_s = time.monotonic()
            found.append((arrivals.wait() - sent_s) * 1000)
            assert scu.recv_store_status(number) == 0
        scu.release()
    del found[0]  # it opened the association to the archive
    return {f"p{at} ms": percentile(found, at) for at in (50, 99)}
