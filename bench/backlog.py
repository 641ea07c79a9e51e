"""Workload `backlog`: a gateway with 10^6 deliveries waiting for a destination that is dead, beside one with none.

Each round sends small instances to both, while the destination is dead: they join its queue. Then the archive is there,
and as many deliveries are drained: here the oldest of a million, there the very ones that came. Drained is counted in
the middle of the queue, when the archive has been at work for a while and there is more to come. Both keep what is
settled, so that nothing is purged.

The million is put into the ledger before the gateway starts, through `gateway.ledger`; its deliveries have UIDs of
their own and share one file of the spool.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.dcmsend import Closings, Files, make_files, send
from bench.goals import Figures, Goal, Verdict
from bench.measure import SMALL_BYTES, Meter, Scale, folder_of, tell
from bench.peers import GatewaySide, StorescpSide
from bench.report import in_turn
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import Arrival, AssociationFacts, InstanceState
from gateway.spool import ArrivalMeta, Intake, Spool
from tests.harness.data import make_instance
from tests.harness.durable import flush
from tests.harness.tools import free_port, wait_until
from tests.load.backlog import fill

SENT = 2_500
UNCOUNTED = 250  # drained before the count begins
COUNTED = 2_000
TIMEOUT_S = 300.0


class WaitingSide(GatewaySide):
    """A gateway with one destination, which is dead until its `archive` is started."""

    def __init__(self, folder: Path) -> None:
        self.archive = StorescpSide(folder / "archive", port=free_port())
        self.archive.directory.mkdir(parents=True)
        super().__init__(folder / "gateway", [self.archive.port], spool={"keep": "1 d"})

    def fill(self, waiting: int) -> None:
        """Have so many deliveries waiting; before the start."""
        config = self.gateway.config
        began_s = time.monotonic()
        fill(config.ledger_path, list(config.document["destinations"]), waiting, _spooled(config.spool_dir))
        size = config.ledger_path.stat().st_size
        print(f"{waiting:,} waiting: filled in {time.monotonic() - began_s:.0f} s, {size / 1e6:.0f} MB", flush=True)

    def start(self) -> WaitingSide:
        self.gateway.start(timeout_s=TIMEOUT_S)
        self._ledger = SqliteLedger.open(self.gateway.config.ledger_path, create=False)
        return self

    def close(self) -> None:
        self._ledger.close()
        super().close()

    def routed(self) -> int:
        """How many instances have been routed so far."""
        instances = self._ledger.gauges().instances
        return instances.get(InstanceState.ROUTED, 0) + instances.get(InstanceState.SETTLED, 0)

    def idle(self) -> None:
        """Nothing: deliveries wait for ever."""


def backlog(scale: Scale) -> list[Verdict]:
    """Receiving and draining, beside 10^6 waiting deliveries and beside none."""
    with ExitStack() as stack:
        folder = folder_of(stack)
        full, empty = f"{scale.waiting:,} waiting", "none waiting"
        sides = {full: WaitingSide(folder / "full"), empty: WaitingSide(folder / "empty")}
        sides[full].fill(scale.waiting)
        for side in sides.values():
            stack.enter_context(side)
        files = make_files(folder / "files", scale(SENT), SMALL_BYTES, seed=5)
        counts = scale(UNCOUNTED), scale(COUNTED)
        found = in_turn({name: partial(_round, side, files, *counts) for name, side in sides.items()}, scale.rounds)
    goals = [
        Goal(full, "receive ms", 1 / 0.9, empty),
        Goal(full, "drain CPU ms", 1.2, empty),
        Goal(full, "peak MiB", 1.1, empty),
    ]
    return tell("backlog", found, goals)


def _round(side: WaitingSide, files: Files, uncounted: int, counted: int) -> Figures:
    """Send all files, which then wait; and drain as many."""
    files.renew()
    count, routed = len(files.paths), side.routed()
    meter = Meter(side)
    run = send(files.paths, side.port)
    wait_until(lambda: side.routed() >= routed + count, TIMEOUT_S, "everything that was sent to be in the queue")
    received = meter.read(count, run.ended_s - run.began_s)
    with Closings([side.archive.directory]) as closings, side.archive:
        began_s, began_cpu_s = closings.wait(uncounted), side.cpu_s()
        ended_s, ended_cpu_s = closings.wait(uncounted + counted), side.cpu_s()
        closings.wait(count)
    side.archive.clear()
    return {
        "receive ms": received["wall ms"],
        "receive CPU ms": received["CPU ms"],
        "drain ms": (ended_s - began_s) / counted * 1000,
        "drain CPU ms": (ended_cpu_s - began_cpu_s) / counted * 1000,
        **meter.memory(),
    }


def _spooled(spool_dir: Path) -> Arrival:
    """An instance in the spool, of a receiver that is dead."""
    instance = make_instance(pixel_bytes=SMALL_BYTES, seed=6)
    facts = AssociationFacts("0000000000000000", "main", "loopback", "BACKLOG", "GATEWAY", "127.0.0.1")
    spool = Spool(spool_dir, min_free_bytes=0, ballast_bytes=0)
    spool.prepare()
    intake = Intake(spool, "00000000-0000", pool_size=1)
    intake.fill()
    uids = instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid
    writer = intake.begin(ArrivalMeta(facts, *uids, received_at_ms=time.time_ns() // 1_000_000))
    writer.write(memoryview(instance.data))
    arrival = writer.finish()
    assert flush([writer]) == [None]
    writer.close()
    intake.close()
    return arrival
