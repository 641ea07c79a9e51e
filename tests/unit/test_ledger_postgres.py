"""What is PostgreSQL's alone: its words, its turns, its schema, and what happens when it goes away."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from gateway.errors import LeaseLost, LedgerAway, LedgerBusy, LedgerDamaged, LedgerError, LedgerUnsure
from gateway.ledger import queries
from gateway.ledger.logic import arrivals, deliveries, routing
from gateway.ledger.logic.transaction import Transaction, Turn
from gateway.ledger.postgres import PostgresLedger, schema
from gateway.ledger.postgres.database import Database
from gateway.ledger.postgres.dialect import translated
from gateway.ledger.postgres.examine import examine
from gateway.model import Beat, DeliveryState, InstanceState, Outcome, Role, Routing, StudyFacts
from tests.contract.ledger_scene import Scene, arrival, decision
from tests.harness.ledgers import postgres_server, postgres_url
from tests.harness.postgres import PostgresServer
from tests.harness.tools import wait_until

DELIVERED = DeliveryState.DELIVERED


@pytest.fixture
def url() -> str:
    """A database with an empty ledger."""
    return postgres_url()


@pytest.fixture
def scene(url: str) -> Iterator[Scene]:
    """A ledger, examined at the end."""
    scene = Scene(lambda: PostgresLedger.open(url))
    yield scene
    scene.close()


@pytest.fixture
def beside(url: str) -> Iterator[Database]:
    """Another process's connection, whose transactions the test writes itself."""
    with closing(Database(url, "beside", create=False)) as database:
        yield database


