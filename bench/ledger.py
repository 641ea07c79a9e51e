"""CPU and latency of the SQLite ledger, with a backlog of waiting deliveries.

    .venv/bin/python -m bench ledger --waiting 1000000

Fills a ledger with instances whose two deliveries wait, then passes fresh instances through beside them: arrival,
claim, routing to two destinations, claims and outcomes. Prints CPU milliseconds an instance for batches of 10 and of
100, and the median and worst time of each step and of a scrape's gauges.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gateway.ledger.sqlite import SqliteLedger
from gateway.model import (
    Arrival,
    AssociationFacts,
    Decision,
    DeliveryState,
    Outcome,
    Role,
    Routing,
    Session,
    StudyFacts,
)

T = TypeVar("T")
DESTINATIONS = ("archive", "reading")
WAITING = ("slow-archive", "slow-reading")


class Flow:
    """Passes instances through a ledger, and keeps the time of each step."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger
        self.worker: Session = ledger.open_session(Role.WORKER, "bench", 1, 0)
        self.made = 0
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def timed(self, step: str, call: Callable[[], T]) -> T:
        """Call, and remember how long it took."""
        start = time.perf_counter()
        result = call()
        self.seconds[step].append(time.perf_counter() - start)
        return result

    def arrive(self, count: int, destinations: tuple[str, ...], priority: int = 0) -> None:
        """Record, claim and route `count` instances in one batch."""
        association, study = divmod(self.made, 500)[0], self.made // 500
        facts = AssociationFacts(f"a{association}", "main", "ct1", "CT1", "GATEWAY", "10.0.0.7")
        batch = [self._arrival(self.made + n, facts) for n in range(count)]
        self.made += count
        self.timed("record_arrivals", lambda: self.ledger.record_arrivals(batch, self.made))
        leases = self.timed("claim_instances", lambda: self.ledger.claim_instances(self.worker, count, self.made))
        decision = Decision("revision", 12, ("ct-to-archive", "all"), destinations)
        routings = [Routing(lease.instance_id, decision, _study(study, n), priority) for n, lease in enumerate(leases)]
        self.timed("record_routings", lambda: self.ledger.record_routings(self.worker, routings, self.made))

    def deliver(self, count: int) -> None:
        """Claim and conclude `count` deliveries at each destination."""
        for name in DESTINATIONS:
            leases = self.timed(
                "claim_deliveries",
                lambda name=name: self.ledger.claim_deliveries(self.worker, name, count, self.made),
            )
            outcomes = [
                Outcome(each.delivery_id, each.token, DeliveryState.DELIVERED, "success", status=0) for each in leases
            ]
            self.timed(
                "record_outcomes",
                lambda outcomes=outcomes: self.ledger.record_outcomes(self.worker, outcomes, self.made),
            )

    def _arrival(self, number: int, facts: AssociationFacts) -> Arrival:
        return Arrival(
            instance_id=f"{number:032x}",
            path=f"incoming/0123456789abcdef/{number // 256:016x}/{number:032x}.dcm",
            offset=1200,
            length=525_000,
            checksum=number.to_bytes(16, "big"),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid=f"1.3.12.2.1107.5.1.4.50025.3000000{number:020d}",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            received_at_ms=number,
            facts=facts,
        )


def _study(study: int, number: int) -> StudyFacts:
    return StudyFacts(
        f"P{study}", f"NAME^{study}", "", f"A{study}", f"1.2.3.{study}", "20260101", "CHEST", f"1.2.3.{study}.1", "1",
        "AXIAL", "CT", str(number),
    )  # fmt: skip


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--waiting", type=int, default=1_000_000, help="deliveries that wait")
    arguments.add_argument("--instances", type=int, default=4_000, help="instances measured for each batch size")
    arguments.add_argument("--folder", type=Path, default=None)
    given = arguments.parse_args(options)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        ledger = SqliteLedger.open(Path(folder) / "ledger.db")
        ledger.sync_destinations(dict.fromkeys(DESTINATIONS + WAITING, False), 0)
        flow = Flow(ledger)
        measure(flow, given.instances, "an empty ledger")
        start = time.perf_counter()
        while flow.made * 2 < given.waiting:
            flow.arrive(1000, WAITING)
            if flow.made % 20_000 == 0:
                ledger.checkpoint()
        ledger.checkpoint()
        size = (Path(folder) / "ledger.db").stat().st_size
        print(f"filled in {time.perf_counter() - start:.0f} s, {size / 1e6:.0f} MB")
        measure(flow, given.instances, f"{given.waiting} waiting deliveries")
        flow.seconds.clear()
        for _ in range(200):
            leases = flow.timed(
                "claim of waiting", lambda: ledger.claim_deliveries(flow.worker, WAITING[0], 100, flow.made)
            )
            flow.timed("release", lambda leases=leases: ledger.release_deliveries(flow.worker, leases, flow.made))
            flow.timed("gauges", ledger.gauges)
        report(flow)
        ledger.close()


def measure(flow: Flow, instances: int, title: str) -> None:
    """Pass instances through in batches of 10 and of 100, and print what they cost."""
    for batch in (10, 100):
        flow.seconds.clear()
        cpu = time.process_time()
        for turn in range(instances // batch):
            flow.arrive(batch, DESTINATIONS)
            flow.deliver(batch)
            if turn * batch % 1000 == 0:
                flow.timed("checkpoint", flow.ledger.checkpoint)
        cpu = time.process_time() - cpu
        print(f"{title}, batches of {batch}: {cpu / instances * 1000:.3f} ms CPU an instance")
        report(flow)


def report(flow: Flow) -> None:
    """Print the steps' times."""
    for step, seconds in flow.seconds.items():
        print(f"  {step:18} median {statistics.median(seconds) * 1e3:7.3f} ms, worst {max(seconds) * 1e3:8.3f} ms")
