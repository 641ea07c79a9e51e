"""The worker's router on a real ledger: what it makes of a change of the rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import telemetry
from gateway.errors import ConfigurationError, Problem
from gateway.flow import route
from gateway.flow.decide import Decided, decide
from gateway.flow.route import NO_MEMORY, TELL_MS, Router
from gateway.ledger.base import InstanceFilter, RuleSet
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import InstanceLease, InstanceState, PayloadFile, Role
from gateway.rules.plan import Plan, load
from gateway.spool import Spool
from gateway.telemetry import registry
from gateway.telemetry.exposition import exposition
from gateway.transform import Rulebook
from gateway.transform import load as load_book
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


def broken(*_: object) -> Plan:
    raise ConfigurationError([Problem("10.yaml", 3, 5, "a newer version knows no such key")])


def no_memory(*_: object) -> Plan:
    raise MemoryError


@pytest.mark.parametrize(
    ("error", "told"), [(broken, "10.yaml:3:5: a newer version knows no such key"), (no_memory, NO_MEMORY)]
)
def test_rules_in_force_that_cannot_be_loaded_end_no_worker_and_are_held_against_no_instance(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: Callable[..., Plan],
    told: str,
) -> None:
    """It says so once a minute, and takes the next ones."""
    telemetry.configure("worker-0", format="json")
    ledger = SqliteLedger.open(tmp_path / "ledger.db", create=True)
    queue = LocalQueue(tmp_path / "run", Stage.ROUTE)
    now_ms = NOW_MS
    monkeypatch.setattr(route, "IDLE_S", 0.01)
    session = ledger.open_session(Role.WORKER, "host", 1, NOW_MS)
    router = Router(ledger, session, Spool(tmp_path / "spool", 0, 0), queue, lambda: now_ms, 60.0)

    def in_force(name: str) -> None:
        files = {"10.yaml": f"rules:\n  - name: all\n    hold: {name}\n"}
        ledger.store_rules(RuleSet(load(files, None).revision, files), NOW_MS)

    def turns(number: int) -> int:
        """So many turns of the worker; how often it told of it."""
        left = iter([False] * number + [True])
        router.run(lambda: None, lambda: next(left))
        lines = [line for line in capfd.readouterr().err.splitlines() if "rules_in_force_not_loaded" in line]
        assert all(told in line for line in lines)
        return len(lines)

    in_force("first")
    ledger.record_arrivals([arrival("a"), arrival("b")], NOW_MS)  # without files: they will be quarantined
    with monkeypatch.context() as patched:
        patched.setattr(route, "load", error)
        assert turns(5) == 1
        now_ms += TELL_MS
        assert turns(5) == 1
    other = ledger.open_session(Role.WORKER, "host", 2, NOW_MS)
    assert [lease.attempt for lease in ledger.claim_instances(other, 10, NOW_MS)] == [1, 1]
    ledger.void_session(other.session_id, NOW_MS)
    in_force("second")
    assert turns(4) == 0
    assert ledger.list_instances(InstanceFilter(), 1)[0].state is InstanceState.QUARANTINED
    queue.close()
    ledger.close()


def test_the_tables_of_two_sets_of_rules_are_not_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = SqliteLedger.open(tmp_path / "ledger.db", create=True)
    queue = LocalQueue(tmp_path / "run", Stage.ROUTE)
    session = ledger.open_session(Role.WORKER, "host", 1, NOW_MS)
    router = Router(ledger, session, Spool(tmp_path / "spool", 0, 0), queue, lambda: NOW_MS, 60.0)
    before: list[object] = []

    def loaded(*words: Any) -> Rulebook:
        before.append(router._book)
        return load_book(*words)

    monkeypatch.setattr(route, "load", loaded)
    for name in ("first", "second"):
        files = {"10.yaml": f"rules:\n  - name: all\n    hold: {name}\n"}
        ledger.store_rules(RuleSet(load(files, None).revision, files), NOW_MS)
        assert router._claim() == []
    assert before == [None, None]
    queue.close()
    ledger.close()
