"""The start of one host beside others: two homes on one ledger and one spool.

The ledger is SQLite's, opened under the names of two homes, as one of PostgreSQL is by two hosts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app.common import journal_dir, open_spool, register, void_session
from gateway.app.home import home_of
from gateway.app.homes import (
    adopt_earlier,
    refuse_empty_spool,
    refuse_new_ledger,
    refuse_other_spool,
    refuse_twin,
    refuse_unshared_spool,
    remove_earlier_copies,
    void_earlier,
)
from gateway.app.others import clock_skews, look_at_others, unseen_hosts
from gateway.config import Config, load
from gateway.errors import AlreadyRunning, LeaseLost, LedgerDamaged, SpoolError
from gateway.flow.adopt import Leftovers, adopt_of_others
from gateway.ledger.journal import OutcomeJournal
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import DeliveryLease, DeliveryState, Outcome, Role, Session
from gateway.spool import Spool, derive
from tests.contract.ledger_scene import Scene, arrival
from tests.unit.spool_kit import make_intake, make_meta, store

CONFIG = """\
state_dir: ./state
spool: {dir: ../spool}
host: %s
listeners: {main: {host: 127.0.0.1, port: 11112}}
sources: {ct1: {ae_titles: [CT1]}}
destinations: {pacs: {host: 10.0.0.2, port: 104, ae_title: PACS}}
ledger: {url: "postgresql://gateway@db/gateway"}
"""
MINE, THEIRS, OLD, STRANGE = "0001-aaaa", "0002-bbbb", "0003-cccc", "0004-dddd"


def config_of(folder: Path, host: str) -> Config:
    place = folder / host
    (place / "rules").mkdir(parents=True, exist_ok=True)
    (place / "gateway.yaml").write_text(CONFIG % host)
    return load(place / "gateway.yaml", {})


class Hosts:
    """Two hosts; each has started."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there = config_of(folder, "here"), config_of(folder, "there")
        self.ledger = SqliteLedger.open(folder / "ledger.db")
        self.spool = self.joined(self.here)
        self.joined(self.there)

    @property
    def home(self) -> str:
        return home_of(self.here.state_dir)

    def joined(self, config: Config) -> Spool:
        spool = open_spool(config)
        spool.prepare(join=True)
        return spool

    def files(self) -> set[str]:
        return {path.name for path in self.here.spool.dir.glob("incoming/**/*.dcm")}


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    opened = Hosts(tmp_path)
    yield opened
    assert opened.ledger.check() == []
    opened.ledger.close()


def dead_receiver(hosts: Hosts, config: Config, generation: str, watched: bool = False) -> tuple[str, str]:
    """A receiver that has stored one instance, was cut off in another, and is voided; what it left: whole, half."""
    session = register(config, hosts.ledger, Role.RECEIVER, generation)
    intake = make_intake(hosts.spool, generation, 2)
    whole = store(intake, b"whole " * 100)
    writer = intake.begin(make_meta())
    writer.write(b"half " * 40_000)
    hosts.ledger.void_session(session.session_id, 5)
    return f"{whole.instance_id}.dcm", writer.relative.rsplit("/", 1)[1]


def test_a_start_leaves_alone_what_receivers_of_other_hosts_are_writing(hosts: Hosts) -> None:
    register(hosts.there, hosts.ledger, Role.RECEIVER, THEIRS)
    living = make_intake(hosts.spool, THEIRS, 4)
    living.begin(make_meta()).write(b"half " * 40_000)
    recording = store(living, b"recorded in a moment")
    whole, half = dead_receiver(hosts, hosts.here, MINE)
    before = hosts.files()
    found = adopt_earlier(hosts.ledger, hosts.here, hosts.spool)
    assert (found.adopted, found.removed) == (1, 1)
    assert hosts.files() == before - {half}
    assert not hosts.ledger.known_instances([recording.instance_id])
    assert hosts.ledger.known_instances([whole.removesuffix(".dcm")])


def test_what_the_watcher_took_for_dead_is_adopted_and_removed_by_its_own_start_only(hosts: Hosts) -> None:
    whole, half = dead_receiver(hosts, hosts.there, THEIRS)
    found = adopt_of_others(hosts.spool, hosts.ledger, THEIRS, 6)
    assert (found.adopted, found.removed) == (1, 0)
    found = adopt_earlier(hosts.ledger, hosts.here, hosts.spool)
    assert (found.adopted, found.removed) == (0, 0)
    assert hosts.files() == {whole, half}
    found = adopt_earlier(hosts.ledger, hosts.there, hosts.spool)
    assert (found.adopted, found.removed) == (0, 1)
    assert hosts.files() == {whole}


