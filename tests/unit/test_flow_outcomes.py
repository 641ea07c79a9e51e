"""Outcomes on their way into a ledger that is busy: whom the journal lets go on, and who waits."""

from __future__ import annotations

import asyncio
import fcntl
import os
from functools import partial
from pathlib import Path

import pytest

from gateway.flow.outcomes import OutcomeRecorder
from gateway.ledger import journal
from gateway.ledger.journal import BEHIND, OutcomeJournal
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import DeliveryState, Outcome, Role
from tests.unit.test_flow_recorder import until


def outcome(number: int, state: DeliveryState = DeliveryState.DELIVERED) -> Outcome:
    return Outcome(number, 1, state, "success", status=0, due_at_ms=5)


async def goes_on(recorder: OutcomeRecorder, one: Outcome) -> asyncio.Task[None] | None:
    """Record an outcome; None when the caller went on at once, else the task that waits."""
    task = asyncio.create_task(recorder.record(one))
    await asyncio.sleep(0)
    return None if task.done() else task


@pytest.mark.parametrize("broken", [False, True], ids=["a journal", "a journal that cannot be written"])
def test_deliveries_go_on_as_far_as_the_journal_holds_them_and_all_else_waits(tmp_path: Path, broken: bool) -> None:
    path = tmp_path / "ledger.db"

    async def scenario() -> None:
        thread = LedgerThread(partial(SqliteLedger.open, path, busy_timeout_s=0.1))
        session = await thread.call(lambda ledger: ledger.open_session(Role.FORWARDER, "host", 1, 0))
        written = OutcomeJournal(tmp_path, session)
        if broken:
            os.dup2(os.open("/dev/full", os.O_RDONLY), written._fd)
        recorder = OutcomeRecorder(thread, session, written, lambda: 1, lambda: None)
        serving = asyncio.create_task(recorder.run())
        with path.with_name("ledger.db.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = []
            for number in range(1, BEHIND + 1):
                waiting.append(await goes_on(recorder, outcome(number)))
            assert all(one is not None for one in waiting) if broken else waiting == [None] * BEHIND
            waiting.append(await goes_on(recorder, outcome(BEHIND + 1)))
            waiting.append(await goes_on(recorder, outcome(BEHIND + 2, DeliveryState.DEFERRED)))
            assert waiting[-2] is not None and waiting[-1] is not None
            left = journal.left_behind(tmp_path, session.session_id)
            assert left is not None and left.opened_at_ms == session.opened_at_ms
            kept = {each.delivery_id for each in left.delivered}
            assert kept == (set() if broken else set(range(1, BEHIND + 1)))
            await until(lambda: not recorder.open)  # the ledger has said that it is busy
        await until(lambda: recorder.open)
        assert await recorder.drain(60)
        await asyncio.gather(*(one for one in waiting if one is not None))
        serving.cancel()
        written.close()
        await thread.close()

    asyncio.run(scenario())
