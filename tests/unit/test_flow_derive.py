"""Copies that the worker makes, and makes again: whose trouble it is when one cannot be made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import telemetry
from gateway.dicom.recoding import NATIVE_RECODINGS, recoded
from gateway.errors import HeaderError, LedgerBusy, LedgerFull, SpoolCorrupt, SpoolError, SpoolFull, TransformError
from gateway.flow import derive as flow_derive
from gateway.flow import remake
from gateway.flow.derive import make_copy, verify
from gateway.flow.dispatch import copy_lost
from gateway.flow.remake import SLICE_MS, Remaker
from gateway.flow.watch import Watch
from gateway.ledger.base import (
    DERIVE,
    MAX_ROUTING_ATTEMPTS,
    DerivationLease,
    DerivationResult,
    InstanceFilter,
    RuleSet,
)
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import Decision, Derivation, InstanceLease, PayloadFile, Role, Routing, StudyFacts
from gateway.spool import Spool, scan
from gateway.transform import Rulebook, load
from tests.unit.samples import element
from tests.unit.spool_kit import make_facts, make_intake, make_meta, make_spool, payload_of, store

RULES = """\
transforms:
  mark: [{set: {PatientComments: "seen"}}]
rules:
  - {name: a, send_to: [{destination: research, transform: mark}]}
"""
CORRECTED = RULES.replace("seen", "corrected")
CANARY = "ZEBRA7"
DATA = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0") + element(0x00100010, "PN", b"ZEBRA7^Q")


@pytest.fixture
def book() -> Rulebook:
    return load({"a.yaml": RULES})


def chain_of(book: Rulebook) -> str:
    return book.plan.rules[0].send_to[0].chain


def leased(payload: PayloadFile) -> InstanceLease:
    return InstanceLease("0198c0de" + "0" * 24, 1, 1, 1_700_000_000_000, payload, make_facts())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


@pytest.fixture
def payload(spool: Spool) -> PayloadFile:
    return payload_of(store(make_intake(spool), DATA, make_meta()))


def raising(error: Exception) -> Callable[..., None]:
    def prepare(*_: object, **__: object) -> None:
        raise error

    return prepare


def copies(spool: Spool) -> list[Path]:
    return [path for path in (spool.directory / "derived").rglob("*") if path.is_file()]


class Beats(Watch):
    """A watch without an alarm; what it was told is counted."""

    def __init__(self) -> None:
        super().__init__(lambda: None, 0)
        self.renewed = self.rested = 0

    def renew(self) -> None:
        self.renewed += 1

    def rest(self) -> None:
        self.rested += 1


def test_a_copy_is_made_of_the_whole_and_time_runs_by_the_piece(book: Rulebook, spool: Spool) -> None:
    """The disk's own time, of the last flush, counts for nobody."""
    data = DATA + element(0x7FE00010, "OW", bytes(5 << 20))
    payload = payload_of(store(make_intake(spool), data, make_meta()))
    watch = Beats()
    verify(spool, leased(payload), watch)
    assert watch.renewed == 6
    made = make_copy(book, spool, leased(payload), chain_of(book), watch)
    assert made.payload is not None and not made.reason
    assert watch.renewed >= 6 + 5
    assert watch.rested == 1
    copy = spool.path(made.payload.path).read_bytes()
    assert b"seen" in copy and copy.endswith(bytes(5 << 20))


@pytest.mark.parametrize(
    ("error", "reason", "again"),
    [
        (TransformError("transform mark, step 1 (set): too long"), "transform mark, step 1 (set): too long", False),
        (HeaderError("cut short"), "cut short", False),
        (SpoolFull("no room"), "no room", True),
        (SpoolError("no descriptors"), "no descriptors", True),
        (ValueError(CANARY), "an error in the gateway: ValueError, see its log", False),
    ],
)
def test_whatever_keeps_a_copy_from_being_made_has_its_reason_and_tells_no_value(
    book: Rulebook,
    spool: Spool,
    payload: PayloadFile,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: Exception,
    reason: str,
    again: bool,
) -> None:
    telemetry.configure("test", format="json")
    monkeypatch.setattr(flow_derive, "prepare", raising(error))
    made = make_copy(book, spool, leased(payload), chain_of(book), Beats())
    assert (made.payload, made.reason, made.again) == (None, reason, again)
    assert CANARY not in capfd.readouterr().err
    assert copies(spool) == []


