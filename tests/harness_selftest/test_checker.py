"""The checker finds what is planted, and nothing in a clean run. Spool and ledger are the real ones."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.base import InstanceFilter, Ledger
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.sqlite.ledger import SqliteLedger
from gateway.model import (
    Arrival,
    AssociationFacts,
    Decision,
    DeliveryState,
    Outcome,
    Quarantine,
    Role,
    Routing,
    StudyFacts,
)
from gateway.spool import ArrivalMeta, Intake, Spool
from tests.harness.checker import Evidence, Report, check, find_canaries
from tests.harness.data import Instance, make_instances
from tests.harness.durable import flush
from tests.harness.evidence import LedgerView, ProcessWatch, Sinks
from tests.harness.ledgerrows import Source
from tests.harness.sender import Journal, journal_of_files
from tests.harness.tools import Process, wait_until

FACTS = AssociationFacts("a1", "main", "ct", "CT1", "GATEWAY", "127.0.0.1")
BOTH = ("pacs", "dr")


class World:
    """A gateway's remains, made by hand: journal, spool, ledger and two archives."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.source: Source = url or folder / "state" / "ledger.db"
        self.journal = Journal(folder / "journal.jsonl")
        self.spool = Spool(folder / "state" / "spool", 0, 0)
        self.spool.prepare()
        self.intake = Intake(self.spool, "0123456789abcdef", 64)
        self.intake.fill()
        self.ledger: Ledger = PostgresLedger.open(url) if url else SqliteLedger.open(folder / "state" / "ledger.db")
        self.ledger.sync_destinations(dict.fromkeys(BOTH, False), 1)
        self.session = self.ledger.open_session(Role.WORKER, "here", 1, 1)
        self.archives: dict[str, dict[str, list[str]]] = {name: {} for name in BOTH}
        self.routing: dict[str, tuple[str, ...]] = {}
        self.sinks = Sinks()
        self.damaged: set[str] = set()
        self._instances = make_instances(1000, patients=3, pixel_bytes=200, seed=11)
        self._now_ms = itertools.count(1000)

    def next(self) -> Instance:
        return next(self._instances)

    def told(self, instance: Instance, status: int | None = 0) -> None:
        journal_of_files(self.journal, [(instance.sop_instance_uid, instance.data, status)])

    def spooled(self, instance: Instance, data: bytes | None = None) -> Arrival:
        writer = self.intake.begin(
            ArrivalMeta(
                FACTS,
                instance.sop_class_uid,
                instance.sop_instance_uid,
                instance.transfer_syntax_uid,
                next(self._now_ms),
            )
        )
        writer.write(instance.data if data is None else data)
        arrival = writer.finish()
        assert flush([writer]) == [None]
        writer.close()
        return arrival

    def recorded(self, arrival: Arrival) -> None:
        assert self.ledger.record_arrivals([arrival], next(self._now_ms))[0].new

    def routed(self, arrival: Arrival, destinations: tuple[str, ...] = BOTH, **decided: str) -> None:
        lease = self.ledger.claim_instances(self.session, 1, next(self._now_ms))[0]
        assert lease.instance_id == arrival.instance_id
        decision = Decision("r1", 1, ("rule",), destinations, **decided)
        self.ledger.record_routings(
            self.session, [Routing(arrival.instance_id, decision, StudyFacts())], next(self._now_ms)
        )

    def delivered(self, instance: Instance, *names: str, really: bool = True) -> None:
        for name in names:
            lease = self.ledger.claim_deliveries(self.session, name, 1, next(self._now_ms))[0]
            assert lease.payload.sop_instance_uid == instance.sop_instance_uid
            outcome = Outcome(lease.delivery_id, lease.token, DeliveryState.DELIVERED, "success", status=0)
            self.ledger.record_outcomes(self.session, [outcome], next(self._now_ms))
            if really:
                self.archives[name].setdefault(instance.sop_instance_uid, []).append(instance.sha256)

    def purged(self) -> None:
        items = self.ledger.begin_purge(10**9, 1000, next(self._now_ms))
        self.spool.unlink([path for item in items for path in item.paths])
        self.ledger.finish_purge([item.instance_id for item in items], next(self._now_ms))

    def path(self, arrival: Arrival) -> Path:
        return self.spool.path(arrival.path)

    def check(self, **changes: object) -> Report:
        evidence = Evidence(
            journals=[self.journal.path],
            spool_dir=self.folder / "state" / "spool",
            ledger=LedgerView.read(self.source),
            archives=self.archives,
            routing=self.routing or None,
            sinks=self.sinks,
            damaged=self.damaged,
        )
        for name, value in changes.items():
            setattr(evidence, name, value)
        return check(evidence)

    def close(self) -> None:
        self.ledger.close()
        self.journal.close()


