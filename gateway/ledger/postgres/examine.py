"""What is wrong with the PostgreSQL that a configuration names, before it matters: for `gateway check`.

An error keeps the ledger from working, or lets it lose what it has acknowledged; a warning is trouble to come. Nothing
is changed there. Each text says what is wrong and what to do.

A pooler that gives each transaction another connection (PgBouncer in transaction mode) shows itself by two connections
of ours: while one has a transaction open, the other one's server process changes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import psycopg

from gateway.errors import LedgerError
from gateway.ledger import queries
from gateway.ledger.postgres import schema
from gateway.ledger.postgres.connection import parameters, words_of

OLDEST_VERSION = 13
SKEW_S = 2.0

# What libpq and servers say, in their words, and what to do about it.
_REASONS = (
    ("connection refused", "no server listens there: look at host and port, and at the server"),
    ("timeout expired", "nothing answers there: look at host, port and firewalls"),
    ("could not translate host name", "that host name is not known: look at the URL"),
    ("password authentication failed", "user or password is wrong: look at the URL, its file, or PGPASSFILE"),
    ("no password supplied", "the server wants a password: put it into the URL's file, or a PGPASSFILE"),
    ("certificate", "the server's certificate is not trusted: look at sslmode, sslrootcert and the host's name"),
    ("no encryption", "the server wants TLS: add sslmode=verify-full to the URL"),
    ("does not support ssl", "the server has no TLS: set `ssl = on` there, or take sslmode out of the URL"),
    ("no pg_hba.conf entry", "the server lets this user not in from here: look at its pg_hba.conf"),
    ("does not exist", "make the database and the role: CREATE ROLE …; CREATE DATABASE …; see docs/scaling.md"),
    ("session is read-only", "the server is a standby: name all of them, with target_session_attrs=read-write"),
    ("too many", "the server is full: raise max_connections there"),
)
_FACTS = """
    SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_schema(),
           current_setting('transaction_read_only') = 'on', current_setting('fsync') = 'on',
           current_setting('full_page_writes') = 'on', has_database_privilege(current_database(), 'TEMP')
"""
_CONNECTIONS = """
    SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - (SELECT count(*) FROM pg_stat_activity
                  WHERE datid IS NOT NULL AND pid <> pg_backend_pid()  -- of what others do a role sees little more
                    AND coalesce(application_name, '') NOT LIKE %s),
           (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
           (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user)
"""
_FORBIDDEN = """
    SELECT relname FROM pg_class
    WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relkind = 'r'
      AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
               AND has_table_privilege(oid, 'UPDATE'))
    ORDER BY 1
