"""What `gateway check` says of a PostgreSQL: each way in which one can be set up wrong, by a server that is."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from gateway.ledger.postgres import PostgresLedger, schema
from gateway.ledger.postgres.examine import Examined, examine
from tests.harness.pgbouncer import PgBouncer
from tests.harness.postgres import PASSWORD, USER, PostgresServer
from tests.harness.tools import free_port, wait_until

NEEDED = 7
WRONG = "secret-word"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that is set up well."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    name = server.create_database()
    yield name
    server.drop_database(name)


def looked(url: str, connections: int = NEEDED) -> Examined:
    return examine(url, "host-a", connections)


def the_error(found: Examined) -> str:
    assert found.warnings == []
    (error,) = found.errors
    return error


def the_warning(found: Examined) -> str:
    assert found.errors == []
    (warning,) = found.warnings
    return warning


def administer(server: PostgresServer, statement: str, database: str = "postgres") -> None:
    with server._connect(database) as connection:
        connection.execute(statement)


def test_nothing_is_wrong_with_a_server_that_is_set_up_well(server: PostgresServer, database: str) -> None:
    url = server.url(database)
    found = looked(url)
    assert (found.errors, found.warnings) == ([], [])
    assert found.server.startswith("PostgreSQL ")
    with psycopg.connect(url) as connection:
        assert schema.version_of(connection) == (0, 0), "it has made nothing"
    PostgresLedger.open(url).close()
    found = looked(url)
    assert (found.errors, found.warnings) == ([], [])


# ── it cannot be reached ──────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_listens() -> None:
    error = the_error(looked(f"postgresql://gateway:secret-word@127.0.0.1:{free_port()}/x"))
    assert "no server listens there" in error
    assert "secret-word" not in error


def test_the_password_is_wrong(server: PostgresServer, database: str) -> None:
    error = the_error(looked(server.url(database, password=WRONG)))
    assert "user or password is wrong" in error
    assert WRONG not in error


def test_there_is_no_password(server: PostgresServer, database: str) -> None:
    assert "the server wants a password" in the_error(looked(server.url(database, password=None)))


def test_there_is_no_such_database(server: PostgresServer) -> None:
    assert "make the database and the role" in the_error(looked(server.url("nowhere")))


def test_the_server_has_no_tls(server: PostgresServer, database: str) -> None:
    assert "the server has no TLS" in the_error(looked(server.url(database) + "?sslmode=require"))


def test_the_server_wants_tls_and_its_certificate_is_looked_at() -> None:
    with PostgresServer(tls=True) as server:
        database = server.create_database()
        good = server.url(database)
        assert looked(good).errors == []
        plain = good.partition("?")[0]
        assert "the server wants TLS" in the_error(looked(f"{plain}?sslmode=disable"))
        assert "certificate is not trusted" in the_error(looked(f"{plain}?sslmode=verify-full&sslrootcert=system"))


def test_a_standby_is_passed_over_where_a_server_that_writes_is_asked_for(
    server: PostgresServer, database: str
) -> None:
    administer(server, f"ALTER DATABASE {database} SET default_transaction_read_only TO on")
    assert "the database takes no writes" in the_error(looked(server.url(database)))
    error = the_error(looked(server.url(database) + "?target_session_attrs=read-write"))
    assert "the server is a standby" in error


# ── it does not fit ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_that_is_too_old_is_named(
    server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.postgres.examine.OLDEST_VERSION", 99)
    assert "it must be 99 or newer" in the_error(looked(server.url(database)))


def test_another_encoding(server: PostgresServer) -> None:
    administer(server, f"CREATE DATABASE latin OWNER {USER} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    assert "stores text as LATIN1" in the_error(looked(server.url("latin")))


@pytest.mark.parametrize("off", [("fsync",), ("full_page_writes",), ("fsync", "full_page_writes")])
def test_what_was_acknowledged_may_be_lost(off: tuple[str, ...]) -> None:
    with PostgresServer(**dict.fromkeys(off, "off")) as server:
        error = the_error(looked(server.url(server.create_database())))
        assert error.startswith(f"{' and '.join(off)} off on the server")


def test_no_temporary_tables(server: PostgresServer, database: str) -> None:
    administer(server, f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, {USER}")
    assert "the role may not make temporary tables" in the_error(looked(server.url(database)))


def test_no_tables(server: PostgresServer) -> None:
    administer(server, "CREATE DATABASE of_another TEMPLATE template0")
    administer(server, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "of_another")
    error = the_error(looked(server.url("of_another")))
    assert "the role may make no tables in the schema public" in error


def test_no_schema(server: PostgresServer, database: str) -> None:
    administer(server, f"ALTER DATABASE {database} SET search_path TO nowhere")
    assert "names no schema that there is" in the_error(looked(server.url(database)))


def test_the_tables_of_another_role(server: PostgresServer, database: str) -> None:
    PostgresLedger.open(server.url(database)).close()
    administer(server, f"CREATE ROLE other LOGIN PASSWORD '{PASSWORD}'")
    assert "another one has made the tables" in the_error(looked(server.url(database, user="other")))


def test_a_schema_that_is_too_new(server: PostgresServer, database: str) -> None:
    PostgresLedger.open(server.url(database)).close()
    administer(server, "UPDATE ledger_schema SET version = 99, readable_from = 99", database)
    assert "upgrade this host" in the_error(looked(server.url(database)))


@pytest.mark.parametrize(("mode", "fits"), [("transaction", False), ("session", True)])
def test_a_pooler_that_changes_connections(server: PostgresServer, database: str, mode: str, fits: bool) -> None:
    with PgBouncer(server, mode) as pooler:
        found = looked(pooler.url(database))
        assert fits == (found.errors == [])
        if not fits:
            assert "a pooler gives each transaction another connection" in the_error(found)


# ── trouble to come ───────────────────────────────────────────────────────────────────────────────────────────────


def test_too_few_connections(server: PostgresServer, database: str) -> None:
    assert "which needs 500: raise max_connections" in the_warning(looked(server.url(database), 500))
    administer(server, f"ALTER DATABASE {database} CONNECTION LIMIT 5")
    assert "has room for 5 connections of this host, which needs 7" in the_warning(looked(server.url(database)))


def test_connections_of_this_host_are_not_counted_against_it(server: PostgresServer, database: str) -> None:
    administer(server, f"ALTER DATABASE {database} CONNECTION LIMIT -1")
    url = server.url(database)
    there = "SELECT 1 FROM pg_stat_activity WHERE datid IS NOT NULL AND pid <> pg_backend_pid()"
    with closing(PostgresLedger.open(url, name="gateway host-a 1")):
        assert wait_until(lambda: looked(url, 97).warnings == [], 10, "those of earlier tests to be gone")
    wait_until(lambda: not server.rows(there), 10, "it to be gone")
    with closing(PostgresLedger.open(url, name="gateway host-b 1")):
        assert "has room for 96 connections" in the_warning(looked(url, 97))
    wait_until(lambda: not server.rows(there), 10, "it to be gone")
    with server._connect():  # another role's
        assert "has room for 96 connections" in the_warning(looked(url, 97))


def test_a_line_in_the_clear() -> None:
    own = own_address()
    with PostgresServer(host=own) as server:
        assert f"the line to {own} is not encrypted" in the_warning(looked(server.url(server.create_database())))
    with PostgresServer(host=own, tls=True) as server:
        assert looked(server.url(server.create_database())).warnings == []


def own_address() -> str:
    """An address of this machine that is not a loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("skew_s", [-30, 30])
def test_clocks_that_differ(server: PostgresServer, database: str, skew_s: int) -> None:
    found = examine(server.url(database), "host-a", NEEDED, lambda: time.time() + skew_s)
    assert "this host's clock and the server's are " in the_warning(found)
