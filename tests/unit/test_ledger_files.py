"""The SQLite ledger on bad, deleted, replaced and old files, and on a full disk."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import LedgerDamaged, LedgerError, LedgerFull
from gateway.ledger import queries
from gateway.ledger.base import InstanceFilter
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite.database import APPLICATION_ID, apply_migrations, translated
from tests.contract.ledger_scene import Scene, arrival, decision


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


def raw(path: Path) -> sqlite3.Connection:
    """The database as any program sees it."""
    return sqlite3.connect(path, isolation_level=None)


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
    scene.arrive(*(f"i{n}" for n in range(1000)))
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
        for n in range(1000):
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


def test_a_log_index_that_cannot_grow_is_a_full_disk() -> None:
    # Seen on a full tmpfs when the write-ahead log reached 4,096 pages: `disk I/O error`.
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    with pytest.raises(LedgerFull), translated("ledger"):
        raise error


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
    scene = Scene(lambda: SqliteLedger.open(path))
    assert scene.claimed() == ["old"]
    assert scene.route() == ["new"]
    assert [row.steps for row in scene.ledger.deliveries_of(["old", "new"])] == [(), ()]
    assert scene.ledger.history(0, 0, 10) == []
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


def test_who_only_uses_a_ledger_does_not_migrate_it_under_those_who_run(path: Path) -> None:
    SqliteLedger.open(path).close()
    with contextlib.closing(raw(path)) as older:
        (known,) = older.execute("PRAGMA user_version").fetchone()
        older.execute(f"PRAGMA user_version = {known - 1}")
    with pytest.raises(LedgerError, match=f"schema is version {known - 1}, this gateway's is {known}: start"):
        SqliteLedger.open(path, create=False)
    with contextlib.closing(raw(path)) as older:
        assert older.execute("PRAGMA user_version").fetchone() == (known - 1,)


def test_a_newer_schema_is_refused(path: Path) -> None:
    SqliteLedger.open(path).close()
    with raw(path) as newer:
        newer.execute("PRAGMA user_version = 9999")
    newer.close()
    with pytest.raises(LedgerDamaged, match="upgrade"):
        SqliteLedger.open(path)
