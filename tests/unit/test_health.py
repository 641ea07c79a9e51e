"""A destination's health, as the ledger and so `gateway queue` have it."""

from __future__ import annotations

import asyncio
import fcntl
from functools import partial
from pathlib import Path

from gateway.config.values import Destination
from gateway.flow.health import Health
from gateway.ledger.base import Ledger
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import Breaker

NOW_MS = 1_700_000_000_000
PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, calling_ae_title="GATEWAY")


def test_a_change_that_a_busy_ledger_did_not_take_is_saved_by_the_next_try(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    def saved(ledger: Ledger) -> Breaker:
        (state,) = ledger.destinations()
        return state.breaker

    async def scenario() -> None:
        thread = LedgerThread(partial(SqliteLedger.open, path, busy_timeout_s=0.1))
        await thread.call(lambda ledger: ledger.sync_destinations({"pacs": False}, NOW_MS))
        health = Health(PACS, thread, lambda: NOW_MS, None, lambda: None)
        health.failed("gone", permanent=True)
        await health.save()
        health.answered()
        with path.with_name("ledger.db.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            await health.save()
        assert await thread.call(saved) is Breaker.DOWN
        await health.save()
        assert await thread.call(saved) is Breaker.UP
        await thread.close()

    asyncio.run(scenario())


def test_a_person_who_asks_has_a_destination_that_is_down_probed_at_once_and_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    async def scenario() -> None:
        thread = LedgerThread(partial(SqliteLedger.open, path))
        await thread.call(lambda ledger: ledger.sync_destinations({"pacs": False}, NOW_MS))
        woken: list[None] = []
        health = Health(PACS, thread, lambda: NOW_MS, None, lambda: woken.append(None))
        health.failed("gone", permanent=True)
        await health.save()
        (before,) = await thread.call(lambda ledger: ledger.destinations())
        health.asked(before)
        assert health.probe_in_s > 60, "nobody has asked"
        await thread.call(lambda ledger: ledger.probe_destination("pacs", "me", NOW_MS))
        (asked,) = await thread.call(lambda ledger: ledger.destinations())
        woken.clear()
        health.asked(asked)
        assert health.probe_in_s <= 0
        assert len(woken) == 1
        health.asked(asked)
        assert len(woken) == 1
        await health.save()
        (after,) = await thread.call(lambda ledger: ledger.destinations())
        assert after.next_probe_at_ms == NOW_MS, "the wish is granted, and no longer in the ledger"
        await thread.close()

    asyncio.run(scenario())