def test_a_start_that_nobody_watched_for_adopts_the_complete_files_of_others(hosts: Hosts) -> None:
    whole, half = dead_receiver(hosts, hosts.there, THEIRS)
    found = adopt_earlier(hosts.ledger, hosts.here, hosts.spool)
    assert (found.adopted, found.removed) == (1, 0)
    assert hosts.files() == {whole, half}


def test_what_a_receiver_acknowledges_after_it_was_taken_for_dead_is_adopted_when_it_dies(hosts: Hosts) -> None:
    session = register(hosts.there, hosts.ledger, Role.RECEIVER, THEIRS)
    intake = make_intake(hosts.spool, THEIRS, 4)
    first = store(intake, b"first")
    leftovers = Leftovers(hosts.spool)
    assert leftovers.adopt(hosts.ledger, 4).adopted == 0, "it lives"
    hosts.ledger.void_session(session.session_id, 5)
    assert adopt_of_others(hosts.spool, hosts.ledger, THEIRS, 6).adopted == 1
    second, damaged = store(intake, b"second"), store(intake, b"damaged")
    path = hosts.spool.path(damaged.path)
    path.write_bytes(path.read_bytes()[:-1])
    before = hosts.files()
    found = leftovers.adopt(hosts.ledger, 7)
    assert (found.adopted, found.removed, [item.instance_id for item in found.left]) == (1, 0, [damaged.instance_id])
    assert hosts.ledger.known_instances([first.instance_id, second.instance_id, damaged.instance_id]) == {
        first.instance_id,
        second.instance_id,
    }
    found = leftovers.adopt(hosts.ledger, 8)
    assert (found.adopted, found.removed, found.left) == (0, 0, ())
    assert hosts.files() == before


def test_with_a_ledger_of_its_own_a_host_knows_all_to_be_dead(hosts: Hosts) -> None:
    alone = replace(hosts.here, ledger=replace(hosts.here.ledger, url="sqlite"))
    dead_receiver(hosts, hosts.there, THEIRS)
    found = adopt_earlier(hosts.ledger, alone, hosts.spool)
    assert (found.adopted, found.removed) == (1, 1)


def test_copies_that_workers_of_other_hosts_make_stay(hosts: Hosts) -> None:
    theirs = register(hosts.there, hosts.ledger, Role.WORKER)
    dead = register(hosts.here, hosts.ledger, Role.WORKER)
    hosts.ledger.void_session(dead.session_id, 5)
    folder = hosts.spool.directory / "derived" / "0198c0de"
    fresh = derive(hosts.spool, "0198c0de" + "0" * 24, "d" * 16, make_meta(), 0, lambda writer: writer.write(b"x"))
    name = Path(fresh.path).name
    old = folder / name.replace("d" * 16, "e" * 16)
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    made = [folder / f"s{session.session_id}-{'0' * 16}-{name}" for session in (theirs, dead)]
    for path in made:
        path.write_bytes(b"half")
    assert remove_earlier_copies(hosts.ledger, hosts.here, hosts.spool) == {}
    assert {path.name for path in folder.iterdir()} == {name, made[0].name}
    hosts.ledger.void_session(theirs.session_id, 6)
    assert remove_earlier_copies(hosts.ledger, hosts.here, hosts.spool) == {}
    assert not folder.exists()


# ── a ledger that is new ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_ledger_beside_a_spool_with_instances_is_refused_every_time(hosts: Hosts) -> None:
    store(make_intake(hosts.spool, STRANGE), b"acknowledged long ago")
    for _ in range(2):
        with pytest.raises(LedgerDamaged, match="gateway recover"):
            refuse_new_ledger(hosts.ledger, hosts.spool)
        register(hosts.here, hosts.ledger, Role.RECEIVER, MINE)


def test_a_first_start_that_ended_before_anything_was_recorded_is_no_reason_to_refuse(hosts: Hosts) -> None:
    refuse_new_ledger(hosts.ledger, hosts.spool)
    dead_receiver(hosts, hosts.there, THEIRS)
    refuse_new_ledger(hosts.ledger, hosts.spool)
    make_intake(hosts.spool, STRANGE)  # nothing was ever in these
    refuse_new_ledger(hosts.ledger, hosts.spool)


# ── two machines that are one ─────────────────────────────────────────────────────────────────────────────────────


