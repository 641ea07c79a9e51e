"""A ledger of SQLite copied into a PostgreSQL database: everything is there, once, and work goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from gateway.errors import LedgerAway, LedgerError, LedgerUnsure
from gateway.ledger.base import InstanceFilter, Ledger, RuleSet
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres.copying import Copied, copy_ledger, token_in
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.trail import TrailHead
from gateway.model import DeliveryState, InstanceState, Role, StudyFacts
from tests.contract import test_ledger_derived as derived
from tests.contract.ledger_scene import Scene, decision
from tests.contract.test_ledger_history import remembered
from tests.contract.test_ledger_model import LedgerModel
from tests.contract.test_ledger_pseudonyms import PATIENT, STUDY
from tests.contract.test_ledger_pseudonyms import copy as sealed_copy
from tests.harness.ledgers import postgres_server, postgres_url
from tests.harness.postgres import PostgresServer
from tests.harness.tools import wait_until

STUDY_FACTS = StudyFacts("1.2", "P1", "Bär^Käthe", "", "A1", "20200101", "chest", "1.2.1", "1", "series", "CT", "1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the SQLite ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def url() -> str:
    """A database with nothing in it."""
    server = postgres_server()
    return server.url(server.create_database())


def copied(path: Path, url: str, **also: Any) -> Copied:
    return copy_ledger(path, url, "token", name="test", **also)


def tables(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        return [row[0] for row in connection.execute(query)]


def columns_of_sqlite(path: Path) -> dict[str, set[str]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
            for name in names
            if not name.startswith("sqlite_")
        }


def columns_of_postgres(url: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    with psycopg.connect(url) as connection:
        query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        for table, column in connection.execute(query):
            found.setdefault(table, set()).add(column)
    return found


def assert_equal_rows(path: Path, url: str) -> dict[str, int]:
    """Each table has the same rows on both sides; how many."""
    counts = {}
    with closing(sqlite3.connect(path)) as left, psycopg.connect(url) as right:
        for table, columns in columns_of_sqlite(path).items():
            names = ", ".join(f'"{name}"' for name in sorted(columns))
            query = f"SELECT {names} FROM {table}"  # noqa: S608 - names of ours
            here = sorted(map(repr, left.execute(query)))
            assert here == sorted(map(repr, right.execute(query.encode()))), table
            counts[table] = len(here)
    return counts


def everything(path: Path) -> Scene:
    """A ledger with a row in every table, a delivery in every state and an instance in nearly every one."""
    scene = Scene(lambda: SqliteLedger.open(path))
    ledger = scene.ledger
    ledger.store_rules(RuleSet("one", {"10.yaml": "rules: []"}), scene.now_ms)
    ledger.store_rules(RuleSet("two", {"10.yaml": "rules: [] # ünder"}), scene.now_ms)
    scene.arrive("delivered", "deferred", "held", "dead", "cancelled", "leased", "ready")
    scene.route(decision("pacs"), study=STUDY_FACTS)
    by_id = {lease.instance_id: lease for lease in scene.claim(limit=7)}
    scene.conclude(by_id["delivered"])
    scene.conclude(by_id["deferred"], state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms + 5_000, status=0xA700)
    for name, state in (("held", DeliveryState.HELD), ("dead", DeliveryState.DEAD), ("cancelled", DeliveryState.HELD)):
        scene.conclude(by_id[name], state=state, reason="for a test")
    ledger.cancel(InstanceFilter(instance_ids=("cancelled",)), "not wanted", "me", scene.now_ms)
    ledger.release_deliveries(scene.forwarder, [by_id["ready"]], scene.now_ms)
    ledger.sync_destinations({"pacs": False, "dr": True}, scene.now_ms, "home-a")
    scene.arrive("twin", "twin-again", uid="1.9")
    scene.route(decision("dr"))
    scene.arrive("pseudonymous")
    derived.route(scene, sealed_copy(PATIENT, STUDY))
    (lease,) = [each for each in scene.claim("dr") if each.instance_id == "pseudonymous"]
    derived.lose(scene, lease)
    ledger.record_history([remembered(decision=decision("pacs"))], {})
    ledger.set_draining("host", [Role.WORKER], True, "me", scene.now_ms)
    ledger.pause_destination("pacs", True, "me", scene.now_ms)
    ledger.save_destination("dr", "down", 2.5, "refused", scene.now_ms + 9, scene.now_ms)
    ledger.own_destinations(scene.forwarder, ["dr"])
    scene.arrive("waits")
    console = scene.session(Role.CONSOLE)
    ledger.void_session(scene.session(Role.RECEIVER).session_id, scene.now_ms)
    assert ledger.take_untold(console, scene.now_ms, quiet_ms=0, late_ms=0, limit=2) is not None
    ledger.told(console, "", TrailHead(3, "ab", scene.now_ms))
    return scene


def listings(ledger: Ledger, now_ms: int) -> dict[str, object]:
    """What the contract tells of a ledger."""
    rows = ledger.list_instances(InstanceFilter(), 1000)
    ids = [row.instance_id for row in rows]
    return {
        "instances": rows,
        "by patient": ledger.list_instances(InstanceFilter(patient_id="P1"), 1000),
        "deliveries": ledger.deliveries_of(ids),
        "copies": ledger.copies_of(ids),
        "destinations": ledger.destinations(),
        "sessions": ledger.sessions(),
        "processes": ledger.processes(),
        "draining": ledger.draining(),
        "forwarding": ledger.forwarding(),
        "revision": ledger.current_revision(),
        "rules": [ledger.load_rules(revision) for revision in ("one", "two")],
        "revisions": ledger.revisions_of(-1, 1000),
        "chains": ledger.waiting_chains(),
        "history": ledger.history(0, 0, 1000),
        "trail heads": ledger.trail_heads(),
        "audit": [ledger.audited(action, 100) for action in ("cancel", "pause", "drain")],
        "ages": ledger.queue_ages([60, 3600], now_ms),
        "gauges": ledger.gauges(),
        "check": ledger.check(),
    }


def test_the_schemas_have_the_same_tables_and_columns(path: Path) -> None:
    """A migration of the one is not forgotten in the other."""
    SqliteLedger.open(path).close()
    postgres = columns_of_postgres(postgres_url())
    del postgres["ledger_schema"]
    assert postgres == columns_of_sqlite(path)


def test_everything_is_there_afterwards(path: Path, url: str) -> None:
    scene = everything(path)
    ids = [row.instance_id for row in scene.ledger.list_instances(InstanceFilter(), 100)]
    assert {row.state for row in scene.ledger.deliveries_of(ids)} == set(DeliveryState)
    seen: list[tuple[int, int]] = []
    done = copied(path, url, progress=lambda *each: seen.append(each))
    counts = assert_equal_rows(path, url)
    assert all(counts.values()), "a table that this test has no row for"
    assert done.rows == counts
    assert seen[-1] == (sum(counts.values()), sum(counts.values()))
    assert url.rpartition("@")[2].rpartition("/")[2] in done.place
    assert "p%40ss" not in done.place
    with closing(PostgresLedger.open(url, create=False)) as ledger:
        assert listings(ledger, scene.now_ms) == listings(scene.ledger, scene.now_ms)
        assert ledger.originals_of(PATIENT.pseudonym, "me", "r", 1) == [PATIENT.sealed]
    scene.close()


def test_work_goes_on_where_it_was(path: Path, url: str) -> None:
    everything(path).ledger.close()
    copied(path, url)
    with closing(PostgresLedger.open(url, create=False)) as ledger:
        before = {each.session.session_id for each in ledger.sessions()}
        new = ledger.open_session(Role.WORKER, "host", 1, 2_000_000)
        assert new.session_id > max(before) + 1, "one was voided: its number is not used again"
        ledger.void_all(2_000_000, {})
        after = Scene.__new__(Scene)
        after.ledger, after.now_ms = ledger, 2_000_000
        after.worker, after.forwarder = after.session(Role.WORKER), after.session()
        after.arrive("new")
        assert "new" in after.route(decision("dr"))
        ledger.pause_destination("pacs", False, "me", after.now_ms)
        while leases := after.claim() + after.claim("dr"):
            after.conclude(*leases)
        assert after.state("leased") is InstanceState.SETTLED
        assert after.state("new") is InstanceState.SETTLED
        assert after.state("deferred") is InstanceState.SETTLED
        assert ledger.check() == []


def test_a_ledger_of_any_history_is_the_same_afterwards() -> None:
    class Copied(LedgerModel):
        def teardown(self) -> None:
            server = postgres_server()
            name = server.create_database()
            path = Path(self.folder.name) / "ledger.db"
            copied(path, server.url(name))
            assert_equal_rows(path, server.url(name))
            with closing(PostgresLedger.open(server.url(name), create=False)) as ledger:
                assert ledger.check() == []
            server.drop_database(name)
            super().teardown()

    run_state_machine_as_test(
        Copied,
        settings=settings(
            max_examples=8,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_text_that_postgresql_cannot_store_is_written_as_the_ledger_writes_it(path: Path, url: str) -> None:
    with closing(SqliteLedger.open(path)) as ledger:
        ledger.sync_destinations({"pacs": False}, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE destination SET last_error = 'a' || char(0) || 'b' || CAST(x'FF' AS TEXT)")
        connection.commit()
    copied(path, url)
    with closing(PostgresLedger.open(url, create=False)) as ledger:
        assert ledger.destinations()[0].last_error == "a\\x00b\\udcff"


# ── the target ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_ledger_that_was_made_and_never_used_is_filled(path: Path) -> None:
    everything(path).ledger.close()
    url = postgres_url()
    copied(path, url)
    assert_equal_rows(path, url)


def test_a_database_that_holds_something_is_left_as_it_is(path: Path, url: str) -> None:
    everything(path).ledger.close()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE somebody_elses (x INT)")
    with pytest.raises(LedgerError, match=r"is not empty: it holds somebody_elses\. Nothing was changed"):
        copied(path, url)
    assert tables(url) == ["somebody_elses"]


def test_a_ledger_in_use_is_left_as_it_is(path: Path) -> None:
    everything(path).ledger.close()
    url = postgres_url()
    with closing(PostgresLedger.open(url)) as ledger:
        ledger.open_session(Role.WORKER, "another", 1, 1)
    with pytest.raises(LedgerError, match="is not empty: it holds session"):
        copied(path, url)


def test_a_database_of_another_encoding_is_refused(path: Path) -> None:
    everything(path).ledger.close()
    server = postgres_server()
    name = latin1_database(server)
    with pytest.raises(LedgerError, match="stores text as LATIN1: make one with ENCODING 'UTF8'"):
        copied(path, server.url(name))
    server.drop_database(name)


def latin1_database(server: PostgresServer) -> str:
    """A database that stores text as ISO 8859-1."""
    server._execute("CREATE DATABASE latin OWNER gateway TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    return "latin"


def test_a_ledger_of_an_older_schema_is_not_copied(path: Path, url: str) -> None:
    everything(path).ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")
    with pytest.raises(LedgerError, match="start this version once"):
        copied(path, url)


# ── cut short ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Cut(Exception):
    """Ends a copy from inside."""


def raising(*_: object) -> None:
    raise Cut


@pytest.mark.parametrize("also", [{"progress": raising}, {"last": raising}])
def test_a_copy_that_ends_early_leaves_nothing(path: Path, url: str, also: dict[str, Callable[..., None]]) -> None:
    everything(path).ledger.close()
    with pytest.raises(Cut):
        copied(path, url, **also)
    assert tables(url) == []
    assert token_in(url, "test")[0] == ""
    copied(path, url)
    assert token_in(url, "test")[0] == "token"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One that may be killed."""
    with PostgresServer() as server:
        yield server


def test_a_server_that_is_lost_with_the_commit_says_afterwards_whether_it_holds(
    path: Path, server: PostgresServer
) -> None:
    everything(path).ledger.close()
    url = server.url(server.create_database())
    with pytest.raises(LedgerUnsure, match="Call this again"):
        copied(path, url, last=lambda place: server.kill())
    with pytest.raises(LedgerAway):
        token_in(url, "test")
    server.start()
    assert token_in(url, "test")[0] == ""
    assert tables(url) == []


def test_who_asks_for_the_token_waits_for_a_copy_on_its_way(path: Path, url: str) -> None:
    everything(path).ledger.close()
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(1) as pool:
        asked: list[Future[tuple[str, str]]] = []

        def ask(place: str) -> None:
            asked.append(pool.submit(token_in, url, "test"))
            wait_until(lambda: postgres_server().rows(waiting), 10, "somebody to wait for the copy")

        copied(path, url, last=ask)
        assert asked[0].result()[0] == "token"
