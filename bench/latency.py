"""One instance at rest: from its last byte at the gateway to the archive's C-STORE-RSP, beside Orthanc.

    python -m bench latency --count 200

Instances of 9 KB go one by one over a standing association, with a pause between them, so that each finds everything
asleep. The archive is one of ours: the moment counts at which it has all of the instance and answers. The gateway
flushes before it acknowledges, and forwards after that; Orthanc stores, and its script forwards.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count as counter
from pathlib import Path

from bench.peers import GatewaySide, OrthancSide, Side
from bench.report import goal, in_turn, percentile, save, show, spread
from tests.harness.archive import SUCCESS, Behaviour, OurArchive, StoreFacts
from tests.harness.data import make_instances
from tests.harness.rawpeer import RawScu

PIXEL_BYTES = 8_500
PAUSE_S = 0.05
GOAL_P50_MS, GOAL_P99_MS = 8.0, 25.0

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


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(prog="bench latency")
    arguments.add_argument("--count", type=int, default=100, help="instances a round")
    count = arguments.parse_args(options).count
    arrivals = Arrivals()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        archive = stack.enter_context(OurArchive(on_store=arrivals.on_store))
        sides: dict[str, Side] = {
            "gateway": stack.enter_context(GatewaySide(folder / "gateway", [archive.port])),
            "orthanc": stack.enter_context(OrthancSide(folder, archive.port)),
        }
        found = in_turn({name: lambda side=side: measure(side, arrivals, count) for name, side in sides.items()})
    rows, saved = [], {}
    for name, rounds in found.items():
        saved[name] = [{"p50_ms": percentile(each, 50), "p99_ms": percentile(each, 99)} for each in rounds]
        p50, p99 = ([each[key] for each in saved[name]] for key in ("p50_ms", "p99_ms"))
        rows.append((name, spread(p50), spread(p99)))
    show("latency at rest, ms: median (least - greatest) of the rounds", ("", "p50", "p99"), rows)
    ours = [one for each in found["gateway"] for one in each]
    print(f"p50 {goal(percentile(ours, 50), GOAL_P50_MS, 'ms')}; p99 {goal(percentile(ours, 99), GOAL_P99_MS, 'ms')}")
    save("latency", saved)


def measure(side: Side, arrivals: Arrivals, count: int) -> list[float]:
    """Milliseconds of each instance."""
    side.idle()
    found = []
    with RawScu(side.port) as scu:
        instances = list(make_instances(count + 1, pixel_bytes=PIXEL_BYTES, seed=next(_seeds)))
        scu.associate([(instances[0].sop_class_uid, instances[0].transfer_syntax_uid)], "ANY", "LATENCY")
        for instance in instances:
            time.sleep(PAUSE_S)  # the load: one at a time, everything at rest
            number = scu.send_store(1, instance.sop_class_uid, instance.sop_instance_uid, instance.data)
            sent_s = time.monotonic()
            found.append((arrivals.wait() - sent_s) * 1000)
            assert scu.recv_store_status(number) == 0
        scu.release()
    return found[1:]  # the first one opened the association to the archive