def test_two_machines_of_one_name_are_told_apart_by_what_beats(hosts: Hosts) -> None:
    twin = replace(hosts.there, host="here")
    session = register(twin, hosts.ledger, Role.WORKER)
    with pytest.raises(AlreadyRunning, match="called 'here' too"):
        refuse_twin(hosts.ledger, hosts.here, lambda _: hosts.ledger.beat(session, 7))
    refuse_twin(hosts.ledger, hosts.here, lambda _: None)  # it is dead, only nobody has voided it yet


def test_a_copy_of_a_state_folder_is_found_by_what_beats(hosts: Hosts) -> None:
    session = register(replace(hosts.here, host="copy"), hosts.ledger, Role.WORKER)
    with pytest.raises(AlreadyRunning, match="copy of this state folder"):
        refuse_twin(hosts.ledger, hosts.here, lambda _: hosts.ledger.beat(session, 7))


def start_of(hosts: Hosts, config: Config) -> Session:
    return hosts.ledger.open_session(Role.SUPERVISOR, config.host, 1, 1, "", home_of(config.state_dir))


@pytest.mark.parametrize(("host", "said"), [("copy", "copy of this state folder"), ("here", "called 'here' too")])
def test_of_two_starts_at_once_the_later_one_refuses(hosts: Hosts, host: str, said: str) -> None:
    twin = replace(hosts.here if host == "copy" else hosts.there, host=host)
    first, second = start_of(hosts, hosts.here), start_of(hosts, twin)
    waited: list[float] = []
    refuse_twin(hosts.ledger, hosts.here, waited.append, first)
    assert waited == []
    with pytest.raises(AlreadyRunning, match=said):
        refuse_twin(hosts.ledger, twin, lambda _: hosts.ledger.beat(first, 7), second)
    refuse_twin(hosts.ledger, twin, waited.append, second)
    assert waited != [], "the first one is dead"


def test_a_start_that_another_took_for_dead_touches_nothing(hosts: Hosts) -> None:
    first, second = start_of(hosts, hosts.here), start_of(hosts, hosts.here)
    void_earlier(hosts.ledger, hosts.here, second)
    role = register(hosts.here, hosts.ledger, Role.RECEIVER, MINE)
    with pytest.raises(LeaseLost):
        void_earlier(hosts.ledger, hosts.here, first)
    assert [each.session for each in hosts.ledger.sessions()] == [second, role]


def test_a_start_that_is_under_way_is_no_host_that_runs(hosts: Hosts, tmp_path: Path) -> None:
    start_of(hosts, hosts.there)
    elsewhere = Spool(tmp_path / "elsewhere", 0, 0, hosts.home)
    refuse_other_spool(hosts.ledger, elsewhere)
    refuse_unshared_spool(hosts.ledger, replace(hosts.here, spool=replace(hosts.here.spool, shared=False)))
    assert unseen_hosts(hosts.ledger, hosts.spool.directory, hosts.home) == []


def test_a_start_after_an_orderly_stop_waits_for_nobody(hosts: Hosts) -> None:
    register(hosts.there, hosts.ledger, Role.WORKER)
    waited: list[float] = []
    refuse_twin(hosts.ledger, hosts.here, waited.append)
    refuse_other_spool(hosts.ledger, hosts.spool, waited.append)
    assert waited == []


# ── the spool of another ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_start_in_another_folder_than_the_hosts_that_run_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    elsewhere = Spool(tmp_path / "elsewhere", 0, 0, hosts.home)
    refuse_other_spool(hosts.ledger, elsewhere)  # nobody runs
    register(hosts.there, hosts.ledger, Role.CONSOLE)
    with pytest.raises(SpoolError, match="that there work in"):
        refuse_other_spool(hosts.ledger, elsewhere, lambda _: None)
    refuse_other_spool(hosts.ledger, hosts.spool)


def test_a_host_with_a_spool_of_its_own_is_refused_beside_others(hosts: Hosts) -> None:
    alone = replace(hosts.here, spool=replace(hosts.here.spool, shared=False))
    refuse_unshared_spool(hosts.ledger, alone)
    register(hosts.there, hosts.ledger, Role.CONSOLE)
    with pytest.raises(SpoolError, match=r"there run on the same ledger, and `spool\.shared` is false here"):
        refuse_unshared_spool(hosts.ledger, alone)
    refuse_unshared_spool(hosts.ledger, hosts.here)


