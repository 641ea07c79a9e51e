"""The ledger's thread and the reader, as event loops use them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import LedgerAway, LedgerDamaged, LedgerError
from gateway.ledger.base import Ledger
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import DeliveryLease, Role
from tests.contract.ledger_scene import Scene, arrival, decision


@pytest.fixture
def opener(tmp_path: Path) -> Callable[[], SqliteLedger]:
    """Opens the ledger."""
    return lambda: SqliteLedger.open(tmp_path / "ledger.db")


class Gate:
    """Keeps the ledger's thread at work until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def wait(self, _: Ledger) -> None:
        """A callable that takes as long as the test wants."""
        self.entered.set()
        assert self.open.wait(30)

    async def until_entered(self) -> None:
        """Wait for the thread to be inside."""
        assert await asyncio.to_thread(self.entered.wait, 30)


def test_calls_run_in_one_thread_in_order(opener: Callable[[], SqliteLedger]) -> None:
    async def scenario() -> None:
        thread = LedgerThread(opener)
        await thread.start()
        order: list[int] = []
        idents = await asyncio.gather(
            *(thread.call(lambda _, n=n: order.append(n) or threading.get_ident()) for n in range(20))  # type: ignore[misc,func-returns-value]
        )
        assert order == list(range(20))
        assert len(set(idents)) == 1
        assert idents[0] != threading.get_ident()
        await thread.close()

    asyncio.run(scenario())


def test_errors_reach_the_caller(tmp_path: Path, opener: Callable[[], SqliteLedger]) -> None:
    async def scenario() -> None:
        thread = LedgerThread(opener)
        with pytest.raises(LedgerError, match="no rules"):
            await thread.call(lambda ledger: ledger.load_rules("none"))
        await thread.close()
        await thread.close()
        with pytest.raises(LedgerError, match="closed"):
            await thread.call(lambda ledger: ledger.check())
        broken = LedgerThread(lambda: SqliteLedger.open(tmp_path / "nothing.db", create=False))
        with pytest.raises(LedgerDamaged):
            await broken.start()
        with pytest.raises(LedgerDamaged):
            await broken.call(lambda ledger: ledger.check())
        await broken.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("begun", [True, False])
def test_a_cancelled_caller_never_stops_what_it_asked_for(opener: Callable[[], SqliteLedger], begun: bool) -> None:
    async def scenario() -> None:
        thread, gate = LedgerThread(opener), Gate()

        def record(ledger: Ledger) -> None:
            if begun:
                gate.wait(ledger)
            ledger.record_arrivals([arrival("a")], 1)

        before = None if begun else asyncio.create_task(thread.call(gate.wait))
        if before:
            await gate.until_entered()
        caller = asyncio.create_task(thread.call(record))
        await (gate.until_entered() if begun else asyncio.sleep(0))
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(caller, 5)  # at once: the callable has not ended
        gate.open.set()
        assert await thread.call(lambda ledger: ledger.known_instances(["a"])) == {"a"}
        if before:
            await before
        await thread.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("moment", ["queued", "running", "answered"])
def test_a_claim_nobody_learned_of_is_undone(opener: Callable[[], SqliteLedger], moment: str) -> None:
    scene = Scene(opener)
    scene.arrive("a")
    scene.route(decision("pacs"))
    gate, claimed = Gate(), threading.Event()

    def claim(ledger: Ledger) -> list[DeliveryLease]:
        leases = ledger.claim_deliveries(scene.forwarder, "pacs", 10, 2)
        if moment == "running":
            gate.wait(ledger)
        claimed.set()
        return leases

    def undo(ledger: Ledger, leases: list[DeliveryLease]) -> None:
        ledger.release_deliveries(scene.forwarder, leases, 3)

    async def scenario() -> None:
        thread = LedgerThread(opener)
        await thread.start()
        if moment == "queued":
            before = asyncio.create_task(thread.call(gate.wait))
            await gate.until_entered()
        caller = asyncio.create_task(thread.call(claim, undo))
        await asyncio.sleep(0)
        if moment == "running":
            await gate.until_entered()
        elif moment == "answered":
            assert claimed.wait(30)  # the loop is kept busy: the answer is there, and not yet delivered
        caller.cancel()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        if moment == "queued":
            await before
        await thread.close()

    asyncio.run(scenario())
    assert [(lease.instance_id, lease.attempt) for lease in scene.claim()] == [("a", 1)]
    scene.close()


def test_what_cannot_be_undone_while_the_ledger_is_away_is_undone_when_it_is_back(
    opener: Callable[[], SqliteLedger],
) -> None:
    scene = Scene(opener)
    scene.arrive("a")
    scene.route(decision("pacs"))
    gate, tries, undone = Gate(), [], threading.Event()

    def claim(ledger: Ledger) -> list[DeliveryLease]:
        gate.wait(ledger)
        return ledger.claim_deliveries(scene.forwarder, "pacs", 10, 2)

    def undo(ledger: Ledger, leases: list[DeliveryLease]) -> None:
        tries.append(len(leases))
        if len(tries) < 3:
            raise LedgerAway("not there")
        ledger.release_deliveries(scene.forwarder, leases, 3)
        undone.set()

    async def scenario() -> None:
        thread = LedgerThread(opener)
        caller = asyncio.create_task(thread.call(claim, undo))
        await gate.until_entered()
        caller.cancel()
        gate.open.set()
        assert await asyncio.to_thread(undone.wait, 30)
        assert await thread.call(lambda ledger: ledger.known_instances(["a"])) == {"a"}
        await thread.close()

    asyncio.run(scenario())
    assert tries == [1, 1, 1]
    assert [lease.instance_id for lease in scene.claim()] == ["a"]
    scene.close()


def test_an_error_nobody_waits_for_is_reported(opener: Callable[[], SqliteLedger]) -> None:
    async def scenario() -> list[object]:
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        thread, gate = LedgerThread(opener), Gate()

        def fail(ledger: Ledger) -> None:
            gate.wait(ledger)
            raise LedgerError("nobody hears this")

        caller = asyncio.create_task(thread.call(fail))
        await gate.until_entered()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        gate.open.set()
        await thread.close()
        await asyncio.sleep(0)
        return reported

    (error,) = asyncio.run(scenario())
    assert str(error) == "nobody hears this"


def test_closing_finishes_what_was_submitted(opener: Callable[[], SqliteLedger]) -> None:
    async def scenario() -> None:
        thread, gate = LedgerThread(opener), Gate()
        first = asyncio.create_task(thread.call(gate.wait))
        await gate.until_entered()
        second = asyncio.create_task(thread.call(lambda ledger: ledger.record_arrivals([arrival("a")], 1)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(thread.close())
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, second, closing)

    asyncio.run(scenario())
    ledger = opener()
    assert ledger.known_instances(["a"]) == {"a"}
    ledger.close()


def test_sessions_opened_in_several_threads_differ(opener: Callable[[], SqliteLedger]) -> None:
    async def scenario() -> set[int]:
        threads = [LedgerThread(opener) for _ in range(4)]
        calls = [
            each.call(lambda ledger: ledger.open_session(Role.RECEIVER, "h", 1, 1).session_id) for each in threads * 5
        ]
        ids = await asyncio.gather(*calls)
        await asyncio.gather(*(each.close() for each in threads))
        return set(ids)

    assert len(asyncio.run(scenario())) == 20