def told(url: str, statement: str) -> list[tuple[object, ...]]:
    """What the server says to somebody else."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT a FROM t WHERE b = ? AND c = :name", "SELECT a FROM t WHERE b = %s AND c = %(name)s"),
        (
            "SELECT '?:x' WHERE a LIKE '%' -- what is ?\nAND b = ?",
            "SELECT '?:x' WHERE a LIKE '%%' -- what is ?\nAND b = %s",
        ),
        ("a IN (SELECT value FROM json_each(:ids))", "a IN (SELECT jsonb_array_elements_text(%(ids)s::jsonb))"),
        ("SELECT x'', a::text FROM t INDEXED BY i WHERE b", "SELECT ''::bytea, a::text FROM t WHERE b"),
        (
            "FROM picked CROSS JOIN skipped s ON s.a = b CROSS JOIN c",
            "FROM picked JOIN skipped s ON s.a = b CROSS JOIN c",
        ),
    ],
)
def test_a_statement_is_said_in_postgresqls_words(statement: str, expected: str) -> None:
    assert translated(statement) == expected


def test_a_statement_of_its_own_stands_for_the_common_one() -> None:
    assert translated(queries.load("routing")["leased_by"]).endswith("FOR UPDATE")


def test_what_postgresql_cannot_store_is_written_escaped(scene: Scene) -> None:
    scene.arrive("a", uid="1.2\0\ud800")
    scene.arrive("b", uid="1.2\0\ud800")
    assert scene.row("a").sop_instance_uid == "1.2\\x00\\ud800"
    assert scene.row("b").duplicate == "exact"


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Paused:
    """A transaction of another process that has done its work and has not committed, until `commit`."""

    def __init__(self, database: Database, work: Callable[[Transaction], object], turn: Turn) -> None:
        self._done, self._go_on = threading.Event(), threading.Event()

        def whole(tx: Transaction) -> None:
            work(tx)
            self._done.set()
            assert self._go_on.wait(30)

        self._pool = ThreadPoolExecutor(2)
        self._first = self._pool.submit(database.write, whole, turn=turn)
        assert self._done.wait(30)

    def beside(self, url: str, work: Callable[[], object]) -> None:
        """Begin `work` meanwhile; commit when it waits for the paused transaction; both come to their end."""
        second: Future[object] = self._pool.submit(work)
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        wait_until(lambda: second.done() or bool(told(url, waiting)), 20, lambda: "the second transaction to wait")
        assert not second.done(), "it did not wait for what the first has changed"
        self._go_on.set()
        self._first.result(30)
        second.result(30)
        self._pool.shutdown()


def test_a_twin_that_arrives_while_the_first_is_routed_finds_its_deliveries(
    scene: Scene, beside: Database, url: str
) -> None:
    scene.arrive("a", uid="1.2")
    routings = [Routing(lease.instance_id, decision("pacs"), StudyFacts()) for lease in scene.claim_instances()]
    routed = Paused(beside, lambda tx: routing.record(tx, scene.worker, routings, scene.now_ms), Turn.BESIDE)
    routed.beside(url, lambda: scene.arrive("b", uid="1.2", content=b"another"))
    assert scene.ledger.check() == []  # the first's delivery knows that it has a twin
    scene.route()
    assert scene.claimed() == ["a"]


def test_two_that_deliver_the_last_two_of_an_instance_settle_it(scene: Scene, beside: Database, url: str) -> None:
    scene.arrive("a")
    scene.route(decision("pacs", "dr"))
    to_pacs, to_dr = scene.claim("pacs"), scene.claim("dr")
    outcome = Outcome(to_pacs[0].delivery_id, to_pacs[0].token, DELIVERED, "")
    session_id = scene.forwarder.session_id
    delivered = Paused(beside, lambda tx: deliveries.record(tx, session_id, [outcome], scene.now_ms), Turn.BESIDE)
    delivered.beside(url, lambda: scene.conclude(*to_dr))
    assert scene.state("a") is InstanceState.SETTLED


def test_what_is_delivered_while_it_comes_to_stand_for_a_duplicate_lets_that_be_purged(
    scene: Scene, beside: Database, url: str
) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": False}, scene.now_ms)
    scene.arrive("a", uid="1.2")
    scene.route()
    leases = scene.claim("pacs")
    scene.arrive("b", uid="1.2")
    routings = [Routing(lease.instance_id, decision("pacs"), StudyFacts()) for lease in scene.claim_instances()]
    routed = Paused(beside, lambda tx: routing.record(tx, scene.worker, routings, scene.now_ms), Turn.BESIDE)
    routed.beside(url, lambda: scene.conclude(*leases))
    assert [item.instance_id for item in scene.ledger.begin_purge(scene.now_ms + 1, 9, scene.now_ms)] == ["a", "b"]


def test_a_duplicate_for_which_two_stand_can_be_purged_when_both_are_delivered_at_once(
    scene: Scene, beside: Database, url: str
) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": True}, scene.now_ms)
    scene.arrive("a", uid="1.2")
    scene.route(decision("pacs", "dr"))
    to_pacs, to_dr = scene.claim("pacs"), scene.claim("dr")
    scene.arrive("b", uid="1.2")
    scene.route(decision("pacs", "dr"))
    outcome = Outcome(to_pacs[0].delivery_id, to_pacs[0].token, DELIVERED, "")
    session_id = scene.forwarder.session_id
    delivered = Paused(beside, lambda tx: deliveries.record(tx, session_id, [outcome], scene.now_ms), Turn.BESIDE)
    delivered.beside(url, lambda: scene.conclude(*to_dr))
    assert [item.instance_id for item in scene.ledger.begin_purge(scene.now_ms + 1, 9, scene.now_ms)] == ["a", "b"]


def test_an_order_waits_for_what_is_going_on(scene: Scene, beside: Database, url: str) -> None:
    new = [arrival("a")]
    received = Paused(
        beside, lambda tx: arrivals.record(tx, new, InstanceState.RECEIVED, "", scene.now_ms), Turn.ARRIVALS
    )
    received.beside(url, lambda: scene.ledger.sync_destinations({}, scene.now_ms))
    assert scene.state("a") is InstanceState.RECEIVED


def test_a_worker_does_not_wait_for_what_another_is_claiming(scene: Scene, beside: Database) -> None:
    scene.arrive("a", "b")
    with ThreadPoolExecutor(1) as pool:

        def claim_first(tx: Transaction) -> list[str]:
            claimed = [lease.instance_id for lease in routing.claim(tx, scene.worker, 1, scene.now_ms)]
            other = pool.submit(scene.claim_instances, 1)
            return claimed + [lease.instance_id for lease in other.result(10)]

        assert beside.write(claim_first, turn=Turn.BESIDE) == ["a", "b"]


# ── schema ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_database_without_a_ledger_is_told(url: str) -> None:
    server = postgres_server()
    empty = server.url(server.create_database())
    with pytest.raises(LedgerError, match="there is no ledger in this database yet: `gateway run` makes it"):
        PostgresLedger.open(empty, create=False)
    PostgresLedger.open(empty).close()
    PostgresLedger.open(empty, create=False).close()


def test_a_newer_schema_is_worked_with_as_far_as_it_says(url: str) -> None:
    known = len(queries.migrations("postgres"))
    told(url, "UPDATE ledger_schema SET version = version + 1")
    PostgresLedger.open(url).close()
    told(url, "UPDATE ledger_schema SET readable_from = version")
    with pytest.raises(LedgerDamaged, match=f"version {known + 1}, this gateway knows {known}: upgrade this host"):
        PostgresLedger.open(url)


def test_an_older_schema_is_left_alone_by_who_only_looks() -> None:
    with pytest.raises(LedgerError, match="is version 1, this gateway's is 2: start this version once"):
        schema.require(1, readable_from=1, known=2, create=False)
    schema.require(1, readable_from=1, known=2, create=True)


def test_the_audit_trail_is_append_only(scene: Scene, url: str) -> None:
    scene.ledger.pause_destination("pacs", True, "somebody", scene.now_ms)
    for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'x'", "TRUNCATE audit"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            told(url, statement)


# ── away ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server that is killed."""
    with PostgresServer() as server:
        yield server