def test_without_a_folder_for_copies_originals_go_on(book: Rulebook, spool: Spool, payload: PayloadFile) -> None:
    (spool.directory / "derived").rmdir()
    made = make_copy(book, spool, leased(payload), chain_of(book), Beats())
    assert made.again and "is the spool mounted" in made.reason


def test_no_copy_is_made_of_a_damaged_original(spool: Spool, payload: PayloadFile) -> None:
    path = spool.path(payload.path)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(SpoolCorrupt, match="checksum"):
        verify(spool, leased(payload), Beats())


# ── made again ────────────────────────────────────────────────────────────────────────────────────────────────


class World:
    """A ledger with an instance that waits to be routed, and a worker that makes copies again."""

    def __init__(self, folder: Path, spool: Spool) -> None:
        self.now_ms = 1_700_000_000_000
        self.ledger = SqliteLedger.open(folder / "ledger.db")
        self.ledger.sync_destinations({"research": False}, self.now_ms)
        self.spool = spool
        (found,) = (each.arrival for each in scan(spool) if each.arrival is not None)
        self.ledger.record_arrivals([found], self.now_ms)
        self.worker = self.ledger.open_session(Role.WORKER, "host", 1, self.now_ms)
        self.forwarder = self.ledger.open_session(Role.FORWARDER, "host", 2, self.now_ms)
        self.made = 0
        self.remaker = Remaker(self.ledger, self.worker, spool, lambda: self.now_ms, self._count, lambda: None)

    def _count(self) -> None:
        self.made += 1

    def route(self, derived: Derivation, revision: str) -> None:
        """The instance goes to research, through a chain of which came what is given; the forwarder finds nothing."""
        (lease,) = self.ledger.claim_instances(self.worker, 1, self.now_ms)
        decision = Decision(revision, 1, ("a",), ("research",), chains=(derived.chain,))
        self.ledger.record_routings(
            self.worker, [Routing(lease.instance_id, decision, StudyFacts(), 0, (derived,))], self.now_ms
        )
        self.ledger.release(InstanceFilter(destination="research"), "me", self.now_ms)
        (delivery,) = self.ledger.claim_deliveries(self.forwarder, "research", 1, self.now_ms)
        outcome = copy_lost(delivery, "there is none", self.now_ms)
        assert self.ledger.record_outcomes(self.forwarder, [outcome], self.now_ms)

    def turn(self, book: Rulebook) -> None:
        self.now_ms += 1001
        self.remaker.turn(book, Beats(), lambda: False)

    def delivery(self) -> tuple[str, str, str]:
        (instance,) = self.ledger.list_instances(InstanceFilter(), 2)
        row = self.ledger.deliveries_of([instance.instance_id])[-1]
        return row.state.value, row.code, row.chain

    def copy(self) -> bytes:
        (lease,) = self.ledger.claim_deliveries(self.forwarder, "research", 1, self.now_ms)
        return self.spool.path(lease.payload.path).read_bytes()


@pytest.fixture
def world(tmp_path: Path, spool: Spool, payload: PayloadFile) -> Iterator[World]:
    made = World(tmp_path, spool)
    yield made
    assert made.ledger.check() == []
    made.ledger.close()


def no_room(book: Rulebook) -> Derivation:
    return Derivation(chain_of(book), None, "no room", again=True)


def test_a_lost_copy_is_made_as_it_was_though_the_rules_are_others_now(
    world: World, book: Rulebook, payload: PayloadFile
) -> None:
    world.ledger.store_rules(RuleSet(book.revision, {"a.yaml": RULES}), world.now_ms)
    world.route(Derivation(chain_of(book), payload._replace(path="derived/x/y.dcm")), book.revision)
    world.turn(load({"a.yaml": CORRECTED}))
    assert world.made == 1
    assert b"seen" in world.copy()


LOOKED_UP = """\
tables: {words: {file: words.csv, key: name}}
transforms:
  mark: [{set: {PatientComments: "{words[PatientName].comment}"}}]
rules:
  - {name: a, send_to: [{destination: research, transform: mark}]}
"""