on_both = pytest.mark.parametrize("world", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """One with a SQLite ledger, or with that of the parameter."""
    kind = getattr(request, "param", "sqlite")
    made = World(tmp_path, request.getfixturevalue("postgres_url") if kind == "postgres" else "")
    yield made
    made.close()


def one_routed(world: World, destinations: tuple[str, ...] = BOTH, **decided: str) -> tuple[Instance, Arrival]:
    """An acknowledged instance that the rules were applied to."""
    one = world.next()
    world.told(one)
    arrival = world.spooled(one)
    world.recorded(arrival)
    world.routed(arrival, destinations, **decided)
    return one, arrival


def one_delivered(world: World, *, really: bool = True) -> tuple[Instance, Arrival]:
    """An acknowledged instance that the ledger has as delivered to both."""
    one, arrival = one_routed(world)
    world.delivered(one, *BOTH, really=really)
    return one, arrival


def kinds(report: Report) -> list[tuple[str, str]]:
    return [(finding.kind, finding.sop_instance_uid) for finding in report.breaches]


@on_both
def test_a_clean_run_reports_nothing(world: World) -> None:
    refused, unanswered = world.next(), world.next()
    world.told(refused, 0xA700)
    world.told(unanswered, None)
    world.spooled(unanswered)  # its response did not get through
    one_delivered(world)
    world.purged()
    one_delivered(world)
    half, _ = one_routed(world)
    world.delivered(half, "pacs")
    one_routed(world, (), hold="no rule matches")
    one_routed(world, (), discard="phantom images")
    received, adoptable = world.next(), world.next()
    world.told(adoptable)
    world.spooled(adoptable)
    world.told(received)
    world.recorded(world.spooled(received))
    world.sinks.add("log", "instance routed CNRX nothing here")
    world.sinks.add_state_dir(world.folder / "state", world.folder / "state" / "spool")
    report = world.check()
    assert kinds(report) == []
    assert (report.sent, report.acknowledged) == (9, 7)
    assert {finding.sop_instance_uid for finding in report.undelivered} >= {
        half.sop_instance_uid,
        received.sop_instance_uid,
        adoptable.sop_instance_uid,
    }
    with pytest.raises(AssertionError, match="UNDELIVERED"):
        report.assert_clean(delivered=True)
    report.assert_clean()


def test_everything_delivered_is_said(world: World) -> None:
    one_delivered(world)
    world.purged()
    one_delivered(world)
    world.check().assert_clean(delivered=True)


# ── LOST ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_acknowledged_instance_that_is_nowhere_is_lost(world: World) -> None:
    one_delivered(world)
    one = world.next()
    world.told(one)
    assert kinds(world.check()) == [("LOST", one.sop_instance_uid)]
    with pytest.raises(AssertionError, match="LOST 1"):
        world.check().assert_clean()


def test_a_file_removed_before_delivery_is_lost(world: World) -> None:
    one, arrival = one_routed(world)
    world.path(arrival).unlink()
    assert kinds(world.check()) == [("LOST", one.sop_instance_uid)]
    world.damaged.add(one.sop_instance_uid)  # the test did it itself
    assert kinds(world.check()) == []


def test_a_file_cut_short_or_flipped_is_lost(world: World) -> None:
    short, arrival = one_routed(world)
    with world.path(arrival).open("r+b") as file:
        file.truncate(arrival.offset + 100)
    flipped, arrival = one_routed(world)
    with world.path(arrival).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    report = world.check()
    assert {finding.sop_instance_uid for finding in report.lost} == {short.sop_instance_uid, flipped.sop_instance_uid}
    assert {finding.sop_instance_uid for finding in report.altered} == {
        short.sop_instance_uid,
        flipped.sop_instance_uid,
    }


def test_a_file_without_its_record_that_the_ledger_does_not_know_is_lost(world: World) -> None:
    one = world.next()
    world.told(one)
    arrival = world.spooled(one)
    assert kinds(world.check()) == []
    raw = world.path(arrival).read_bytes()
    world.path(arrival).write_bytes(raw[: arrival.offset - 1] + b"\xff" + raw[arrival.offset :])
    assert kinds(world.check()) == [("LOST", one.sop_instance_uid)]


@on_both
def test_purged_after_one_of_two_destinations_is_lost(world: World) -> None:
    one, _ = one_routed(world, ("pacs",))
    world.delivered(one, "pacs")
    world.routing = {one.sop_instance_uid: BOTH}
    report = world.check()  # settled, its file still there, yet nothing will ever send it to dr
    assert kinds(report) == [("LOST", one.sop_instance_uid)]
    assert "missing at: dr" in report.lost[0].text
    world.purged()
    assert kinds(world.check()) == [("LOST", one.sop_instance_uid)]


@on_both
def test_discarded_and_cancelled_are_not_lost(world: World) -> None:
    discarded, _ = one_routed(world, (), discard="phantom images")
    cancelled, _ = one_routed(world)
    world.delivered(cancelled, "pacs")
    held, _ = one_routed(world, (), hold="no rule matches")
    which = InstanceFilter(sop_instance_uid=cancelled.sop_instance_uid)
    world.ledger.cancel(which, "not wanted", "tester", 6000)
    world.ledger.cancel(InstanceFilter(sop_instance_uid=held.sop_instance_uid), "not wanted", "tester", 6000)
    world.purged()
    world.routing = dict.fromkeys([one.sop_instance_uid for one in (discarded, cancelled, held)], BOTH)
    assert kinds(world.check()) == []


def test_a_quarantined_instance_is_safe_while_its_file_is(world: World) -> None:
    one = world.next()
    world.told(one)
    arrival = world.spooled(one)
    world.recorded(arrival)
    world.ledger.quarantine(world.session, [Quarantine(arrival.instance_id, "no header")], 5000)
    assert kinds(world.check()) == []
    world.path(arrival).unlink()
    assert kinds(world.check()) == [("LOST", one.sop_instance_uid)]


def test_a_lost_ledger_is_no_loss_as_long_as_the_spool_is_whole(world: World) -> None:
    one, arrival = one_routed(world)
    gone = LedgerView.read(world.folder / "no-such.db")
    assert gone.problem
    assert kinds(world.check(ledger=gone)) == []
    world.path(arrival).unlink()
    assert kinds(world.check(ledger=gone)) == [("LOST", one.sop_instance_uid)]


def test_a_second_success_needs_a_second_arrival(world: World) -> None:
    one, _ = one_delivered(world)
    world.told(one)
    report = world.check()
    assert kinds(report) == [("LOST", one.sop_instance_uid)]
    assert "2 Successes, but 1 in the ledger" in report.lost[0].text
    world.spooled(one)  # adoptable
    assert kinds(world.check()) == []


@on_both
def test_other_content_under_the_same_uid_is_an_instance_of_its_own(world: World) -> None:
    one, _ = one_delivered(world)
    world.purged()
    changed = one.data[:-2] + b"zz"
    journal_of_files(world.journal, [(one.sop_instance_uid, changed, 0)])
    assert kinds(world.check()) == [("LOST", one.sop_instance_uid)]
    world.recorded(world.spooled(one, changed))
    report = world.check()
    assert kinds(report) == []
    assert len(report.undelivered) == 1


# ── FALSE ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@on_both
def test_a_delivery_that_the_archive_lacks_is_false(world: World) -> None:
    one_delivered(world)
    one, _ = one_routed(world)
    world.delivered(one, "pacs")
    world.delivered(one, "dr", really=False)
    found = kinds(world.check())
    assert ("FALSE", one.sop_instance_uid) in found
    assert set(found) == {("FALSE", one.sop_instance_uid), ("LOST", one.sop_instance_uid)}  # and settled: lost too


def test_an_older_version_at_the_archive_does_not_stand_for_the_newer(world: World) -> None:
    one, _ = one_delivered(world)
    changed = one.data[:-2] + b"zz"
    journal_of_files(world.journal, [(one.sop_instance_uid, changed, 0)])
    arrival = world.spooled(one, changed)
    world.recorded(arrival)
    world.routed(arrival)
    world.delivered(one, *BOTH, really=False)
    assert {finding.kind for finding in world.check().breaches} == {"FALSE", "LOST"}


# ── ALTERED ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_other_bytes_at_an_archive_are_altered(world: World) -> None:
    one, _ = one_delivered(world)
    world.archives["dr"][one.sop_instance_uid].append("0" * 64)
    report = world.check()
    assert kinds(report) == [("ALTERED", one.sop_instance_uid)]
    assert report.altered[0].text.startswith("dr holds")


def test_an_instance_that_nobody_sent_is_altered(world: World) -> None:
    world.archives["dr"]["1.2.3"] = ["0" * 64]
    assert kinds(world.check()) == [("ALTERED", "1.2.3")]


def test_other_bytes_in_the_spool_are_altered(world: World) -> None:
    one = world.next()
    world.told(one, None)
    world.spooled(one, one.data[:-2] + b"zz")
    assert kinds(world.check()) == [("ALTERED", one.sop_instance_uid)]


def test_an_unfinished_file_is_nobodys_business(world: World) -> None:
    one = world.next()
    world.told(one, None)
    arrival = world.spooled(one)
    with world.path(arrival).open("r+b") as file:
        file.truncate(arrival.offset + 50)
    shutil.copy(world.path(arrival), world.path(arrival).with_name("f" * 32 + ".dcm"))
    assert [kind for kind, _ in kinds(world.check()) if kind == "LOST"] == []


# ── PHI ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_canaries_are_found_wherever_they_are(world: World) -> None:
    word = world.next().canaries[0]
    for name, text in {
        "log": f"cannot parse {word}".encode(),
        "lower": word.lower().encode(),
        "hex": word.encode().hex().encode(),
        "utf-16": word.encode("utf-16-le"),
        "cut short": f"name={word[:10]}…".encode(),
    }.items():
        world.sinks.add(name, text)
    world.sinks.add("clean", b"a CNR and a word")
    stray = world.folder / "state" / "run" / "note.txt"
    stray.parent.mkdir()
    stray.write_text(word)
    trail = world.folder / "state" / "audit"
    trail.mkdir()
    (trail / "trail-000000000001.jsonl").write_text(word)  # where it may be
    (trail / "syslog.position").write_text(word)
    world.sinks.add_state_dir(world.folder / "state", world.folder / "state" / "spool")
    places = {finding.text.rpartition(" in ")[2] for finding in world.check().phi}
    assert places == {"log", "lower", "hex", "utf-16", "cut short", str(stray), str(trail / "syslog.position")}


def test_further_literals_and_command_lines_are_searched(world: World) -> None:
    assert find_canaries([("log", b"name=DOE^JANE")], ["Doe^Jane"]) == [("log", "DOE^JANE")]
    word = world.next().canaries[0]
    with (
        Process(["sleep", "60"], world.folder / "out", env={"WORD": word}) as sleeper,
        ProcessWatch(world.sinks, sleeper.pid),
    ):
        wait_until(lambda: world.check().phi, 5, "the environment to be sampled")


# ── duplicates ────────────────────────────────────────────────────────────────────────────────────────────────────────


@on_both
def test_duplicates_are_counted_beyond_what_was_asked_for(world: World) -> None:
    one, _ = one_delivered(world)
    world.archives["dr"][one.sop_instance_uid].append(one.sha256)
    report = world.check()
    assert kinds(report) == []
    assert (report.duplicates["pacs"], report.duplicates["dr"]) == (0, 1)
    assert (report.forwarder_duplicates["pacs"], report.forwarder_duplicates["dr"]) == (0, 1)
    world.told(one)  # sent and acknowledged once more, and delivered once more
    arrival = world.spooled(one)
    world.recorded(arrival)
    world.routed(arrival)
    world.delivered(one, "dr")
    report = world.check()
    assert (report.duplicates["dr"], report.forwarder_duplicates["dr"]) == (1, 1)


# ── the ledger's public methods ───────────────────────────────────────────────────────────────────────────────────────


def test_the_public_methods_give_the_same_verdict(world: World) -> None:
    one_delivered(world)
    lost = world.next()
    world.told(lost)
    false, _ = one_routed(world)
    world.delivered(false, "pacs")
    world.delivered(false, "dr", really=False)
    view = LedgerView.from_ledger(world.ledger)
    assert len(view.instances) == 2
    assert set(kinds(world.check(ledger=view))) == set(kinds(world.check()))


def test_it_is_fast_enough_for_a_long_run(world: World) -> None:
    for one in itertools.islice(make_instances(20_000, pixel_bytes=16, seed=5), 20_000):
        world.journal.told(one.sop_instance_uid, one.sha256, 0)
        for name in BOTH:
            world.archives[name][one.sop_instance_uid] = [one.sha256]
    begun = time.monotonic()
    report = world.check(count_arrivals=False, routing=lambda uid: BOTH)
    assert kinds(report) == []
    assert report.acknowledged == 20_000
    assert time.monotonic() - begun < 10


def test_one_cancel_excuses_no_other_instance(world: World) -> None:
    held, _ = one_routed(world, (), hold="no rule matches")
    world.ledger.cancel(InstanceFilter(sop_instance_uid=held.sop_instance_uid), "not wanted", "tester", 6000)
    gone, _ = one_routed(world, ())  # settled at once: a decision that names no destination, and no reason
    world.routing = {gone.sop_instance_uid: BOTH, held.sop_instance_uid: BOTH}
    assert kinds(world.check()) == [("LOST", gone.sop_instance_uid)]
