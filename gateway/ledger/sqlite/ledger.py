"""`SqliteLedger`: the ledger in one file, on a local file system. Used by the thread that opened it.

Of what is not durable (synchronous=FULL) a power cut may take the newest, in order; the spool makes up for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.ledger.logic.ledger import SqlLedger
from gateway.ledger.sqlite.database import Database

BUSY_TIMEOUT_S = 10.0


class SqliteLedger(SqlLedger):
    """See `gateway.ledger.base.Ledger`; the docstrings there are the specification."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._file = database

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool = True,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        committed: Callable[[float], None] | None = None,
    ) -> SqliteLedger:
        """Open the ledger at `path` on a local filesystem.

        `create` makes it where it is missing, and migrates one of an older schema: for whoever knows that nobody else
        uses it (`gateway run`, `gateway recover`). A write waits up to `busy_timeout_s` for its turn.
        `committed` is called after each commit that changed something, with the seconds since its turn was asked for.
        Raises `LedgerDamaged` for what is no ledger, is of a newer schema, or is missing while `create` is False;
        `LedgerBusy`; `LedgerError`, also for an older schema while `create` is False.
        """
        return cls(Database(path, create=create, busy_timeout_s=busy_timeout_s, committed=committed))

    @property
    def commits(self) -> int:
        """How many commits of this connection changed something."""
        return self._file.commits

    @property
    def wal_bytes(self) -> int:
        """The size of the write-ahead log, which `checkpoint` keeps short."""
        return self._file.wal_bytes()

    def checkpoint(self, at_least_bytes: int = 0) -> bool:
        """See `Ledger.checkpoint`."""
        if at_least_bytes and self._file.waiting_bytes() < at_least_bytes:
            return False
        self._file.checkpoint()
        return True
