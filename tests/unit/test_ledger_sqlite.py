"""The SQLite ledger among processes and on bad files: locks, damage, deletion, migrations, checkpoints, kills."""

from __future__ import annotations

import dataclasses
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import LedgerBusy, LedgerDamaged, LedgerError
from gateway.ledger import queries
from gateway.ledger.base import InstanceFilter
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite.database import APPLICATION_ID, apply_migrations
from gateway.model import DeliveryState, InstanceState, Quarantine, Role
from tests.contract.ledger_scene import Scene, arrival, decision

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
@pytest.mark.parametrize("seed", range(8))
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
        setup.void_host("host", life)
        assert setup.check() == []
    assert setup.known_instances(recorded) == recorded
    rows = setup.deliveries_of([row.instance_id for row in setup.list_instances(InstanceFilter(), 1 << 30)])
    assert concluded <= {row.delivery_id for row in rows if row.state is DeliveryState.DELIVERED}
    setup.close()


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_deleted_ledger_is_noticed_at_the_next_call(scene: Scene, path: Path, suffix: str) -> None:
    scene.arrive("a")
    path.with_name(path.name + suffix).unlink()
    with pytest.raises(LedgerDamaged):
        scene.arrive("b")
    with pytest.raises(LedgerDamaged):
        scene.ledger.gauges()


def test_a_replaced_ledger_is_noticed(scene: Scene, path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)
    with pytest.raises(LedgerDamaged):
        scene.arrive("a")


def test_a_missing_ledger_is_made_only_when_that_is_wanted(path: Path) -> None:
    with pytest.raises(LedgerDamaged, match="missing"):
        SqliteLedger.open(path, create=False)
    assert not path.exists()
    SqliteLedger.open(path).close()
    SqliteLedger.open(path, create=False).close()
    assert path.stat().st_mode & 0o077 == 0  # it holds patient data


def test_a_missing_folder_is_said_so(path: Path) -> None:
    with pytest.raises(LedgerError, match="folder must exist"):
        SqliteLedger.open(path.parent / "no such folder" / "ledger.db")


def test_a_missing_database_beside_its_log_is_not_replaced_by_a_new_one(scene: Scene, path: Path) -> None:
    scene.arrive("a")
    path.unlink()
    with pytest.raises(LedgerDamaged, match="write-ahead log"):
        SqliteLedger.open(path)


