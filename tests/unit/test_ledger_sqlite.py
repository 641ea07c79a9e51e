"""The SQLite ledger among processes: locks and kills, commits, the audit trail, its self-examination."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import LedgerBusy, LedgerError
from gateway.ledger.base import InstanceFilter
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import DeliveryState, DuplicateKind, InstanceState, Quarantine, Role
from tests.contract.ledger_scene import Scene, arrival

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def scene(path: Path) -> Iterator[Scene]:
    """A ledger with two destinations."""
    scene = Scene(lambda: SqliteLedger.open(path, busy_timeout_s=0.2))
    yield scene
    scene.ledger.close()


def process(*arguments: object) -> subprocess.Popen[str]:
    """One of the processes of `ledger_processes`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.ledger_processes", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(child: subprocess.Popen[str]) -> list[str]:
    """The next line a process prints."""
    assert child.stdout is not None
    return child.stdout.readline().split()


def raw(path: Path) -> sqlite3.Connection:
    """The database as any program sees it."""
    return sqlite3.connect(path, isolation_level=None)


@contextlib.contextmanager
def counted_steps(scene: Scene) -> Iterator[list[None]]:
    """Each item a hundred of SQLite's instructions: a look at each of a thousand rows is some dozens of them."""
    steps: list[None] = []
    connection = scene.ledger._database._connection  # type: ignore[attr-defined]
    connection.set_progress_handler(lambda: steps.append(None), 100)
    yield steps
    connection.set_progress_handler(None, 0)


# ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_writer_that_is_kept_waiting_says_busy_and_works_again_later(scene: Scene, path: Path) -> None:
    with process("hold", path.parent) as holder:
        assert line(holder) == ["held"]
        for _ in range(3):
            with pytest.raises(LedgerBusy):
                scene.arrive("a")
        assert scene.ledger.known_instances(["a"]) == set()  # readers are not kept waiting
        assert scene.ledger.gauges().instances == {}
        holder.send_signal(signal.SIGKILL)
    scene.arrive("a")
    assert scene.state("a") is InstanceState.RECEIVED


def test_a_lock_granted_after_its_waiter_gave_up_is_handed_back(scene: Scene, path: Path) -> None:
    other = SqliteLedger.open(path, busy_timeout_s=5)
    with process("hold", path.parent) as holder:
        assert line(holder) == ["held"]
        with pytest.raises(LedgerBusy):
            scene.arrive("a")
        holder.communicate("")
    other.record_arrivals([arrival("b")], 1)
    scene.arrive("a")
    other.close()


def test_a_foreign_writer_makes_it_busy_too(scene: Scene, path: Path) -> None:
    foreign = raw(path)
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerBusy):
        scene.arrive("a")
    foreign.execute("ROLLBACK")
    foreign.close()
    scene.arrive("a")