def test_a_lost_copy_is_made_by_the_table_that_its_rules_had(world: World, payload: PayloadFile) -> None:
    then = {"a.yaml": LOOKED_UP, "words.csv": "name,comment\nZEBRA7^Q,first\n"}
    book = load(then)
    world.ledger.store_rules(RuleSet(book.revision, then), world.now_ms)
    world.route(Derivation(chain_of(book), payload._replace(path="derived/x/y.dcm")), book.revision)
    now = load({**then, "words.csv": "name,comment\nZEBRA7^Q,second\n"})
    assert chain_of(now) != chain_of(book)
    world.turn(now)
    assert b"first" in world.copy()


def test_rules_with_large_tables_are_not_held_in_number(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three"):
        files = {"a.yaml": LOOKED_UP, "words.csv": f"name,comment\nA,{name}\n"}
        world.ledger.store_rules(RuleSet(name, files), world.now_ms)
        assert world.remaker._book_of(name) is not None
    assert list(world.remaker._books) == ["one", "two", "three"]
    monkeypatch.setattr(remake, "KEPT_TABLE_BYTES", 10)
    world.ledger.store_rules(RuleSet("four", {"a.yaml": RULES}), world.now_ms)
    assert world.remaker._book_of("four") is not None
    assert list(world.remaker._books) == ["four"]


def test_one_that_failed_is_made_by_what_its_transforms_do_now(world: World, book: Rulebook) -> None:
    world.ledger.store_rules(RuleSet(book.revision, {"a.yaml": RULES}), world.now_ms)
    world.route(Derivation(chain_of(book), None, "a step failed"), book.revision)
    now = load({"a.yaml": CORRECTED})
    world.turn(now)
    assert world.delivery() == ("deferred", DERIVE, chain_of(now))
    assert b"corrected" in world.copy()


def test_where_no_rules_know_it_any_more_it_is_held_with_the_reason(world: World, book: Rulebook) -> None:
    world.route(Derivation("gone~00000000", None, "no room", again=True), "unknown")
    world.turn(book)
    assert world.delivery() == ("held", "transform", "gone~00000000")


@pytest.mark.parametrize("rules", [RULES, CORRECTED])
def test_a_copy_in_another_syntax_is_made_of_what_its_transforms_make(
    world: World, book: Rulebook, spool: Spool, rules: str
) -> None:
    """Whatever has become of the definitions: never of the original."""
    implicit = NATIVE_RECODINGS[1]
    world.ledger.store_rules(RuleSet(book.revision, {"a.yaml": RULES}), world.now_ms)
    world.route(Derivation(recoded(chain_of(book), implicit), None, "no room", again=True), book.revision)
    now = load({"a.yaml": rules})
    world.turn(now)
    assert world.delivery() == ("deferred", DERIVE, recoded(chain_of(now), implicit))
    copy = world.copy()
    assert (b"seen" if rules is RULES else b"corrected") in copy
    assert implicit.transfer_syntax_uid.encode() + b"\0" in copy, "in the file meta information"


def test_where_its_transforms_are_gone_no_copy_in_another_syntax_is_made(world: World, book: Rulebook) -> None:
    chain = recoded("gone~00000000", NATIVE_RECODINGS[0])
    world.route(Derivation(chain, None, "no room", again=True), "unknown")
    world.turn(book)
    assert world.delivery() == ("held", "transform", chain)


def test_a_turn_says_that_its_time_is_over_and_not_that_there_is_nothing(world: World, book: Rulebook) -> None:
    world.route(no_room(book), book.revision)
    clock = iter(range(world.now_ms + 2000, world.now_ms + 2_000_000, SLICE_MS))
    hasty = Remaker(world.ledger, world.worker, world.spool, lambda: next(clock), world._count, lambda: None)
    assert hasty.turn(book, Beats(), lambda: False), "before it has made anything"
    assert world.delivery()[1] == DERIVE
    world.now_ms += 2000
    assert not world.remaker.turn(book, Beats(), lambda: False)
    assert world.made == 1


def test_a_busy_ledger_strands_nothing(world: World, book: Rulebook, monkeypatch: pytest.MonkeyPatch) -> None:
    world.route(no_room(book), book.revision)
    failing: list[Exception] = [LedgerFull("full"), LedgerBusy("busy")]
    record = world.ledger.record_derivation

    def sometimes(*words: Any) -> DerivationResult:
        if failing:
            raise failing.pop()
        return record(*words)

    monkeypatch.setattr(world.ledger, "record_derivation", sometimes)
    world.turn(book)
    assert not failing
    assert b"seen" in world.copy()


def test_what_was_given_up_while_it_was_made_leaves_no_copy(
    world: World, book: Rulebook, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.route(no_room(book), book.revision)
    record = world.ledger.record_derivation

    def cancelled(*words: Any) -> DerivationResult:
        world.ledger.cancel(InstanceFilter(destination="research"), "no longer", "me", world.now_ms)
        return record(*words)

    monkeypatch.setattr(world.ledger, "record_derivation", cancelled)
    world.turn(book)
    assert copies(spool) == []
    assert world.made == 0


def test_a_copy_that_ends_workers_is_given_up(world: World, book: Rulebook) -> None:
    world.route(no_room(book), book.revision)
    for _ in range(MAX_ROUTING_ATTEMPTS):
        session = world.ledger.open_session(Role.WORKER, "host", 3, world.now_ms)
        assert isinstance(world.ledger.claim_derivation(session), DerivationLease)
        world.ledger.void_session(session.session_id, world.now_ms)
    world.turn(book)
    assert world.delivery()[:2] == ("held", "transform")


def test_a_copy_without_room_keeps_no_other_from_being_made_and_a_damaged_original_is_quarantined(
    tmp_path: Path, spool: Spool, book: Rulebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = make_intake(spool)
    for number in range(3):
        store(intake, DATA, make_meta(sop_instance_uid=f"1.2.{number}"))
    ledger = SqliteLedger.open(tmp_path / "ledger.db")
    ledger.sync_destinations({"research": False}, 1)
    ledger.record_arrivals([each.arrival for each in scan(spool) if each.arrival is not None], 1)
    worker = ledger.open_session(Role.WORKER, "host", 1, 1)
    forwarder = ledger.open_session(Role.FORWARDER, "host", 2, 1)
    chain = chain_of(book)
    decision = Decision(book.revision, 1, ("a",), ("research",), chains=(chain,))
    leases = ledger.claim_instances(worker, 9, 1)
    routings = [Routing(each.instance_id, decision, StudyFacts(), 0, (no_room(book),)) for each in leases]
    ledger.record_routings(worker, routings, 1)
    for delivery in ledger.claim_deliveries(forwarder, "research", 9, 1):
        ledger.record_outcomes(forwarder, [copy_lost(delivery, "there is none", 1)], 1)
    large, damaged, other = (lease.instance_id for lease in leases)
    spool.path(leases[1].payload.path).write_bytes(b"not what it was")

    def make(book: Rulebook, spool: Spool, lease: InstanceLease, chain: str, watch: Watch, *_: object) -> Derivation:
        return no_room(book) if lease.instance_id == large else make_copy(book, spool, lease, chain, watch)

    monkeypatch.setattr("gateway.flow.remake.make_copy", make)
    Remaker(ledger, worker, spool, lambda: 2000, lambda: None, lambda: None).turn(book, Beats(), lambda: False)
    assert [each.instance_id for each in ledger.claim_deliveries(forwarder, "research", 9, 2000)] == [other]
    states = {row.instance_id: row.state.value for row in ledger.list_instances(InstanceFilter(), 9)}
    assert states == {large: "routed", damaged: "quarantined", other: "routed"}
    assert ledger.check() == []
    ledger.close()


def test_a_full_disk_is_told_of_once_a_minute(
    world: World, book: Rulebook, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure("test", format="json")
    world.route(no_room(book), book.revision)
    monkeypatch.setattr("gateway.flow.remake.make_copy", lambda *_: no_room(book))
    for _ in range(50):
        world.turn(book)
    assert capfd.readouterr().err.count("copy_not_made") == 1
    for _ in range(20):
        world.turn(book)
    assert capfd.readouterr().err.count("copy_not_made") == 1