@pytest.mark.parametrize(
    "content", [b"", b"no database at all, but long enough to look at" * 100, b"SQLite format 3\0"]
)
def test_what_is_no_ledger_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerDamaged):
        SqliteLedger.open(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(path: Path) -> None:
    with raw(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(LedgerDamaged, match="not a ledger"):
        SqliteLedger.open(path)


def test_damaged_pages_are_found_by_check_and_stop_writers(path: Path) -> None:
    scene = Scene(lambda: SqliteLedger.open(path))
    scene.arrive(*(f"i{n}" for n in range(500)))
    scene.route(decision("pacs", "dr"))
    scene.ledger.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        for offset in range(size // 2 // 4096 * 4096, size, 4096):
            file.seek(offset)
            file.write(random.Random(offset).randbytes(4096))
    ledger = SqliteLedger.open(path)
    assert any(problem.startswith("damaged") for problem in ledger.check())
    with pytest.raises(LedgerDamaged):
        ledger.list_instances(InstanceFilter(), 1000)
    with pytest.raises(LedgerDamaged):
        for n in range(500):
            ledger.record_arrivals([arrival(f"new{n}", f"1.2.3.i{n}")], 1)
    ledger.close()


def test_a_full_disk_is_an_error_that_changes_nothing(scene: Scene, path: Path) -> None:
    scene.arrive("a")
    connection = scene.ledger._database._connection  # type: ignore[attr-defined]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="full"):
        scene.arrive(*(f"i{n}" for n in range(2000)))
    connection.execute("PRAGMA max_page_count = 1000000")
    assert scene.ledger.known_instances(["a", "i0"]) == {"a"}
    scene.arrive("b")
    assert scene.ledger.check() == []


# ── schema ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_ledger_of_version_1_with_rows_is_opened_by_the_current_code(path: Path) -> None:
    old = raw(path)
    old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    apply_migrations(old, queries.migrations("sqlite")[:1])
    old.executescript("""
        INSERT INTO association VALUES (1, 'a1', 'main', 'ct1', 'CT1', 'GATEWAY', '10.0.0.7');
        INSERT INTO destination (destination_key, name, configured, updated_at_ms) VALUES (1, 'pacs', 1, 5);
        INSERT INTO instance (seq, instance_id, state, association_key, sop_class_uid, sop_instance_uid,
                              received_at_ms, recorded_at_ms, duplicate)
            VALUES (1, 'old', 'routed', 1, '1.2', '1.2.3', 5, 6, 'none'),
                   (2, 'new', 'received', 1, '1.2', '1.2.4', 7, 8, 'none');
        INSERT INTO payload VALUES (1, '', 'p1', 0, 1, x'00', '1.2', '1.2.3', '1.2.840'),
                                   (2, '', 'p2', 0, 1, x'00', '1.2', '1.2.4', '1.2.840');
        INSERT INTO delivery (instance_seq, destination_key, state, created_at_ms, queued_at_ms, updated_at_ms)
            VALUES (1, 1, 'ready', 5, 5, 5);
        INSERT INTO instance_count VALUES ('routed', 1), ('received', 1);
        INSERT INTO delivery_count VALUES (1, 'ready', 1);
    """)
    old.close()
    scene = Scene(lambda: SqliteLedger.open(path, create=False))
    assert scene.claimed() == ["old"]
    assert scene.route() == ["new"]
    scene.close()


def test_migrations_are_applied_in_order_once_and_each_whole(path: Path) -> None:
    steps = ("CREATE TABLE one (x);", "CREATE TABLE two (x);\nINSERT INTO two VALUES (1);")
    connection = raw(path)
    apply_migrations(connection, steps[:1])
    broken = (*steps, "CREATE TABLE three (x);\nINSERT INTO nowhere VALUES (1);")
    with pytest.raises(sqlite3.OperationalError):
        apply_migrations(connection, broken)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("SELECT name FROM sqlite_schema ORDER BY 1").fetchall() == [("one",), ("two",)]
    apply_migrations(connection, steps)
    assert connection.execute("SELECT count(*) FROM two").fetchone() == (1,)
    connection.close()


def test_a_newer_schema_is_refused(path: Path) -> None:
    SqliteLedger.open(path).close()
    with raw(path) as newer:
        newer.execute("PRAGMA user_version = 9999")
    newer.close()
    with pytest.raises(LedgerDamaged, match="upgrade"):
        SqliteLedger.open(path)


# ── commits ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_checkpointed_but_by_checkpoint(scene: Scene, path: Path) -> None:
    size = path.stat().st_size
    scene.arrive(*(f"i{n}" for n in range(3000)))
    assert path.stat().st_size == size
    scene.ledger.checkpoint()
    assert path.stat().st_size > size


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
    unfit = dataclasses.replace(arrival("c"), length=object())  # type: ignore[arg-type]
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
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection = scene.ledger._database._connection  # type: ignore[attr-defined]
    connection.set_progress_handler(count, 100)
    assert scene.claim() == []
    connection.set_progress_handler(None, 0)
    assert steps < 10  # some hundreds of SQLite's instructions, not a look at each of a thousand rows


def test_a_quarantine_by_a_stopped_process_is_refused_after_its_lease_went_on(scene: Scene) -> None:
    scene.arrive("a")
    scene.claim_instances()
    stopped = scene.worker
    scene.ledger.void_session(stopped.session_id, 1)
    scene.worker = scene.session(Role.WORKER)
    scene.route()
    assert scene.ledger.quarantine(stopped, [Quarantine("a", "late")], 2) == 0
    assert scene.state("a") is InstanceState.ROUTED
