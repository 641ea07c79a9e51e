"""The sweeper on a real ledger and a real spool."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import telemetry
from gateway.errors import LedgerError
from gateway.flow.old_rules import KEEP_MS
from gateway.flow.sweep import HISTORY_BATCH, Sweeper
from gateway.ledger.base import InstanceFilter, Ledger, RuleSet
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import Arrival, AssociationFacts, Decision, InstanceState, Remembered, Role, Routing, StudyFacts
from gateway.spool import ArrivalMeta, Intake, Spool
from tests.harness.durable import flush

FACTS = AssociationFacts("a1", "main", "ct1", "CT1", "GATEWAY", "127.0.0.1")
NOW_MS = 1_700_000_000_000


def store(spool: Spool, intake: Intake, uid: str) -> Arrival:
    """An instance, durable in the spool."""
    meta = ArrivalMeta(FACTS, "1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2", NOW_MS)
    writer = intake.begin(meta)
    writer.write(b"data set of " + uid.encode())
    arrival = writer.finish()
    assert flush([writer]) == [None]
    writer.close()
    return arrival


def settle(ledger: Ledger, arrivals: list[Arrival]) -> None:
    """Have the ledger take them, and a rule discard them: settled, with nothing to deliver."""
    ledger.record_arrivals(arrivals, NOW_MS)
    worker = ledger.open_session(Role.WORKER, "host", 1, NOW_MS)
    leases = ledger.claim_instances(worker, len(arrivals), NOW_MS)
    decision = Decision("r1", 1, ("discard",), (), discard="not wanted")
    ledger.record_routings(worker, [Routing(lease.instance_id, decision, StudyFacts()) for lease in leases], NOW_MS)


def states(ledger: Ledger, arrivals: list[Arrival]) -> list[InstanceState]:
    """Where each of them stands."""
    ids = tuple(arrival.instance_id for arrival in arrivals)
    rows = {row.instance_id: row.state for row in ledger.list_instances(InstanceFilter(instance_ids=ids), 1000)}
    return [rows[instance_id] for instance_id in ids]


async def sweep_until(sweeper: Sweeper, done: Callable[[], bool]) -> None:
    """Run the sweeper until something holds."""
    task = asyncio.create_task(sweeper.run())
    try:
        async with asyncio.timeout(60):
            while not done():
                await asyncio.sleep(0.02)
                if task.done():
                    task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_a_file_that_cannot_be_removed_holds_up_no_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 0, 0)
    spool.prepare()
    intake = Intake(spool, "0123456789ab", 16)
    intake.fill()
    arrivals = [store(spool, intake, f"1.2.{number}") for number in range(4)]
    stuck = spool.path(arrivals[1].path)
    content = stuck.read_bytes()
    stuck.unlink()
    stuck.mkdir()  # unlink(2) refuses it, whoever asks
    path = tmp_path / "ledger.db"
    with_ledger = SqliteLedger.open(path)
    settle(with_ledger, arrivals)

    async def main() -> None:
        thread = LedgerThread(lambda: SqliteLedger.open(path, create=False))
        sweeper = Sweeper(thread, spool, 0.0, lambda: NOW_MS + 1000)
        others = [arrivals[0], arrivals[2], arrivals[3]]
        await sweep_until(sweeper, lambda: states(with_ledger, others) == [InstanceState.PURGED] * 3)
        assert states(with_ledger, [arrivals[1]]) == [InstanceState.PURGING], "it is tried again each turn"
        assert not any(spool.path(arrival.path).exists() for arrival in others)
        stuck.rmdir()
        stuck.write_bytes(content)
        await sweep_until(sweeper, lambda: states(with_ledger, arrivals) == [InstanceState.PURGED] * 4)
        assert not stuck.exists()
        await thread.close()

    asyncio.run(main())
    assert with_ledger.check() == []
    with_ledger.close()
    intake.close()


def test_two_sweepers_of_two_hosts_purge_what_is_settled_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure("console-0", format="json")
    spools = [Spool(tmp_path / "spool", 0, 0, home * 32) for home in "ab"]
    for spool in spools:
        spool.prepare(join=True)
    intake = Intake(spools[0], "0123456789ab", 400)
    intake.fill()
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger.open(path)
    waiting = [store(spools[0], intake, f"1.3.{number}") for number in range(20)]
    settled = [store(spools[0], intake, f"1.2.{number}") for number in range(300)]
    settle(ledger, settled)
    ledger.record_arrivals(waiting, NOW_MS)

    async def main() -> None:
        threads = [LedgerThread(lambda: SqliteLedger.open(path, create=False)) for _ in spools]
        sweepers = [
            Sweeper(thread, spool, 0.0, lambda: NOW_MS + 1000) for thread, spool in zip(threads, spools, strict=True)
        ]
        others = asyncio.create_task(sweepers[1].run())
        await sweep_until(sweepers[0], lambda: set(states(ledger, settled)) == {InstanceState.PURGED})
        others.cancel()
        await asyncio.wait([others])
        for thread in threads:
            await thread.close()

    asyncio.run(main())
    assert not any(spools[1].path(arrival.path).exists() for arrival in settled)
    assert all(spools[1].path(arrival.path).exists() for arrival in waiting)
    assert list((tmp_path / "spool" / "free").iterdir()) == []
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line for line in lines if line["level"] == "warning"] == []
    assert sum(line["count"] for line in lines if line["event"] == "instances_purged") == len(settled)
    assert ledger.check() == []
    ledger.close()
    intake.close()


def test_rule_sets_that_nothing_needs_leave_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger.open(path)
    for number, revision in enumerate(("old", "new")):
        ledger.store_rules(RuleSet(revision, {"a.yaml": ""}), NOW_MS + number)

    def is_gone() -> bool:
        try:
            ledger.load_rules("old")
        except LedgerError:
            return True
        return False

    async def main() -> None:
        thread = LedgerThread(lambda: SqliteLedger.open(path, create=False))
        spool = Spool(tmp_path / "spool", 0, 0)
        spool.prepare()
        await sweep_until(Sweeper(thread, spool, 0.0, lambda: NOW_MS + 2 * KEEP_MS), is_gone)
        await thread.close()

    asyncio.run(main())
    assert ledger.load_rules("new").revision == ledger.current_revision()
    ledger.close()


def test_what_is_remembered_of_routed_instances_is_forgotten_in_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger.open(path)
    row = Remembered("", "CT", Decision("r1", 1, (), ()), FACTS, "1.2", "1.2", "a", NOW_MS, b"header")
    aged = [row._replace(series_instance_uid=f"1.{n}", received_at_ms=NOW_MS - n * 1000) for n in range(500)]
    ledger.record_history(aged, {})

    async def main() -> None:
        thread = LedgerThread(lambda: SqliteLedger.open(path, create=False))
        spool = Spool(tmp_path / "spool", 0, 0)
        spool.prepare()
        sweeper = Sweeper(thread, spool, 0.0, lambda: NOW_MS, history_s=9.5, history_bytes=1 << 20)
        await sweep_until(sweeper, lambda: len(ledger.history(0, 0, 1000)) < 500 - HISTORY_BATCH * 2)
        assert len(ledger.history(0, 0, 1000)) == 10
        await thread.close()

    asyncio.run(main())
    assert ledger.check() == []
    ledger.close()