def test_a_server_that_is_away_is_busy_and_what_was_answered_is_there_when_it_is_back(mortal: PostgresServer) -> None:
    url = mortal.url(mortal.create_database())
    scene = Scene(lambda: PostgresLedger.open(url))
    scene.arrive("a", "b")
    leases = scene.claim_instances()
    scene.record(leases[:1])
    mortal.kill()
    with pytest.raises(LedgerAway, match="cannot be reached"):
        scene.arrive("c")
    with pytest.raises(LedgerAway, match="cannot be reached") as caught:
        PostgresLedger.open(url)
    assert "p@ss" not in str(caught.value)
    assert "p%40ss" not in str(caught.value)
    mortal.start()
    scene.arrive("b", "c")
    assert scene.state("a") is InstanceState.ROUTED
    assert len(scene.ledger.known_instances(["a", "b", "c"])) == 3
    scene.close()


def test_a_process_that_finds_another_server_gives_up_its_session_before_it_does_anything_else() -> None:
    with PostgresServer() as server:
        url, replaced = server.url(server.create_database()), []
        ledger = PostgresLedger.open(url, replaced=lambda: replaced.append(True))
        worker = ledger.open_session(Role.WORKER, "host-a", 1, 1)
        ledger.record_arrivals([arrival("a")], 1)
        standby = server.copied()
        assert [lease.instance_id for lease in ledger.claim_instances(worker, 1, 2)] == ["a"], "a crash is no failover"
        ledger.record_arrivals([arrival("b")], 3)
        server.fail_over(standby)
        with pytest.raises(LeaseLost):
            ledger.claim_instances(worker, 1, 4)
        assert ledger.beat(worker, 5) is Beat.VOIDED
        assert (ledger.known_instances(["a", "b"]), replaced) == ({"a"}, [True])
        again = ledger.open_session(Role.WORKER, "host-a", 2, 6)
        assert ledger.beat(again, 7) is Beat.GO_ON
        ledger.close()


