"""The ledger's transactions in PostgreSQL.

Many processes write at once (READ COMMITTED), so each transaction says whom it lets write beside it. The turns of
`gateway.ledger.logic.transaction` are advisory locks of the transaction:

    ALONE      the ledger's lock, exclusively
    ARRIVALS   the ledger's lock, shared; the lock of arrivals
    BESIDE     the ledger's lock, shared; then the lock of each destination whose deliveries it claims or concludes,
               and rows, as the logic asks for them
    FREE       nothing
    TRAIL      the lock of batches for the audit trail

So what is not hot runs as if it were alone, as in SQLite, and of what is hot each pair was thought through:
  - arrivals come in one order, and see each other's twins;
  - claims pass over rows that others are claiming (SKIP LOCKED); to find a twin still received that was just routed
    means to wait for the next claim;
  - routing and arrivals lock the instance they share, so that a twin's deliveries know that they have one;
  - two that settle one instance by its last two deliveries lock it first, before the deliveries, as arrivals of twins
    do: one of them sees both;
  - a delivery that is to stand for a duplicate is locked until that is written down;
  - a parked twin and what it waits for are of one destination, so of one lock.
Counters are written last, in one order.

What PostgreSQL gives up for us (deadlock, a row that somebody inserted first) is run again from its beginning. A lost
connection is opened again by the next call, or at once where it was lost before anything was done. Where it is lost
while a commit is on its way, nobody knows what became of it (`LedgerUnsure`). Where another server answers then, or the
same on another timeline (a standby was made primary), commits that were answered may be lacking there (`replaced`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from gateway.errors import LedgerBusy, LedgerError, LedgerUnsure
from gateway.ledger.logic.transaction import Cursor, Transaction, Turn
from gateway.ledger.postgres import schema
from gateway.ledger.postgres.connection import IDLE_S, connect, is_away, told, translated_errors
from gateway.ledger.postgres.dialect import translated

T = TypeVar("T")

TRIES = 8

_LOCKS = 0x44474C  # the class of our advisory locks
_LEDGER, _ARRIVALS, _TRAIL = 1, 2, 4  # 3 is the schema's
_LOCKS_OF_DESTINATIONS = _LOCKS + 1
_BEGIN = {
    Turn.ALONE: f"BEGIN; SELECT pg_advisory_xact_lock({_LOCKS}, {_LEDGER})",
    Turn.ARRIVALS: f"BEGIN; SELECT pg_advisory_xact_lock_shared({_LOCKS}, {_LEDGER}); "
    f"SELECT pg_advisory_xact_lock({_LOCKS}, {_ARRIVALS})",
    Turn.BESIDE: f"BEGIN; SELECT pg_advisory_xact_lock_shared({_LOCKS}, {_LEDGER})",
    Turn.FREE: "BEGIN",
    Turn.TRAIL: f"BEGIN; SELECT pg_advisory_xact_lock({_LOCKS}, {_TRAIL})",
}
_FLEETING = "; SET LOCAL synchronous_commit TO off"
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
# A process that stands still while the server waits for the rest of what it sends (a pipeline): no timeout of the
# server runs then, and its locks stay.
_END_STUCK = f"""
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
WHERE l.locktype = 'advisory' AND l.classid IN ({_LOCKS}, {_LOCKS_OF_DESTINATIONS}) AND l.granted
  AND a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid()
  AND a.state = 'active' AND a.wait_event IN ('ClientRead', 'ClientWrite')
  AND a.query_start < clock_timestamp() - make_interval(secs => %s)
"""  # noqa: S608 - numbers of ours
# A server that is made primary begins a new timeline at once; its control file says so only after a checkpoint.
_SERVER = """
SELECT system_identifier::text || ' ' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system()
WHERE NOT pg_is_in_recovery()
"""
_PICKED = "CREATE TEMPORARY TABLE picked (key BIGINT PRIMARY KEY) ON COMMIT DELETE ROWS"
_LOCK_DESTINATION = f"SELECT pg_advisory_xact_lock({_LOCKS_OF_DESTINATIONS}, %s::int)"
_LOCK_DESTINATIONS_OF = (
    f"SELECT pg_advisory_xact_lock({_LOCKS_OF_DESTINATIONS}, each.key::int) FROM ("  # noqa: S608 - a number of ours
    "SELECT DISTINCT destination_key AS key FROM delivery WHERE delivery_id = ANY(%s) ORDER BY 1) each"
)
_LOCK_INSTANCES_OF = (
    "SELECT FROM instance WHERE seq IN (SELECT instance_seq FROM delivery WHERE delivery_id = ANY(%s)) "
    "ORDER BY seq FOR NO KEY UPDATE"
)
_LOCK_WAITING_FOR = (
    "SELECT FROM instance WHERE seq IN (SELECT instance_seq FROM skipped WHERE delivery_id = ANY(%s)) "
    "ORDER BY seq FOR NO KEY UPDATE"
)


class _Transaction(Transaction):
    __slots__ = ("_connection",)

    def __init__(self, connection: psycopg.Connection[Any], interned: dict[Hashable, int]) -> None:
        self._connection = connection
        super().__init__(self._execute, self._executemany, interned)

    def _execute(self, statement: str, parameters: Any = ()) -> Cursor:
        return self._connection.execute(translated(statement), parameters)

    def _executemany(self, statement: str, rows: Iterable[Any]) -> Cursor:
        cursor = self._connection.cursor()
        cursor.executemany(translated(statement), list(rows))
        return cursor

    def each(self, sql: str, rows: Sequence[Any]) -> list[Any]:
        if not rows:
            return []
        cursor = self._connection.cursor()
        cursor.executemany(translated(sql), rows, returning=True)
        return [result.fetchone() for result in cursor.results()]

    def lock_destinations_of(self, delivery_ids: Sequence[int]) -> None:
        self._connection.execute(_LOCK_DESTINATIONS_OF, (list(delivery_ids),))

    def lock_destination(self, destination_key: int) -> None:
        self._connection.execute(_LOCK_DESTINATION, (destination_key,))

    def lock_instances_of(self, delivery_ids: Sequence[int]) -> None:
        self._connection.execute(_LOCK_INSTANCES_OF, (list(delivery_ids),))

    def lock_waiting_for(self, delivery_ids: Sequence[int]) -> None:
        self._connection.execute(_LOCK_WAITING_FOR, (list(delivery_ids),))


def transaction_on(connection: psycopg.Connection[Any]) -> Transaction:
    """The logic's transaction, where the caller has begun one and will end it."""
    return _Transaction(connection, {})


