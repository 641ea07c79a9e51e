"""A destination that comes back: one delivery is tried for all, and one without its copy is none to try."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.config.values import Destination
from gateway.flow import destination as flow_destination
from gateway.flow.destination import DestinationQueue, Tools
from gateway.flow.outcomes import OutcomeRecorder
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import Breaker, Decision, DeliveryLease, Derivation, Role, Routing, StudyFacts
from tests.contract.ledger_scene import arrival

CHAIN = "to-research~0a1b2c3d"
LOST = 100
GOOD = f"i{LOST:05d}"
FASTER = 50


@pytest.mark.timeout(60)
def test_copies_that_are_not_there_do_not_keep_a_destination_half_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred wait for copies that cannot be made; behind them is one that can go."""
    monkeypatch.setattr(flow_destination, "POLL_S", 1.0 / FASTER)
    began = time.monotonic()

    def clock_ms() -> int:
        return 1_700_000_000_000 + int((time.monotonic() - began) * 1000 * FASTER)

    ledger = SqliteLedger.open(tmp_path / "ledger.db")
    ledger.sync_destinations({"dr": False}, clock_ms())
    worker = ledger.open_session(Role.WORKER, "host", 1, clock_ms())
    forwarder = ledger.open_session(Role.FORWARDER, "host", 2, clock_ms())
    ledger.record_arrivals([arrival(f"i{number:05d}") for number in range(LOST + 1)], clock_ms())
    while leases := ledger.claim_instances(worker, 64, clock_ms()):
        routings = []
        for lease in leases:
            chain = "" if lease.instance_id == GOOD else CHAIN
            derived = (Derivation(CHAIN, None, "no room", again=True),) if chain else ()
            decision = Decision("one", 1, ("a",), ("dr",), chains=(chain,))
            routings.append(Routing(lease.instance_id, decision, StudyFacts(), 0, derived))
        ledger.record_routings(worker, routings, clock_ms())
    ledger.close()

    async def scenario() -> None:
        thread = LedgerThread(lambda: SqliteLedger.open(tmp_path / "ledger.db"))
        outcomes = OutcomeRecorder(thread, forwarder, cast("Any", None), clock_ms, lambda: None)
        settings = Destination(name="dr", host="127.0.0.1", port=1, ae_title="X", calling_ae_title="GW")
        nothing = cast("Any", None)
        tools = Tools(
            thread, forwarder, nothing, outcomes, nothing, ThreadPoolExecutor(1), nothing, clock_ms, pytest.fail
        )
        queue = DestinationQueue(settings, tools, nothing)
        queue._health.window = replace(queue._health.window, breaker=Breaker.HALF_OPEN)
        tried = asyncio.Event()

        async def attempt(slot: object, lease: DeliveryLease, again: object = None) -> None:
            assert lease.instance_id == GOOD
            tried.set()

        async def bring_in(leases: Sequence[DeliveryLease]) -> None:
            """There are no files."""

        monkeypatch.setattr(queue, "_try", attempt)
        monkeypatch.setattr(queue, "_bring_in", bring_in)
        tasks = [asyncio.create_task(outcomes.run()), asyncio.create_task(queue.run())]
        await asyncio.wait_for(tried.wait(), 30)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await thread.close()

    asyncio.run(scenario())
