"""The connection to the SQLite ledger, and its transactions.

A write is one synchronous callable: flock → BEGIN IMMEDIATE → callable → counters → COMMIT → unlock. A read is a
deferred transaction without the lock. Nothing else touches the connection, so no cancelled task and no exception
can stand between BEGIN and COMMIT.

Why it is set up as it is:
  - WAL with autocheckpoint off: SQLite before 3.51.3 can corrupt the database when a write and a reset of the WAL
    overlap, so checkpoints (and closing, which checkpoints too) happen under the writers' lock.
  - synchronous=NORMAL: a power cut may take the newest commits, in order; the spool makes up for them. `durable=True`
    commits with FULL, and with it everything before.
  - No memory map: a truncated file must be an error, not a signal.
  - A new database is prepared under another name and renamed, so that an empty or half-made file in the ledger's
    place is known to be damage, never mistaken for a new ledger.
  - Before each transaction the files are compared with what was opened: a ledger that was deleted or replaced would
    otherwise go on working, without a name.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import TypeVar

from gateway.errors import LedgerBusy, LedgerDamaged, LedgerError, LedgerFull
from gateway.ledger import queries
from gateway.ledger.logic.transaction import Transaction, Turn
from gateway.ledger.sqlite.lock import WriterLock

T = TypeVar("T")

APPLICATION_ID = 0x44474C31  # "DGL1", PRAGMA application_id
_MAX_WORDS = 20
WAL_TRUNCATE_BYTES = 64 * 1024 * 1024

_INDEX_FRAMES, _INDEX_MOVED, _INDEX_BYTES = struct.Struct("=HI"), struct.Struct("=I"), 100

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
# SHMSIZE: the WAL's index could not grow, which takes one page of the same file system.
_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the database is corrupt or none, rather than busy, full or misused."""
    return _code(error) in _DAMAGED


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the primary result code


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn sqlite3's errors into the ledger's. The messages carry no values: SQLite names tables and columns only."""
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise LedgerDamaged(f"{what}: {error}; stop the gateway and see `gateway recover`") from error
        if _code(error) in _BUSY:
            raise LedgerBusy(f"{what}: the database is locked by another program; try again") from error
        if getattr(error, "sqlite_errorcode", 0) in _NO_ROOM:
            raise LedgerFull(f"{what}: no room on its file system; make room") from error
        raise LedgerError(f"{what}: {error}") from error


class Database:
    """One connection, used by the thread that opened it."""

    def __init__(
        self, path: Path, *, create: bool, busy_timeout_s: float, committed: Callable[[float], None] | None = None
    ) -> None:
        self.path = path
        self._committed = committed
        self._log = path.with_name(path.name + "-wal")
        self.commits = 0  # that changed something
        self._busy_timeout_s = busy_timeout_s
        self._interned: dict[Hashable, int] = {}
        self._closed = False
        with _named(path):
            self._lock = WriterLock(path.with_name(path.name + ".lock"))
        try:
            with self._locked(), translated(f"ledger {path}"):
                if not path.exists():
                    self._prepare(create)
                self._connection = self._connect(path)
                try:
                    steps = queries.migrations("sqlite")
                    if create:
                        apply_migrations(self._connection, steps)
                    else:
                        check_version(self._connection, len(steps))
                    self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # opens the WAL
                    self._known_files = self._files()
                except BaseException:
                    self._connection.close()
                    raise
        except BaseException:
            self._lock.close()
            raise

    def write(
        self,
        work: Callable[[Transaction], T],
        *,
        durable: bool = False,
        turn: Turn = Turn.ALONE,
        fleeting: bool = False,
    ) -> T:
        """Run `work` in one write transaction and commit it. `durable` reaches the disk before this returns.

        `turn` and `fleeting` are of no interest here: writers come one after the other, and no commit is waited for.
        """
        connection = self._connection
        asked_at = time.perf_counter()
        with self._locked(), translated(f"ledger {self.path}"):
            self._check_files()
            changes = connection.total_changes
            if durable:
                connection.execute("PRAGMA synchronous = FULL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                transaction = Transaction(connection.execute, connection.executemany, self._interned)
                result = work(transaction)
                transaction.write_counters()
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")
        transaction.publish()
        if connection.total_changes != changes:
            self.commits += 1
            if self._committed is not None:
                self._committed(time.perf_counter() - asked_at)
        return result

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one consistent view, without the writers' lock."""
        connection = self._connection
        self._check_files()
        with translated(f"ledger {self.path}"):
            try:
                connection.execute("BEGIN")
                return work(Transaction(connection.execute, connection.executemany, self._interned))
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def damage(self, quick: bool) -> list[str]:
        """SQLite's own integrity, and references. The quick form only looks whether each page is what it should be:
        about a second for a gigabyte."""
        try:
            return self.read(lambda tx: _damage(tx, quick))
        except LedgerDamaged as error:
            return [f"damaged: {error.__cause__}"]

    def checkpoint(self) -> None:
        """Copy the WAL into the database. Waits for no reader, unless the WAL has grown past its bound."""
        with self._locked(), translated(f"ledger {self.path}"):
            self._check_files()
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if self.wal_bytes() > WAL_TRUNCATE_BYTES:
                self._connection.execute("PRAGMA busy_timeout = 200")
                try:
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    self._connection.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_s * 1000)}")

    def waiting_bytes(self) -> int:
        """How much of the write-ahead log a checkpoint would move: the log's file says nothing, for it is used again.

        From the log's index, of which SQLite's documentation gives the form (walformat.html, 2.1 and 2.3): frames in
        the log, and frames moved already.
        """
        try:
            with self.path.with_name(self.path.name + "-shm").open("rb") as index:
                header = index.read(_INDEX_BYTES)
        except FileNotFoundError:
            return 0
        except OSError:  # no descriptor, for example: the checkpoint itself will say
            return WAL_TRUNCATE_BYTES
        if len(header) < _INDEX_BYTES:
            return 0
        page_bytes, frames = _INDEX_FRAMES.unpack_from(header, 14)
        (moved,) = _INDEX_MOVED.unpack_from(header, 96)
        return max(0, int(frames) - int(moved)) * (65536 if page_bytes == 1 else int(page_bytes))

    def wal_bytes(self) -> int:
        """The size of the write-ahead log's file."""
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Close under the lock, because the last connection to close moves the WAL into the database.

        Who does not get the lock closes without: the one that holds it is connected, so this is not the last.
        """
        if self._closed:
            return
        self._closed = True
        locked = self._lock.acquire(self._busy_timeout_s)
        try:
            self._connection.close()
        finally:
            if locked:
                self._lock.release()
            self._lock.close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._closed:
            raise LedgerError(f"ledger {self.path}: closed")
        if not self._lock.acquire(self._busy_timeout_s):
            raise LedgerBusy(f"ledger {self.path}: another process writes for more than {self._busy_timeout_s:g} s")
        try:
            yield
        finally:
            self._lock.release()

    def _files(self) -> tuple[tuple[int, int], tuple[int, int]]:
        database, log = self.path.stat(), self._log.stat()
        return (database.st_dev, database.st_ino), (log.st_dev, log.st_ino)

    def _check_files(self) -> None:
        if self._closed:
            raise LedgerError(f"ledger {self.path}: closed")
        try:
            same = self._files() == self._known_files
        except OSError:
            same = False
        if not same:
            raise LedgerDamaged(f"ledger {self.path}: deleted or replaced while in use; see `gateway recover`")

    def _connect(self, path: Path) -> sqlite3.Connection:
        if path.stat().st_size == 0:
            raise LedgerDamaged(f"ledger {path}: the file is empty; see `gateway recover`")
        connection = sqlite3.connect(
            path, timeout=self._busy_timeout_s, isolation_level=None, cached_statements=256, uri=False
        )
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        if application_id != APPLICATION_ID:
            raise LedgerDamaged(f"ledger {self.path}: a database, but not a ledger of this gateway")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("PRAGMA cache_size = -32768")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_TRUNCATE_BYTES}")
        connection.execute("CREATE TEMP TABLE picked (key INTEGER PRIMARY KEY)")

    def _prepare(self, create: bool) -> None:
        if not create:
            raise LedgerDamaged(f"ledger {self.path}: missing; see `gateway recover`")
        for leftover in ("-wal", "-shm"):
            if self.path.with_name(self.path.name + leftover).exists():
                raise LedgerDamaged(f"ledger {self.path}: missing, but its write-ahead log is there; restore it")
        new = self.path.with_name(self.path.name + ".new")
        for suffix in ("", "-wal", "-shm", "-journal"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # it holds patient data
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            apply_migrations(connection, queries.migrations("sqlite"))
        _flush(new)
        new.rename(self.path)
        _flush(self.path.parent)


def _damage(tx: Transaction, quick: bool) -> list[str]:
    check = "quick_check" if quick else "integrity_check"
    found = [f"damaged: {row[0]}" for row in tx.execute(f"PRAGMA {check}({_MAX_WORDS})") if row[0] != "ok"]
    if not quick:
        broken = {(row[0], row[2]) for row in tx.execute("PRAGMA foreign_key_check")}
        found += [f"{table}: rows that refer to a missing {parent}" for table, parent in sorted(broken)]
    return found


def check_version(connection: sqlite3.Connection, known: int) -> None:
    """See that the schema is of the version that is known: one who only looks, or gives an order, does not change it
    under a gateway of another version that runs.

    :raises LedgerError: it is older. LedgerDamaged: it is newer.
    """
    version = _version(connection, known)
    if version < known:
        raise LedgerError(
            f"the ledger's schema is version {version}, this gateway's is {known}: start this version once "
            "(`gateway run`), which brings it up to date; until then use the commands of the version that it is from"
        )


def _version(connection: sqlite3.Connection, known: int) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > known:
        raise LedgerDamaged(f"the ledger's schema is version {version}, this gateway knows {known}: upgrade it")
    return version


def apply_migrations(connection: sqlite3.Connection, steps: tuple[str, ...]) -> None:
    """Bring the schema to the newest version, one transaction a step. Raises `LedgerDamaged` for a newer schema."""
    version = _version(connection, len(steps))
    for number, step in enumerate(steps[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(step):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.startswith("--") for line in statement.splitlines()):
        raise ValueError("a migration ends in the middle of a statement")


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(f"ledger {path}: {error.strerror}; the folder must exist and be writable") from error
