"""What a worker remembers, on a real ledger and a real spool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import telemetry
from gateway.errors import LedgerBusy, LedgerFull
from gateway.flow import history as module
from gateway.flow.decide import Decided, decide
from gateway.flow.history import FLUSH_MS, HEADERS_A_SECOND, History
from gateway.flow.route import Router
from gateway.ledger.base import HistoryRow
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import AssociationFacts, InstanceLease, Role
from gateway.spool import Intake, Spool
from gateway.transform import load
from gateway.transform.remember import unpack
from gateway.work.base import Stage
from gateway.work.local import LocalQueue
from tests.harness.data import make_instance
from tests.unit.spool_kit import make_facts, make_intake, make_meta, make_spool, payload_of, store

BOOK = load({"10.yaml": "rules: [{name: ct, match: {Modality: CT}, send_to: pacs}, {name: all, hold: other}]"})


class Bench:
    """A worker's history, and instances to route by it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.ledger = SqliteLedger.open(self.path)
        self.spool: Spool = make_spool(folder / "spool")
        self.intake: Intake = make_intake(self.spool, pool_size=64)
        self.now_ms = 1_000_000
        self.history = History(self.ledger, lambda: self.now_ms)
        self._seed = 0

    def route(self, *series: str, facts: AssociationFacts | None = None, **also: str) -> None:
        """Route an instance of each of these series, in one batch."""
        for uid in series:
            self._seed += 1
            one = make_instance(seed=self._seed, SeriesInstanceUID=uid, **also)
            meta = make_meta(
                facts or make_facts(), sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid
            )
            stored = store(self.intake, one.data, meta)
            lease = InstanceLease(stored.instance_id, 1, 1, self.now_ms, payload_of(stored), stored.facts)
            found = decide(BOOK, self.spool, lease, self.history)
            assert isinstance(found, Decided)

    def rows(self) -> list[HistoryRow]:
        self.history.flush()
        return self.ledger.history(0, 0, 1000)

    def counts(self) -> dict[str, int]:
        return {row.series_instance_uid: row.instances for row in self.rows()}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    assert bench.ledger.check() == []
    bench.ledger.close()
    bench.intake.close()


def test_of_a_series_one_header_is_kept_and_the_others_are_counted(bench: Bench) -> None:
    bench.route(*["1.2"] * 3, StationName="ROOM1")
    (row,) = bench.rows()
    assert row.instances == 3
    assert row.facts.calling_ae_title == make_facts().calling_ae_title
    assert b"ROOM1" in unpack(row.header)
    bench.route(*["1.2"] * 4, facts=make_facts(association_id="another"))
    bench.route("1.3")
    assert bench.counts() == {"1.2": 7, "1.3": 1}


def test_what_is_decided_otherwise_or_came_another_way_is_kept_too(bench: Bench) -> None:
    bench.route("1.2")
    bench.route("1.2", Modality="US")
    bench.route("1.2", facts=make_facts(calling_ae_title="CT2"))
    assert len(bench.rows()) == 3


def test_the_ledger_is_told_now_and_then(bench: Bench) -> None:
    bench.route("1.2")
    bench.history.turn()
    assert bench.ledger.history(0, 0, 10) == []
    bench.now_ms += FLUSH_MS
    commits = bench.ledger.commits
    bench.history.turn()
    assert len(bench.ledger.history(0, 0, 10)) == 1
    bench.now_ms += FLUSH_MS
    bench.history.turn()
    assert bench.ledger.commits == commits + 1


def test_in_a_flood_of_series_some_headers_are_kept_and_the_others_with_a_later_instance(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.flow.history.BURST_HEADERS", 3)
    bench.history = History(bench.ledger, lambda: bench.now_ms)
    bench.route(*(f"1.{number}" for number in range(32)))
    assert bench.counts() == {"1.0": 1, "1.1": 1, "1.2": 1}
    bench.route("1.20")
    assert "1.20" not in bench.counts(), "it comes as soon as the others"
    bench.now_ms += 1000 // HEADERS_A_SECOND
    bench.route("1.20", "1.21")
    assert bench.counts() == {"1.0": 1, "1.1": 1, "1.2": 1, "1.20": 3}


def test_the_headers_of_a_few_series_are_all_kept_however_they_come(bench: Bench) -> None:
    bench.route("1.1", "1.2", "1.3")
    assert bench.counts() == {"1.1": 1, "1.2": 1, "1.3": 1}


def test_a_row_that_has_aged_out_is_made_again(bench: Bench) -> None:
    bench.route("1.2")
    assert bench.counts() == {"1.2": 1}
    assert bench.ledger.trim_history(bench.now_ms + 1, 0, 10) == 1
    bench.route("1.2")
    assert bench.counts() == {}
    bench.route(*["1.2"] * 2)
    assert bench.counts() == {"1.2": 2}


def test_what_could_not_be_told_is_told_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.route("1.2")
    record = bench.ledger.record_history

    def busy(*_: object) -> None:
        raise LedgerBusy("busy")

    monkeypatch.setattr(bench.ledger, "record_history", busy)
    with pytest.raises(LedgerBusy):
        bench.history.flush()
    monkeypatch.setattr(bench.ledger, "record_history", record)
    bench.route("1.2")
    assert bench.counts() == {"1.2": 2}


def test_series_seen_long_ago_make_room_and_are_counted_on_when_they_come_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SERIES", 2)
    for series in ("1.1", "1.2", "1.3", "1.1"):
        bench.route(series)
    assert bench.counts() == {"1.1": 2, "1.2": 1, "1.3": 1}


def test_two_series_that_have_one_row_in_the_ledger_are_both_counted(bench: Bench) -> None:
    """It writes what is not Unicode as an escape, which somebody else may have as text."""
    for _ in range(2):
        for title in ("CT\udcff", "CT\\udcff"):
            bench.route("1.2", facts=make_facts(calling_ae_title=title))
        assert len(bench.rows()) == 1
    assert bench.counts() == {"1.2": 4}


def test_a_bug_in_remembering_stops_no_instance(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise ValueError("a value")

    monkeypatch.setattr(module, "pack", broken)
    bench.route(*["1.2"] * 2)
    assert bench.rows() == []


def test_a_worker_goes_on_when_the_ledger_takes_no_history_and_says_so_once(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure("test", format="json")  # to the standard error of now, whatever a test before this one set up
    queue = LocalQueue(tmp_path / "run", Stage.ROUTE)
    session = bench.ledger.open_session(Role.WORKER, "host", 1, bench.now_ms)
    router = Router(bench.ledger, session, bench.spool, queue, lambda: bench.now_ms, 60.0, history=bench.history)

    def turn() -> None:
        """One turn of the worker, and its end."""
        turns = iter((False, True))
        queue.notify(Stage.ROUTE)
        router.run(lambda: None, lambda: next(turns))

    def full(*_: object) -> None:
        raise LedgerFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(bench.ledger, "record_history", full)
        for _ in range(3):
            bench.route("1.2")
            turn()
    assert capfd.readouterr().err.count("history_waits_for_ledger") == 1
    turn()
    assert [row.instances for row in bench.ledger.history(0, 0, 10)] == [3]
    queue.close()
