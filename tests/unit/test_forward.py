"""A forwarder's process beside others: it serves what it owns, and begins nothing that may be another's by now."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from gateway.config.values import Destination
from gateway.flow.destination import Tools
from gateway.flow.forward import FENCE_S, Forwarder
from gateway.flow.outcomes import OutcomeRecorder
from gateway.flow.send import Buffers
from gateway.ledger.journal import OutcomeJournal
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import Decision, Role, Routing, Session, StudyFacts
from gateway.net.driver import Ticker
from gateway.work.base import Stage
from gateway.work.local import LocalQueue
from tests.harness.archive import OurArchive
from tests.harness.archivescript import Behaviour
from tests.harness.data import make_instances
from tests.unit.spool_kit import make_intake, make_meta, make_spool, store

NOW_MS = 1_700_000_000_000
COUNT = 40


class World:
    """A ledger with deliveries to one archive that waits before each answer, and forwarders in this process."""

    def __init__(self, folder: Path, archive: OurArchive) -> None:
        self.path = folder / "ledger.db"
        self.folder = folder
        self.spool = make_spool(folder / "spool")
        (folder / "run").mkdir()
        self.destinations = {"pacs": Destination("pacs", "PACS", "127.0.0.1", archive.port, "GW", max_associations=1)}
        self.now_s = 0.0
        self.ledger = SqliteLedger.open(self.path)
        self.ledger.sync_destinations({"pacs": False}, NOW_MS)
        worker = self.ledger.open_session(Role.WORKER, "host", 1, NOW_MS)
        intake = make_intake(self.spool, pool_size=COUNT)
        for one in make_instances(COUNT, seed=1):
            meta = make_meta(sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
            meta = meta._replace(transfer_syntax_uid=one.transfer_syntax_uid, received_at_ms=NOW_MS)
            self.ledger.record_arrivals([store(intake, one.data, meta)], NOW_MS)
        decision = Decision("one", 1, ("a",), ("pacs",))
        while leases := self.ledger.claim_instances(worker, 64, NOW_MS):
            routings = [Routing(lease.instance_id, decision, StudyFacts()) for lease in leases]
            self.ledger.record_routings(worker, routings, NOW_MS)
        self.ledger.void_session(worker.session_id, NOW_MS)

    def session(self) -> Session:
        """Another forwarder's session."""
        return self.ledger.open_session(Role.FORWARDER, "host", 2, NOW_MS)

    def owner(self) -> int | None:
        """The session that has the destination."""
        owner = self.ledger.forwarding().destinations[0].owner
        return None if owner is None else owner.session_id

    @contextlib.asynccontextmanager
    async def forwarder(self, session: Session) -> AsyncIterator[tuple[Forwarder, LedgerThread]]:
        """A forwarder that serves."""
        thread = LedgerThread(partial(SqliteLedger.open, self.path))
        journal = OutcomeJournal(self.folder, session)
        outcomes = OutcomeRecorder(thread, session, journal, lambda: NOW_MS, lambda: None)
        executor = ThreadPoolExecutor(2)
        tools = Tools(thread, session, self.spool, outcomes, Ticker(), executor, Buffers(), lambda: NOW_MS, pytest.fail)
        queue = LocalQueue(self.folder / "run", Stage.DELIVER)
        forwarder = Forwarder(tools, queue, lambda: self.now_s)
        running = asyncio.create_task(forwarder.run(self.destinations))
        await asyncio.wait_for(forwarder.begun.wait(), 30)
        yield forwarder, thread
        await forwarder.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await thread.close()
        executor.shutdown()
        queue.close()


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that happens by itself."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within 30 s: {what}")


@pytest.mark.timeout(120)
def test_who_could_not_ask_the_ledger_for_long_begins_nothing_until_it_has(tmp_path: Path) -> None:
    """It may have been taken for dead: what it has claimed is another's then, as is the destination."""
    with OurArchive(on_store=lambda facts: Behaviour(delay_s=0.02)) as archive:
        world = World(tmp_path, archive)

        async def scenario() -> None:
            async with world.forwarder(world.session()) as (_, thread):
                await until(lambda: archive.count >= 2, "it sends")
                asks = threading.Event()
                waits = asyncio.create_task(thread.call(lambda ledger: asks.wait(60)))
                count = archive.count
                await until(lambda: archive.count >= count + 3, "it goes on: who waits a little for the ledger may")
                world.now_s += FENCE_S
                await until(lambda: archive.tally.released == 1, "it ends its association")
                assert archive.count < COUNT
                asks.set()
                await waits
                await until(lambda: archive.count == COUNT, "it goes on when it has asked")
                assert archive.duplicates() == 0

        asyncio.run(scenario())
        world.ledger.close()


@pytest.mark.timeout(120)
def test_a_destination_goes_from_one_to_another_without_an_instance_sent_twice(tmp_path: Path) -> None:
    with OurArchive(on_store=lambda facts: Behaviour(delay_s=0.1)) as archive:
        world = World(tmp_path, archive)

        async def scenario() -> None:
            first = world.session()
            async with world.forwarder(first) as (old, _):
                await until(lambda: archive.count >= 3, "it sends")
                assert world.owner() == first.session_id
                newer = world.session()
                async with world.forwarder(newer) as (new, _):
                    world.ledger.ask_for_destinations(newer, ["pacs"])
                    await until(lambda: world.owner() == newer.session_id, "it is handed over")
                    assert old.in_hand == 0
                    world.ledger.void_session(first.session_id, 1)  # or it would ask for it again
                    await until(lambda: archive.count == COUNT, "the other sends the rest")
                    assert new.in_hand == 1
            assert archive.duplicates() == 0
            assert archive.tally.most_open == 1

        asyncio.run(scenario())
        world.ledger.close()


@pytest.mark.timeout(120)
def test_who_was_taken_for_dead_sends_nothing_more(tmp_path: Path) -> None:
    hold = threading.Event()
    with OurArchive(on_store=lambda facts: Behaviour(wait_for=hold)) as archive:
        world = World(tmp_path, archive)

        async def scenario() -> None:
            session = world.session()
            async with world.forwarder(session) as (forwarder, _):
                await until(lambda: archive.tally.requests, "something is on its way")
                world.ledger.void_session(session.session_id, NOW_MS)
                await until(lambda: not forwarder._queues, "it has seen that")
                hold.set()
                await until(lambda: forwarder.in_hand == 0, "it ends")
                assert archive.count == 1

        asyncio.run(scenario())
        world.ledger.close()
