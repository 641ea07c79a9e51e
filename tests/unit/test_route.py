"""The worker's router on a real ledger: what it makes of a change of the rules."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from gateway import telemetry
from gateway.flow import route
from gateway.flow.decide import Decided, decide
from gateway.flow.route import Router
from gateway.ledger.base import RuleSet
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import InstanceLease, PayloadFile, Role
from gateway.rules.plan import Plan, load
from gateway.spool import Spool
from gateway.telemetry import registry
from gateway.telemetry.exposition import exposition
from gateway.transform import Rulebook
from gateway.work.base import Stage
from gateway.work.local import LocalQueue
from tests.contract.ledger_scene import arrival
from tests.harness.data import make_instance
from tests.unit.spool_kit import make_intake, make_meta, make_spool, store

NOW_MS = 1_700_000_000_000


def test_the_rules_of_another_revision_are_counted_by_their_names_and_those_that_are_gone_are_forgotten(
    tmp_path: Path,
) -> None:
    ledger = SqliteLedger.open(tmp_path / "ledger.db", create=True)
    queue = LocalQueue(tmp_path / "run", Stage.ROUTE)
    session = ledger.open_session(Role.WORKER, "host", 1, NOW_MS)
    router = Router(ledger, session, Spool(tmp_path / "spool", 0, 0), queue, lambda: NOW_MS, 60.0)

    def in_force(*names: str) -> str:
        """The counters of rules, after the worker has taken these and has routed an instance by each."""
        files = {"10.yaml": "rules:\n" + "".join(f'  - name: {name}\n    hold: "{name}"\n' for name in names)}
        ledger.store_rules(RuleSet(load(files, None).revision, files), NOW_MS)
        ledger.record_arrivals([arrival(names[0])], NOW_MS)  # one without a file: it is quarantined
        turns = iter((False, False, True))
        queue.notify(Stage.ROUTE)
        router.run(lambda: None, lambda: next(turns))
        for name in names:
            telemetry.instance_routed(instance_id="i", rules=[name], destinations=[])
        return exposition(registry.REGISTRY, "worker-0").decode()

    try:
        many = [f"old{number}" for number in range(300)]
        assert 'gateway_instances_routed_total{process="worker-0",rule="old299"} 1.0' in in_force(*many)
        after = in_force("new")
        assert 'gateway_instances_routed_total{process="worker-0",rule="new"} 1.0' in after
        assert 'rule="old' not in after
    finally:
        queue.close()
        ledger.close()


@pytest.mark.parametrize(
    ("received", "hold"), [("2026-01-31T22:30:00+00:00", "night"), ("2026-01-31T12:30:00+00:00", "day")]
)
def test_the_time_that_counts_is_when_the_instance_was_received(tmp_path: Path, received: str, hold: str) -> None:
    spool = make_spool(tmp_path / "spool")
    one = make_instance(Modality="CT")
    meta = make_meta(sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
    stored = store(make_intake(spool), one.data, meta)
    window = "{received: {from: '22:00', to: '06:00', zone: UTC}}"
    plan = load({"10.yaml": f"rules: [{{name: a, match: {window}, hold: night}}, {{name: b, hold: day}}]"}, None)
    received_at_ms = int(datetime.fromisoformat(received).timestamp() * 1000)
    payload = PayloadFile(*stored[1:8])
    lease = InstanceLease(stored.instance_id, 1, 1, received_at_ms, payload, stored.facts)
    decided = decide(Rulebook(plan, {}), spool, lease)
    assert isinstance(decided, Decided)
    assert decided.decision.hold == hold


def test_what_keeps_a_worker_from_having_the_rules_is_held_against_no_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory for them, or a newer version of the gateway that refuses the last good set: the worker ends."""
    ledger = SqliteLedger.open(tmp_path / "ledger.db", create=True)
    queue = LocalQueue(tmp_path / "run", Stage.ROUTE)
    files = {"10.yaml": "rules:\n  - name: all\n    hold: all\n"}
    ledger.store_rules(RuleSet(load(files, None).revision, files), NOW_MS)
    ledger.record_arrivals([arrival("a"), arrival("b")], NOW_MS)

    def no_memory(*_: object) -> Plan:
        raise MemoryError

    monkeypatch.setattr(route, "load", no_memory)
    for _ in range(3):
        session = ledger.open_session(Role.WORKER, "host", 1, NOW_MS)
        router = Router(ledger, session, Spool(tmp_path / "spool", 0, 0), queue, lambda: NOW_MS, 60.0)
        with pytest.raises(MemoryError):
            router.run(lambda: None, lambda: False)
        ledger.void_session(session.session_id, NOW_MS)
    session = ledger.open_session(Role.WORKER, "host", 1, NOW_MS)
    assert [lease.attempt for lease in ledger.claim_instances(session, 10, NOW_MS)] == [1, 1]
    queue.close()
    ledger.close()