def test_a_start_in_the_place_where_the_spool_is_to_be_mounted_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    unmounted = Spool(tmp_path / "mount", 0, 0, hosts.home)
    refuse_empty_spool(hosts.ledger, unmounted)  # nothing is missing there
    hosts.ledger.record_arrivals([arrival("a")], 1)
    with pytest.raises(SpoolError, match="the ledger has 1 instances whose files should be in it: mount"):
        refuse_empty_spool(hosts.ledger, unmounted)
    refuse_empty_spool(hosts.ledger, hosts.spool)


def test_check_names_the_hosts_whose_spool_is_another(hosts: Hosts, tmp_path: Path) -> None:
    spool = replace(hosts.there.spool, dir=tmp_path / "elsewhere")
    other = replace(hosts.there, spool=spool)
    hosts.joined(other)
    assert unseen_hosts(hosts.ledger, hosts.spool.directory, hosts.home) == []
    session = register(other, hosts.ledger, Role.CONSOLE)
    assert unseen_hosts(hosts.ledger, hosts.spool.directory, hosts.home) == ["there"]
    found = look_at_others(hosts.ledger, hosts.spool.directory, hosts.home, lambda: 0, lambda _: None)
    assert "host there" in found.errors[0]
    hosts.ledger.void_session(session.session_id, 5)
    register(hosts.there, hosts.ledger, Role.CONSOLE)
    assert look_at_others(hosts.ledger, hosts.spool.directory, hosts.home, lambda: 0, lambda _: None).errors == ()


def test_what_an_earlier_run_has_shown_does_not_count(hosts: Hosts) -> None:
    session = register(hosts.there, hosts.ledger, Role.CONSOLE)
    hosts.ledger.void_session(session.session_id, 5)
    hosts.ledger.open_session(Role.CONSOLE, "there", 1, 6, "", home_of(hosts.there.state_dir))
    assert unseen_hosts(hosts.ledger, hosts.spool.directory, hosts.home) == ["there"]


# ── clocks ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("skew_ms", "told"), [(0, ""), (1_500, ""), (9_000, "9.0 s ahead"), (-9_000, "9.0 s behind")])
def test_check_compares_the_clocks_of_hosts_by_their_heartbeats(hosts: Hosts, skew_ms: int, told: str) -> None:
    theirs = register(hosts.there, hosts.ledger, Role.WORKER)
    register(hosts.there, hosts.ledger, Role.CONSOLE)  # one that says nothing meanwhile
    now_ms = [1_000_000]

    def wait(seconds: float) -> None:
        now_ms[0] += int(seconds * 500)
        hosts.ledger.beat(theirs, now_ms[0] + skew_ms)
        now_ms[0] += int(seconds * 500)

    found = clock_skews(hosts.ledger, hosts.home, lambda: now_ms[0], wait)
    assert abs(found["there"] - skew_ms) <= 1
    warnings = look_at_others(hosts.ledger, hosts.spool.directory, hosts.home, lambda: now_ms[0], wait).warnings
    assert [told in warning for warning in warnings] == ([True] if told else [])


# ── journals of outcomes ──────────────────────────────────────────────────────────────────────────────────────────


def delivered(lease: DeliveryLease) -> Outcome:
    return Outcome(lease.delivery_id, lease.token, DeliveryState.DELIVERED, "success", status=0)


def test_whoever_voids_a_forwarder_of_another_host_reads_its_journal_in_the_spool(hosts: Hosts, tmp_path: Path) -> None:
    scene = Scene(lambda: SqliteLedger.open(tmp_path / "ledger.db"))
    scene.arrive("a", "b")
    scene.route()
    theirs = register(hosts.there, hosts.ledger, Role.FORWARDER)
    first, _ = scene.claim(session=theirs)
    OutcomeJournal(journal_dir(hosts.there), theirs).write(delivered(first))
    mine = register(hosts.here, hosts.ledger, Role.FORWARDER)
    journal = OutcomeJournal(journal_dir(hosts.here), mine)
    # A start of this host leaves the other's journal alone, and its session too.
    void_earlier(hosts.ledger, hosts.here)
    assert [each.session for each in hosts.ledger.sessions() if each.home] == [theirs]
    void_session(hosts.here, hosts.ledger, theirs.session_id, home_of(hosts.there.state_dir))
    assert [state for _, _, state in scene.deliveries("a", "b")] == ["delivered", "ready"]
    assert list(hosts.spool.directory.glob("outcomes/*/*")) == []
    journal.close()
    scene.close()


def test_journals_of_a_host_alone_lie_beside_its_ledger(hosts: Hosts) -> None:
    alone = replace(hosts.here, spool=replace(hosts.here.spool, shared=False))
    assert journal_dir(alone) == alone.state_dir