def test_a_connection_that_was_lost_in_between_is_opened_again_without_a_word(scene: Scene, url: str) -> None:
    scene.arrive("a")
    assert postgres_server().disconnect(url.rpartition("/")[2]) > 0
    assert scene.route() == ["a"]


def lose_the_next_commit(url: str, table: str) -> None:
    """The server ends the connection while it commits the next change of a table."""
    told(
        url,
        f"""
        CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_terminate_backend(pg_backend_pid());
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER lose AFTER INSERT OR UPDATE ON {table}
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose()
        """,
    )


def find_it_again(url: str, table: str) -> None:
    """The server commits as ever."""
    told(url, f"DROP TRIGGER lose ON {table}; DROP FUNCTION lose()")


def test_who_was_not_told_what_became_of_a_commit_is_told_that(scene: Scene, url: str) -> None:
    lose_the_next_commit(url, "instance")
    with pytest.raises(LedgerUnsure, match="whether it holds is not known"):
        scene.arrive("a")
    find_it_again(url, "instance")
    scene.arrive("a")
    assert scene.state("a") is InstanceState.RECEIVED


def test_who_does_not_know_what_it_claimed_gives_up_its_session(scene: Scene, url: str) -> None:
    scene.arrive("a")
    lose_the_next_commit(url, "instance")
    with pytest.raises(LeaseLost, match="is given back by its end"):
        scene.claim_instances()
    find_it_again(url, "instance")
    scene.route()
    lose_the_next_commit(url, "delivery")
    with pytest.raises(LeaseLost):
        scene.claim()
    find_it_again(url, "delivery")


def test_who_stands_still_inside_a_transaction_holds_up_nobody_for_ever(
    scene: Scene, beside: Database, url: str
) -> None:
    tries = []

    def stand_still(tx: Transaction) -> None:
        tries.append(tx.value("SELECT pg_backend_pid()"))
        if len(tries) == 1:
            tx.execute("SET LOCAL idle_in_transaction_session_timeout TO '200ms'")
            there = "SELECT pid FROM pg_stat_activity"
            wait_until(lambda: (tries[0],) not in told(url, there), 20, lambda: "the server to end it")
            scene.arrive("a")  # which this one would have held up
        tx.value("SELECT 1")

    beside.write(stand_still)
    assert len(tries) == 2
    assert scene.state("a") is InstanceState.RECEIVED


def test_who_stands_still_in_the_middle_of_what_it_sends_is_ended_when_it_is_in_the_way(
    scene: Scene, beside: Database, url: str
) -> None:
    ended = contextlib.suppress(psycopg.Error)
    with ended, psycopg.connect(url, autocommit=True) as still, still.pipeline():
        still.execute("BEGIN")
        still.execute("SELECT pg_advisory_xact_lock_shared(4474700, 1)")
        still.pgconn.send_flush_request()  # and no more: the server waits for the rest, in the middle of a statement
        still.pgconn.flush()
        holds = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 4474700 AND granted"
        wait_until(lambda: bool(told(url, holds)), 20, lambda: "the lock to be held")
        beside.end_stuck(after_s=60.0)
        assert told(url, holds)
        beside.end_stuck(after_s=0.0)
        wait_until(lambda: not told(url, holds), 20, lambda: "the lock to be free")
    scene.arrive("a")


@pytest.mark.parametrize("secret", ["100%secure", "se:cret%", "a%zz"])
def test_a_url_that_cannot_be_read_is_not_repeated(secret: str) -> None:
    with pytest.raises(LedgerError) as caught:
        PostgresLedger.open(f"postgresql://gw:{secret}@127.0.0.1:1/d")
    assert secret not in "".join(traceback.format_exception(caught.value))
    assert secret not in repr(examine(f"postgresql://gw:{secret}@127.0.0.1:1/d", "127.0.0.1", 1))


def test_an_order_that_is_interrupted_may_be_tried_again(beside: Database) -> None:
    with pytest.raises(LedgerBusy, match="it is tried again"):
        beside.write(lambda tx: tx.value("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(20)"))
