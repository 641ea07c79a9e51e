"""A session's heartbeat beside a ledger that is busy, and after somebody has ended the session."""

from __future__ import annotations

import asyncio
import fcntl
from functools import partial
from pathlib import Path

import pytest

from gateway import telemetry
from gateway.app import beat
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import Role


def test_a_busy_ledger_ends_no_process_and_a_voided_session_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(beat, "LEDGER_BEAT_S", 0.02)
    telemetry.configure("test", format="json")  # to the standard error of now, whatever a test before this one set up
    path = tmp_path / "ledger.db"

    async def scenario() -> None:
        thread = LedgerThread(partial(SqliteLedger.open, path, busy_timeout_s=0.05))
        session = await thread.call(lambda ledger: ledger.open_session(Role.RECEIVER, "host", 1, 0))
        voided = asyncio.Event()
        beating = asyncio.create_task(beat.LedgerBeat(thread, session).run(voided.set))
        with path.with_name("ledger.db.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            said = ""
            async with asyncio.timeout(30):
                while said.count("beat_not_counted") < 1:
                    await asyncio.sleep(0.01)
                    said += capfd.readouterr().err
            assert not beating.done(), "a busy ledger ended the process"
        await thread.call(lambda ledger: ledger.void_session(session.session_id, 0))
        await asyncio.wait_for(voided.wait(), 30)
        await asyncio.wait_for(beating, 30)
        await thread.close()

    asyncio.run(scenario())
