"""The ledger's tables in PostgreSQL: made and migrated by whoever starts a host, looked at by everybody else.

The schema has a version, and says from which version on a gateway can work with it (`readable_from`): hosts are
upgraded one by one, so a newer host changes the schema under older ones that run. A migration that those could not bear
says so in its first line, `-- readable_from: <its own number>`, and asks for all hosts to be stopped.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg

from gateway.errors import LedgerDamaged, LedgerError
from gateway.ledger import queries

_LOCK = "SELECT pg_advisory_xact_lock(4474700, 3)"  # of the class of `database`'s
_ALONE = "SELECT pg_advisory_xact_lock(4474700, 1)"
_THERE = "SELECT to_regclass('ledger_schema') IS NOT NULL"
_MAKE = "CREATE TABLE ledger_schema (version BIGINT NOT NULL, readable_from BIGINT NOT NULL)"
_READABLE_FROM = re.compile(r"\A-- readable_from: (\d+)$", re.MULTILINE)


def prepare(connection: psycopg.Connection[Any], *, create: bool) -> None:
    """See that the schema is there and of a version that is known; with `create`, make it so.

    :raises LedgerError: it is older, or missing, and `create` is False. LedgerDamaged: it is too new.
    """
    connection.execute("BEGIN")
    try:
        prepare_within(connection, create=create)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def prepare_within(connection: psycopg.Connection[Any], *, create: bool) -> None:
    """`prepare` inside the caller's transaction: until that ends, nobody else makes or migrates a schema here."""
    steps = queries.migrations("postgres")
    if create:
        lock(connection)
    version, readable_from = version_of(connection)
    require(version, readable_from=readable_from, known=len(steps), create=create)
    if version < len(steps):
        _migrate(connection, steps, version)


def lock(connection: psycopg.Connection[Any]) -> None:
    """Be the only one that makes, migrates or fills a schema here, until the transaction ends."""
    connection.execute(_LOCK)


def require(version: int, *, readable_from: int, known: int, create: bool) -> None:
    """See that a gateway that knows `known` steps can work with this version, or may bring it up to date."""
    if version > known and readable_from > known:
        raise LedgerDamaged(f"the ledger's schema is version {version}, this gateway knows {known}: upgrade this host")
    if version < known and not create:
        raise LedgerError(_older(version, known))


def _older(version: int, known: int) -> str:
    if version == 0:
        return "there is no ledger in this database yet: `gateway run` makes it, `gateway ledger copy` fills it"
    return (
        f"the ledger's schema is version {version}, this gateway's is {known}: start this version once "
        "(`gateway run`), which brings it up to date; until then use the commands of the version that it is from"
    )


def version_of(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """The schema's version, and from which one on a gateway can work with it; (0, 0) where there is none."""
    there = connection.execute(_THERE).fetchone()
    if there is None or not there[0]:
        return 0, 0
    row = connection.execute("SELECT version, readable_from FROM ledger_schema").fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def _migrate(connection: psycopg.Connection[Any], steps: tuple[str, ...], version: int) -> None:
    if version == 0:
        connection.execute(_MAKE)
        connection.execute("INSERT INTO ledger_schema (version, readable_from) VALUES (0, 1)")
    connection.execute(_ALONE)  # of hosts that run: what they are about is over first
    for number, step in enumerate(steps[version:], version + 1):
        connection.execute(step.encode())
        connection.execute("UPDATE ledger_schema SET version = %s", (number,))
        if breaks := _READABLE_FROM.search(step):
            connection.execute("UPDATE ledger_schema SET readable_from = %s", (int(breaks[1]),))