def _server(connection: psycopg.Connection[Any]) -> str:
    """Which server answers, on which timeline; "" where that is not to be known (some services do not tell)."""
    try:
        row = connection.execute(_SERVER).fetchone()
    except psycopg.Error as error:
        if is_away(error):
            raise
        return ""
    return "" if row is None else str(row[0])


class Database:
    """One connection, used by the thread that opened it.

    :param url: `postgresql://…`, as libpq takes it.
    :param name: what PostgreSQL shows of this process (application_name).
    """

    def __init__(self, url: str, name: str, *, create: bool, committed: Callable[[float], None] | None = None) -> None:
        self._url, self._name = url, name
        self._committed = committed
        self._interned: dict[Hashable, int] = {}
        self._closed = False
        self.replaced: Callable[[Transaction], None] | None = None
        """Called in the first transaction on a server that may lack commits of this connection."""
        self._connection: psycopg.Connection[Any] | None = None
        connection = connect(url, name)
        try:
            with translated_errors():
                schema.prepare(connection, create=create)
        except BaseException:
            connection.close()
            raise
        self._connection = self._readied(connection)
        self._server = _server(connection)

    def write(
        self,
        work: Callable[[Transaction], T],
        *,
        durable: bool = False,
        turn: Turn = Turn.ALONE,
        fleeting: bool = False,
    ) -> T:
        """See `gateway.ledger.logic.ledger.Database`. Every commit but a fleeting one is durable."""
        begin = _BEGIN[turn] + (_FLEETING if fleeting else "")

        def whole(connection: psycopg.Connection[Any]) -> tuple[T, _Transaction]:
            transaction = _Transaction(connection, self._interned)
            result = work(transaction)
            transaction.write_counters()
            return result, transaction

        asked_at = time.perf_counter()
        result, transaction = self._run(begin, whole)
        transaction.publish()
        if self._committed is not None:
            self._committed(time.perf_counter() - asked_at)
        return result

    def read(self, work: Callable[[Transaction], T]) -> T:
        """See `gateway.ledger.logic.ledger.Database`."""
        return self._run(_BEGIN_READ, lambda connection: work(_Transaction(connection, self._interned)))

    def damage(self, quick: bool) -> list[str]:
        """PostgreSQL looks after its own files, and enforces references: what can be asked here is whether it is there.
        (`amcheck` and `pg_checksums` are for whoever runs it.)"""
        self.read(lambda tx: tx.value("SELECT 1"))
        return []

    def close(self) -> None:
        """Close the connection. Does nothing the second time."""
        self._closed = True
        self._drop()

    def _run(self, begin: str, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Begin, work, commit; again from the beginning where PostgreSQL asks for it."""
        for last in [False] * (TRIES - 1) + [True]:
            fresh = self._connection is None
            connection = self._usable()
            try:
                connection.execute(begin)
                result = work(connection)
            except psycopg.Error as error:
                self._roll_back(connection)
                if isinstance(error, errors.LockNotAvailable):
                    self.end_stuck()
                if not last and (isinstance(error, _AGAIN) or (is_away(error) and not fresh)):
                    continue
                if isinstance(error, _AGAIN):
                    raise LedgerBusy("the ledger: others were in the way every time; try again") from error
                raise told(error) from error
            except BaseException:
                self._roll_back(connection)
                raise
            self._commit(connection)
            return result
        raise AssertionError("the last try returns or raises")

    def end_stuck(self, after_s: float = IDLE_S) -> None:
        """Free the next call of locks that a process holds which stands still for so long: the server ends it by itself
        only where it stands still between two statements."""
        with contextlib.suppress(psycopg.Error):
            self._usable().execute(_END_STUCK, (after_s,))

    def _commit(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute("COMMIT")
        except psycopg.Error as error:
            self._drop()
            if is_away(error):
                raise LedgerUnsure(
                    "the ledger's PostgreSQL was lost while a commit was on its way: whether it holds is not known"
                ) from error
            raise told(error) from error
        except BaseException:
            self._drop()
            raise

    def _roll_back(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self._drop()
        except BaseException:
            self._drop()
            raise

    def _usable(self) -> psycopg.Connection[Any]:
        if self._closed:
            raise LedgerError("the ledger is closed")
        if self._connection is None:
            connection = self._readied(connect(self._url, self._name))
            try:
                with translated_errors():
                    self._look_who_answers(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _look_who_answers(self, connection: psycopg.Connection[Any]) -> None:
        server = _server(connection)
        if server and self._server and server != self._server and self.replaced is not None:
            connection.execute(_BEGIN[Turn.ALONE])
            transaction = _Transaction(connection, {})
            self.replaced(transaction)
            transaction.write_counters()
            connection.execute("COMMIT")
        self._server = server or self._server

    def _readied(self, connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        # A server that crashed has forgotten its newest fleeting commits, and with them rows whose keys we knew.
        self._interned.clear()
        try:
            with translated_errors():
                connection.execute(_PICKED)
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()