def test_writers_take_turns(path: Path) -> None:
    SqliteLedger.open(path).close()
    contenders = [process("contend", path.parent, 2) for _ in range(4)]
    for each in contenders:
        assert line(each) == ["ready"]
    for each in contenders:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    counts, waits = zip(*((int(n), float(s)) for n, s in (line(each) for each in contenders)), strict=True)
    for each in contenders:
        each.communicate(timeout=60)
    assert min(counts) * 4 > max(counts)
    assert max(waits) < 1.0
    ledger = SqliteLedger.open(path)
    assert ledger.gauges().instances == {InstanceState.RECEIVED: sum(counts) * 20}
    assert ledger.check() == []
    ledger.close()


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(8 if os.environ.get("GATEWAY_CHAOS") == "long" else 2))
def test_a_killed_writer_loses_nothing_it_committed(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    setup = SqliteLedger.open(path)
    setup.sync_destinations({"pacs": False, "dr": True}, 0)
    recorded: set[str] = set()
    concluded: set[int] = set()
    for life in range(3):
        with process("write", path.parent, seed * 100 + life) as writer:
            assert line(writer)[0] == "recorded"
            deadline = time.monotonic() + chance.uniform(0.02, 0.3)
            told = [line(writer)]
            while time.monotonic() < deadline:
                told.append(line(writer))
            writer.send_signal(signal.SIGKILL)
            assert writer.stdout is not None
            told += [each.split() for each in writer.stdout.read().splitlines(keepends=True) if each.endswith("\n")]
        recorded |= {each for kind, *ids in told if kind == "recorded" for each in ids}
        concluded |= {int(each) for kind, *ids in told if kind == "concluded" for each in ids}
        setup.void_all(life, {})
        assert setup.check() == []
    assert setup.known_instances(recorded) == recorded
    rows = setup.deliveries_of([row.instance_id for row in setup.list_instances(InstanceFilter(), 1 << 30)])
    assert concluded <= {row.delivery_id for row in rows if row.state is DeliveryState.DELIVERED}
    setup.close()


# ── commits ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_checkpointed_but_by_checkpoint(scene: Scene, path: Path) -> None:
    size = path.stat().st_size
    scene.arrive(*(f"i{n}" for n in range(3000)))
    assert path.stat().st_size == size
    assert not scene.ledger.checkpoint(at_least_bytes=1 << 30)
    assert path.stat().st_size == size
    assert scene.ledger.checkpoint(at_least_bytes=1 << 19)
    assert path.stat().st_size > size
    # What waits is what came since, however long the log's file is.
    assert not scene.ledger.checkpoint(at_least_bytes=1)
    scene.arrive("one more")
    assert scene.ledger.checkpoint(at_least_bytes=1) and not scene.ledger.checkpoint(at_least_bytes=1)
    assert scene.ledger.checkpoint()


def test_commits_that_change_something_are_counted(path: Path) -> None:
    ledger = SqliteLedger.open(path)
    session = ledger.open_session(Role.WORKER, "host", 1, 0)
    assert ledger.commits == 1
    ledger.claim_instances(session, 10, 0)
    assert ledger.commits == 1
    ledger.record_arrivals([arrival("a"), arrival("b")], 0)
    assert ledger.commits == 2
    ledger.close()


def test_an_exception_inside_a_transaction_leaves_nothing_behind(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    (lease,) = scene.claim()
    with pytest.raises(ValueError, match="not an outcome"):
        scene.conclude(lease, lease, state=DeliveryState.READY)
    unfit = arrival("c")._replace(length=object())  # type: ignore[arg-type]
    with pytest.raises(LedgerError):
        scene.ledger.record_arrivals([arrival("b"), unfit], 1)
    assert scene.ledger.known_instances(["b"]) == set()
    assert scene.ledger.check() == []


def test_orders_and_purges_are_flushed(scene: Scene, path: Path) -> None:
    seen: list[int] = []
    connection = scene.ledger._database._connection  # type: ignore[attr-defined]
    connection.set_trace_callback(
        lambda sql: seen.append(connection.execute("PRAGMA synchronous").fetchone()[0]) if sql == "COMMIT" else None
    )
    scene.arrive("a")
    scene.ledger.cancel(InstanceFilter(), "test", "me", 1)
    scene.ledger.begin_purge(1, 1, 1)
    scene.arrive("b")
    connection.set_trace_callback(None)
    assert seen == [1, 2, 2, 1]


def test_every_order_leaves_an_audit_row_that_cannot_be_changed(scene: Scene, path: Path) -> None:
    scene.arrive("a")
    which = InstanceFilter(instance_ids=("a",), states=(InstanceState.RECEIVED,))
    scene.ledger.hold(which, "why", "me", 1)
    scene.ledger.release(InstanceFilter(source="ct1"), "you", 2)
    scene.ledger.resend(InstanceFilter(), ["pacs"], "me", 3)
    scene.ledger.cancel(InstanceFilter(), "because", "me", 4)
    scene.ledger.pause_destination("pacs", True, "me", 5)
    connection = raw(path)
    rows = connection.execute("SELECT at_ms, actor, action, filter, reason, count FROM audit").fetchall()
    assert rows == [
        (1, "me", "hold", '{"instance_ids": ["a"], "states": ["received"]}', "why", 1),
        (2, "you", "release", '{"source": "ct1"}', "", 1),
        (3, "me", "resend", '{"to": ["pacs"]}', "", 0),
        (4, "me", "cancel", "{}", "because", 0),
        (5, "me", "pause", '{"destination": "pacs"}', "", 1),
    ]
    for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'nobody'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE delivery_count SET n = n + 1", "counters of deliveries"),
        ("UPDATE instance_count SET n = n + 1", "counters of instances"),
        ("INSERT INTO instance_count VALUES ('held', 1)", "counters of instances"),
        ("DELETE FROM payload", "without an original payload"),
        ("UPDATE instance SET state = 'settled'", "settled or purged instances with an unsettled delivery"),
        ("UPDATE instance SET state = 'settled'", "would never be purged"),
        ("UPDATE delivery SET state = 'delivered'", "routed instances without"),
        ("UPDATE delivery SET state = 'leased'", "leases of sessions"),
        ("UPDATE delivery SET parked = 1", "parked"),
        ("UPDATE instance SET sop_instance_uid = 'same'", "not twins"),
        ("UPDATE delivery SET first_seq = 1", "twins are not those"),
        ("UPDATE destination SET configured = 0", "not configured"),
        ("DELETE FROM association", "refer to a missing association"),
    ],
)
def test_check_finds_what_must_not_be(scene: Scene, path: Path, statement: str, words: str) -> None:
    scene.arrive("a", "b")
    scene.route()
    assert scene.ledger.check() == []
    connection = raw(path)
    connection.execute(statement)
    connection.close()
    assert any(words in problem for problem in scene.ledger.check())


