"""One connection to the ledger's PostgreSQL, and its errors as the ledger's.

Settings, whatever the server's own are:
  - autocommit: transactions begin and end where `database` says;
  - synchronous_commit on: a commit that was answered survives a crash of the server;
  - a server that a cut line hides is given up after some 15 s (keepalive, tcp_user_timeout), and a process that stands
    still inside a transaction, by the server, after IDLE_S: nobody waits for its locks for longer;
  - a lock is waited for LOCK_S at most;
  - all whole numbers go as bigint and truth as 0 or 1, so that a statement is prepared once.

Messages of PostgreSQL name hosts, users, tables and columns; what it adds of values (DETAIL) is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import errors
from psycopg.adapt import Dumper
from psycopg.types.numeric import Int8Dumper, IntLoader

from gateway.errors import LedgerAway, LedgerBusy, LedgerDamaged, LedgerError, LedgerFull

CONNECT_S = 5
IDLE_S = 15
LOCK_S = 10
UNSENT_MS = 10_000

UNREADABLE = (
    "ledger.url cannot be read as a URL of PostgreSQL: in a user's name and a password write each of : / ? # [ ] @ % "
    "as %3A %2F %3F %23 %5B %5D %40 %25"
)

_SETTINGS = (
    "SET synchronous_commit TO on",
    f"SET idle_in_transaction_session_timeout TO '{IDLE_S}s'",
    f"SET lock_timeout TO '{LOCK_S}s'",
    "SET statement_timeout TO 0",
    "SET TimeZone TO 'UTC'",
    # The server's side of the line: of a host that lost its power in the middle of a pipeline it hears nothing more,
    # and no timeout of its own would end that.
    "SET tcp_keepalives_idle TO 5",
    "SET tcp_keepalives_interval TO 3",
    "SET tcp_keepalives_count TO 3",
    f"SET tcp_user_timeout TO {UNSENT_MS}",
)
_KEEPALIVES: dict[str, Any] = {
    "connect_timeout": CONNECT_S,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": UNSENT_MS,
}
_AWAY = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.ReadOnlySqlTransaction,  # the server was made a standby: the primary is another one
    errors.IdleInTransactionSessionTimeout,
)


class _Truth(Dumper):
    """bool as 0 or 1: flags are numbers in the ledger."""

    oid = Int8Dumper.oid

    def dump(self, obj: bool) -> bytes:
        return b"1" if obj else b"0"


def parameters(name: str) -> dict[str, Any]:
    """What is added to a URL to connect by. `name` is what PostgreSQL shows of this client."""
    return {**_KEEPALIVES, "application_name": name, "autocommit": True}


def adapt(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Numbers and truth as the ledger's statements mean them."""
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(bool, _Truth)
    connection.adapters.register_loader("numeric", IntLoader)  # sums
    connection.prepare_threshold = 3
    connection.prepared_max = 400


def connect(url: str, name: str) -> psycopg.Connection[Any]:
    """A connection, ready for transactions. Raises what `translated_errors` makes of psycopg's."""
    with translated_errors():
        try:
            connection = psycopg.connect(url, **parameters(name))
        except psycopg.ProgrammingError:  # its words repeat parts of the URL, where a password may be
            raise LedgerError(UNREADABLE) from None
        try:
            adapt(connection)
            connection.execute("; ".join(_SETTINGS))
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Turn psycopg's errors into the ledger's."""
    try:
        yield
    except psycopg.Error as error:
        raise told(error) from error


def words_of(error: psycopg.Error) -> str:
    """What an error says, without values. Of a URL that cannot be read nothing is repeated: there may be a password."""
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return UNREADABLE
    return error.diag.message_primary or " ".join(str(error).split())


def told(error: psycopg.Error) -> LedgerError:
    """An error of psycopg as the ledger's."""
    words = words_of(error)
    if is_away(error):
        return LedgerAway(f"the ledger's PostgreSQL cannot be reached: {words}")
    if isinstance(error, errors.LockNotAvailable):
        return LedgerBusy(f"the ledger: others hold a lock for more than {LOCK_S} s")
    if isinstance(error, errors.DiskFull | errors.OutOfMemory):
        return LedgerFull(f"the ledger's PostgreSQL has no room: {words}; make room there")
    if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
        return LedgerDamaged(f"the ledger's PostgreSQL is damaged: {words}; restore it, or see `gateway recover`")
    if isinstance(error, psycopg.DataError | psycopg.ProgrammingError | psycopg.IntegrityError):
        return LedgerError(f"the ledger's PostgreSQL: {words}")
    return LedgerBusy(f"the ledger's PostgreSQL: {words}; it is tried again")


def is_away(error: psycopg.Error) -> bool:
    """Whether the server is not there, or not for us: the same call may succeed later, on a new connection."""
    if isinstance(error, _AWAY):
        return True
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
    )
