"""A ledger of SQLite into a PostgreSQL database, whole or not at all.

Everything is one transaction: the schema, where it is not there yet; all rows, table by table in the order of
references, by the names of the columns; the counts of both sides; what the ledger finds with itself. Whoever is cut off
in the middle has left nothing there. Rows are streamed: no more than one is in memory.

The copy carries a token, a comment on `ledger_schema`: whoever does not know what became of the commit asks for that
(`token_in`). `gateway.app.moving` and `gateway.app.recover` call this.

Text that PostgreSQL cannot store is written as the ledger writes it there (`gateway.ledger.logic.arrivals.text`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from gateway.errors import LedgerError, LedgerUnsure
from gateway.ledger.logic import check
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.postgres import schema
from gateway.ledger.postgres.connection import connect, is_away, translated_errors
from gateway.ledger.postgres.database import transaction_on
from gateway.ledger.sqlite.database import Database

BUSY_TIMEOUT_S = 10.0
PROGRESS_ROWS = 1000

_TYPES = {"INTEGER": "int8", "TEXT": "text", "BLOB": "bytea", "REAL": "float8"}
_COUNTERS = ("spool_count", "history_count")  # one row from the beginning
_SCHEMA_TABLE = "ledger_schema"
_TABLES = """
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND c.relkind IN ('r', 'p')
      AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1
"""
_COMMENT = "SELECT obj_description(to_regclass('ledger_schema'), 'pg_class')"
_KEYS = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = current_schema() AND is_identity = 'YES'
"""
_OPEN_SESSIONS = "SELECT DISTINCT host FROM session WHERE voided_at_ms IS NULL ORDER BY 1"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the source: its columns with SQLite's types, and how many rows it has."""

    name: str
    columns: Mapping[str, str]
    rows: int


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied: rows by table; `place` names the database, without user and password."""

    place: str
    rows: Mapping[str, int]


def copy_ledger(
    source: Path,
    url: str,
    token: str,
    *,
    name: str,
    partly: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
    last: Callable[[str], None] = lambda place: None,
) -> Copied:
    """Copy the ledger at `source`, which nobody uses.

    :param partly: the source knows nothing but instances: what else is there already stays as it is.
    :param progress: is told how many rows are done, and of how many.
    :param last: is called with the database's name when all is there but the commit; what it raises undoes all.
    :raises LedgerError: nothing was changed. LedgerUnsure: the commit may hold or not.
    """
    with contextlib.closing(Database(source, create=False, busy_timeout_s=BUSY_TIMEOUT_S)) as database:
        connection = connect(url, name)
        try:
            with translated_errors():
                place = place_of(connection)
                connection.execute("BEGIN")
                rows = database.read(lambda tx: _copy_within(connection, tx, partly, progress))
                statement = sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(_SCHEMA_TABLE), token)
                connection.execute(statement)
                last(place)
                _commit(connection)
        finally:
            with contextlib.suppress(psycopg.Error):
                connection.close()  # what was not committed is gone with it
    return Copied(place, rows)


def token_in(url: str, name: str) -> tuple[str, str]:
    """The token of the copy that a database holds, "" where there is none; and the database's name.

    Waits for a copy that is still on its way. :raises LedgerError: it cannot be asked.
    """
    connection = connect(url, name)
    with translated_errors(), contextlib.closing(connection):
        with connection.transaction():
            schema.lock(connection)
            row = connection.execute(_COMMENT).fetchone()
        return (row[0] or "" if row else ""), place_of(connection)


def place_of(connection: psycopg.Connection[Any]) -> str:
    """Which database this is, in words, without user and password."""
    info = connection.info
    return f"{info.dbname} on {info.host}:{info.port}"


def tables_of(tx: Transaction) -> list[Table]:
    """The source's tables, each behind those that it refers to."""
    names = [row[0] for row in tx.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    names = [name for name in names if not name.startswith("sqlite_")]
    order: TopologicalSorter[str] = TopologicalSorter()
    for name in names:
        parents = {row[2] for row in tx.execute(f'PRAGMA foreign_key_list("{name}")')} - {name}
        order.add(name, *sorted(parents))
    return [
        Table(
            name,
            {row[1]: row[2] for row in tx.execute(f'PRAGMA table_info("{name}")')},
            int(tx.value(f'SELECT count(*) FROM "{name}"')),  # noqa: S608 - a table of ours
        )
        for name in order.static_order()
    ]


# ── inside the transaction ────────────────────────────────────────────────────────────────────────────────────────


def _copy_within(
    connection: psycopg.Connection[Any], tx: Transaction, partly: bool, progress: Callable[[int, int], None]
) -> dict[str, int]:
    tables = tables_of(tx)
    if partly:
        tables = [table for table in tables if table.rows]
    _require_utf8(connection)
    _require_alone(connection, tables, partly)
    of = sum(table.rows for table in tables)
    done = 0
    for table in tables:
        if table.name in _COUNTERS:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))
        for count in _copy_table(connection, tx, table):
            done += count
            progress(done, of)
    _set_keys(connection, tx, tables)
    analysed = sql.SQL(", ").join(sql.Identifier(table.name) for table in tables)
    connection.execute(sql.SQL("ANALYZE {}").format(analysed))  # the self-examination joins what it has never seen
    _require_equal(connection, tables)
    return {table.name: table.rows for table in tables}