"""
_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"
_PID = "SELECT pg_backend_pid()"


@dataclass(slots=True)
class Examined:
    """What is wrong, in words, and what the server is."""

    server: str = ""
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def examine(url: str, host: str, connections: int, clock: Callable[[], float] = time.time) -> Examined:
    """Look at the server at `url`.

    :param host: this host's name: its own connections do not count against it.
    :param connections: how many this host's processes need.
    :param clock: seconds since 1970, as this host has them.
    """
    found = Examined()
    try:
        with _connected(url) as connection:
            _look(found, connection, host, connections, clock)
            found.errors += _pooler(connection, url)
    except psycopg.Error as error:
        found.errors.append(_unreachable(error))
    return found


def _look(
    found: Examined, connection: psycopg.Connection[Any], host: str, connections: int, clock: Callable[[], float]
) -> None:
    version, encoding, schema_name, is_read_only, has_fsync, has_full_pages, has_temp = _row(connection, _FACTS)
    found.server = f"PostgreSQL {version // 10000}.{version % 10000}, {connection.info.dbname}"
    say = found.errors.append
    if version < OLDEST_VERSION * 10000:
        say(f"the server is PostgreSQL {version // 10000}: it must be {OLDEST_VERSION} or newer")
    if encoding != "UTF8":
        say(f"the database stores text as {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0")
    if is_read_only:
        say("the database takes no writes: a standby, or default_transaction_read_only; use the one that does")
    if not (has_fsync and has_full_pages):
        names = [name for name, on in (("fsync", has_fsync), ("full_page_writes", has_full_pages)) if not on]
        say(f"{' and '.join(names)} off on the server: a crash of it loses what was acknowledged. Set it on")
    if not has_temp:
        say("the role may not make temporary tables: GRANT TEMPORARY ON DATABASE … TO it")
    found.errors += _schema(connection, schema_name)
    found.warnings += [*_room(connection, host, connections), *_line(connection), *_clocks(connection, clock)]


def _schema(connection: psycopg.Connection[Any], schema_name: str | None) -> Iterator[str]:
    """Whether the tables are there, or can be made, and may be used."""
    if schema_name is None:
        yield "the role's search_path names no schema that there is: CREATE SCHEMA … AUTHORIZATION it"
        return
    steps = len(queries.migrations("postgres"))
    try:
        version, readable_from = schema.version_of(connection)
        schema.require(version, readable_from=readable_from, known=steps, create=True)
    except LedgerError as error:
        yield str(error)
        return
    except psycopg.errors.InsufficientPrivilege:
        version = steps  # there, and another role's
    (may_create,) = _row(connection, "SELECT has_schema_privilege(%s, 'CREATE')", schema_name)
    if version < steps and not may_create:
        yield f"the role may make no tables in the schema {schema_name}: let it own the database, or GRANT CREATE"
    if version and (forbidden := [row[0] for row in connection.execute(_FORBIDDEN)]):
        yield f"the role may not use {', '.join(forbidden[:3])}: another one has made the tables; use that, or GRANT"


def _room(connection: psycopg.Connection[Any], host: str, needed: int) -> Iterator[str]:
    free, *limits = _row(connection, _CONNECTIONS, f"gateway {host} %")
    free = min([free, *(limit for limit in limits if limit >= 0)])
    if free < needed:
        yield (
            f"the server has room for {free} connections of this host, which needs {needed}: raise max_connections "
            "there (or the limit of the role or the database), or run fewer processes"
        )


def _line(connection: psycopg.Connection[Any]) -> Iterator[str]:
    address = connection.info.hostaddr
    if address and not ip_address(address.partition("%")[0]).is_loopback and not connection.pgconn.ssl_in_use:
        yield f"the line to {address} is not encrypted, and patients' data go over it: sslmode=verify-full in the URL"


def _clocks(connection: psycopg.Connection[Any], clock: Callable[[], float]) -> Iterator[str]:
    before = clock()
    (there,) = _row(connection, _CLOCK)
    after = clock()
    skew_s = max(there - after, before - there, 0.0)
    if skew_s > SKEW_S:
        yield f"this host's clock and the server's are {skew_s:.0f} s apart: let all hosts keep time by NTP"


def _pooler(connection: psycopg.Connection[Any], url: str) -> list[str]:
    before = _row(connection, _PID)
    with _connected(url) as other:
        other.execute("BEGIN")
        beside, after = _row(other, _PID), _row(connection, _PID)
        other.execute("ROLLBACK")
    if before == after != beside:
        return []
    return [
        "a pooler gives each transaction another connection (PgBouncer: pool_mode = transaction): temporary tables and "
        "settings are lost with it. Let the URL name the server itself, or a pool with pool_mode = session"
    ]


def _row(connection: psycopg.Connection[Any], query: str, *values: object) -> tuple[Any, ...]:
    """The row of a query that gives one."""
    (row,) = connection.execute(query.encode(), values).fetchall()
    return tuple(row)


@contextlib.contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    with contextlib.closing(psycopg.connect(url, **parameters("gateway check"), prepare_threshold=None)) as connection:
        yield connection


def _unreachable(error: psycopg.Error) -> str:
    words = words_of(error)
    for part, what_to_do in _REASONS:
        if part in words.lower():
            return f"{words}; {what_to_do}"
    return words
