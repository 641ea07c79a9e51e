"""Trouble of the host itself: it is no instance's fault, and keeps nobody waiting who need not wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.config.values import Listener
from gateway.dicom.dimse import c_store_rq
from gateway.dicom.negotiation import AcceptedContext
from gateway.errors import SpoolError
from gateway.flow.intake import Recorder
from gateway.flow.receive import Receiver, _Facts, _StoreSink
from gateway.flow.route import Router
from gateway.ledger.base import InstanceFilter, RuleSet
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import InstanceState, Role
from gateway.net.served import Sink
from gateway.rules.plan import load
from gateway.spool import SpoolFile
from gateway.work.base import Stage
from gateway.work.local import LocalQueue
from tests.harness.data import make_instance
from tests.unit.spool_kit import CT, EXPLICIT_LE, GENERATION, make_facts, make_intake, make_meta, make_spool, store

NOW_MS = 1_000_000


def test_a_worker_that_cannot_read_for_a_while_blames_no_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_spool(tmp_path / "spool")
    one = make_instance(Modality="CT")
    meta = make_meta(sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
    arrival = store(make_intake(spool), one.data, meta)
    ledger = SqliteLedger.open(tmp_path / "ledger.db")
    ledger.record_arrivals([arrival], NOW_MS)
    ledger.sync_destinations({"pacs": False}, NOW_MS)
    files = {"10.yaml": "rules: [{name: all, send_to: [pacs]}]"}
    ledger.store_rules(RuleSet(load(files, None).revision, files), NOW_MS)
    session = ledger.open_session(Role.WORKER, "host", 1, NOW_MS)
    (tmp_path / "run").mkdir()
    queue = LocalQueue(tmp_path / "run", Stage.ROUTE)
    monkeypatch.setattr("gateway.flow.route.IDLE_S", 0.01)
    open_file, failures = SpoolFile.open, [SpoolError("no descriptors")] * 3

    def opened(*args: object) -> SpoolFile:
        if failures:
            raise failures.pop()
        return open_file(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(SpoolFile, "open", opened)

    def row() -> InstanceState:
        return ledger.list_instances(InstanceFilter(), 1)[0].state

    Router(ledger, session, spool, queue, lambda: NOW_MS, 5.0).run(
        lambda: None, lambda: row() is not InstanceState.RECEIVED
    )
    assert row() is InstanceState.ROUTED
    assert not failures
    queue.close()
    ledger.close()


@pytest.mark.timeout(30)
def test_who_finds_no_file_waits_for_one_and_not_for_ever_and_the_event_loop_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.flow.receive.POOL_PATIENCE_S", 0.2)
    spool = make_spool(tmp_path / "spool")

    async def scenario() -> None:
        thread = LedgerThread(lambda: SqliteLedger.open(tmp_path / "ledger.db"))
        recorder = Recorder(thread, lambda: NOW_MS, lambda ids: None, lambda: None)
        listener = Listener("main", "127.0.0.1", 0)
        receiver = Receiver(spool, GENERATION, 1, recorder, {"main": listener}, {})
        facts = _Facts(make_facts(), listener)
        context = AcceptedContext(1, CT, EXPLICIT_LE)

        def begin() -> Sink | asyncio.Future[Sink]:
            return receiver._begin_store(lambda: _StoreSink(receiver, facts, context, c_store_rq(1, CT, "1.2.3")))

        await receiver.fill()
        assert isinstance(begin(), _StoreSink)
        with receiver._intake._filling:  # a fill is under way, and stands still
            late = begin()
            assert isinstance(late, asyncio.Future)
            refused: list[int] = []
            (await late).finish(refused.append)
            assert refused == [0xA700]
        serving = asyncio.create_task(receiver.run())
        monkeypatch.setattr("gateway.flow.receive.POOL_PATIENCE_S", 20.0)
        sinks = [begin() for _ in range(5)]
        for sink in sinks:
            got = sink if isinstance(sink, _StoreSink) else await sink
            assert isinstance(got, _StoreSink) and got._writer is not None
        serving.cancel()
        await asyncio.wait([serving])
        await asyncio.to_thread(receiver.close)
        await thread.close()

    asyncio.run(scenario())