def test_a_long_line_of_one_uid_costs_other_claims_nothing(scene: Scene) -> None:
    scene.arrive(*(f"v{n}" for n in range(1000)), uid="1.9")
    while leases := scene.claim_instances(1):
        scene.record(leases)
    scene.arrive("other")
    scene.route()
    assert scene.claimed(limit=10) == ["v0", "other"]
    with counted_steps(scene) as steps:
        assert scene.claim() == []
    assert len(steps) < 10


def test_sending_one_again_costs_no_look_at_all_others(scene: Scene) -> None:
    scene.arrive(*(f"a{n}" for n in range(1000)))
    scene.route()
    with counted_steps(scene) as steps:
        assert scene.ledger.resend(InstanceFilter(instance_ids=("a500",)), ["dr"], "me", 1) == 1
    assert len(steps) < 20


def test_duplicates_that_wait_for_what_stands_for_them_cost_a_purge_nothing(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True}, 2)
    scene.arrive(*(f"a{n}" for n in range(1000)), uid="1.9")
    scene.route()
    with counted_steps(scene) as steps:
        assert scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms) == []
    assert len(steps) < 10
    scene.conclude(*scene.claim())
    assert len(scene.ledger.begin_purge(scene.now_ms, 2000, scene.now_ms)) == 1000


def test_a_quarantine_by_a_stopped_process_is_refused_after_its_lease_went_on(scene: Scene) -> None:
    scene.arrive("a")
    scene.claim_instances()
    stopped = scene.worker
    scene.ledger.void_session(stopped.session_id, 1)
    scene.worker = scene.session(Role.WORKER)
    scene.route()
    assert scene.ledger.quarantine(stopped, [Quarantine("a", "late")], 2) == 0
    assert scene.state("a") is InstanceState.ROUTED


def test_one_uid_sent_again_and_again_is_compared_with_the_first_and_the_newest_only(scene: Scene) -> None:
    def content(number: int) -> bytes:
        return b"%015d" % number

    scene.ledger.record_arrivals([arrival(f"a{n}", "1.2.3", content(n)) for n in range(300)], 1)
    again = [arrival(f"b{n}", "1.2.3", content(n)) for n in (0, 299, 150)]
    kinds = [recorded.duplicate for recorded in scene.ledger.record_arrivals(again, 2)]
    # Looking at all of them made each arrival slower than the one before: 13 ms, under the lock, at the 8,000th.
    assert kinds == [DuplicateKind.EXACT, DuplicateKind.EXACT, DuplicateKind.CHANGED]


def test_gauges_cost_the_same_however_much_waits_to_be_routed(scene: Scene) -> None:
    def steps() -> int:
        with counted_steps(scene) as counted:
            assert scene.ledger.gauges().routing_since_ms == 1_000
        return len(counted)

    scene.arrive("a", "b")
    scene.claim_instances(1)
    few = steps()
    scene.arrive(*(f"i{number}" for number in range(3000)))
    scene.claim_instances(1000)
    assert steps() <= few + 2
