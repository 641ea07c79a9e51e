"""A PostgreSQL of a test's own: how it lets one in, dies, comes back and stands still."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest

from tests.harness.evidence import descendants
from tests.harness.postgres import PostgresServer
from tests.harness.server import lives
from tests.harness.tools import require, run, wait_until

WRONG = "another"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as postgres:
        yield postgres


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        found = connection.execute(query)
        return found.fetchall() if found.description else []


def test_each_test_has_a_database_of_its_own(server: PostgresServer) -> None:
    one, other = server.create_database(), server.create_database()
    assert one != other
    ask(server.url(one), "CREATE TABLE kept (number int)")
    assert ask(server.url(other), "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'") == [(0,)]
    assert ask(server.url(one), "SELECT current_user, current_setting('fsync')") == [("gateway", "on")]
    server.drop_database(one)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        ask(server.url(one), "SELECT 1")


def test_a_template_is_made_once_and_copied(server: PostgresServer) -> None:
    made: list[str] = []

    def make(url: str) -> None:
        made.append(url)
        ask(url, "CREATE TABLE kept AS SELECT 7 AS number")

    copies = [server.create_database(server.template("like_this", make)) for _ in range(2)]
    assert made == [server.url("like_this")]
    assert [ask(server.url(copy), "SELECT number FROM kept") for copy in copies] == [[(7,)], [(7,)]]
    ask(server.url(copies[0]), "DROP TABLE kept")


def test_nobody_enters_without_the_password(server: PostgresServer) -> None:
    database = server.create_database()
    with pytest.raises(psycopg.OperationalError, match="password"):
        ask(server.url(database, password=WRONG), "SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="password"):
        ask(server.url(database, password=None), "SELECT 1")


def test_what_was_committed_survives_a_kill() -> None:
    with PostgresServer() as server:
        url = server.url(server.create_database())
        ask(url, "CREATE TABLE kept AS SELECT 7 AS number")
        with psycopg.connect(url, autocommit=True) as held:
            assert server.process is not None
            family = descendants(server.process.pid)
            assert len(family) > 3
            server.kill()
            assert not server.running
            with pytest.raises(psycopg.OperationalError):
                held.execute("SELECT 1")
        server.start()
        assert ask(url, "SELECT number FROM kept") == [(7,)]
        server.stop()
        server.start()
        assert ask(url, "SELECT number FROM kept") == [(7,)]


def test_a_frozen_server_answers_nobody_until_it_is_thawed(server: PostgresServer) -> None:
    url = server.url(server.create_database())
    answers: list[object] = []
    with psycopg.connect(url, autocommit=True) as held:
        asking = threading.Thread(target=lambda: answers.append(held.execute("SELECT 1").fetchone()))
        with server.frozen():
            with pytest.raises(psycopg.OperationalError, match="timeout"):
                psycopg.connect(url, connect_timeout=2)
            asking.start()
            asking.join(0.2)
            assert asking.is_alive()
        asking.join(10)
    assert answers == [(1,)]


def test_with_tls_it_takes_encrypted_connections_only() -> None:
    require("cryptography")
    with PostgresServer(tls=True) as server:
        url = server.url(server.create_database())
        assert ask(url, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(True,)]
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            ask(url.replace("verify-full", "disable"), "SELECT 1")


def test_its_clients_can_be_cut_off(server: PostgresServer) -> None:
    database = server.create_database()
    with psycopg.connect(server.url(database), autocommit=True) as held:
        assert server.disconnect(database) == 1
        with pytest.raises(psycopg.OperationalError):
            held.execute("SELECT 1")


def test_it_ends_with_the_interpreter_that_started_it() -> None:
    require("initdb")
    code = "from tests.harness.postgres import PostgresServer; server = PostgresServer(); print(server.process.pid)"
    pid = int(run([sys.executable, "-c", code], env={"PYTHONPATH": os.getcwd()}).check().stdout)
    wait_until(lambda: not lives(pid), 10, "the server to be gone")


def test_the_shared_server_hands_out_empty_databases(postgres_url: str) -> None:
    assert ask(postgres_url, "SELECT count(*) FROM pg_tables WHERE tableowner = 'gateway'") == [(0,)]