def _require_utf8(connection: psycopg.Connection[Any]) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise LedgerError(
            f"the database {place_of(connection)} stores text as {encoding}: make one with ENCODING 'UTF8'"
        )


def _require_alone(connection: psycopg.Connection[Any], tables: list[Table], partly: bool) -> None:
    """Make the schema where it is missing. :raises LedgerError: the database is not empty."""
    ours = {table.name for table in tables} | {_SCHEMA_TABLE}
    schema.lock(connection)
    there = [row[0] for row in connection.execute(_TABLES)]
    others = [name for name in there if name not in ours] if not partly else []
    schema.prepare_within(connection, create=True)
    filled = [table.name for table in tables if _holds_rows(connection, table.name)]
    if others or filled:
        raise LedgerError(
            f"the database {place_of(connection)} is not empty: it holds {', '.join(filled + others)}. Nothing was "
            "changed. Make a database of its own for this ledger (CREATE DATABASE), and name that"
        )
    if hosts := [row[0] for row in connection.execute(_OPEN_SESSIONS)]:
        raise LedgerError(f"the ledger in {place_of(connection)} is in use by {', '.join(hosts)}: stop all hosts first")


def _holds_rows(connection: psycopg.Connection[Any], table: str) -> bool:
    where = sql.SQL(" WHERE bytes <> 0" if table in _COUNTERS else "")
    statement = sql.SQL("SELECT EXISTS (SELECT 1 FROM {}{})").format(sql.Identifier(table), where)
    row = connection.execute(statement).fetchone()
    return bool(row and row[0])


def _copy_table(connection: psycopg.Connection[Any], tx: Transaction, table: Table) -> Iterator[int]:
    """Yields how many rows were written since it last did."""
    names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table.name), names)
    texts = [at for at, kind in enumerate(table.columns.values()) if kind == "TEXT"]
    count = 0
    with connection.cursor().copy(statement) as copy:
        copy.set_types([_TYPES[kind] for kind in table.columns.values()])
        for row in tx.execute(_select(table)):
            values = list(row)
            for at in texts:
                if values[at] is not None:
                    values[at] = _text(values[at])
            copy.write_row(values)
            count += 1
            if count % PROGRESS_ROWS == 0:
                yield PROGRESS_ROWS
    yield count % PROGRESS_ROWS


def _select(table: Table) -> str:
    # Text comes as bytes: sqlite3 would refuse a whole table for one that is not Unicode.
    columns = (f'CAST("{name}" AS BLOB)' if kind == "TEXT" else f'"{name}"' for name, kind in table.columns.items())
    return f'SELECT {", ".join(columns)} FROM "{table.name}"'  # noqa: S608 - names of ours


def _text(value: bytes) -> str:
    try:
        return text(value.decode())
    except UnicodeDecodeError:
        return text(value.decode("utf-8", "surrogateescape"))


def _set_keys(connection: psycopg.Connection[Any], tx: Transaction, tables: list[Table]) -> None:
    """Have new keys begin behind the greatest, also behind one whose row is gone where none is used again."""
    counts = {table.name: table.rows for table in tables}
    used = dict(tx.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    for table, column in connection.execute(_KEYS).fetchall():
        if table not in counts:
            continue
        greatest = tx.value(f'SELECT max("{column}") FROM "{table}"') or 0  # noqa: S608 - names of ours
        if newest := max(greatest, used.get(table, 0)):
            connection.execute("SELECT setval(pg_get_serial_sequence(%s, %s), %s)", (table, column, newest))


def _require_equal(connection: psycopg.Connection[Any], tables: list[Table]) -> None:
    for table in tables:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table.name))).fetchone()
        there = row[0] if row else 0
        if there != table.rows:
            raise LedgerError(f"{table.name}: {table.rows} rows were read, and {there} are there; nothing was changed")
    if problems := check.problems(transaction_on(connection)):
        raise LedgerError(f"the copy is not whole: {'; '.join(problems)}; nothing was changed")


def _commit(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.execute("COMMIT")
    except psycopg.Error as error:
        if not is_away(error):
            raise
        raise LedgerUnsure(
            "the server was lost while the commit was on its way: whether the copy is there is not known. Call this "
            "again when the server is back"
        ) from error
