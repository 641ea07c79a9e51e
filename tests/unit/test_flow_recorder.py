"""Arrivals on their way into a ledger that is busy for a while: taken within a bound, then not, then again."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from gateway import telemetry
from gateway.config.values import Listener
from gateway.flow.intake import MAX_UNRECORDED, Recorder
from gateway.flow.receive import Receiver, _Facts
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.net.served import ServerAssociation
from tests.contract.ledger_scene import arrival
from tests.unit.spool_kit import GENERATION, make_facts, make_spool


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for a condition, letting everything else run."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


def test_intake_is_open_up_to_the_bound_while_the_ledger_is_busy_and_again_when_it_has_caught_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.db"
    telemetry.configure("test", format="json")  # to the standard error of now, whatever a test before this one set up
    wakes: list[str] = []

    async def scenario() -> None:
        thread = LedgerThread(partial(SqliteLedger.open, path, busy_timeout_s=0.1))
        await thread.start()
        recorder = Recorder(thread, lambda: 1_000, wakes.extend, lambda: None)
        serving = asyncio.create_task(recorder.run())
        with path.with_name("ledger.db.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for number in range(MAX_UNRECORDED):
                assert recorder.open, f"closed after {number}"
                recorder.submit(arrival(f"{number:032x}"))
            assert not recorder.open
            await until(lambda: "arrivals_wait_for_ledger" in capfd.readouterr().err)
            assert not recorder.failed, "a busy ledger is not a failed one"
            assert not wakes
        await until(lambda: recorder.open)
        assert await recorder.drain(60)
        known = await thread.call(lambda ledger: ledger.known_instances(f"{n:032x}" for n in range(MAX_UNRECORDED)))
        assert len(known) == MAX_UNRECORDED
        serving.cancel()
        await thread.close()

    asyncio.run(scenario())
    assert wakes == [f"{number:032x}" for number in range(MAX_UNRECORDED)], "of each it is told once, by its id"


@pytest.mark.timeout(60)
def test_when_the_last_association_ends_what_waits_is_recorded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.flow.pace.AN_ITEM_S", 3600.0)
    monkeypatch.setattr("gateway.flow.pace.LONGEST_S", 3600.0)

    async def scenario() -> None:
        thread = LedgerThread(partial(SqliteLedger.open, tmp_path / "ledger.db"))
        batches: list[None] = []
        recorder = Recorder(thread, lambda: 1_000, lambda ids: batches.append(None), lambda: None)
        listener = Listener("main", "127.0.0.1", 0)
        receiver = Receiver(make_spool(tmp_path / "spool"), GENERATION, 1, recorder, {"main": listener}, {})
        serving = asyncio.create_task(receiver.run())
        others = SimpleNamespace(associations=1)
        ended = cast(
            ServerAssociation, SimpleNamespace(acceptor=others, facts=_Facts(make_facts(), listener), opened_at=0.0)
        )
        receiver.stored(arrival("1" * 32))
        await until(lambda: len(batches) == 1)
        receiver.stored(arrival("2" * 32))
        receiver.closed(ended, "released")  # somebody else still sends
        await until(lambda: recorder._pace._turn is not None)
        assert len(batches) == 1
        others.associations = 0
        receiver.closed(ended, "released")
        await until(lambda: len(batches) == 2)
        serving.cancel()
        await asyncio.wait([serving])
        await asyncio.to_thread(receiver.close)
        await thread.close()

    asyncio.run(scenario())
